"""Looking at MySQL and MariaDB: the tables of a database, and about how many rows are in them."""

from __future__ import annotations

from contextlib import closing
from typing import Final

from headway.basics.needed import needed
from headway.errors import InputError
from headway.probing.base import NAMES_SHOWN, Look, Named, Probe
from headway.targets.mysql_url import MysqlUrl
from headway.targets.mysql_words import told

__all__ = ["MysqlProbe"]

_ANSWER_S: Final = 10
_TABLES: Final = """
SELECT t.table_name, COALESCE(t.table_rows, 0), COALESCE(t.engine, t.table_type)
FROM information_schema.tables t WHERE t.table_schema = DATABASE() ORDER BY t.table_name
"""
_COLUMNS: Final = """
SELECT table_name, column_name, column_type
FROM information_schema.columns WHERE table_schema = DATABASE() ORDER BY table_name, ordinal_position
"""
_CLIPPED: Final = 160


class MysqlProbe(Probe):
    """One database."""

    unit = "table"
    extra = "mysql"

    def __init__(self, url: str) -> None:
        self._url = MysqlUrl(url)
        self.shown = f"mysql://{self._url.shown}"

    def look(self) -> Look:
        """The server, and the tables of the database that this user may see."""
        pymysql = needed("pymysql", "mysql", "headway connect check mysql://...")
        limits = {"connect_timeout": _ANSWER_S, "read_timeout": _ANSWER_S, "write_timeout": _ANSWER_S}
        try:
            with closing(pymysql.connect(**self._url.options(), charset="utf8mb4", **limits)) as connection:
                cursor = connection.cursor()
                cursor.execute("SELECT VERSION(), CURRENT_USER()")
                version, user = cursor.fetchone()
                cursor.execute(_TABLES)
                tables = cursor.fetchall()
                cursor.execute(_COLUMNS)
                columns: dict[str, list[str]] = {}
                for table, name, kind in cursor.fetchall():
                    columns.setdefault(table, []).append(f"{name} {kind}")
        except (pymysql.MySQLError, OSError, RuntimeError) as error:
            msg = f"{self.shown}: {told(error, self._url.secrets())}"
            raise InputError(msg) from error
        shown = [
            Named(name, f"about {rows:,} rows, {engine}: {', '.join(columns.get(name, []))[:_CLIPPED]}")
            for name, rows, engine in tables[:NAMES_SHOWN]
        ]
        server = "MariaDB" if "mariadb" in version.lower() else "MySQL"
        return Look(f"{server} {version}, as the user {user}", shown, len(tables) - len(shown))
