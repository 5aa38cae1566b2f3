"""The table of connections: who is at the other end of a worker's port."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.errors import ForeignPeerError
from headway.runtime.peers import Connection, connections, has_listened, have_met, meetings, stranger

PORTS = [2101, 2102, 2103]


def end(local: int, remote: int, inode: str, state: str = "01", user: str = "7") -> Connection:
    return Connection(f"0100007F:{local:04X}", f"0100007F:{remote:04X}", state, user, inode)


@given(joined=st.sets(st.sampled_from([(0, 1), (0, 2), (1, 2)])), foreign=st.none() | st.integers(0, 2))
def test_meetings_and_strangers_are_told_apart(joined: set[tuple[int, int]], foreign: int | None) -> None:
    sockets: list[set[str]] = [set(), set(), set()]
    table = [end(80, 90, "other"), end(90, 80, "another")]
    for number, (listens, dials) in enumerate(sorted(joined)):
        table += [
            end(PORTS[listens], 5000 + number, f"a{number}"),
            end(5000 + number, PORTS[listens], f"d{number}"),
        ]
        sockets[listens].add(f"a{number}")
        sockets[dials].add(f"d{number}")
    if foreign is not None:
        table += [end(PORTS[foreign], 6000, "f"), end(6000, PORTS[foreign], "theirs")]
        sockets[foreign].add("f")
    workers = list(zip(PORTS, sockets))
    assert meetings(table, workers) == joined
    told = stranger(table, workers)
    if foreign is None:
        assert told is None
    else:
        assert told == f"a process of user 7 that is not of this run connected from 127.0.0.1:6000 to worker {foreign}"


def test_who_has_not_been_accepted_is_no_peer() -> None:
    table = [end(2101, 6000, "0"), end(6000, 2101, "theirs")]
    assert stranger(table, [(2101, {"l"})]) is None


def test_a_port_counts_as_opened_also_when_its_listener_is_gone_again() -> None:
    assert has_listened([end(2101, 0, "l", state="0A")], 2101)
    assert has_listened([end(2101, 6000, "a")], 2101)
    assert not has_listened([end(2101, 6000, "0", state="06"), end(6000, 2101, "d")], 2101)


def test_a_system_without_a_table_says_so(tmp_path: Path) -> None:
    assert connections(tmp_path / "missing") is None


@pytest.mark.skipif(connections() is None, reason="this system has no table of connections")
def test_real_sockets() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        addresses = [f"127.0.0.1:{port}", "127.0.0.1:1"]
        assert not have_met(addresses, [os.getpid(), os.getpid()])
        with socket.create_connection(("127.0.0.1", port)), listener.accept()[0]:
            assert have_met(addresses, [os.getpid(), os.getpid()])
            assert stranger(connections() or [], [(port, inodes_of(listener)), (1, set())]) is None


def inodes_of(*sockets: socket.socket) -> set[str]:
    return {str(os.fstat(one.fileno()).st_ino) for one in sockets}


@pytest.mark.skipif(connections() is None, reason="this system has no table of connections")
def test_the_other_end_of_a_real_connection_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as dialled, listener.accept()[0] as accepted:
            told = stranger(connections() or [], [(port, inodes_of(accepted))])
            assert told == (
                f"a process of user {os.getuid()} that is not of this run connected from "
                f"127.0.0.1:{dialled.getsockname()[1]} to worker 0"
            )
            raised = ForeignPeerError(told)
    assert raised.exit_code == 5
