"""The README's way through the command: generated, run, killed, gone on with, and compared."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

README = (Path(__file__).parent.parent / "README.md").read_text()
SMALLER = {"--events 1000000": "--events {events}", "-gt 10000": "-gt {after}"}


def shell_blocks() -> list[str]:
    """What the README lets its reader type, from the generated stream to the look at the state."""
    part = README.partition("This is `carts.py`")[2].partition("The flows in [`flows/`]")[0]
    return re.findall(r"^```sh\n(.*?)^```$", part, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(
    ("events", "after"), [(800_000, 8_000), pytest.param(1_000_000, 10_000, marks=pytest.mark.soak)]
)
def test_break_it(tmp_path: Path, events: int, after: int) -> None:
    """Both kills hit a run that is under way; the next run says where it goes on, and every file is as it was."""
    flow = re.search(r"This is `carts.py`.*?```python\n(.*?)```", README, re.DOTALL)
    assert flow is not None
    (tmp_path / "carts.py").write_text(flow[1])
    script = "set -e\n" + "\n".join(shell_blocks())
    for text, other in SMALLER.items():
        assert text in script
        script = script.replace(text, other.format(events=events, after=after))
    bin_dir = tmp_path / "bin"
    bin_dir.mkdir()
    command = bin_dir / "headway"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m headway "$@"\n')
    command.chmod(0o755)
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{bin_dir}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    told = re.findall(
        r"^carts: resumed after ([\d,]+) events; the input is read to its end$", done.stderr, re.MULTILINE
    )
    assert [0 < int(count.replace(",", "")) < events for count in told] == [True], done.stderr
    assert re.search(r"worker \d \(process \d+\) was killed by SIGKILL; restarting all 2 workers", done.stderr)
    assert "all as expected" in done.stdout
