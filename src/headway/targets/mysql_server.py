"""What a server of MySQL or MariaDB says of a table: made where it is not there, and looked at whether it fits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Optional

from headway.errors import UsageError
from headway.targets.mysql_table import MysqlTable, Unique
from headway.targets.sql_table import Found

__all__ = ["fitted"]

_COLLATIONS: Final = ("utf8mb4_0900_bin", "utf8mb4_nopad_bin", "utf8mb4_bin")
"""By which texts differ that differ in anything, also in a space at their end, but for the last, which all have."""
_COLUMNS: Final = """
SELECT column_name, data_type,
       is_nullable = 'NO' AND column_default IS NULL
       AND extra NOT LIKE '%%auto_increment%%' AND extra NOT LIKE '%%GENERATED%%'
FROM information_schema.columns
WHERE table_schema = COALESCE(%s, DATABASE()) AND table_name = %s ORDER BY ordinal_position
"""
_UNIQUES: Final = """
SELECT s.index_name, s.column_name, c.extra LIKE '%%auto_increment%%', s.sub_part
FROM information_schema.statistics s JOIN information_schema.columns c
  ON c.table_schema = s.table_schema AND c.table_name = s.table_name AND c.column_name = s.column_name
WHERE s.table_schema = COALESCE(%s, DATABASE()) AND s.table_name = %s AND s.non_unique = 0
"""
_ENGINE: Final = """
SELECT t.engine, e.transactions
FROM information_schema.tables t JOIN information_schema.engines e ON e.engine = t.engine
WHERE t.table_schema = COALESCE(%s, DATABASE()) AND t.table_name = %s
"""


def fitted(cursor: Any, table: MysqlTable) -> list[Found]:
    """The columns of a table, which is made where it is not there. Raises `UsageError` where it does not fit."""
    cursor.execute("SELECT collation_name FROM information_schema.collations WHERE character_set_name = 'utf8mb4'")
    known = {name for (name,) in cursor.fetchall()}
    cursor.execute(_COLUMNS, table.place)
    is_there = bool(cursor.fetchall())
    creation = table.creation(next((name for name in _COLLATIONS if name in known), _COLLATIONS[-1]))
    for statement in creation[is_there:]:
        cursor.execute(statement)
    cursor.execute(_COLUMNS, table.place)
    found = [Found(name, kind.lower(), bool(is_needed)) for name, kind, is_needed in cursor.fetchall()]
    cursor.execute(_UNIQUES, table.place)
    misfit = table.misfit(found, _uniques(cursor.fetchall()))
    cursor.execute(_ENGINE, table.place)
    engine, transactions = cursor.fetchone() or ("an unknown engine", "NO")
    if misfit is None and transactions != "YES":
        misfit = (
            f"the table {table.name} is of {engine}, which has no transactions: ALTER TABLE {table.name} ENGINE=InnoDB"
        )
    if misfit is not None:
        raise UsageError(misfit)
    return found


def _uniques(found: Sequence[tuple[str, str, Any, Optional[int]]]) -> list[Unique]:
    """The unique indexes of a table. Of one that looks at the beginning of a text only, no column says more."""
    by_name: dict[str, list[tuple[str, bool]]] = {}
    for name, column, counts, beginning in found:
        shown = column if beginning is None else f"{column}({beginning})"
        by_name.setdefault(name, []).append((shown, bool(counts)))
    return [
        Unique(name, frozenset(column for column, _ in columns), any(counts for _, counts in columns))
        for name, columns in by_name.items()
    ]
