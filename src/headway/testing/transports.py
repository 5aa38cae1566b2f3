"""The contract of inputs as a suite of checks: `check_transport`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from typing import Any, Optional

import msgspec

from headway.connectors.base import Chunk, Input, PartitionReader, Position, Session
from headway.formats.base import Decoder

__all__ = ["check_transport"]

_SIZES = (1, 64, 1 << 16)


def check_transport(
    given: Input,
    event_type: Any,
    expected: Mapping[str, Sequence[Any]],
    *,
    append: Optional[Callable[[str], Any]] = None,
    new_partition: Optional[Callable[[], str]] = None,
    timeout_s: float = 20.0,
) -> None:
    """Check that an input keeps its contract, on a log that is there. Raises `AssertionError` with what it does not.

    `expected` are the events of each partition, in their order. `append(partition)` writes one more event to the end of
    a partition and returns it; `new_partition()` makes a partition and returns its name. Without them following is not
    checked. What is not there yet is waited for, up to `timeout_s` seconds.

    For each partition: all events come, with numbers that rise, however much is asked for at a time; each position is
    plain JSON, and reading on from it, in another session, gives the rest and nothing else; a chunk can be decoded
    again; each record has a place and its bytes; a bounded reader comes to its end and stays there; one that follows
    takes what is appended, and new partitions are found.

    >>> import headway as hw
    >>> check_transport(hw.items({"a": [{"n": 1}, {"n": 2}], "b": []}), hw.Json, {"a": [{"n": 1}, {"n": 2}], "b": []})
    """
    decoder = given.format.decoder(event_type)
    checks = _Checks(given, decoder, timeout_s)
    checks.names(sorted(expected))
    for name in sorted(expected):
        for size in _SIZES:
            checks.whole(name, list(expected[name]), size)
        checks.resumed(name, list(expected[name]))
        checks.parts(name)
    if append is not None:
        for name in sorted(expected):
            checks.followed(name, list(expected[name]), append)
    if new_partition is not None:
        checks.found(new_partition)


class _Checks:
    def __init__(self, given: Input, decoder: Decoder, timeout_s: float) -> None:
        self._given = given
        self._decoder = decoder
        self._timeout_s = timeout_s

    def names(self, expected: list[str]) -> None:
        with closing(self._given.session()) as session:
            assert session.partitions() == expected, f"partitions {session.partitions()}, expected {expected}"
        assert self._given.partitions() == expected, "an input without a session tells other partitions"

    def whole(self, name: str, expected: list[Any], size: int) -> None:
        with closing(self._given.session()) as session:
            events, numbers, _ = self._read(session, name, None, size)
        assert events == expected, f"{name}, read {size} bytes at a time: {events}, expected {expected}"
        assert numbers == sorted(set(numbers)), f"{name}: numbers do not rise: {numbers}"

    def resumed(self, name: str, expected: list[Any]) -> None:
        with closing(self._given.session()) as session:
            _, numbers, positions = self._read(session, name, None, 1)
        for taken, position in positions:
            with closing(self._given.session()) as session:
                events, later, _ = self._read(session, name, position, 1 << 16)
            assert events == expected[taken:], f"{name}, read on at {position}: {events}, expected {expected[taken:]}"
            assert later == numbers[taken:], f"{name}, read on at {position}: other numbers"

    def parts(self, name: str) -> None:
        with closing(self._given.session()) as session:
            reader = session.open(name, None, follow=False)
            chunk = self._next(reader)
            while chunk is not None:
                numbers = chunk.decode(self._decoder).ordinals
                for part in self._given.record_parts:
                    found = chunk.parts(part, numbers)
                    assert len(found) == len(numbers), f"{name}: {len(found)} of {part!r} for {len(numbers)} records"
                    assert chunk.parts(part, numbers[-1:]) == found[-1:], f"{name}: {part!r} of one record differs"
                chunk = self._next(reader)
            reader.close()

    def followed(self, name: str, expected: list[Any], append: Callable[[str], Any]) -> None:
        with closing(self._given.session()) as session:
            reader = session.open(name, None, follow=True)
            events: list[Any] = []
            self._until(lambda: len(events) >= len(expected), reader, events, f"{name}: not all events come")
            for _ in range(3):
                assert not reader.at_end, f"{name}: a reader that follows is at its end"
                added = append(name)
                expected.append(added)
                self._until(lambda: len(events) >= len(expected), reader, events, f"{name}: {added} does not come")
            assert events == expected, f"{name}, followed: {events}, expected {expected}"
            reader.committed(reader.position())
            reader.close()

    def found(self, new_partition: Callable[[], str]) -> None:
        with closing(self._given.session()) as session:
            session.partitions()
            name = new_partition()
            until_s = time.monotonic() + self._timeout_s
            while name not in session.partitions():
                assert time.monotonic() < until_s, f"the new partition {name} is not found"
                time.sleep(0.05)

    def _read(
        self, session: Session, name: str, position: Optional[Position], size: int
    ) -> tuple[list[Any], list[int], list[tuple[int, Position]]]:
        """Events and their numbers to the end, and the positions on the way, each with how many came before it."""
        reader = session.open(name, position, follow=False)
        events: list[Any] = []
        numbers: list[int] = []
        positions = []
        while (chunk := self._next(reader, size)) is not None:
            decoded = chunk.decode(self._decoder)
            again = chunk.decode(self._decoder)
            assert (again.events, list(again.ordinals)) == (decoded.events, list(decoded.ordinals)), "decodes otherwise"
            assert not decoded.bad, f"{name}: {decoded.bad}"
            for number in decoded.ordinals:
                place, raw = chunk.record(number)
                assert place and isinstance(raw, bytes), f"{name}: record {number} has no place or no bytes"
            events += decoded.events
            numbers += decoded.ordinals
            kept = reader.position()
            assert msgspec.json.decode(msgspec.json.encode(kept)) == kept, f"{name}: {kept} is not plain JSON"
            positions.append((len(events), kept))
        assert reader.at_end, f"{name}: there is nothing more, and the reader is not at its end"
        assert reader.read(1) is None, f"{name}: something comes after the end"
        positions.append((len(events), reader.position()))
        reader.close()
        return events, numbers, positions

    def _next(self, reader: PartitionReader, size: int = 1 << 16) -> Optional[Chunk]:
        """The next chunk of a bounded reader; None at its end."""
        until_s = time.monotonic() + self._timeout_s
        while True:
            chunk = reader.read(size)
            if chunk is not None or reader.at_end:
                return chunk
            assert time.monotonic() < until_s, "a bounded reader comes to no end"
            time.sleep(0.005)

    def _until(self, is_met: Callable[[], bool], reader: PartitionReader, events: list[Any], otherwise: str) -> None:
        until_s = time.monotonic() + self._timeout_s
        while not is_met():
            chunk = reader.read(1 << 16)
            if chunk is not None:
                events += chunk.decode(self._decoder).events
                continue
            assert time.monotonic() < until_s, otherwise
            time.sleep(0.005)
