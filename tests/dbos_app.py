"""An application of DBOS for tests: `python -m tests.dbos_app URL`. Its standard output says when it is ready."""

from __future__ import annotations

import os
import sys
from typing import Any

from dbos import DBOS

QUEUE = "triggers"


@DBOS.workflow(name="told")
def told(argument: Any) -> Any:
    """Says at once what it was started with."""
    return argument


@DBOS.workflow(name="waiting")
def waiting(argument: Any) -> Any:
    """Says what comes for it, until it is told to end."""
    found = []
    while (message := DBOS.recv("things", timeout_seconds=30)) is not None and message["data"] != "end":
        found.append(message["id"])
    return found


def main(url: str) -> None:
    DBOS(config={"name": "tests", "system_database_url": url, "application_version": "1", "log_level": "ERROR"})
    DBOS.launch()
    DBOS.register_queue(QUEUE, polling_interval_sec=0.05)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.read()
    DBOS.destroy()
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1])
