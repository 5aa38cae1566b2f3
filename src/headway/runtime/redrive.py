"""Dead letters that are put back in: the log that they are read from, beside the logs of their source.

`headway dead-letters redrive` appends to `<state directory>/redrive/<source>.jsonl`. A letter is redriven when, and
only when, its line stands there with its end: so to put it in, and to know that it has been, is one step, and a call
that is killed leaves each letter either as it was or redriven. The first reader slot of the source reads the file, and
keeps its position with the state, as of every log: each line is input exactly once.

What is redriven has been in the log before, so it is late by nature, and as `late` it would be lost again. It is on
time by decree: its time is its own, or where that has passed the first millisecond that has not. It never holds time
back.

A letter of a source is read as a line of the source, and goes through all steps, none of which has kept anything of it.
A letter of an operator goes straight to the stage that has undone it, with the key it had there: other stages have
handled the event, and must not do so again.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Optional

import msgspec

from headway.basics.scanning import group_of
from headway.basics.times import MIN_TIME_MS
from headway.connectors.base import Chunk
from headway.connectors.lines import LinesChunk
from headway.connectors.parts import RecordPart
from headway.connectors.records import RecordsChunk
from headway.errors import CorruptStateError
from headway.formats.letters import record_bytes
from headway.plan.stages import Edge, Plan
from headway.runtime.exchange import Message, to_everyone
from headway.runtime.partition import Partition
from headway.state.files import state_files
from headway.types.decoding import LineCodec
from headway.types.letters import DeadLetter

if TYPE_CHECKING:
    from headway.runtime.slot import Slot

__all__ = ["REDRIVEN", "Redriven", "Redriver", "decode_redriven", "letter_id", "redrive_path", "why_not"]

REDRIVEN: Final = "(redriven)"
"""The partition that redriven letters are of."""
_READ_BYTES: Final = 64 << 10
_RESULT: Final = re.compile(r", result [0-9.]+\Z")
"""Which result of a `flat_map` a letter of a source is about: what goes back in is the whole record."""


class Redriven(msgspec.Struct, frozen=True, omit_defaults=True):
    """A line of the file."""

    letter: str
    """The letter's `letter_id`."""
    raw: str
    into: Optional[str] = None
    key: Optional[str] = None
    time: Optional[int] = None


def redrive_path(state_dir: Path, source: str) -> Path:
    """Where the redriven letters of a source are."""
    return state_dir / "redrive" / f"{source}.jsonl"


def decode_redriven(line: bytes, path: Path, offset: int) -> Redriven:
    """A line of the file at `path`; raises `CorruptStateError` for one that is damaged."""
    try:
        return msgspec.json.decode(line, type=Redriven)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        msg = f"{path}, byte {offset}, is no redriven letter ({error}): restore it from a backup"
        raise CorruptStateError(msg) from error


def letter_id(letter: DeadLetter) -> str:
    """What tells a letter from all others, also when its text has been mended.

    All letters of a source about one record have the same: the record goes in as a whole, and once.

    >>> bare = DeadLetter("shop", "a.jsonl", "line 3, byte 90", "no field 'at'", "{}")
    >>> mended = DeadLetter("shop", "a.jsonl", "line 3, byte 90", "no field 'at'", '{"at": 1}')
    >>> letter_id(bare) == letter_id(mended)
    True
    """
    position = letter.position if letter.into is not None else _RESULT.sub("", letter.position)
    identity = "\0".join((letter.source, letter.partition, position, letter.into or ""))
    return blake2b(identity.encode(errors="surrogateescape"), digest_size=16).hexdigest()


def why_not(letter: DeadLetter) -> Optional[str]:
    """Why a letter cannot be put back in; None where it can."""
    if letter.timer is not None:
        return "a timer has fired once and for all"
    if letter.sender is not None:
        return f"the operator {letter.sender!r} has sent it, and no log holds it"
    return None


