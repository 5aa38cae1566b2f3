"""What the page about backups lets its reader do: lose a disk on purpose, and get every trigger back."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = (Path(__file__).parent.parent / "docs" / "backups.md").read_text()


@pytest.mark.parametrize("events", [150_000, pytest.param(1_000_000, marks=pytest.mark.soak)])
def test_lose_a_disk(tmp_path: Path, events: int) -> None:
    part = PAGE.partition("## Lose a disk")[2].partition("\n## ")[0]
    script = "set -e\n" + "\n".join(re.findall(r"^```sh\n(.*?)^```$", part, re.MULTILINE | re.DOTALL))
    assert "--events 1000000" in script
    script = script.replace("--events 1000000", f"--events {events} --quiet")
    command = tmp_path / "bin" / "headway"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m headway "$@"\n')
    command.chmod(0o755)
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{command.parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"abandoned-carts: goes on from the backup backup-\S+ of .* in file:elsewhere", done.stderr)
    assert "all objects are as they were sent" in done.stdout
    assert (tmp_path / "found.jsonl").read_bytes().count(b"\n") > events / 100
