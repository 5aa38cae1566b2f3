"""Waiting for changes: long polls, streams of events, thousands for one key, and clients that are slow."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.views_harness import decision_state, flow_of, serving, transfers, write_lines
from tests.web_harness import ask, connect, read_answer, request_bytes

import headway as hw
from headway.serving.answers import KeyAnswer
from headway.serving.watching import Watchers
from headway.web.addresses import Address
from headway.web.problems import ProblemError


@pytest.fixture
def place(tmp_path: Path) -> Path:
    go_on(tmp_path, 0)
    return tmp_path


@pytest.fixture
def server(place: Path) -> Iterator[Address]:
    with serving(decision_state(place)) as address:
        yield address


def go_on(place: Path, start: int) -> None:
    """The flow runs for ten more events."""
    write_lines(place / "transfers-0.jsonl", transfers(10, seed=start, start=start))
    hw.run(flow_of(place), state=place / "state", epoch="20ms")


def events_of(sock: socket.socket, count: int, rest: bytes = b"") -> tuple[list[dict[str, str]], bytes]:
    """The next events of a stream, comments left out."""
    found: list[dict[str, str]] = []
    while len(found) < count:
        block, end, rest = rest.partition(b"\n\n")
        if not end:
            data = sock.recv(65_536)
            assert data, "the stream has ended"
            rest = block + data
            continue
        lines = [line for line in block.decode().split("\n") if not line.startswith(":")]
        fields = dict(line.split(": ", 1) for line in lines if ": " in line)
        if "data" in fields:
            found.append(fields)
    return found, rest


def stream(server: Address, last_id: str = "") -> socket.socket:
    sock = connect(server)
    headers = {"accept": "text/event-stream"} | ({"last-event-id": last_id} if last_id else {})
    sock.sendall(request_bytes("GET", "/v1/views/accounts/ann", headers=headers))
    return sock


def test_a_long_poll_is_answered_by_the_next_change(server: Address, place: Path) -> None:
    known = ask(server, "GET", "/v1/views/accounts/ann")
    with connect(server) as sock:
        headers = {"if-none-match": known.headers["etag"]}
        sock.sendall(request_bytes("GET", "/v1/views/accounts/ann?wait=60s", headers=headers))
        go_on(place, 10)
        later = read_answer(sock)
    assert later.status == 200
    assert later.json["value"]["n"] > known.json["value"]["n"]
    unchanged = {"if-none-match": later.headers["etag"]}
    assert ask(server, "GET", "/v1/views/accounts/ann?wait=30ms", headers=unchanged).status == 304


def test_a_stream_tells_each_change_and_goes_on_behind_the_last_id(server: Address, place: Path) -> None:
    with stream(server) as sock:
        (first,), rest = events_of(sock, 1)
        go_on(place, 10)
        (second,), _ = events_of(sock, 1, rest)
    assert first["event"] == second["event"] == "value"
    assert json.loads(second["data"])["value"]["n"] > json.loads(first["data"])["value"]["n"]
    with stream(server, last_id=second["id"]) as sock:
        go_on(place, 20)
        (third,), _ = events_of(sock, 1)
        assert third["id"] != second["id"]
    with stream(server, last_id=first["id"]) as sock:
        (missed,), _ = events_of(sock, 1)
        assert missed["id"] == third["id"]


def test_two_thousand_wait_for_one_key(place: Path) -> None:
    """All are answered, with the same bytes, and the state is looked at once for all of them."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 10_000:
        pytest.skip(f"this machine allows {hard} open files, and the test needs 10,000")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 10_000), hard))
    with serving(decision_state(place)) as server:
        etag = ask(server, "GET", "/v1/views/accounts/ann").headers["etag"]
        asked = request_bytes("GET", "/v1/views/accounts/ann?wait=60s", headers={"if-none-match": etag})
        waiting = []
        try:
            for _ in range(2_000):
                sock = connect(server)
                sock.sendall(asked)
                waiting.append(sock)
            for sock in waiting[::7]:
                sock.close()  # They do not wait any more.
            go_on(place, 10)
            answers = [read_answer(sock) for index, sock in enumerate(waiting) if index % 7]
        finally:
            for sock in waiting:
                sock.close()
        assert {answer.status for answer in answers} == {200}
        assert len({answer.body for answer in answers}) == 1
        assert ask(server, "GET", "/v1/views/accounts/ann").status == 200


def answer_of(version: int) -> KeyAnswer:
    return KeyAnswer(200, f'"{version}"', b"{}", b"application/json", 0)


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_a_key_is_looked_up_once_for_all_who_wait() -> None:
    looked: list[tuple[str, str]] = []
    version = 1

    def look(view: str, key: str) -> KeyAnswer:
        looked.append((view, key))
        return answer_of(version)

    async def check() -> None:
        nonlocal version
        watchers = Watchers(look, most=1_001)
        tasks = [asyncio.ensure_future(watchers.wait("v", "k", '"1"', 60)) for _ in range(1_000)]
        await settled()
        await watchers.tell()
        assert looked == [("v", "k")] and not any(task.done() for task in tasks)
        tasks[0].cancel()
        version = 2
        await watchers.tell()
        found = await asyncio.gather(*tasks[1:])
        assert len(looked) == 2 and {one.etag for one in found if one is not None} == {'"2"'}
        assert watchers.count == 0 and watchers._waiting == {}

    asyncio.run(check())


def test_too_many_are_sent_away_and_all_go_home_at_the_end() -> None:
    async def check() -> None:
        watchers = Watchers(lambda view, key: answer_of(1), most=1)
        task = asyncio.ensure_future(watchers.wait("v", "k", '"1"', 60))
        await settled()
        with pytest.raises(ProblemError) as refused:
            await watchers.wait("v", "k", '"1"', 60)
        assert refused.value.status == 429
        watchers.end()
        assert await task is None
        assert await watchers.wait("v", "k", '"1"', 60) is None

    asyncio.run(check())


def test_a_slow_client_is_given_the_newest_and_nothing_is_queued() -> None:
    """Versions that come while a client takes nothing are skipped."""
    from headway.serving.answers import Freshness
    from headway.serving.streams import stream_key

    version = 1
    sent: list[bytes] = []

    async def check() -> None:
        nonlocal version
        watchers = Watchers(lambda view, key: answer_of(version), most=10)
        takes = asyncio.Event()
        gone = asyncio.Event()

        async def send(message: object) -> None:
            assert isinstance(message, dict)
            body = message.get("body", b"")
            if b"data" in body:
                await takes.wait()
                sent.append(body)

        async def receive() -> dict[str, str]:
            await gone.wait()
            return {"type": "http.disconnect"}

        fresh = Freshness(1, None, 0)
        look = lambda: answer_of(version)  # noqa: E731 - it is what is given
        stream = stream_key({"headers": []}, receive, send, look, watchers, "v", "k", lambda view: fresh)
        task = asyncio.ensure_future(stream)
        await settled()
        for version in range(2, 50):  # noqa: B007 - it is what is looked up
            await watchers.tell()
            await settled()
        takes.set()
        await settled()
        gone.set()
        await task
        assert watchers.count == 0

    asyncio.run(check())
    assert [body.partition(b"\n")[0] for body in sent] == [b"id: 1", b"id: 49"]
