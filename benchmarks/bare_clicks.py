"""The references: the jobs of `benchmarks.flows_clicks` as bare loops in one process, with nothing durable.

`python -m benchmarks.bare_clicks JOB INPUT OUTPUT` tells how long it took as one line of JSON.
"""

from __future__ import annotations

import json
import sys
import time
from collections import defaultdict, deque
from collections.abc import Callable
from typing import Any, BinaryIO, Final

import orjson

from benchmarks.procfs import memory_of

__all__ = ["JOBS", "JOIN_MS", "PANES", "PANE_MS", "STEPS_MS", "WINDOW_MS"]

PANE_MS: Final = 5_000
"""Length of a tumbling window, and how often a sliding one begins."""
PANES: Final = 100
WINDOW_MS: Final = PANES * PANE_MS
ITEM_WINDOW_MS: Final = 10_000
STEPS_MS: Final = 300_000
JOIN_MS: Final = 10_000
DEAR_CENTS: Final = 5_000
EVERY: Final = 8

_loads, _dumps = orjson.loads, orjson.dumps


def parse_and_filter(lines: BinaryIO, out: BinaryIO) -> None:
    """What was bought for more than a limit."""
    write = out.write
    for line in lines:
        event = _loads(line)
        if event["kind"] == "buy" and event["cents"] >= DEAR_CENTS:
            write(_dumps(event) + b"\n")


def aggregate(lines: BinaryIO, out: BinaryIO) -> None:
    """What is known of each user, told with every eighth event."""
    users: dict[str, list[int]] = {}
    write = out.write
    for line in lines:
        event = _loads(line)
        kind, user, cents = event["kind"], event["user"], event["cents"]
        if kind == "end":
            continue
        state = users.get(user)
        if state is None:
            state = users[user] = [0, 0, 0, 0]
        state[0] += 1
        state[1] += kind == "buy"
        state[2] += cents
        state[3] = max(state[3], cents)
        if not state[0] % EVERY:
            events, buys, total, dearest = state
            record = {"user": user, "events": events, "buys": buys, "cents": total, "dearest": dearest}
            write(_dumps(record) + b"\n")


def exchange(lines: BinaryIO, out: BinaryIO) -> None:
    """How often each user has come; then, of each item and 10 s, how many came and how experienced they were."""
    visits: defaultdict[str, int] = defaultdict(int)
    items: dict[str, list[int]] = {}
    write = out.write
    end_ms = 0
    for line in lines:
        event = _loads(line)
        at_ms = event["at"]
        if at_ms >= end_ms:
            for item, (events, total) in items.items():
                start_ms = end_ms - ITEM_WINDOW_MS
                record = {"item": item, "start": start_ms, "end": end_ms, "events": events, "visits": total}
                write(_dumps(record) + b"\n")
            items.clear()
            end_ms = at_ms - at_ms % ITEM_WINDOW_MS + ITEM_WINDOW_MS
        user = event["user"]
        visits[user] += 1
        counts = items.get(event["item"])
        if counts is None:
            items[event["item"]] = [1, visits[user]]
        else:
            counts[0] += 1
            counts[1] += visits[user]


def tumbling(lines: BinaryIO, out: BinaryIO) -> None:
    """Events and cents of each user in each pane."""
    _windows(lines, out, 1)


def sliding(lines: BinaryIO, out: BinaryIO) -> None:
    """Events and cents of each user in the last panes, with each pane."""
    _windows(lines, out, PANES)


def _windows(lines: BinaryIO, out: BinaryIO, panes: int) -> None:
    users: dict[str, deque[tuple[int, int, int]]] = {}
    pane: dict[str, list[int]] = {}
    end_ms = 0
    for line in lines:
        event = _loads(line)
        at_ms = event["at"]
        while at_ms >= end_ms:
            if not end_ms:
                end_ms = at_ms - at_ms % PANE_MS + PANE_MS
                continue
            for user, (events, cents) in pane.items():
                users.setdefault(user, deque()).append((end_ms, events, cents))
            pane.clear()
            _write_windows(users, out, end_ms, panes * PANE_MS)
            end_ms += PANE_MS
        state = pane.setdefault(event["user"], [0, 0])
        state[0] += 1
        state[1] += event["cents"]


def _write_windows(users: dict[str, deque[tuple[int, int, int]]], out: BinaryIO, end_ms: int, length_ms: int) -> None:
    start_ms = end_ms - length_ms
    for user in list(users):
        kept = users[user]
        while kept and kept[0][0] <= start_ms:
            kept.popleft()
        if not kept:
            del users[user]
            continue
        events, cents = sum(pane[1] for pane in kept), sum(pane[2] for pane in kept)
        record = {"user": user, "start": start_ms, "end": end_ms, "events": events, "cents": cents}
        out.write(_dumps(record) + b"\n")


def steps(lines: BinaryIO, out: BinaryIO) -> None:
    """A search, later a view, later a purchase, all within some minutes; what was begun meanwhile is void."""
    users: dict[str, deque[list[int]]] = {}
    write = out.write
    for line in lines:
        event = _loads(line)
        kind, at_ms = event["kind"], event["at"]
        tries = users.setdefault(event["user"], deque())
        while tries and tries[0][0] <= at_ms - STEPS_MS:
            tries.popleft()
        if kind == "search":
            tries.append([at_ms, 0])
        elif kind == "view":
            for begun in tries:
                begun[1] = begun[1] or at_ms
        elif kind == "buy" and tries and tries[0][1]:
            searched_ms, viewed_ms = tries[0]
            record = {"user": event["user"], "searched": searched_ms, "viewed": viewed_ms, "bought": at_ms}
            write(_dumps(record) + b"\n")
            tries.clear()


def join(lines: BinaryIO, out: BinaryIO) -> None:
    """Each purchase with the searches of the same user shortly before."""
    users: defaultdict[str, deque[int]] = defaultdict(deque)
    write = out.write
    for line in lines:
        event = _loads(line)
        kind, at_ms = event["kind"], event["at"]
        if kind == "search":
            users[event["user"]].append(at_ms)
        elif kind == "buy":
            searches = users[event["user"]]
            while searches and searches[0] < at_ms - JOIN_MS:
                searches.popleft()
            for searched_ms in searches:
                record = {"user": event["user"], "searched": searched_ms, "bought": at_ms}
                write(_dumps(record) + b"\n")


JOBS: Final[dict[str, Callable[[BinaryIO, BinaryIO], Any]]] = {
    "filter": parse_and_filter,
    "aggregate": aggregate,
    "exchange": exchange,
    "tumbling": tumbling,
    "sliding": sliding,
    "steps": steps,
    "join": join,
}
"""The loops by their names."""


def main() -> None:
    """Entry point of the process."""
    started, started_cpu = time.perf_counter(), time.process_time()
    with open(sys.argv[2], "rb") as lines, open(sys.argv[3], "wb") as out:
        JOBS[sys.argv[1]](lines, out)
    report = {
        "running_s": time.perf_counter() - started,
        "running_cpu_s": time.process_time() - started_cpu,
        "peak_bytes": memory_of().peak,
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
