"""What all tests share: where they write, and a garbage collector that leaves the tests themselves alone."""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from unittest.mock import patch

import pytest

from headway.runtime import engine

MEMORY = Path("/dev/shm")
ROOM_BYTES = 1 << 30


def pytest_configure(config: pytest.Config) -> None:
    """Say where the tests and their processes write: before anything asks for it."""
    _write_to_memory()
    _keep_bytecode(config.rootpath / ".pytest_cache" / "bytecode")


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


@pytest.fixture(autouse=True, scope="session")
def still_collector() -> Iterator[None]:
    """Let no run of the engine walk over all objects of pytest, of Hypothesis and of a thousand tests.

    That would take longer than most runs do. Runs in processes of their own do as always.
    """
    gc.collect()
    gc.freeze()
    with patch.object(engine, "quiet_collector", nullcontext):
        yield
    gc.unfreeze()  # Else modules written in C call it a leak.
