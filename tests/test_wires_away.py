"""Servers that are away: before a run has begun, and while it reads. What a person is told of it, and when."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from benchmarks.places import free_ports
from tests.kafka_harness import eventually
from tests.test_wires_ends import Reading, steps, unharmed
from tests.wires import WIRES, Ends, kafka_by_id

from headway.connectors import remote, troubles
from headway.connectors.kafka import session as kafka_session
from headway.errors import InputError
from headway.inbox.queues import consuming

SOURCES = [wire for wire in WIRES if wire is not kafka_by_id]
FIRST_WAIT_S = 2.0
QUIET_S = 3.0


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (remote, kafka_session, consuming):
        monkeypatch.setattr(module, "FIRST_WAIT_S", FIRST_WAIT_S)
    monkeypatch.setattr(troubles, "_QUIET_S", QUIET_S)
    # A reader in trouble has all looked at: nothing may wait for the next look by the clock.
    monkeypatch.setattr(remote, "LOOK_EVERY_S", 1_000.0)


def port_of(ends: Ends) -> int:
    """Where nobody listens yet."""
    return ends.proxy_port or free_ports(1)[0]


@pytest.mark.parametrize("wire", SOURCES)
def test_a_server_that_does_not_come_ends_the_start_in_words(wire: Callable[[], Ends], tmp_path: Path) -> None:
    ends = wire()
    port = port_of(ends)
    started_s = time.monotonic()
    with pytest.raises(InputError) as failed, closing(Reading(ends, port, tmp_path, follow=False)) as reading:
        eventually(lambda: reading.has(1), "what is not there")
    assert time.monotonic() - started_s < FIRST_WAIT_S + 10
    said = str(failed.value)
    assert f"127.0.0.1:{port}" in said and f"does not answer within {FIRST_WAIT_S:.0f} s" in said
    assert "check" in said or "Is the server running" in said, "what to do next"
    assert "Error" not in said and "Errno" not in said and "\n" not in said


@pytest.mark.parametrize("wire", SOURCES)
def test_a_server_that_comes_in_time_is_read(wire: Callable[[], Ends], tmp_path: Path) -> None:
    ends = wire()
    ends.grow(steps(range(100)))
    with ExitStack() as at_the_end:
        proxy = unharmed(ends, port_of(ends))
        coming = threading.Timer(FIRST_WAIT_S / 4, lambda: at_the_end.enter_context(proxy))
        coming.start()
        reading = at_the_end.enter_context(closing(Reading(ends, proxy.port, tmp_path)))
        eventually(lambda: reading.has(100), "what was there")
        coming.join()


@pytest.mark.parametrize("wire", SOURCES)
def test_a_server_that_goes_away_is_told_once_it_has_lasted_and_read_on_when_it_is_back(
    wire: Callable[[], Ends], tmp_path: Path
) -> None:
    ends = wire()
    ends.grow(steps(range(100)))
    with unharmed(ends) as proxy, closing(Reading(ends, proxy.port, tmp_path)) as reading:
        eventually(lambda: reading.has(100), "what was there")
        proxy.go_away()
        dialled = proxy.dialled
        eventually(lambda: proxy.dialled > dialled, "another attempt")
        proxy.come_back()
        before = len(reading.found)
        ends.grow(steps(range(100, 200)))
        eventually(lambda: reading.has(before + 100), "what came after a moment")
        assert not reading.told, "a moment is nothing to tell"
        proxy.go_away()
        eventually(lambda: reading.has(0) and bool(reading.told), "a word", 30)
        told = len(reading.told)
        proxy.come_back()
        before = len(reading.found)
        ends.grow(steps(range(200, 300)))
        eventually(lambda: reading.has(before + 100), "what came after a while")
        assert told == len(reading.told) == 1
        assert reading.told[0].endswith("; it is tried again")
        assert "Error" not in reading.told[0] and "Errno" not in reading.told[0]