class Redriver:
    """Reads the redriven letters of a source for its first slot."""

    def __init__(self, slot: Slot, plan: Plan, path: Path, state: Optional[Mapping[str, int]]) -> None:
        known = state or {"offset": 0, "record": 0}
        self.at_end = False
        """Whether all that there was at the last look has been read."""
        self._slot = slot
        self._path = path
        self._offset, self._record = known["offset"], known["record"]
        self._look_at_ms: Optional[int] = None
        self._edges = {
            stage.into(edge): edge
            for stage in plan.stages
            for edge in stage.inputs
            if edge.from_source and edge.producer.node == slot.source.name
        }
        self._codecs: dict[int, LineCodec[Any]] = {}

    def position(self) -> dict[str, int]:
        """Where the next line starts: part of the slot's state."""
        return {"offset": self._offset, "record": self._record}

    def read(self, out: list[Message], now_ms: int, every_ms: int) -> None:
        """Look for lines, now and then; what they become goes to `out`."""
        if self._look_at_ms is not None and now_ms < self._look_at_ms:
            return
        lines = self._lines()
        self.at_end = not lines
        self._look_at_ms = now_ms + every_ms if self.at_end else None
        for line in lines:
            self._take(decode_redriven(line, self._path, self._offset), out)
            self._offset += len(line)
            self._record += 1

    def _lines(self) -> list[bytes]:
        """The next whole lines; the last one may be under way."""
        with state_files(self._path, "read"):
            try:
                file = self._path.open("rb")
            except FileNotFoundError:
                size, lines = 0, []
            else:
                with file:
                    size = os.fstat(file.fileno()).st_size
                    file.seek(self._offset)
                    lines = file.readlines(_READ_BYTES)
        if size < self._offset:
            msg = f"{self._path} has {size} bytes, and {self._offset} of it were read: restore it from a backup"
            raise CorruptStateError(msg)
        return [line for line in lines if line.endswith(b"\n")]

    def _take(self, redriven: Redriven, out: list[Message]) -> None:
        slot = self._slot
        watermark = slot.watermark
        is_known = watermark != MIN_TIME_MS
        floor_ms = watermark + 1 if is_known else MIN_TIME_MS
        line = _Line(redriven.raw.encode(), self._record, 0)
        # As far as its source: also a letter of what is redriven has a time that has not passed.
        partition = Partition(REDRIVEN, None, floor_ms + slot.source.node.out_of_order_ms if is_known else None)
        if redriven.into is None:
            slot.process(partition, self._record_of(redriven, line, floor_ms), floor_ms=floor_ms)
            slot.flush(partition, out)
            return
        slot.events += 1
        edge = self._edges.get(redriven.into)
        if edge is None:
            known = ", ".join(self._edges) or "none"
            reason: Optional[str] = (
                f"the flow leads nothing of this source to {redriven.into!r} any more, but to: {known}"
            )
        else:
            reason = self._send(edge, redriven, line, floor_ms, out)
        if reason is not None:
            # Still a letter of that operator: as one of the source, it would go through all steps the next time.
            position, _ = line.record(self._record)
            into, key, time_ms = redriven.into, redriven.key, redriven.time
            letter = DeadLetter(
                slot.source.name, REDRIVEN, position, reason, redriven.raw, into=into, key=key, time=time_ms
            )
            slot.refuse(partition, line, letter)
            slot.flush(partition, out)

    def _send(self, edge: Edge, redriven: Redriven, line: _Line, floor_ms: int, out: list[Message]) -> Optional[str]:
        """Send an event straight to the stage that it has failed in; returns why, where it cannot be read."""
        decoded = line.decode(self._codec(edge))
        if not decoded.events:
            return decoded.bad[0].reason if decoded.bad else "it is blank"
        key, time_ms = redriven.key or "", max(redriven.time or 0, floor_ms)
        record: tuple[Any, ...] = (time_ms, key, decoded.events[0])
        if edge.has_places:
            record = (*record, self._record, REDRIVEN)
        exchange = self._slot.exchange(edge)
        groups = exchange.groups
        by_group = to_everyone([record], groups) if edge.broadcast else {group_of(key, len(groups)): [record]}
        exchange.send(by_group, REDRIVEN, self._slot.watermark, out)
        return None

    def _record_of(self, redriven: Redriven, line: _Line, floor_ms: int) -> Chunk:
        """A letter of the source as a record of its format."""
        form = self._slot.source.node.input.format
        if form.has_lines and not isinstance(self._slot.source.node.time, RecordPart):
            return line
        time_ms = max(redriven.time or 0, floor_ms, 0)
        try:
            return _Alone(self._record, record_bytes(redriven.raw, form), time_ms)
        except ValueError as error:
            msg = f"{self._path}, record {self._record}: {error}; correct `raw` of that line"
            raise CorruptStateError(msg) from error

    def _codec(self, edge: Edge) -> LineCodec[Any]:
        if edge.id not in self._codecs:
            self._codecs[edge.id] = LineCodec(edge.value_type)
        return self._codecs[edge.id]


class _Line(LinesChunk):
    """One redriven line."""

    def record(self, ordinal: int) -> tuple[str, bytes]:
        """Its number among all that were redriven, and the line."""
        return f"record {ordinal}", self.data


class _Alone(RecordsChunk):
    """One redriven record of a format without lines, or of a log that keeps times: what was beside it is gone."""

    has_parts = False

    def __init__(self, ordinal: int, value: bytes, time_ms: int) -> None:
        self.ordinals = [ordinal]
        self.values = [value]
        self._time_ms = time_ms

    def place_of(self, index: int) -> str:
        """Its number among all that were redriven."""
        return f"record {self.ordinals[index]}"

    def part_of(self, part: RecordPart, index: int) -> Any:
        """The time that it is to have."""
        return self._time_ms
