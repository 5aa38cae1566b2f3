"""Triggers into LittleHorse, in a process with its client: see `tests.littlehorse_cases`."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from tests.engines_harness import ROOT
from tests.servers import missing
from tests.services import LITTLEHORSE

import headway as hw
from headway.errors import UsageError


def test_the_cases() -> None:
    if not LITTLEHORSE.is_dir():
        missing("the client of LittleHorse is not installed: make services")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(LITTLEHORSE), os.environ.get("PYTHONPATH", "")])}
    # Warnings of its client are its own.
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "default"]
    ran = subprocess.run(
        [*command, "tests/littlehorse_cases.py"],
        check=False,
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stdout[-5_000:]


def test_who_lacks_the_client_is_told_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "littlehorse", None)
    with pytest.raises(UsageError, match=r"pip install 'headway\[littlehorse\]'"):
        hw.to_littlehorse("localhost:2023", workflow="told").check()
