"""A server of MariaDB on a port and in a directory of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, Optional

from benchmarks.small_servers import SmallServer

__all__ = ["MariadbServer", "find_mariadb"]


def find_mariadb() -> Optional[Path]:
    """The server of MariaDB, of the system; None where it is not installed."""
    found = shutil.which("mariadbd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    return None if found is None else Path(found)


class MariadbServer(SmallServer):
    """MariaDB, which syncs its log at each commit; the user is `root`, without a password."""

    name = "mariadb"
    ready_s = 60.0

    def prepare(self) -> None:
        """Make an empty database."""
        installer = shutil.which("mariadb-install-db")
        assert installer is not None, "it has to be installed first"
        command = [installer, "--no-defaults", f"--datadir={self.directory / 'data'}", "--skip-test-db"]
        command += ["--auth-root-authentication-method=normal", f"--user={_user()}"]
        ran = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
        assert ran.returncode == 0, ran.stdout + ran.stderr

    @property
    def url(self) -> str:
        return f"mysql://root@127.0.0.1:{self.port}/shop"

    def command(self) -> list[str]:
        program = find_mariadb()
        assert program is not None, "it has to be installed first"
        options = {
            "datadir": str(self.directory / "data"),
            # A server that starts removes temporary tables from it, also those of others.
            "tmpdir": str(self.directory / "data"),
            "bind-address": "127.0.0.1",
            "port": str(self.port),
            "socket": str(self.directory / "s"),
            "pid-file": str(self.directory / "pid"),
            "user": _user(),
            "innodb-buffer-pool-size": "16M",
            "max-allowed-packet": "4M",
        }
        return [str(program), "--no-defaults", *(f"--{name}={value}" for name, value in options.items())]

    def is_ready(self) -> bool:
        """Whether it answers, and has the database."""
        import pymysql

        if not super().is_ready():
            return False
        try:
            self.query("CREATE DATABASE IF NOT EXISTS shop", database=None)
        except pymysql.MySQLError:
            return False
        return True

    def query(self, text: str, *given: Any, database: Optional[str] = "shop") -> list[tuple[Any, ...]]:
        import pymysql

        connection = pymysql.connect(
            host="127.0.0.1", port=self.port, user="root", database=database, charset="utf8mb4", autocommit=True
        )
        with connection, connection.cursor() as cursor:
            cursor.execute(text, given or None)
            return list(cursor.fetchall())


def _user() -> str:
    """The server does not run as root unless it is told to."""
    import pwd

    return pwd.getpwuid(os.geteuid()).pw_name
