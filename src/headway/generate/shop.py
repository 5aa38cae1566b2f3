"""A synthetic shop: a stream of events of any length, with the abandoned carts that a correct flow finds.

Each event is one line of JSON; all events of a user are in one partition, a file `shop-0000.jsonl` and so on:

    {"user": "u000123", "kind": "add", "at": 1767225600123, "sku": "s0042", "price": 12.34}

`kind` is view, add, remove or checkout; `sku` and `price` are left out where there is no article. Beside the
partitions, `expected.jsonl` holds the abandoned carts, computed while generating (`headway.generate.carts`
defines them), as if silence followed for ever, and `summary.json` says what the stream holds. Read the
partitions as `shop-*.jsonl`, because `*.jsonl` takes in the expected result too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, fields
from os import PathLike
from pathlib import Path
from random import Random
from typing import Any, Final

from headway.basics.times import MAX_TIME_MS
from headway.generate.carts import AbandonedCart, Carts
from headway.generate.delivery import Delivery, Partition
from headway.generate.files import EXPECTED, SUMMARY, LineFile, prepare_directory, refuse_output
from headway.generate.lines import Catalogue
from headway.generate.options import COMPRESSIONS, ShopOptions
from headway.generate.story import Story

__all__ = ["COMPRESSIONS", "Report", "ShopOptions", "generate_shop"]

_CHUNK: Final = 4_096
"""Events generated between two writes, at least, when more than that are wanted."""


@dataclass(frozen=True)
class Report:
    """What a generated stream holds."""

    directory: Path
    """Where it is."""
    files: tuple[Path, ...]
    """The partitions."""
    events: int
    """Well-formed, distinct events, late ones included."""
    late: int
    """Events that stand further behind than the disorder allows; none of them is written twice."""
    duplicates: int
    """Lines that repeat an event; on time, like the event itself."""
    corrupt: int
    """Lines that cannot be decoded."""
    lines: int
    """All lines: events, duplicates and corrupt ones."""
    bytes: int
    """Size of the partitions on disk."""
    abandoned: int
    """Lines of the expected result."""
    sessions: int
    """Sessions that came to their end."""
    users: int
    """Users of whom there is an event."""
    first_ms: int
    """The least time of an event."""
    last_ms: int
    """The greatest time of an event."""
    watermarks: Mapping[str, int | None]
    """By file name, the partition's last watermark: greatest time - disorder - 1; None for an empty one."""

    def as_dict(self) -> dict[str, Any]:
        """The same as JSON-able values: what `summary.json` holds, beside the options."""
        record = {name: getattr(self, name) for name in (each.name for each in fields(self)) if name != "directory"}
        return {**record, "files": [path.name for path in self.files], "watermarks": dict(self.watermarks)}


def generate_shop(
    options: ShopOptions,
    directory: str | PathLike[str],
    *,
    overwrite: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Report:
    """Write a shop stream and its expected result into a directory, which is created if need be.

    Equal options give equal bytes. An event takes about 5 µs. Memory holds the sessions under way, the carts
    of the last `after_ms` and the events of the last `disorder_ms`, not the stream. `progress` is called
    every few thousand events with the number of events so far. Raises `OutputError` when the directory cannot
    be written, or when it holds an earlier stream and `overwrite` is not given.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as directory:
    ...     report = generate_shop(ShopOptions(events=500, duplicates=0.1, partitions=2), directory)
    ...     lines = sum(len(path.read_text().splitlines()) for path in report.files)
    >>> report.events, lines - report.duplicates
    (500, 500)
    """
    target = Path(directory)
    prepare_directory(target, overwrite=overwrite)
    with ExitStack() as stack:
        files = []
        for number in range(options.partitions):
            files.append(LineFile(target, f"shop-{number:04d}.jsonl", options.compress))
            stack.callback(files[-1].close)
        expected = LineFile(target, EXPECTED)
        stack.callback(expected.close)
        generation = _Generation(options, [Partition(file) for file in files], expected)
        generation.run(progress)
    report = generation.report(target)
    summary = {"options": asdict(options), **report.as_dict()}
    with refuse_output(target / SUMMARY):
        (target / SUMMARY).write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    return report


class _Generation:
    """One run: the story is told, its events are delivered, and the carts are watched meanwhile."""

    def __init__(self, options: ShopOptions, partitions: list[Partition], expected: LineFile) -> None:
        self._options = options
        self._partitions = partitions
        self._expected = expected
        self._catalogue = Catalogue(Random(3 * options.seed))
        self._carts = Carts(after_ms=options.after_ms, price_cents=self._catalogue.price_cents)
        self._delivery = Delivery(options, partitions)
        self._story = Story(options, catalogue=self._catalogue, carts=self._carts, partitions=partitions)
        self._actions = self._story.actions()
        self._abandoned = 0

    def run(self, progress: Callable[[int], None] | None) -> None:
        """Generate everything."""
        delivery = self._delivery
        while delivery.missing:
            # Never all that is missing at once: late events, which only delivery counts, must find room.
            delivery.deliver_before(self._generate(self._chunk_size()))
            if progress is not None:
                progress(self._options.events - delivery.missing)
        delivery.close()
        self._write_abandoned(self._carts.close())

    def _chunk_size(self) -> int:
        # Delivery looks at all that is under way: with a long disorder it pays to do it less often.
        return min(max(_CHUNK, self._delivery.underway), self._delivery.missing // 2 + 1)

    def _generate(self, count: int) -> int:
        """Send `count` events on their way, and tell the time of the last one."""
        accept, carts, tails = self._delivery.accept, self._carts, self._catalogue.tails
        at_ms = self._options.start_ms
        for at_ms, shopper, kind, sku in self._actions:
            if at_ms > carts.next_due_ms:
                self._write_abandoned(carts.abandoned_before(at_ms))
            times = accept(at_ms, shopper, f'{shopper.opening}{kind}", "at": {at_ms}{tails[sku]}')
            if not times:
                continue
            for _ in range(times):
                carts.apply(shopper.name, kind, at_ms, sku)
            count -= 1
            if not count:
                break
        return at_ms

    def _write_abandoned(self, carts: Iterable[AbandonedCart]) -> None:
        lines = [cart.as_line() for cart in carts]
        self._abandoned += len(lines)
        self._expected.write("".join(lines))

    def report(self, directory: Path) -> Report:
        """What was written; the files are closed."""
        options, delivery = self._options, self._delivery
        paths = tuple(partition.file.path for partition in self._partitions)
        return Report(
            directory=directory,
            files=paths,
            events=options.events,
            late=delivery.late,
            duplicates=delivery.duplicates,
            corrupt=delivery.corrupt,
            lines=options.events + delivery.duplicates + delivery.corrupt,
            bytes=sum(path.stat().st_size for path in paths),
            abandoned=self._abandoned,
            sessions=self._story.sessions,
            users=delivery.users,
            first_ms=min(partition.oldest_ms for partition in self._partitions),
            last_ms=max(partition.newest_ms for partition in self._partitions),
            watermarks={each.file.path.name: self._watermark(each) for each in self._partitions},
        )

    def _watermark(self, partition: Partition) -> int | None:
        if partition.oldest_ms == MAX_TIME_MS:
            return None
        return partition.newest_ms - self._options.disorder_ms - 1
