"""CSV and its relatives: one record a line, fields between delimiters, their names in the first line or declared."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Final, Optional

import msgspec

from headway.errors import FlowError, UsageError
from headway.formats.base import UNDECODABLE, Decoder, Format, HeadedDecoder
from headway.types.decoding import LineCodec
from headway.types.schema import Json, field_names, type_label

__all__ = ["Csv"]

_encode: Final = msgspec.json.Encoder().encode


@dataclass(frozen=True)
class Csv(Format):
    """Comma-separated values, quoted as RFC 4180 says; a record is one line.

    The names of the columns are in the first line of each file, or are given as `columns`, as they must be where
    there are no files. A value is text, or what the event's field says: `7` becomes an integer, `true` a boolean. An
    empty one that is not text is as one that is not there: the field has its default. Columns that the event has no
    field for are ignored. A line with more or fewer values than there are columns becomes a dead letter, and so does
    a quoted value that goes on in the next line.

    Costs some 2 µs a line. Raises `UsageError` for a delimiter or quote that is not one character.

    >>> import headway as hw
    >>> class Trade(hw.Event):
    ...     symbol: str
    ...     price: float
    ...     size: int = 100
    >>> decoder = Csv(columns=("symbol", "price", "size"), delimiter=";").decoder(Trade)
    >>> decoder.decode_records([b"ACME;17.5;", b'"A;B";3;200'])
    [Trade(symbol='ACME', price=17.5, size=100), Trade(symbol='A;B', price=3.0, size=200)]
    """

    name: ClassVar[str] = "csv"
    has_lines: ClassVar[bool] = True
    is_text: ClassVar[bool] = True

    columns: Optional[tuple[str, ...]] = None
    delimiter: str = ","
    quote: str = '"'
    has_header: bool = field(init=False, default=True)

    def __post_init__(self) -> None:
        for what, value in (("delimiter", self.delimiter), ("quote", self.quote)):
            if not isinstance(value, str) or len(value) != 1 or value in "\r\n":
                msg = f"Csv({what}={value!r}): expected one character"
                raise UsageError(msg)
        if self.columns is not None:
            columns = tuple(self.columns)
            if not columns or len(set(columns)) < len(columns) or not all(isinstance(c, str) for c in columns):
                msg = f"Csv(columns={self.columns!r}): expected names, each of them once"
                raise UsageError(msg)
            object.__setattr__(self, "columns", columns)
            object.__setattr__(self, "has_header", False)

    def below(self, first: bytes) -> Csv:
        """The same with the names that a file's first line gives. Raises `ValueError` for what is no such line."""
        [names] = self.rows([first.decode("utf-8-sig").rstrip("\r\n")])
        try:
            return replace(self, columns=tuple(name.strip() for name in names))
        except UsageError as error:
            msg = f"the first line names no columns, each of them once: {first!r:.100}"
            raise ValueError(msg) from error

    def decoder(self, event_type: Any) -> Decoder:
        """A decoder; before the first line of a file is known, of nothing. Raises `FlowError` for unfit types."""
        if event_type is not dict and event_type != Json and field_names(event_type) is None:
            msg = f"a line of CSV has named values, and {type_label(event_type)} has no fields: use an Event, or Json"
            raise FlowError(msg)
        return _CsvDecoder(self, event_type)

    def rows(self, lines: Sequence[str]) -> list[list[str]]:
        """The values of lines. Raises `ValueError` where a line is no whole record."""
        try:
            rows = list(csv.reader(lines, delimiter=self.delimiter, quotechar=self.quote, strict=True))
        except csv.Error as error:
            raise ValueError(str(error)) from None
        if len(rows) != len(lines):
            msg = "a quoted value goes on in the next line"
            raise ValueError(msg)
        return rows


class _CsvDecoder(HeadedDecoder):
    def __init__(self, style: Csv, event_type: Any) -> None:
        self.event_type = event_type
        self._style = style
        self._codec = LineCodec(event_type, strict=False)
        self._texts = _text_fields(event_type)
        self._below: Optional[tuple[bytes, Decoder]] = None
        """The first line that was asked for last, and what it led to."""

    def below(self, first: bytes) -> Decoder:
        if self._below is None or self._below[0] != first:
            self._below = (first, _CsvDecoder(self._style.below(first), self.event_type))
        return self._below[1]

    def decode_record(self, record: bytes) -> Any:
        [line] = self._as_json([record])
        return self._codec.decode_record(line)

    def decode_records(self, records: Sequence[bytes]) -> list[Any]:
        lines = self._as_json(records)
        try:
            return self._codec.decode_records(lines)
        except UNDECODABLE:  # It may be a time as text, which is not taken in blocks.
            return list(map(self._codec.decode_record, lines))

    def _as_json(self, records: Sequence[bytes]) -> list[bytes]:
        """The same records as JSON objects of text."""
        columns = self._style.columns
        if columns is None:
            msg = "the names of the columns are not known: there is no first line here, give Csv(columns=...)"
            raise ValueError(msg)
        width, texts = len(columns), self._texts
        values = []
        for row in self._style.rows([record.decode().removesuffix("\r") for record in records]):
            if len(row) != width:
                msg = f"{len(row)} values, and there are {width} columns: {', '.join(columns)}"
                raise ValueError(msg)
            named = zip(columns, row)
            values.append({name: value for name, value in named if value or texts is None or name in texts})
        return list(map(_encode, values))

    def convert(self, value: Any) -> Any:
        return self._codec.convert(value)

    def settle(self, event: Any) -> Any:
        return self._codec.settle(event)


def _text_fields(event_type: Any) -> Optional[frozenset[str]]:
    """The fields in which an empty value is an empty text; None where all are, as nothing is declared."""
    if field_names(event_type) is None:
        return None
    fields = msgspec.structs.fields(event_type)
    return frozenset(one.name for one in fields if one.type is str)
