"""What tables of all SQL databases share as targets: the columns of triggers, and whether a table can take the rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, Optional

import msgspec

from headway.basics.times import format_time
from headway.targets.base import Delivery
from headway.targets.columns import Column

__all__ = [
    "NEEDED",
    "OPTIONAL",
    "TRIGGERS",
    "Dialect",
    "Found",
    "misfit_of_columns",
    "not_unique",
    "stored",
    "trigger_row",
]

TRIGGERS: Final = (
    Column("id", "text"),
    Column("type", "text"),
    Column("subject", "text"),
    Column("time", "datetime"),
    Column("data", "json"),
    Column("source", "text"),
    Column("sequence", "text"),
)
"""The columns of a table of triggers, whose key is `id`."""
NEEDED: Final = frozenset({"type", "time", "data"})
"""Those of them that are never null, beside the key."""
OPTIONAL: Final = frozenset({"source", "sequence"})
"""Those of them without which a table of a server can be used."""
_SHOWN_MAX: Final = 60
"""Characters of a value that is no value of its column."""


class Found(NamedTuple):
    """A column that a table has."""

    name: str
    type: str
    """As the database writes it, without a length."""
    is_needed: bool
    """Whether a row without it is refused."""


class Dialect(NamedTuple):
    """What a database has for the kinds of `Column`."""

    types: Mapping[str, str]
    """The type with which a column of a kind is made."""
    fitting: Mapping[str, frozenset[str]]
    """The types of columns to which a kind may be written."""
    not_text: frozenset[str]
    """The types to which a kind that is not in `fitting` may not be written: it may be to all others."""
    quoted: Callable[[str], str]
    """An identifier, as it stands in a statement."""

    def fits(self, kind: str, column_type: str) -> bool:
        """Whether a kind may be written to a column of a type."""
        return column_type in self.fitting[kind] if kind in self.fitting else column_type not in self.not_text


def trigger_row(delivery: Delivery, data: Any) -> dict[str, Any]:
    """A delivery by the names of `TRIGGERS`; `data` is its value as the database takes it."""
    return {
        "id": delivery.id,
        "type": delivery.type,
        "subject": delivery.subject,
        "time": format_time(delivery.time_ms),
        "data": data,
        "source": delivery.source,
        "sequence": delivery.sequence,
    }


def stored(column: Column, value: Any, made: Mapping[str, Callable[[Any], Any]]) -> Any:
    """A field as the library of a database takes it, by the functions in `made` for kinds; any value but a null.

    Raises `ValueError` for one that is not of the column's kind, such as a list where the type says text: the library
    would refuse all of its batch, each time that it comes.
    """
    try:
        if column.kind != "json" and isinstance(value, (dict, list)):
            msg = "it has parts"
            raise TypeError(msg)
        make = made.get(column.kind)
        return value if make is None else make(value)
    except (TypeError, ValueError, OverflowError) as error:
        text = msgspec.json.encode(value).decode()
        shown = text if len(text) <= _SHOWN_MAX else f"{text[:_SHOWN_MAX]} …"
        msg = f"the field {column.name!r} is {shown}, which cannot be stored as {column.kind} ({error})"
        raise ValueError(msg) from error


def misfit_of_columns(
    dialect: Dialect,
    table: str,
    columns: Sequence[Column],
    found: Sequence[Found],
    *,
    may_lack: frozenset[str] = frozenset(),
) -> Optional[str]:
    """Why the columns that a table has cannot take the rows, and what to do; None where they can."""
    by_name = {column.name: column for column in found}
    for column in columns:
        there, made = by_name.get(column.name), dialect.types[column.kind]
        if there is None:
            if column.name in may_lack:
                continue
            statement = f"ALTER TABLE {table} ADD COLUMN {dialect.quoted(column.name)} {made}"
            return f"the table {table} has no column {column.name!r}: {statement}"
        if not dialect.fits(column.kind, there.type):
            return (
                f"the column {column.name!r} of the table {table} is {there.type}, and the values are {column.kind}: "
                f"expected {made}"
            )
    ours = {column.name for column in columns}
    needed = next((column.name for column in found if column.is_needed and column.name not in ours), None)
    if needed is not None:
        return f"the column {needed!r} of the table {table} needs a value and none has it: give it a default"
    return None


def not_unique(dialect: Dialect, table: str, key: Sequence[str]) -> str:
    """What is said of a table in which two rows may have one key."""
    shown = ", ".join(map(dialect.quoted, key))
    return f"nothing says that {shown} is unique in the table {table}: ALTER TABLE {table} ADD UNIQUE ({shown})"
