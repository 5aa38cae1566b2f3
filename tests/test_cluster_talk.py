"""Connections between supervisors: only who knows the secret talks, and nothing is changed, repeated or left out."""

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Iterator
from typing import Optional

import pytest

from headway.cluster.messages import BEAT, Leaving, Message, Refused, encode
from headway.cluster.talk import Line, accept, dial, proof
from headway.errors import ForeignPeerError

SECRET = b"s" * 32
SILENT_MS = 1_000


class Two:
    """Two ends of a connection that have greeted each other."""

    def __init__(self, dialler: bytes = SECRET, acceptor: bytes = SECRET) -> None:
        self.raised: list[BaseException] = []
        self.accepted: queue.Queue[Line] = queue.Queue()
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            thread = threading.Thread(target=self._accept, args=(server, acceptor))
            thread.start()
            try:
                self.near = dial("127.0.0.1", port, dialler, SILENT_MS)
            finally:
                thread.join()
        self.far = self.accepted.get(timeout=10)

    def _accept(self, server: socket.socket, secret: bytes) -> None:
        connection, _ = server.accept()
        try:
            self.accepted.put(accept(connection, secret, SILENT_MS))
        except (OSError, ForeignPeerError) as error:
            self.raised.append(error)
            connection.close()

    def raw(self, line: Line) -> socket.socket:
        return line._connection


@pytest.fixture
def two() -> Iterator[Two]:
    made = Two()
    yield made
    made.near.close()
    made.far.close()


def heard_by(line: Line) -> queue.Queue[Optional[Message]]:
    inbox: queue.Queue[Optional[Message]] = queue.Queue()
    line.open(inbox.put)
    return inbox


def test_messages_come_in_their_order_in_both_directions(two: Two) -> None:
    near, far = heard_by(two.near), heard_by(two.far)
    for number in range(50):
        two.near.send(Refused(why=f"to far {number}"))
        two.far.send(Refused(why=f"to near {number}"))
    assert [far.get(timeout=10) for _ in range(50)] == [Refused(why=f"to far {number}") for number in range(50)]
    assert [near.get(timeout=10) for _ in range(50)] == [Refused(why=f"to near {number}") for number in range(50)]


def test_a_large_message_comes_whole(two: Two) -> None:
    heard_by(two.near)
    far = heard_by(two.far)
    two.near.send(Refused(why="x" * 5_000_000))
    assert far.get(timeout=10) == Refused(why="x" * 5_000_000)


def test_the_end_of_one_side_is_heard_by_the_other(two: Two) -> None:
    heard_by(two.near)
    far = heard_by(two.far)
    two.near.close()
    assert far.get(timeout=10) is None
    assert two.far.why == "it has ended the connection"


def test_a_side_that_says_nothing_is_gone(two: Two) -> None:
    far = heard_by(two.far)  # The near one is not open, and so does not beat.
    assert far.get(timeout=10) is None
    assert two.far.why == "nothing was heard of it for 1 s"


@pytest.mark.parametrize("what", ["changed", "repeated", "left out", "sent back", "no message"])
def test_who_changes_the_traffic_ends_the_connection(two: Two, what: str) -> None:
    far = heard_by(two.far)
    sent: list[bytes] = []

    raw = two.raw(two.near)
    near, other = socket.socketpair()
    two.near._connection = near
    for message in (Leaving(), Refused(why="second")):
        two.near.send(message)
        size = 36 + len(encode(message))
        sent.append(other.recv(size, socket.MSG_WAITALL))
    first, second = sent
    if what == "changed":
        raw.sendall(first[:-1] + bytes([first[-1] ^ 1]))
    elif what == "repeated":
        raw.sendall(first + first)
        assert far.get(timeout=10) == Leaving()
    elif what == "left out":
        raw.sendall(second)
    elif what == "sent back":
        two.far.send(BEAT)
        raw.sendall(raw.recv(36 + len(encode(BEAT)), socket.MSG_WAITALL))
    else:
        raw.sendall(b"GET / HTTP/1.1\r\n\r\n" * 20)
    assert far.get(timeout=10) is None
    assert two.far.why in ("a message was changed, left out or repeated", "it sent something else than messages")
    other.close()
    raw.close()


def test_who_does_not_know_the_secret_is_refused_by_whom_he_dials() -> None:
    with pytest.raises(ForeignPeerError, match="does not know the secret of this cluster"):
        Two(dialler=b"x" * 32)


def test_who_does_not_know_the_secret_is_refused_by_who_accepts() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        two = Two.__new__(Two)
        two.raised, two.accepted = [], queue.Queue()
        thread = threading.Thread(target=two._accept, args=(server, SECRET))
        thread.start()
        with socket.create_connection(server.getsockname()[:2]) as stranger:
            stranger.sendall(b"headway cluster 1" + bytes(32))
            stranger.recv(64, socket.MSG_WAITALL)
            stranger.sendall(bytes(32))
            thread.join(10)
    [error] = two.raised
    assert "does not know the secret of the cluster" in str(error)


def test_a_recorded_greeting_convinces_nobody() -> None:
    said = [b"headway cluster 1" + bytes(32), proof(SECRET, b"dial", bytes(32), bytes(32))]
    near, far = socket.socketpair()
    with near, far, pytest.MonkeyPatch.context() as patch:
        patch.setattr("headway.cluster.talk._name_of", lambda connection: "its place")
        patch.setattr("os.urandom", bytes)
        near.sendall(b"".join(said))  # As it was said to one that has drawn this number.
        assert accept(far, SECRET, SILENT_MS).origin == "its place"
        patch.undo()
    near, far = socket.socketpair()
    with near, far, pytest.MonkeyPatch.context() as patch:
        patch.setattr("headway.cluster.talk._name_of", lambda connection: "its place")
        near.sendall(b"".join(said))
        with pytest.raises(ForeignPeerError, match="from its place does not know the secret"):
            accept(far, SECRET, SILENT_MS)


def test_another_program_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        two = Two.__new__(Two)
        two.raised, two.accepted = [], queue.Queue()
        thread = threading.Thread(target=two._accept, args=(server, SECRET))
        thread.start()
        with socket.create_connection(server.getsockname()[:2]) as stranger:
            stranger.sendall(b"GET / HTTP/1.1\r\nHost: somewhere\r\nAccept: " + b"*" * 99)
            thread.join(10)
    [error] = two.raised
    assert "no supervisor of Headway" in str(error)
