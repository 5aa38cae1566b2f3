"""The first records of an input, as a person reads them, and the class of events that they would fit."""

from __future__ import annotations

import json
import keyword
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any, Final, NamedTuple, Optional

from headway.basics.times import format_time
from headway.connectors.base import Chunk, Decoded, Input, Session, Tell, unheard
from headway.connectors.parts import RecordPart
from headway.connectors.reading import chunks_of
from headway.formats.base import Decoder
from headway.formats.plain import Raw

__all__ = ["RECORDS_SHOWN", "Shown", "chunks", "declaration", "first_records"]

RECORDS_SHOWN: Final = 3
_WITHIN_S: Final = 10.0
_PARTITIONS_MOST: Final = 64
_OR_NONE: Final = " = None"
_LINE: Final = 100
"""Characters in a line of Python that is shown."""


class Shown(NamedTuple):
    """One record."""

    partition: str
    place: str
    """Where it stands, such as `offset 17`."""
    value: bytes
    key: Optional[str]
    time_ms: Optional[int]
    """Of the broker; None where it keeps none."""

    @property
    def line(self) -> str:
        """In one line.

        >>> Shown("carts/0", "offset 17", b'{"cart": 7}', "c7", 1_700_000_000_000).line
        'carts/0, offset 17, 2023-11-14T22:13:20.000Z, key c7: {"cart": 7}'
        """
        known = [self.partition, self.place]
        known += [] if self.time_ms is None else [format_time(self.time_ms)]
        known += [] if self.key is None else [f"key {self.key}"]
        return f"{', '.join(known)}: {_text(self.value)}"


def chunks(
    session: Session, most: int, decoder: Decoder, tell: Tell = unheard
) -> tuple[list[tuple[str, Chunk, Decoded]], int]:
    """The first chunks of an input, decoded, until there are so many records; and how many partitions it has.

    Partitions are tried in their order until one has records, for ten seconds. Raises `InputError`.
    """
    found: list[tuple[str, Chunk, Decoded]] = []
    names = session.partitions(tell)
    count, until_s = 0, time.monotonic() + _WITHIN_S

    def is_over(silent_s: float = 0) -> bool:
        return count >= most or time.monotonic() >= until_s

    for name in names[:_PARTITIONS_MOST]:
        with closing(session.open(name, None, follow=False)) as reader:
            for chunk in chunks_of(reader, is_over):
                decoded = chunk.decode(decoder)
                found.append((name, chunk, decoded))
                count += len(decoded.events) + len(decoded.bad)
                if is_over():
                    break
        if is_over():
            break
    return found, len(names)


def first_records(given: Input, most: int = RECORDS_SHOWN) -> list[Shown]:
    """The first records of an input whose records are messages, whatever is in them. Raises `InputError`."""
    with closing(given.session()) as session:
        found, _ = chunks(session, most, Raw().decoder(bytes))
    shown = []
    for partition, chunk, decoded in found:
        parts = {part: chunk.parts(part, decoded.ordinals) for part in (RecordPart.TIME, RecordPart.KEY)}
        for index, ordinal in enumerate(decoded.ordinals):
            key = parts[RecordPart.KEY][index]
            shown.append(
                Shown(
                    partition,
                    chunk.record(ordinal)[0],
                    decoded.events[index],
                    key.decode(errors="backslashreplace") if isinstance(key, bytes) else key,
                    parts[RecordPart.TIME][index],
                )
            )
    return shown[:most]


def declaration(name: str, source: str, values: Sequence[bytes]) -> str:
    """How a flow would declare a source of such records: Python, to be copied and corrected.

    >>> print(declaration("carts", 'hw.kafka("localhost:9092", "carts")', [b'{"cart": 7, "at": 1700000000000}']))
    import headway as hw
    <BLANKLINE>
    <BLANKLINE>
    class Carts(hw.Event):
        cart: int
        at: hw.Time
    <BLANKLINE>
    <BLANKLINE>
    flow = hw.Flow("carts")
    carts = flow.source("carts", Carts, hw.kafka("localhost:9092", "carts"), time="at")
    """
    fields = _fields(values)
    variable = _identifier(name)
    times = [field for field, kind in fields.items() if kind == "hw.Time"]
    kind, lines = "hw.Json", []
    if fields:
        kind = "".join(part.capitalize() for part in variable.split("_")) or "Record"
        lines = [f"class {kind}(hw.Event):", *(f"    {field}: {of}" for field, of in fields.items()), "", ""]
    time_of = f'"{times[0]}"' if times else "hw.record_time"
    named = json.dumps(variable.replace("_", "-"))
    given = (named, kind, source, f"time={time_of}")
    declared = f"{variable} = flow.source({', '.join(given)})"
    if len(declared) > _LINE:
        declared = "\n".join([f"{variable} = flow.source(", *(f"    {one}," for one in given), ")"])
    return "\n".join([*_imports(fields), *lines, f"flow = hw.Flow({named})", declared])


def _imports(fields: Mapping[str, str]) -> list[str]:
    written = " ".join(fields.values())
    typing = ", ".join(name for name in ("Any", "Optional") if name in written)
    return [*([f"from typing import {typing}", ""] if typing else []), "import headway as hw", "", ""]


def _identifier(name: str) -> str:
    found = "".join(letter if letter.isalnum() and letter.isascii() else "_" for letter in name.lower()).strip("_")
    return f"source_{found}" if not found.isidentifier() or keyword.iskeyword(found) else found


def _fields(values: Sequence[bytes]) -> dict[str, str]:
    """The fields of records that are JSON objects, and their types; empty where they are something else."""
    objects = []
    for value in values:
        try:
            found = json.loads(value)
        except ValueError:
            return {}
        if not isinstance(found, dict) or not all(_is_field(name) for name in found):
            return {}
        objects.append(found)
    names = {name: None for one in objects for name in one}
    types = {name: _type([one.get(name) for one in objects]) for name in names}
    # Fields with defaults come behind those without.
    return dict(sorted(types.items(), key=lambda field: field[1].endswith(_OR_NONE)))


def _is_field(name: str) -> bool:
    return name.isidentifier() and not keyword.iskeyword(name) and not name.startswith("_")


def _type(values: Sequence[Any]) -> str:
    known = [value for value in values if value is not None]
    kinds = {_kind(value) for value in known}
    if kinds == {"int", "float"}:
        kinds = {"float"}
    kind = kinds.pop() if len(kinds) == 1 else "Any"
    if len(known) == len(values):
        return kind
    return f"{kind if kind == 'Any' else f'Optional[{kind}]'}{_OR_NONE}"


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "hw.Time" if 10**12 <= value < 10**13 else "int"
    if isinstance(value, str):
        return "hw.Time" if _is_time(value) else "str"
    return {float: "float", list: "list[Any]", dict: "dict[str, Any]"}[type(value)]


def _is_time(text: str) -> bool:
    from headway.basics.times import parse_time

    try:
        parse_time(text)
    except ValueError:
        return False
    return not text.isdigit()


def _text(value: bytes, most: int = 160) -> str:
    text = "(no value)" if value is None else value.decode(errors="backslashreplace")
    return text if len(text) <= most else f"{text[:most]} … ({len(value):,} bytes)"
