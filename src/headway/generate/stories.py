"""Synthetic streams of the other flows that ship: orders, payments, clicks and tickets, each with what must be found.

A stream is the stories of many instances, told by one generator of random numbers, dealt to partitions and put a
little out of order. `expected.jsonl` holds the triggers that a flow must write when all is over, by construction of the
stories: nothing there is computed from the events.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from operator import itemgetter
from pathlib import Path
from random import Random
from typing import Any, Final, Union

from headway.connectors.base import Input
from headway.errors import UsageError
from headway.generate.clicks import click_stories
from headway.generate.demo import Demo
from headway.generate.files import EXPECTED, SUMMARY, LineFile, prepare_directory, refuse_output
from headway.generate.orders import order_stories
from headway.generate.payments import payment_rules, payment_stories
from headway.generate.tale import Tale
from headway.generate.tickets import ticket_stories

__all__ = ["STORIES", "StoryOptions", "StoryReport", "generate_stories", "payment_rule_events", "story_events"]

STORIES: Final[dict[str, Callable[[Random, int], Iterator[Tale]]]] = {
    "clicks": click_stories,
    "orders": order_stories,
    "payments": payment_stories,
    "tickets": ticket_stories,
}
"""What tells the stories of each kind of stream: given random numbers and a time to start at, without end."""


@dataclass(frozen=True)
class StoryOptions:
    """Everything that such a stream depends on: equal options give equal bytes. Raises `UsageError` for others."""

    kind: str
    events: int = 20_000
    """At least so many: the last story is told to its end."""
    partitions: int = 2
    disorder_ms: int = 1_000
    """Events stand behind others of their partition by less than this."""
    start_ms: int = 1_767_225_600_000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.kind not in STORIES:
            msg = f"kind = {self.kind!r} cannot be used: expected one of {', '.join(STORIES)}"
            raise UsageError(msg)
        for name, least in (("events", 1), ("partitions", 1), ("disorder_ms", 0), ("start_ms", 0)):
            if getattr(self, name) < least:
                msg = f"{name} = {getattr(self, name)} cannot be used: expected {least} or more"
                raise UsageError(msg)


@dataclass(frozen=True)
class StoryReport:
    """What a generated stream holds."""

    files: tuple[Path, ...]
    events: int
    expected: int
    """How many triggers a flow must write."""
    bytes: int
    first_ms: int
    last_ms: int

    def as_dict(self) -> dict[str, Any]:
        """The same as JSON-able values: what `summary.json` holds, beside the options."""
        return {**asdict(self), "files": [path.name for path in self.files]}


def generate_stories(
    options: StoryOptions,
    directory: Union[str, os.PathLike[str]],
    *,
    overwrite: bool = False,
) -> StoryReport:
    """Write a stream into a directory, which is created if need be; holds all events in memory meanwhile.

    Raises `OutputError` when the directory cannot be written, or when it holds an earlier stream and `overwrite` is
    not given.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as directory:
    ...     generate_stories(StoryOptions("orders", events=100), directory).events >= 100
    True
    """
    target = Path(directory)
    prepare_directory(target, overwrite=overwrite)
    random = Random(options.seed)
    events: list[tuple[int, dict[str, Any]]] = []
    expected: list[dict[str, Any]] = []
    for tale in STORIES[options.kind](random, options.start_ms):
        events += tale.events
        expected += tale.expected
        if len(events) >= options.events:
            break
    delivered = sorted(
        ((time_ms + int(random.random() * options.disorder_ms), number) for number, (time_ms, _) in enumerate(events))
    )
    lines = [_line(events[number][1]) for _, number in delivered]
    count = options.partitions
    paths = tuple(_write(target, f"{options.kind}-{n:04d}.jsonl", lines[n::count]) for n in range(count))
    if options.kind == "payments":
        _write(target, "rules-0000.jsonl", map(_line, payment_rules(options.start_ms)))
    _write(target, EXPECTED, map(_line, sorted(expected, key=itemgetter("time", "subject"))))
    times = [time_ms for time_ms, _ in events]
    size = sum(path.stat().st_size for path in paths)
    report = StoryReport(paths, len(events), len(expected), size, min(times), max(times))
    with refuse_output(target / SUMMARY):
        summary = {"options": asdict(options), **report.as_dict()}
        (target / SUMMARY).write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    return report


def story_events(
    kind: str, events: int = 20_000, *, seed: int = 0, directory: Union[str, os.PathLike[str], None] = None
) -> Input:
    """A stream of a kind, generated when a run first asks for its partitions; see `shop_events`.

    >>> story_events("orders", events=500).describe()
    'demo orders with 500 events in .headway/orders-demo'
    """
    place = Path(directory or f".headway/{kind}-demo")
    return Demo(kind, StoryOptions(kind, events=events, seed=seed), place, generate_stories)


def payment_rule_events(
    events: int = 20_000, *, seed: int = 0, directory: Union[str, os.PathLike[str]] = ".headway/payments-demo"
) -> Input:
    """The rules beside a stream of payments, which is generated when a run first asks for either."""
    return Demo("rules", StoryOptions("payments", events=events, seed=seed), Path(directory), generate_stories)


def _write(directory: Path, name: str, lines: Iterable[str]) -> Path:
    file = LineFile(directory, name)
    file.write("".join(lines))
    file.close()
    return file.path


def _line(value: dict[str, Any]) -> str:
    return json.dumps(value, separators=(",", ":")) + "\n"
