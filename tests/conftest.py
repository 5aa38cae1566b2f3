"""What all tests share: where they write."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Optional

import pytest
from hypothesis import settings
from tests.slow import name_of, slow_tests

collect_ignore = ["littlehorse_cases.py", "resonate_app.py"]
"""Programs that tests start in environments of their own, with libraries that are not in this one."""

MEMORY = Path("/dev/shm")
ROOM_BYTES = 1 << 30
EXAMPLES = float(os.environ.get("HEADWAY_EXAMPLES", "0.6"))
"""By what the numbers of examples of all properties are multiplied: 1 is what their files say, 10 is a day's search."""
LEAST_EXAMPLES = 5


def pytest_configure(config: pytest.Config) -> None:
    """Say where the tests and their processes write: before anything asks for it."""
    # How long an example takes is not asserted: the machine may be busy with something else.
    # How many there are is what fits into ten minutes together with all other tests; see `EXAMPLES`.
    settings.register_profile("headway", deadline=None, print_blob=True, max_examples=50)
    settings.load_profile("headway")
    _write_to_memory()
    _keep_bytecode(config.rootpath / ".pytest_cache" / "bytecode")


def pytest_sessionfinish() -> None:
    """End the servers that tests of this process have started, if any have."""
    servers = sys.modules.get("tests.servers")
    if servers is not None:
        servers.end_servers()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each property its share of the time, and mark what is slow."""
    slow = slow_tests()
    for item in items:
        if name_of(item.nodeid) in slow:
            item.add_marker(pytest.mark.slow)
        function = getattr(item, "obj", None)
        given: Optional[settings] = getattr(function, "_hypothesis_internal_use_settings", None)
        if given is not None and item.get_closest_marker("soak") is None:
            count = max(min(given.max_examples, LEAST_EXAMPLES), round(given.max_examples * EXAMPLES))
            vars(getattr(function, "__func__", function))["_hypothesis_internal_use_settings"] = settings(
                given, max_examples=count
            )


def _write_to_memory() -> None:
    """Write to memory where there is room, unless TMPDIR says where.

    A run of the engine on ten events syncs files some fifty times: on a disk it waits for most of its time. What is
    proved does not depend on it, because processes are killed, and not the machine.
    """
    if "TMPDIR" not in os.environ and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free >= ROOM_BYTES:
        os.environ["TMPDIR"] = tempfile.tempdir = str(MEMORY)


def _keep_bytecode(directory: Path) -> None:
    """Let the processes that tests start share what they compile, also where nothing may be written beside the code.

    Some hundreds are started, and compiling takes a third of their start.
    """
    if os.environ.pop("PYTHONDONTWRITEBYTECODE", ""):
        os.environ.setdefault("PYTHONPYCACHEPREFIX", str(directory))
