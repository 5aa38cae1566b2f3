"""Lookup tables: small tables in files, that streams are enriched from."""

from __future__ import annotations

import csv
import io
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, Generic, Literal, Optional, TypeVar, overload

import msgspec

from headway.basics.declaring import declaring
from headway.basics.times import Duration
from headway.errors import FlowError, InputError
from headway.operators.joins.results import Pair, Select, selected_type
from headway.operators.options import Value, positive_ms, reader
from headway.types.decoding import LineCodec
from headway.types.schema import Json, field_names, type_label

__all__ = ["Lookup", "Missing", "enricher", "lookup"]

V = TypeVar("V")

Missing = Literal["keep", "drop"]
"""What becomes of an event that the table has no row for: it is kept with None, or dropped."""

_SEPARATORS: Final = {".csv": ",", ".tsv": "\t"}
_encode: Final = msgspec.json.Encoder().encode
_SUFFIXES: Final = (*_SEPARATORS, ".json", ".jsonl", ".ndjson")


class Lookup(Generic[V]):
    """A table from a file, in memory: `get(key)` gives the row of a key. Made by `lookup`.

    The file is read when the first row is asked for, once in each worker process.
    """

    def __init__(
        self,
        path: str,
        key: str,
        row_type: Any,
        refresh_ms: Optional[int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path = path
        self.key = key
        self.type = row_type
        """Type of the rows."""
        self._refresh_s = None if refresh_ms is None else refresh_ms / 1000
        self._clock = clock
        self._check_at = 0.0
        self._version: Optional[tuple[int, int, int]] = None
        self._rows: dict[str, V] = {}
        self._codec = LineCodec[Any](row_type, strict=Path(path).suffix.lower() not in _SEPARATORS)

    def get(self, key: Any) -> Optional[V]:
        """The row of a key, None where there is none. Integers are the same as their digits, as in `key_by`.

        Costs 0.2 µs, unless the file is to be read. Raises `InputError` when it cannot be.
        """
        if self._version is None or (self._refresh_s is not None and self._clock() >= self._check_at):
            self._refresh()
        row = self._rows.get(key)
        return self._rows.get(str(key)) if row is None and type(key) is int else row

    def __len__(self) -> int:
        if self._version is None:
            self._refresh()
        return len(self._rows)

    def __bool__(self) -> bool:
        return True  # Whether there is a table is no reason to open its file.

    def __repr__(self) -> str:
        return f"lookup({self.path!r}, key={self.key!r})"

    def _refresh(self) -> None:
        if self._refresh_s is not None:
            self._check_at = self._clock() + self._refresh_s
        try:
            found = os.stat(self.path)
            version = (found.st_mtime_ns, found.st_size, found.st_ino)
            if version == self._version:
                return
            data = Path(self.path).read_bytes()
        except OSError as error:
            msg = (
                f"the lookup table {self.path!r} cannot be read: {error.strerror} (looked for in {os.getcwd()}); "
                "check the path, and replace a table by renaming a complete file to its name"
            )
            raise InputError(msg) from None
        self._rows = dict(self._keyed(data))
        self._version = version

    def _keyed(self, data: bytes) -> Iterator[tuple[str, V]]:
        lines: dict[str, int] = {}
        for line, row in _rows_of(self.path, data):
            key = row.get(self.key)
            if self.key not in row:
                self._fail(line, f"there is no {self.key!r}, only {', '.join(map(repr, row)) or 'nothing'}")
            if type(key) not in (str, int):
                self._fail(line, f"the key {self.key}={key!r} is neither text nor an integer")
            text = str(key)
            if text in lines:
                self._fail(line, f"the key {text!r} is there already, in line {lines[text]}; keep one of the two")
            lines[text] = line
            yield text, self._typed(line, row)

    def _typed(self, line: int, row: dict[str, Any]) -> V:
        is_text = Path(self.path).suffix.lower() in _SEPARATORS
        if is_text and self.type != Json:
            row = {name: cell for name, cell in row.items() if cell != ""}
        try:
            converted: V = self._codec.settle(row) if self.type == Json else self._codec.decode(_encode(row))
        except msgspec.ValidationError as error:
            self._fail(line, f"this is not a {type_label(self.type)}: {error}")
        return converted

    def _fail(self, line: int, reason: str) -> Any:
        raise _broken(self.path, line, reason)


@overload
def lookup(
    path: str | os.PathLike[str],
    *,
    key: str,
    type: type[V],
    refresh: Optional[Duration] = None,
    clock: Callable[[], float] = time.monotonic,
) -> Lookup[V]: ...


@overload
def lookup(
    path: str | os.PathLike[str],
    *,
    key: str,
    refresh: Optional[Duration] = None,
    clock: Callable[[], float] = time.monotonic,
) -> Lookup[Json]: ...


def lookup(
    path: str | os.PathLike[str],
    *,
    key: str,
    type: Any = Json,
    refresh: Optional[Duration] = None,
    clock: Callable[[], float] = time.monotonic,
) -> Lookup[Any]:
    """A table in a file, for `enrich`: `hw.lookup("products.csv", key="sku", type=Product)`.

    The suffix tells the format: `.csv` and `.tsv` with a line of names, `.json` (an array of objects), `.jsonl` and
    `.ndjson`; all in UTF-8. `key` is the column or field that names a row, once each. Rows are of `type`: dicts, of
    text where the file is CSV, or an event class, into which they are converted; an empty cell then stands for the
    default of its field. The table is held in memory whole, once for each worker process; rows are to be read only.

    What comes out depends on the file, which is no part of the log: "same log in, same triggers out" holds only as
    long as the file stays the same. It is read once in each worker process, and again after a restart. With `refresh`
    it is looked at again at most that often, by the seconds of `clock`, and read anew when it has changed: what comes
    out then depends on *when* that was. Where a replay must give the same, let the table be a stream, and use
    `asof_join`.

    Nothing is opened here. Raises `FlowError` for options that cannot be; a table that is missing or broken, also the
    new version of it, ends the run with an `InputError` that names the line.

    >>> lookup("products.csv", key="sku", refresh="1m")
    lookup('products.csv', key='sku')
    """
    with declaring():
        name = os.fspath(path)
        if Path(name).suffix.lower() not in _SUFFIXES:
            msg = f"lookup({name!r}): the suffix says what the file holds: expected one of {', '.join(_SUFFIXES)}"
            raise FlowError(msg)
        fields = field_names(type)
        if not isinstance(key, str) or (fields is not None and key not in fields):
            known = "a column of the file" if fields is None else f"one of the fields of {type_label(type)}: {fields}"
            msg = f"lookup({name!r}): key={key!r} should be {known}"
            raise FlowError(msg)
        refresh_ms = None if refresh is None else positive_ms(refresh, "refresh")
        return Lookup(name, key, Json if type is dict else type, refresh_ms, clock)


def enricher(
    table: Lookup[Any],
    event_type: Any,
    *,
    on: Value,
    select: Optional[Select] = None,
    into: Any = None,
    missing: Missing = "keep",
) -> tuple[Callable[[Any], list[Any]], Any]:
    """The function for `flat_map` that enriches events from a table, and the type of its results.

    Raises `FlowError` for a field that the events do not have, or an option that cannot be.
    """
    if not isinstance(table, Lookup):
        msg = f'{table!r} is not a lookup table: use hw.lookup("products.csv", key="sku")'
        raise FlowError(msg)
    if missing not in ("keep", "drop"):
        msg = f'missing={missing!r}: expected "keep", which gives None for the row, or "drop"'
        raise FlowError(msg)
    if on is None:
        msg = 'on=None: say what names the row: a field such as on="sku", or a function of the event'
        raise FlowError(msg)
    get_key, _ = reader(on, event_type, "on")
    get_row, keep = table.get, missing == "keep"
    result: Select = Pair if select is None else select
    row_type = Optional[table.type] if keep else table.type

    def enrich(event: Any) -> list[Any]:
        row = get_row(get_key(event))
        return [result(event, row)] if keep or row is not None else []

    paired: Any = Pair
    return enrich, selected_type(select, into, paired[event_type, row_type])


def _rows_of(path: str, data: bytes) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows, each with the number of its line; in a `.json` file that of the object."""
    suffix = Path(path).suffix.lower()
    if suffix in _SEPARATORS:
        return _csv_rows(path, data, _SEPARATORS[suffix])
    return _json_rows(path, data) if suffix == ".json" else _json_lines(path, data)


def _csv_rows(path: str, data: bytes, separator: str) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _broken(path, data.count(b"\n", 0, error.start) + 1, f"not UTF-8 text: {error.reason}") from None
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    names: Optional[list[str]] = None
    try:
        for cells in lines:
            if not cells:
                continue
            if names is None:
                names = cells
                twice = [name for number, name in enumerate(names) if name in names[:number]]
                if twice:
                    raise _broken(path, lines.line_num, f"two columns have the name {twice[0]!r}")
            elif len(cells) != len(names):
                raise _broken(path, lines.line_num, f"{len(cells)} cells, but there are {len(names)} names of columns")
            else:
                yield lines.line_num, dict(zip(names, cells))
    except csv.Error as error:
        raise _broken(path, lines.line_num, f"not CSV: {error}") from None
    if names is None:
        raise _broken(path, 1, "the line with the names of the columns is missing")


def _json_rows(path: str, data: bytes) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        rows = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _broken(path, data.count(b"\n") + 1, f"not JSON: {error}") from None
    if not isinstance(rows, list):
        raise _broken(path, 1, "expected an array of objects, as in [{...}, {...}]")
    for number, row in enumerate(rows, 1):
        yield number, _object(path, number, row)


def _json_lines(path: str, data: bytes) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(data.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            row = msgspec.json.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise _broken(path, number, f"not JSON: {error}") from None
        yield number, _object(path, number, row)


def _object(path: str, number: int, row: Any) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise _broken(path, number, f"expected an object, not {row!r:.100}")
    return row


def _broken(path: str, number: int, reason: str) -> InputError:
    place = "object" if path.lower().endswith(".json") else "line"
    msg = f"the lookup table {path!r}, {place} {number}: {reason}. Correct the file and start the run again"
    return InputError(msg)
