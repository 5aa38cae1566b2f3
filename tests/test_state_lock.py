"""Two runs cannot share a state directory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from headway.errors import LockedStateError
from headway.state.lock import DirectoryLock


def test_the_second_is_told_who_holds_it(tmp_path: Path) -> None:
    directory = tmp_path / "new" / "state"
    with (
        DirectoryLock.acquire(directory) as lock,
        pytest.raises(LockedStateError, match=rf"state directory {directory} is in use by process {os.getpid()}: wait"),
    ):
        DirectoryLock.acquire(directory)
    lock.release()
    DirectoryLock.acquire(directory).release()


def test_a_process_that_dies_gives_it_back(tmp_path: Path) -> None:
    code = (
        "import os, sys; from headway.state.lock import DirectoryLock\n"
        "lock = DirectoryLock.acquire(sys.argv[1]); print('held', flush=True); sys.stdin.read()"
    )
    arguments = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(LockedStateError, match=rf"in use by process {holder.pid}"):
            DirectoryLock.acquire(tmp_path)
        holder.kill()
        holder.wait()
    with DirectoryLock.acquire(tmp_path):
        assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"
