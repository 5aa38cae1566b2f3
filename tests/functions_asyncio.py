"""Functions that use asyncio as it is, and what happens to them: the same history on each version of Python.

Run as a program it writes the histories, as hexadecimal text, to standard output, or replays those that it reads.
"""

from __future__ import annotations

import asyncio
import logging
import random
import sys
from collections.abc import Callable
from typing import Any

import msgspec

from headway.functions.declared import DurableFunction, durable_workflow
from headway.functions.history import (
    Answered,
    CallCancelled,
    Called,
    CancelAsked,
    Entry,
    Failed,
    Failure,
    Fired,
    Happening,
    Identity,
    Signalled,
    Started,
    TimerCancelled,
    TimerSet,
    decode,
    encode,
)
from headway.functions.instance import Instance
from headway.functions.status import Status


@durable_workflow
async def gathers(context: Any) -> Any:
    async def part(number: int) -> Any:
        first = await context.call("get")
        return await context.call("put", number, first)

    return await asyncio.gather(*(part(number) for number in range(7)), return_exceptions=False)


@durable_workflow
async def gathers_errors(context: Any) -> Any:
    found = await asyncio.gather(*(context.call(f"s{n}") for n in range(5)), return_exceptions=True)
    return [type(each).__name__ if isinstance(each, Exception) else each for each in found]


@durable_workflow
async def waits_for_sets(context: Any) -> Any:
    async def part(name: str) -> Any:
        return name, await context.call(name)

    left = {asyncio.create_task(part(f"s{number}")) for number in range(13)}
    order = []
    while left:
        done, left = await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED, timeout=3)
        for each in done:
            if each.exception() is None:
                order.append(each.result())
                await context.call("seen", each.result()[0])
    return order


@durable_workflow
async def completes_coroutines(context: Any) -> Any:
    async def part(number: int) -> Any:
        await context.call("get")
        return await context.call("put", number)

    found = []
    for each in asyncio.as_completed([part(number) for number in range(9)]):
        try:
            found.append(await each)
        except Exception as error:
            found.append(type(error).__name__)
    return found


@durable_workflow
async def waits_with_limits(context: Any) -> Any:
    async def limited(number: int) -> Any:
        try:
            return await asyncio.wait_for(context.call("slow", number), number + 0.5)
        except asyncio.TimeoutError:
            return await context.call("late", number)
        except Exception:
            return "failed"

    return await asyncio.gather(*(limited(number) for number in range(5)))


@durable_workflow
async def nested_limits(context: Any) -> Any:
    async def inner() -> Any:
        try:
            return await context.call("inner")
        except asyncio.CancelledError:
            # An error here is one of the few things that versions of asyncio see differently: wait_for of 3.12 gives
            # it to its caller, that of 3.11 gives TimeoutError.
            await asyncio.wait([context.call("tidied")])
            raise

    try:
        return await asyncio.wait_for(asyncio.wait_for(inner(), 10), 5)
    except asyncio.TimeoutError:
        return "late"
    except Exception as error:
        return type(error).__name__


@durable_workflow
async def queues(context: Any) -> Any:
    queue: asyncio.Queue[int] = asyncio.Queue(2)
    done: list[Any] = []

    async def worker(name: str) -> None:
        while True:
            item = await queue.get()
            try:
                done.append((name, item, await context.call("work", name, item)))
            except Exception:
                done.append((name, item, None))
            queue.task_done()

    workers = [asyncio.create_task(worker(f"w{number}")) for number in range(3)]
    for item in range(8):
        await queue.put(item)
    await queue.join()
    for each in workers:
        each.cancel()
    await asyncio.gather(*workers, return_exceptions=True)
    return done


@durable_workflow
async def locks(context: Any) -> Any:
    lock, turn, limit = asyncio.Lock(), asyncio.Condition(), asyncio.Semaphore(2)
    event = asyncio.Event()
    order: list[int] = []

    async def part(number: int) -> None:
        await event.wait()
        async with limit:
            await context.call("before", number)
        async with lock:
            try:
                await context.call("inside", number)
            except Exception:
                order.append(-number)
        async with turn:
            await turn.wait_for(lambda: len([n for n in order if n >= 0]) >= number or len(order) >= number)
            order.append(number)
            turn.notify_all()

    parts = [asyncio.create_task(part(number)) for number in range(4)]
    await asyncio.sleep(1)
    event.set()
    found = await asyncio.gather(*parts, return_exceptions=True)
    return [order, [type(each).__name__ for each in found]]


