"""Watching a key: each change is told once, and nobody asks again and again whose server does not wait."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.client.asynchronous import AsyncView
from headway.client.protocol import Reply, Request, ViewProtocol
from headway.client.synchronous import View

CHANGES_S = st.lists(st.floats(0.1, 200), max_size=8).map(sorted)
SLACK_S = 0.001


class Server:
    """A view on time of its own, with one key whose value is how often it has changed.

    It has ETags or not, waits for a change or not, and each request takes `travel_s`.
    """

    def __init__(self, changes_s: list[float], *, tags: bool, waits: bool, travel_s: float = 0.01) -> None:
        self.now_s = 0.0
        self.asked_s: list[float] = []
        self._changes_s = changes_s
        self._tags = tags
        self._waits = waits
        self._travel_s = travel_s

    def clock_s(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds

    def ask(self, request: Request) -> Reply:
        self.asked_s.append(self.now_s)
        self.sleep(self._travel_s)
        known = request.headers.get("if-none-match")
        if self._waits and known == self._tag and request.wait_s:
            until_s = self.now_s + request.wait_s
            self.now_s = min([until_s, *(at_s for at_s in self._changes_s if at_s > self.now_s)])
        headers = {"headway-epoch": "1", "headway-age-ms": "5"} | ({"etag": self._tag} if self._tags else {})
        if self._tags and known == self._tag:
            return Reply(304, headers, b"")
        return Reply(200, headers, b'{"key":"k","value":{"n":%d}}' % self._version)

    @property
    def _version(self) -> int:
        return sum(at_s <= self.now_s for at_s in self._changes_s)

    @property
    def _tag(self) -> str:
        return f'"{self._version}"'

    def watch(self, after: str = "") -> Iterator[int]:
        """What a watcher is told, as long as changes may come."""
        client: Any = self
        view = View(client, ViewProtocol("v", dict, monotone=False), clock_s=self.clock_s, sleep=self.sleep)
        for answer in view.watch("k", after=after):
            assert answer.value is not None
            yield answer.value["n"]


@given(CHANGES_S, st.booleans(), st.booleans())
def test_each_change_is_told_within_a_second_of_the_last_look(changes_s: list[float], tags: bool, waits: bool) -> None:
    server = Server(changes_s, tags=tags, waits=waits)
    told: list[int] = []
    for version in server.watch():
        told.append(version)
        # What was told is at most as old as a look and the pause before it.
        assert version >= sum(at_s <= server.now_s - 1.0 - 2 * 0.01 for at_s in changes_s)
        if version == len(changes_s):
            break
    assert told == sorted(set(told))
    if tags and waits:
        # Each look but the first waits for a change, or for a minute.
        assert len(server.asked_s) <= len(told) + server.now_s / 60 + 1
    else:
        # Those that brought news with an ETag are followed by one that might wait, and does not.
        pauses = [after - before for before, after in zip(server.asked_s, server.asked_s[1:])]
        assert sum(pause >= 1.0 - SLACK_S for pause in pauses) >= len(pauses) - (len(told) if tags else 0)


class Mute(Exception):
    """The watcher wants to sleep, and nothing will change."""


@pytest.mark.parametrize(("tags", "waits", "after"), [(False, True, ""), (False, False, '"0"'), (True, False, "")])
def test_nobody_spins_where_nothing_changes(tags: bool, waits: bool, after: str) -> None:
    server = Server([], tags=tags, waits=waits)
    watched = server.watch(after)
    assert next(watched) == 0

    def sleep(seconds: float) -> None:
        server.now_s += seconds
        if server.now_s > 100:
            raise Mute

    server.sleep = sleep  # type: ignore[method-assign]
    with pytest.raises(Mute):
        next(watched)
    assert len(server.asked_s) <= 102


def test_the_time_that_the_watcher_takes_counts() -> None:
    server = Server([5.0], tags=False, waits=False, travel_s=0.0)
    watched = server.watch()
    assert next(watched) == 0
    server.now_s = 7.0
    assert next(watched) == 1
    assert server.asked_s == [0.0, 7.0]


def test_a_tag_that_comes_and_goes_makes_no_news() -> None:
    server = Server([9.0], tags=True, waits=False)
    watched = server.watch()
    assert next(watched) == 0
    ask = server.ask

    def sometimes(request: Request) -> Reply:
        server._tags = len(server.asked_s) % 2 == 0
        return ask(request)

    server.ask = sometimes  # type: ignore[method-assign]
    assert next(watched) == 1
    assert 8 <= len(server.asked_s) <= 14


def test_the_same_asynchronously() -> None:
    pytest.importorskip("aiohttp", reason="the extra `http` is not installed")
    server = Server([3.5], tags=False, waits=False)

    class Client:
        async def ask(self, request: Request) -> Reply:
            return server.ask(request)

    async def sleep(seconds: float) -> None:
        server.sleep(seconds)

    async def check() -> list[Optional[dict[str, int]]]:
        client: Any = Client()
        view = AsyncView(client, ViewProtocol("v", dict, monotone=False), clock_s=server.clock_s, sleep=sleep)
        found = []
        async for answer in view.watch("k"):
            found.append(answer.value)
            if len(found) == 2:
                break
        return found

    assert asyncio.run(check()) == [{"n": 0}, {"n": 1}]
    assert server.asked_s == pytest.approx([0.0, 1.0, 2.0, 3.0, 4.0])
