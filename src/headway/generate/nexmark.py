"""A Nexmark stream: the auction house that streaming systems are compared with, in its published proportions.

Each event is one line of JSON with its kind in `event_type`: 0 is a person, 1 an auction, 2 a bid. The fields
have the benchmark's names, times are epoch milliseconds, prices are cents:

    {"event_type":2,"auction":1000,"bidder":1001,"price":3091,"channel":"Apple","url":"https://...",
     "dateTime":1767225600000,"extra":"..."}

Partitions are files `nexmark-0000.jsonl` and so on, each a share of all kinds and of all times; `summary.json`
says what the stream holds. Ids begin at 1000. Bids and auctions may name persons and auctions that come
shortly after them, as in the original.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, fields
from operator import itemgetter
from os import PathLike
from pathlib import Path
from random import Random
from typing import Any, Final

from headway.basics.times import MAX_TIME_MS
from headway.generate.files import SUMMARY, LineFile, prepare_directory, refuse_output
from headway.generate.nexmark_lines import NexmarkLines
from headway.generate.nexmark_options import NexmarkOptions

__all__ = ["NexmarkOptions", "NexmarkReport", "generate_nexmark"]

_ROUNDS: Final = 100
"""Rounds of events between two writes."""

_delivery_ms = itemgetter(0)


@dataclass(frozen=True)
class NexmarkReport:
    """What a generated Nexmark stream holds."""

    directory: Path
    """Where it is."""
    files: tuple[Path, ...]
    """The partitions."""
    events: int
    """All events."""
    persons: int
    """Those that are persons."""
    auctions: int
    """Those that are auctions."""
    bids: int
    """Those that are bids."""
    bytes: int
    """Size of the partitions on disk."""
    first_ms: int
    """The least time of an event."""
    last_ms: int
    """The greatest time of an event."""

    def as_dict(self) -> dict[str, Any]:
        """The same as JSON-able values: what `summary.json` holds, beside the options."""
        record = {name: getattr(self, name) for name in (each.name for each in fields(self)) if name != "directory"}
        return {**record, "files": [path.name for path in self.files]}


def generate_nexmark(
    options: NexmarkOptions,
    directory: str | PathLike[str],
    *,
    overwrite: bool = False,
    progress: Callable[[int], None] | None = None,
) -> NexmarkReport:
    """Write a Nexmark stream into a directory, which is created if need be.

    Equal options give equal bytes. An event takes about 4 µs. Memory holds the events of the last
    `disorder_ms` of event time, not the stream. `progress` is called every few thousand events with the number of
    events so far. Raises `OutputError` when the directory cannot be written, or when it holds an earlier stream and
    `overwrite` is not given.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as directory:
    ...     report = generate_nexmark(NexmarkOptions(events=500, partitions=2), directory)
    ...     lines = sum(len(path.read_text().splitlines()) for path in report.files)
    >>> lines, report.persons, report.auctions, report.bids
    (500, 10, 30, 460)
    """
    target = Path(directory)
    prepare_directory(target, overwrite=overwrite)
    with ExitStack() as stack:
        files = []
        for number in range(options.partitions):
            files.append(LineFile(target, f"nexmark-{number:04d}.jsonl", options.compress))
            stack.callback(files[-1].close)
        lines = NexmarkLines(options)
        _write(options, lines, files, progress)
    report = _report(options, lines, target, tuple(file.path for file in files))
    with refuse_output(target / SUMMARY):
        summary = {"options": asdict(options), **report.as_dict()}
        (target / SUMMARY).write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    return report


def _write(
    options: NexmarkOptions, lines: NexmarkLines, files: list[LineFile], progress: Callable[[int], None] | None
) -> None:
    deal = _Dealer(options, lines, files)
    done = 0
    while done < options.events:
        for number in range(done // lines.size, done // lines.size + _ROUNDS):
            deal.accept(number, lines.round(number)[: max(options.events - done, 0)])
            done += lines.size
        done = min(done, options.events)
        deal.deliver_before(lines.time_ms(done) if done < options.events else MAX_TIME_MS)
        if progress is not None:
            progress(done)


class _Dealer:
    """Deals events to partitions; with disorder, in the order of a time of delivery of their own.

    An event of time t is delivered at `t + delay` with a delay below the disorder. Whatever stands before it was
    therefore delivered no later, and is newer by less than the disorder.
    """

    def __init__(self, options: NexmarkOptions, lines: NexmarkLines, files: list[LineFile]) -> None:
        self._lines = lines
        self._files = files
        self._disorder_ms = options.disorder_ms
        self._random = Random(options.seed + 1).random
        self._dealt: list[list[str]] = [[] for _ in files]
        self._underway: list[tuple[int, int, str]] = []

    def accept(self, number: int, events: list[str]) -> None:
        """Send the events of one round on their way."""
        count = len(self._files)
        if self._disorder_ms:
            self._delay(number, events)
            return
        # The turn moves with each round: otherwise all persons would be in one partition when sizes fit.
        for index, line in enumerate(events, number):
            self._dealt[index % count].append(line)

    def _delay(self, number: int, events: list[str]) -> None:
        first = number * self._lines.size
        for index, line in enumerate(events):
            delivery_ms = self._lines.time_ms(first + index) + int(self._random() * self._disorder_ms)
            self._underway.append((delivery_ms, (index + number) % len(self._files), line))

    def deliver_before(self, time_ms: int) -> None:
        """Write all lines with a delivery time below `time_ms`; no event before that time may follow."""
        self._underway.sort(key=_delivery_ms)
        count = bisect_left(self._underway, time_ms, key=_delivery_ms)
        for _, partition, line in self._underway[:count]:
            self._dealt[partition].append(line)
        del self._underway[:count]
        for file, lines in zip(self._files, self._dealt):
            if lines:
                file.write("".join(lines))
                lines.clear()


def _report(options: NexmarkOptions, lines: NexmarkLines, directory: Path, paths: tuple[Path, ...]) -> NexmarkReport:
    rounds, rest = divmod(options.events, lines.size)
    persons = rounds * options.persons + min(rest, options.persons)
    auctions = rounds * options.auctions + min(max(rest - options.persons, 0), options.auctions)
    return NexmarkReport(
        directory=directory,
        files=paths,
        events=options.events,
        persons=persons,
        auctions=auctions,
        bids=options.events - persons - auctions,
        bytes=sum(path.stat().st_size for path in paths),
        first_ms=lines.time_ms(0),
        last_ms=lines.time_ms(options.events - 1),
    )