@durable_workflow
async def shields(context: Any) -> Any:
    inner = asyncio.ensure_future(context.call("precious"))
    try:
        await asyncio.wait_for(asyncio.shield(inner), 2)
    except asyncio.TimeoutError:
        await context.call("told")
    except Exception:
        return "failed"
    try:
        return await inner
    except Exception as error:
        return type(error).__name__


@durable_workflow
async def sleeps(context: Any) -> Any:
    times = []
    for seconds in (0, 1, -1, 0.0004, 86_400 * 365, 0.25):
        await asyncio.sleep(seconds)
        times.append(context.now_ms)
    return times


@durable_workflow
async def signals(context: Any) -> Any:
    found: list[Any] = []
    while len(found) < 3:
        first = asyncio.create_task(asyncio.wait_for(context.wait("a"), 2))
        second = asyncio.create_task(asyncio.wait_for(context.wait("b"), 3))
        done, pending = await asyncio.wait({first, second}, return_when=asyncio.FIRST_COMPLETED)
        for each in pending:
            each.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        found += [None if each.exception() else each.result() for each in done]
    return [found, context.random.random(), str(context.uuid())]


FUNCTIONS: list[DurableFunction[Any]] = [
    gathers,
    gathers_errors,
    waits_for_sets,
    completes_coroutines,
    waits_with_limits,
    nested_limits,
    queues,
    locks,
    shields,
    sleeps,
    signals,
]

SEEDS = range(6)


def happen(history: list[Entry], chance: random.Random, now_ms: int) -> Happening:
    """Something that can happen next: an answer, a failure, a timer, a signal, a request to end."""
    calls, timers = {}, {}
    cancelled = False
    for entry in history:
        if isinstance(entry, Called):
            calls[entry.number] = entry
        elif isinstance(entry, TimerSet):
            timers[entry.number] = entry
        elif isinstance(entry, (Answered, Failed)):
            calls.pop(entry.call)
        elif isinstance(entry, CallCancelled):
            calls.pop(entry.number)
        elif isinstance(entry, Fired):
            timers.pop(entry.timer)
        elif isinstance(entry, TimerCancelled):
            timers.pop(entry.number)
        elif isinstance(entry, CancelAsked):
            cancelled = True
    dice = chance.random()
    if dice < 0.02 and not cancelled:
        return CancelAsked(now_ms)
    due = min(timers.values(), key=lambda timer: (timer.at_ms, timer.number), default=None)
    if due is not None and (dice < 0.3 or not calls):
        if not calls and dice > 0.5:
            return Signalled(now_ms, chance.choice("ab"), msgspec.json.encode(now_ms))
        return Fired(max(due.at_ms, now_ms), due.number)
    if not calls:
        return Signalled(now_ms, chance.choice("ab"), msgspec.json.encode(now_ms))
    call = chance.choice(sorted(calls))
    if chance.random() < 0.1:
        return Failed(now_ms, call, Failure("ValueError", "no"))
    return Answered(now_ms, call, msgspec.json.encode(chance.randrange(100)))


def run(function: DurableFunction[Any], seed: int, evict: Callable[[], bool] = lambda: False) -> list[Entry]:
    """A history from its start to its end."""
    chance = random.Random(f"{function.name} {seed}")
    identity = Identity(function.name, str(seed))
    instance = Instance(function, identity)
    history = instance.take(Started(1_000))
    for _ in range(500):
        if instance.status is not Status.RUNNING:
            return history
        if evict():
            instance.close()
            instance = Instance(function, identity)
            instance.restore(history)
        now_ms = instance.now_ms + chance.choice((0, 0, 100, 1_000))
        history += instance.take(happen(history, chance, now_ms))
    msg = f"{function.name} never ends: {instance.waits}"
    raise AssertionError(msg)


def as_text(history: list[Entry]) -> str:
    return ";".join(encode(entry).hex() for entry in history)


def main(how: str) -> None:
    for function in FUNCTIONS:
        for seed in SEEDS:
            if how == "write":
                sys.stdout.write(as_text(run(function, seed)) + "\n")
            else:
                history = [decode(bytes.fromhex(entry)) for entry in sys.stdin.readline().strip().split(";")]
                instance = Instance(function, Identity(function.name, str(seed)))
                instance.restore(history)
                assert instance.status is not Status.RUNNING


if __name__ == "__main__":
    logging.disable()
    main(sys.argv[1])
