"""`headway state sql`: a question in SQL about all that a flow keeps, answered by DuckDB."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final, Optional

import click

from headway.cli.changes import state_option
from headway.cli.escapes import json_text, printable
from headway.cli.options import examples, json_option
from headway.cli.process import say
from headway.cli.state_columns import ColumnKinds, ColumnType, fields_of

if TYPE_CHECKING:
    from headway.state.reader import StateReader

__all__ = ["sql"]

_OWN: Final = ("key", "group")
"""Columns that are no fields of a state."""
_TYPES: Final = {"boolean": "BOOLEAN", "integer": "BIGINT", "number": "DOUBLE", "text": "VARCHAR", "json": "JSON"}


@click.command(
    epilog=examples(
        'headway state sql flows/abandoned_carts.py "select count(*), sum(cents) from abandonment"',
        'headway state sql .headway/abandoned-carts "select key from abandonment order by cents desc limit 5" '
        "--savepoint before-the-sale",
    )
)
@click.argument("place", metavar="FLOW|DIR")
@click.argument("query", metavar="SQL")
@state_option
@click.option("--savepoint", metavar="NAME", help="Ask this savepoint, and not what is there now.")
@json_option("Write one JSON object a line.")
def sql(place: str, query: str, state_dir: Optional[Path], savepoint: Optional[str], as_json: bool) -> None:
    """Ask what a flow keeps in SQL. Needs the extra sql: pip install 'headway[sql]'.

    Each operator is a table of its name, in double quotes where that is no plain word. Its columns are key, group (the
    key group) and the fields of its state; a field of one of these names is called state_key or state_group. What is no
    number, text or boolean is of the type JSON: items->>'$.s0001'. A state without fields is the column value.

    All rows of the operators whose names the text has are read first, some 10 µs each. Of a running flow key groups may
    be an epoch apart; a savepoint is of one epoch. Nothing of the state can be changed so.
    """
    from headway.basics.needed import needed
    from headway.cli.state_queries import reader_at, tell_table

    duckdb = needed("duckdb", "sql", "headway state sql")
    with (
        reader_at(place, state_dir, savepoint) as reader,
        TemporaryDirectory(prefix="headway-sql-") as folder,
        closing(duckdb.connect(config={"temp_directory": folder})) as connection,
    ):
        columns: dict[str, list[str]] = {}
        for number, operator in enumerate(reader.operators()):
            if re.search(rf"(?<!\w){re.escape(operator)}(?!\w)", query, flags=re.IGNORECASE):
                columns[operator] = _load(connection, reader, operator, Path(folder) / f"{number}.jsonl")
        try:
            found = connection.execute(query)
            heads = [column[0] for column in found.description or ()]
            rows = iter(found.fetchone, None)
            if as_json:
                for row in rows:
                    say(json_text(dict(zip(heads, map(_plain, row)))))
            else:
                tell_table(list(map(printable, heads)), ([_cell(value) for value in row] for row in rows))
        except duckdb.Error as error:
            tables = ", ".join(_shown(name, columns.get(name)) for name in reader.operators()) or "none"
            msg = f"the query cannot be answered: {error}\nThe tables are {tables}"
            raise click.UsageError(msg) from error


def _shown(table: str, columns: Optional[list[str]]) -> str:
    """A table with its columns, where it was loaded."""
    return _quoted(table) if columns is None else f"{_quoted(table)} ({', '.join(map(_quoted, columns))})"


def _load(connection: Any, reader: StateReader, operator: str, path: Path) -> list[str]:
    """Make the table of an operator, by way of a file of JSON lines, and return its columns."""
    kinds = ColumnKinds()
    with path.open("w", encoding="utf-8") as file:
        for line in _lines(reader, operator, kinds):
            file.write(line + "\n")
    types: dict[str, ColumnType] = {"key": "text", "group": "integer", **kinds.types()}
    columns = ", ".join(f"{_quoted(name)}: {_text(_TYPES[kind])}" for name, kind in types.items())
    connection.execute(
        f"CREATE TABLE {_quoted(operator)} AS SELECT * FROM read_json({_text(str(path))}, "
        f"format='newline_delimited', columns={{{columns}}}, maximum_object_size={1 << 30})"
    )
    path.unlink()
    return list(types)


def _lines(reader: StateReader, operator: str, kinds: ColumnKinds) -> Iterator[str]:
    """The rows as JSON."""
    import msgspec

    from headway.state.queries import plain_state

    for row in reader.rows(operator):
        fields = fields_of(plain_state(row.state), _OWN)
        kinds.see(fields)
        yield msgspec.json.encode({"key": row.key, "group": row.group, **fields}).decode()


def _quoted(name: str) -> str:
    doubled = name.replace('"', '""')
    return f'"{doubled}"'


def _text(text: str) -> str:
    doubled = text.replace("'", "''")
    return f"'{doubled}'"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return printable(value) if isinstance(value, str) else printable(str(value))


def _plain(value: Any) -> Any:
    """A value of an answer as JSON can hold it: what has no form of its own there as text."""
    return value if isinstance(value, (bool, int, float, str, list, dict, type(None))) else str(value)
