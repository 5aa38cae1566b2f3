"""Looking at PostgreSQL: the tables that we may read, and about how many rows are in them."""

from __future__ import annotations

from typing import Final

from headway.basics.dsn import Dsn
from headway.basics.needed import needed
from headway.basics.secret import hide
from headway.connectors.base import Input
from headway.connectors.postgres_log import postgres_log
from headway.errors import InputError
from headway.probing.base import NAMES_SHOWN, Look, Named, Probe

__all__ = ["PostgresProbe"]

_TABLES: Final = """
select case when pg_table_is_visible(c.oid) then c.relname else n.nspname || '.' || c.relname end,
    greatest(c.reltuples, 0)::bigint, has_table_privilege(c.oid, 'select'),
    (select string_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod), ', ' order by a.attnum)
     from pg_attribute a where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped)
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'p', 'v', 'm') and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
order by 1
"""
_CLIPPED: Final = 160


class PostgresProbe(Probe):
    """One database."""

    unit = "table"
    extra = "postgres"

    def __init__(self, url: str) -> None:
        self._url = url
        self._dsn = Dsn(url)
        self.shown = f"postgresql://{self._dsn.shown}"

    def look(self) -> Look:
        """The server, and the tables but for those of the catalogue."""
        psycopg = needed("psycopg", "postgres", "headway connect check postgresql://...")
        try:
            with psycopg.connect(self._dsn.read(), connect_timeout=10) as connection:
                [(version, user)] = connection.execute("select current_setting('server_version'), current_user")
                tables = connection.execute(_TABLES).fetchall()
        except psycopg.Error as error:
            text = " ".join(hide(str(error), self._dsn.secrets()).split())
            msg = f"{self.shown}: {text}; check address and port, user and password, and the name of the database"
            raise InputError(msg) from error
        shown = [
            Named(name, f"about {rows:,} rows: {columns[:_CLIPPED]}" if may_read else "it may not be read by this user")
            for name, rows, may_read, columns in tables[:NAMES_SHOWN]
        ]
        return Look(f"PostgreSQL {version}, as the user {user}", shown, len(tables) - len(shown))

    def input(self, name: str) -> Input:
        """The table from its start, as a log of its transactions."""
        return postgres_log(self._url, name)

    def source(self, name: str) -> str:
        """With the database, without what is secret."""
        return f'hw.postgres_log("{self.reference or self.shown}", "{name}")'
