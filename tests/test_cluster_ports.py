"""Where the workers of a host listen."""

from __future__ import annotations

import socket
from contextlib import ExitStack

import pytest

from headway.cluster.hosts import Host
from headway.cluster.ports import free_addresses
from headway.errors import ClusterError


def host(low: int, high: int, ip: str = "127.0.91.7") -> Host:
    return Host("b", f"{ip}:2100", 2, (low, high))


def listening(held: ExitStack, port: int = 0) -> int:
    made = held.enter_context(socket.socket())
    made.bind(("127.0.91.7", port))
    made.listen()
    return int(made.getsockname()[1])


def test_any_ports_that_are_free() -> None:
    found = free_addresses(host(0, 0), 3, attempt=1)
    assert len({address.rpartition(":")[2] for address in found}) == 3
    assert all(address.startswith("127.0.91.7:") for address in found)


def test_an_attempt_begins_behind_the_one_before_and_passes_over_what_is_taken() -> None:
    with ExitStack() as held:
        low = listening(held)
        given = host(low, low + 5)
        taken = listening(held, low + 3)
        found = [free_addresses(given, 2, attempt) for attempt in range(3)]
    numbers = [[int(address.rpartition(":")[2]) for address in addresses] for addresses in found]
    assert numbers == [[low + 1, low + 2], [low + 2, low + 4], [low + 4, low + 5]]
    assert taken == low + 3


def test_no_free_port_says_why() -> None:
    with ExitStack() as held:
        low = listening(held)
        with pytest.raises(ClusterError, match=rf"host b cannot listen .* its ports {low}-{low} \(Address already in"):
            free_addresses(host(low, low), 1, attempt=1)
    with pytest.raises(ClusterError, match=r"at 192\.0\.2\.1 on any port \(Cannot assign requested address\)"):
        free_addresses(host(0, 0, "192.0.2.1"), 1, attempt=1)
