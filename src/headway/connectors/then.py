"""The input `then`: a history that has an end, and behind it the log that goes on.

A partition of both is one log: that of the history is read to its end, then that of the live log, by one reader. So
time goes on over the seam as in one log, and a position says on which side it is. Partitions are paired in the order
of their names, in which numbers count as numbers.

Rejected: two sources whose streams are merged. Their partitions would hold each other's time back, and those of a
history that has ended would do so for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Optional

from headway.connectors.base import (
    Chunk,
    Decoded,
    Input,
    PartitionReader,
    Position,
    Session,
    Tell,
    unheard,
)
from headway.connectors.naming import in_order
from headway.connectors.ownfiles import OwnFiles
from headway.connectors.pairing import Pairing, Pairs
from headway.connectors.parts import RecordPart
from headway.connectors.then_records import HistoryChunk, LiveChunk, ThenFormat
from headway.errors import InputError, UsageError
from headway.formats.base import Format
from headway.types.eventcolumns import EventColumns

__all__ = ["ThenInput", "then"]


def then(history: Input, live: Input, *, number: Optional[str] = None) -> Input:
    """Read a history to its end, and go on with the live log: the same triggers as from one log.

    Each partition of the live log has one of the history before it, paired in the order of their names; numbers in
    names count as numbers. There may be fewer of the history, and not more: a live partition without one is read from
    its start. They are paired once, when the flow first starts: a live partition that comes later has no history. Both
    hold events of one type, each in a format of its own.

    **The seam.** Without `number` the live log begins where the history ends: it is read from where its own `start`
    says, and no record may be in both. With `number`, a field of the events, both may overlap. The field is in the
    history and says which number a record has in the live log (an offset of Kafka, a sequence number of NATS, a line of
    a file from 0); records of the live log up to the greatest one are passed over. Then each of its partitions needs
    a history. The history must not change while it is read, and what is missing between the two is not noticed.

    The live log is opened when the history has been read: it must keep its records for so long. From then on the
    history is needed no more. Raises `UsageError` for
    what is no input, and for a live log that a run writes itself.

    >>> import headway as hw
    >>> hw.then(hw.parquet("history/*.parquet"), hw.kafka("localhost:9092", "orders")).describe()
    'parquet history/*.parquet, then kafka topic orders at localhost:9092'
    """
    for what, one in (("history", history), ("live", live)):
        if not isinstance(one, Input):
            msg = f'then(...): {what} is {one!r}, expected an input, such as hw.parquet("history/*.parquet")'
            raise UsageError(msg)
        if one.own_log is not None:
            msg = (
                f"then(...): {one.describe()} is a log that the run writes itself, and has no history; make it a source"
            )
            raise UsageError(msg)
    if number is not None and not (isinstance(number, str) and number):
        msg = f"then(..., number={number!r}): expected the name of a field of the events, as text"
        raise UsageError(msg)
    form = ThenFormat(history.format, live.format)
    return ThenInput(history, live, number, form, history.record_parts & live.record_parts)


@dataclass(frozen=True)
class ThenInput(Input):
    """What `then` returns."""

    history: Input
    live: Input
    number: Optional[str]
    format: Format
    record_parts: frozenset[RecordPart]
    state_dir: Optional[Path] = None

    def session(self) -> Session:
        """A session with each."""
        return ThenSession(self)

    @property
    def ends(self) -> bool:
        """Whether the live log ends by itself."""
        return self.live.ends

    @property
    def has_news(self) -> bool:
        """Whether readers of the live log tell at once that there is more."""
        return self.live.has_news

    def may_read(self, path: str) -> bool:
        """Whether one of both reads a file of this path."""
        return self.history.may_read(path) or self.live.may_read(path)

    def paths(self) -> list[str]:
        """The files of both."""
        return [*self.history.paths(), *self.live.paths()]

    def within(self, directory: Path) -> Input:
        """Both in a state directory, which keeps how they are paired."""
        history, live = self.history.within(directory), self.live.within(directory)
        return replace(self, history=history, live=live, state_dir=directory)

    def prepare(self, workers: int) -> None:
        """Both, where they keep something."""
        self.history.prepare(workers)
        self.live.prepare(workers)

    def apart_from(self, own: OwnFiles) -> Input:
        """Both without the files that the flow writes."""
        return replace(self, history=self.history.apart_from(own), live=self.live.apart_from(own))

    def partitions(self, tell: Tell = unheard) -> list[str]:
        """Those of the live log."""
        with closing(ThenSession(self, decides=False)) as session:
            return session.partitions(tell)

    def open(self, partition: str, position: Optional[Position], *, follow: bool) -> PartitionReader:
        """A reader of both, with a session of its own, which ends when the reader is closed."""
        session = ThenSession(self, decides=False)
        reader = session.open(partition, position, follow=follow)
        reader.on_close = session.close
        return reader

    def describe(self) -> str:
        """Both, such as `parquet history/*.parquet, then kafka topic carts at broker`."""
        return f"{self.history.describe()}, then {self.live.describe()}"

    @property
    def shared_notes(self) -> str:
        """Which of the history belongs to which of the live log."""
        return "how a history and a live log are paired"

    @property
    def reading(self) -> str:
        """How both are read."""
        ways = [self.history.reading or "as it is", self.live.reading or "as it is"]
        return f"as a history ({ways[0]}), then a live log ({ways[1]})"


class ThenSession(Session):
    """What a process has of both: of the history only as long as something is to be asked of it."""

    def __init__(self, given: ThenInput, *, decides: bool = True) -> None:
        self._given = given
        self._decides = decides
        self._pairing = Pairing(given.describe(), given.state_dir)
        self._live = given.live.session()
        self._history: Optional[Session] = None

    def partitions(self, tell: Tell = unheard) -> list[str]:
        """Those of the live log. The history is listed until it is known what of it belongs to which of them."""
        names = self._live.partitions(tell)
        if names and self._pairing.find() is None:
            pairs = self._paired(names, tell)
            if self._decides:
                self._pairing.decide(pairs)
        return sorted(names)

    def notices(self, tell: Tell) -> None:
        """What both have noticed."""
        self._live.notices(tell)
        if self._history is not None:
            self._history.notices(tell)

    def open(self, partition: str, position: Optional[Position], *, follow: bool) -> ThenReader:
        """A reader of both."""
        given = self._given

        def go_on(at: Optional[Position]) -> PartitionReader:
            return self._live.open(partition, at, follow=follow)

        if position and "live" in position:
            return ThenReader(None, go_on, position, given.number)
        pairs = self._pairing.find()
        if not position:
            name = (self._paired(self._live.partitions(), unheard) if pairs is None else pairs).get(partition)
            if name is None:
                return ThenReader(None, go_on, {"live": None, "shift": 0, "last": None}, given.number)
            position = {"history": None, "of": name, "count": 0, "last": None}
        before = self._looked_back.open(position["of"], position["history"], follow=False)
        return ThenReader(before, go_on, position, given.number)

    @property
    def _looked_back(self) -> Session:
        if self._history is None:
            self._history = self._given.history.session()
        return self._history

    def _paired(self, names: Sequence[str], tell: Tell) -> Pairs:
        """For each partition of the live log the one of the history that is before it."""
        given, before, after = self._given, in_order(self._looked_back.partitions(tell)), in_order(names)
        if not before:
            msg = (
                f"{given.describe()}: the history has nothing to read, and the flow would go on without one for good; "
                f"check where it is, or read {given.live.describe()} alone"
            )
            raise InputError(msg)
        if len(before) > len(after) or (given.number is not None and len(before) < len(after)):
            msg = (
                f"{given.describe()}: the history has {len(before)} partitions, and the live log {len(after)}: "
                f"expected {'as many' if given.number is not None else 'no more'} of the history; read its files as "
                "one log (one_log=True), or write one for each partition"
            )
            raise InputError(msg)
        return dict(zip(after, before))

    def close(self) -> None:
        """End both."""
        if self._live is not self._given.live:
            self._live.close()
        if self._history is not None and self._history is not self._given.history:
            self._history.close()


class ThenReader(PartitionReader):
    """Reads one partition of the history, and then that of the live log."""

    def __init__(
        self,
        history: Optional[PartitionReader],
        go_on: Callable[[Optional[Position]], PartitionReader],
        position: Position,
        number: Optional[str],
    ) -> None:
        self.last: Optional[int] = position["last"]
        """The greatest number of the history's records in the live log."""
        self.on_close: Callable[[], None] = lambda: None
        """Called when it has been closed."""
        self._history = history
        self._history_name: Optional[str] = position.get("of")
        self._go_on = go_on
        self._number = number
        self._count: int = position.get("count", 0)
        """How many numbers records of the history have taken."""
        self._shift: int = position.get("shift", 0)
        """What is added to the numbers of the live log, so that they go on."""
        self._live = go_on(position["live"]) if history is None else None

    def read(self, max_bytes: int) -> Optional[Chunk]:
        """The next records of the history, then of the live log."""
        if self._history is not None:
            chunk = self._history.read(max_bytes)
            if chunk is not None:
                return HistoryChunk(chunk, self.seen)
            if not self._history.at_end:
                return None
            self._history.close()
            self._history = None
            # Behind what the numbers of the history, and those that are passed over, have taken.
            self._shift = max(0, self._count - (0 if self.last is None else self.last + 1))
            self._live = self._go_on(None)
        assert self._live is not None
        chunk = self._live.read(max_bytes)
        return None if chunk is None else LiveChunk(chunk, self._shift, self.last)

    def seen(self, decoded: Decoded, taken: int) -> None:
        """Records of the history were decoded, up to a number in it."""
        self._count = max(self._count, taken)
        if self._number is None or not decoded.events:
            return
        events = decoded.events
        column = events.column_of(self._number) if isinstance(events, EventColumns) else None
        try:
            if column is None:
                column = [
                    each[self._number] if isinstance(each, dict) else getattr(each, self._number) for each in events
                ]
        except (AttributeError, LookupError):
            column = [None]
        if not all(type(value) is int for value in column):
            wrong = next(value for value in column if type(value) is not int)
            msg = (
                f"then(..., number={self._number!r}): events of the history have no whole number there, but {wrong!r}: "
                "name the field that says which number a record has in the live log"
            )
            raise InputError(msg)
        self.last = max(column) if self.last is None else max(self.last, *column)

    @property
    def at_end(self) -> bool:
        """Whether the live log has been read to its end."""
        return self._live is not None and self._live.at_end

    @property
    def behind(self) -> Optional[int]:
        """What is left of the log that is read; of the live one nobody knows before it is opened."""
        reader = self._live or self._history
        return None if reader is None else reader.behind

    def has_more(self) -> bool:
        """Whether the log that is read has more."""
        reader = self._live or self._history
        return reader is not None and reader.has_more()

    def floor_ms(self, wall_ms: int) -> Optional[int]:
        """As the log says that is read."""
        reader = self._live or self._history
        assert reader is not None
        return reader.floor_ms(wall_ms)

    def position(self) -> Position:
        """The side, and where it stands there."""
        if self._live is not None:
            return {"live": self._live.position(), "shift": self._shift, "last": self.last}
        assert self._history is not None
        at = self._history.position()
        return {"history": at, "of": self._history_name, "count": self._count, "last": self.last}

    def committed(self, position: Position) -> None:
        """Let the live log hear it."""
        if self._live is not None and position.get("live") is not None:
            self._live.committed(position["live"])

    def close(self) -> None:
        """Close what is open."""
        for reader in (self._history, self._live):
            if reader is not None:
                reader.close()
        self.on_close()
