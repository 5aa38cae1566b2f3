"""`headway state export`: all rows of an operator as JSON lines, CSV or Parquet."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Callable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import click

from headway.cli.escapes import json_text
from headway.cli.process import say
from headway.cli.state_columns import ColumnKinds, ColumnType, fields_of

if TYPE_CHECKING:
    from headway.state.reader import StateReader, StoredRow

__all__ = ["FORMATS", "export_rows", "record_of"]

FORMATS: Final = ("jsonl", "csv", "parquet")
_OWN: Final = ("key", "timers", "touched_ms")
"""Columns that are no fields of a state."""
_CELLS: Final[dict[ColumnType, Callable[[Any], Any]]] = {
    "boolean": bool,
    "integer": int,
    "number": float,
    "text": str,
    "json": json_text,
}
_CHUNK_ROWS: Final = 10_000


def export_rows(reader: StateReader, operator: str, form: str) -> None:
    """Write all rows to standard output. Raises `UsageError` for Parquet on a terminal, or without its library."""
    if form == "jsonl":
        for row in reader.rows(operator):
            say(json_text(record_of(row)))
    elif form == "csv":
        _export_csv(reader, operator)
    else:
        _export_parquet(reader, operator)


def record_of(row: StoredRow) -> dict[str, Any]:
    """A row as one object."""
    from headway.state.queries import plain_state

    return {"key": row.key, "state": plain_state(row.state), "timers": row.timers, "touched_ms": row.touched_ms}


def _fields(row: StoredRow) -> dict[str, Any]:
    from headway.state.queries import plain_state

    return fields_of(plain_state(row.state), _OWN)


def _columns(reader: StateReader, operator: str) -> dict[str, ColumnType]:
    kinds = ColumnKinds()
    for row in reader.rows(operator):
        kinds.see(_fields(row))
    return kinds.types()


def _export_csv(reader: StateReader, operator: str) -> None:
    columns = list(_columns(reader, operator))
    say(_csv_line(["key", *columns, "timers", "touched_ms"]))
    for row in reader.rows(operator):
        fields = _fields(row)
        cells = [_cell(fields.get(name)) for name in columns]
        say(_csv_line([row.key, *cells, json_text(row.timers), str(row.touched_ms)]))


def _cell(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else json_text(value)


def _csv_line(cells: list[str]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\r\n").writerow(cells)  # By which it knows what has to be in quotes.
    return out.getvalue().removesuffix("\r\n")


def _export_parquet(reader: StateReader, operator: str) -> None:
    from headway.basics.needed import needed

    pa = needed("pyarrow", "parquet", "headway state export --format parquet")
    from pyarrow import parquet

    if sys.stdout.isatty():
        msg = "Parquet is no text: send it to a file, as in headway state export ... --format parquet > rows.parquet"
        raise click.UsageError(msg)
    types = {"boolean": pa.bool_(), "integer": pa.int64(), "number": pa.float64(), "text": pa.string()}
    columns = _columns(reader, operator)
    fields = [(name, types.get(kind, pa.string())) for name, kind in columns.items()]
    schema = pa.schema([("key", pa.string()), *fields, ("timers", pa.string()), ("touched_ms", pa.int64())])
    rows = _rows(reader, operator, columns)
    with parquet.ParquetWriter(pa.PythonFile(_Counted(sys.stdout.buffer), mode="w"), schema) as writer:
        while chunk := list(islice(rows, _CHUNK_ROWS)):
            writer.write_table(pa.Table.from_pylist(chunk, schema))
    sys.stdout.buffer.flush()


def _rows(reader: StateReader, operator: str, columns: dict[str, ColumnType]) -> Iterator[dict[str, Any]]:
    for row in reader.rows(operator):
        found: dict[str, Any] = {"key": row.key, "timers": json_text(row.timers), "touched_ms": row.touched_ms}
        for name, value in _fields(row).items():
            found[name] = value if value is None else _CELLS[columns[name]](value)
        yield found


class _Counted(io.RawIOBase):
    """A stream that knows how much was written to it: a pipe cannot be asked."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._count = 0

    def writable(self) -> bool:
        return True

    def write(self, given: Any) -> int:
        self._count += len(given)
        self._stream.write(given)
        return len(given)

    def tell(self) -> int:
        return self._count

    def flush(self) -> None:
        self._stream.flush()
