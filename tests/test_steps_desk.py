"""The socket by which the server of a flow hands out steps: what was not received was not handed over."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

import headway as hw
from headway.steps.attempt import Outcome, StepCall
from headway.steps.desk import Desk, desk_path, read_framed, short_path
from headway.steps.desk_client import Desks, NobodyThere
from headway.steps.desk_protocol import ACK, Ask, End, Held, decode_answer
from headway.steps.frames import framed
from headway.steps.hub import Hub

PATIENCE_S = 30


def at_desk(state_dir: Path, story: Callable[[Hub, Desks, Any], Awaitable[None]]) -> None:
    """Tell a story of a hub with a desk."""
    flow = hw.Functions("group", queues=[hw.Queue("remote", runs_on="workers")])
    flow.step(name="work", queue="remote")(lambda: None)

    async def told() -> None:
        hub = Hub(flow.callees, flow.queues)
        hub.open()
        desk = Desk(hub, desk_path(state_dir, 0))
        await desk.open()
        calls: list[asyncio.Task[Any]] = []

        def call(key: str) -> asyncio.Task[Any]:
            made = StepCall(key=key, name="work", function="f", id="1", run=0, arguments=b"[]", at_ms=1 << 45)
            calls.append(asyncio.ensure_future(hub.run(made, 1)))
            return calls[-1]

        try:
            await asyncio.wait_for(story(hub, Desks(state_dir), call), PATIENCE_S)
        finally:
            for one in calls:
                one.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
            await desk.close()
            await hub.close()

    asyncio.run(told())


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.002)


async def asked(state_dir: Path, ask: Ask) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    with short_path(desk_path(state_dir, 0)) as path:
        reader, writer = await asyncio.open_unix_connection(path)
    writer.write(framed(ask))
    return reader, writer


def test_work_that_was_not_received_was_not_handed_over(tmp_path: Path) -> None:
    async def story(hub: Hub, desks: Desks, call: Any) -> None:
        call("k")
        await until(lambda: hub._rooms["remote"].waiting == 1)
        reader, writer = await asked(tmp_path, Ask(["remote"], 1, 10_000))
        given = decode_answer(await read_framed(reader))
        assert [one.work.key for one in given.works] == ["k"]
        assert hub._rooms["remote"].running == 1
        writer.close()
        await until(lambda: hub._rooms["remote"].waiting == 1)
        reader, writer = await asked(tmp_path, Ask(["remote"], 1, 10_000))
        again = decode_answer(await read_framed(reader))
        writer.write(ACK)
        await writer.drain()
        writer.close()
        assert again.works[0].work.attempt == 1
        assert await desks.beat([Held(given.works[0].lease), Held(again.works[0].lease)]) == [given.works[0].lease]

    at_desk(tmp_path, story)


def test_who_asks_waits_for_work_and_takes_nothing_once_it_is_gone(tmp_path: Path) -> None:
    async def story(hub: Hub, desks: Desks, call: Any) -> None:
        assert (await desks.ask(Ask(["remote", "other"], 5, 0))).unknown == ["other"]
        gone = asyncio.ensure_future(desks.ask(Ask(["remote"], 5, 60_000)))
        await until(lambda: len(hub._wanted) == 1)
        gone.cancel()
        await until(lambda: not hub._wanted)
        first = asyncio.ensure_future(desks.ask(Ask(["remote"], 5, 60_000)))
        second = asyncio.ensure_future(desks.ask(Ask(["remote"], 5, 60_000)))
        await until(lambda: len(hub._wanted) == 2)
        answers = [call("a")]
        done, _ = await asyncio.wait({first, second}, return_when=asyncio.FIRST_COMPLETED)
        answers.append(call("b"))
        await asyncio.wait({first, second})
        given = [one.result().works for one in (first, second)]
        assert sorted(work.work.key for works in given for work in works) == ["a", "b"]
        assert len(done) == 1
        for works in given:
            for work in works:
                assert await desks.end(End(work.lease, Outcome(b"null")))
                assert not await desks.end(End(work.lease, Outcome(b"null")))
        assert all([(await one).failure is None for one in answers])

    at_desk(tmp_path, story)


def test_nobody_is_there(tmp_path: Path) -> None:
    async def told() -> None:
        desks = Desks(tmp_path)
        for _ in range(2):
            with pytest.raises(NobodyThere):
                await desks.ask(Ask(["remote"], 1, 0))
            with pytest.raises(NobodyThere):
                await desks.end(End("lease", Outcome()))
            with pytest.raises(NobodyThere):
                await desks.beat([Held("lease")])
            await desks.give_back(["lease"])
            # A socket of a process that is gone.
            (tmp_path / "run").mkdir(exist_ok=True)
            (tmp_path / "run" / "steps-00.sock").touch()

    asyncio.run(told())


def test_a_path_that_is_too_long_for_a_socket(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 90) / ("e" * 90)
    deep.mkdir(parents=True)

    async def story(hub: Hub, desks: Desks, call: Any) -> None:
        call("k")
        await until(lambda: hub._rooms["remote"].waiting == 1)
        assert [one.work.key for one in (await desks.ask(Ask(["remote"], 1, 1_000))).works] == ["k"]
        assert (deep / "run" / "steps-00.sock").stat().st_mode & 0o777 == 0o600

    at_desk(deep, story)
