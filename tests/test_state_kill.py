"""A process that is killed while it commits leaves the last version or the one before, whole."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from headway.state.group import GroupStore
from headway.state.inputs import InputCodec
from headway.state.stage import OperatorSpec, StageStore

ROWS = 40

# Version v: each row holds v and has a timer at v; one record waits for each version.
WRITER = """
import sys
from tests.test_state_kill import ROWS, open_stage
group, stage = open_stage(sys.argv[1])
stage.resume(int(sys.argv[2]) if len(sys.argv) > 2 else None)
while True:
    version = stage.version + 1
    for number in range(ROWS):
        row = stage.tables[0].fetch(f"k{number}")
        row.state["version"] = version
        row.state["filling"] = "x" * 10_000
        stage.tables[0].mark(row)
        stage.tables[0].set_timer(row, "idle", version)
    stage.waiting.add(0, "p", [(version, "k", version)])
    assert stage.commit({"version": version}) == version
    print(version, flush=True)
"""


def open_stage(directory: str) -> tuple[GroupStore, StageStore]:
    group = GroupStore.open(directory, 0)
    return group, group.stage("s", [OperatorSpec("op", dict)], [InputCodec()])


def write_and_kill(directory: Path, token: int | None, commits: int) -> int:
    """Let a process commit at least `commits` times, kill it, return the last version that it told of."""
    arguments = [sys.executable, "-c", WRITER, str(directory), *([] if token is None else [str(token)])]
    root = Path(__file__).parents[1]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, cwd=root) as writer:
        assert writer.stdout is not None
        for _ in range(commits):
            assert writer.stdout.readline()
        writer.kill()
        told = writer.stdout.read().split()
    return (token or 0) + commits + len(told)


def test_the_last_version_told_is_whole_after_a_kill(tmp_path: Path) -> None:
    token: int | None = None
    for commits in (1, 3, 6):
        token = write_and_kill(tmp_path, token, commits)
        group, stage = open_stage(str(tmp_path))
        with group:
            assert stage.resume(token) == {"version": token}
            rows = [stage.tables[0].fetch(f"k{number}") for number in range(ROWS)]
            assert {row.state["version"] for row in rows} == {token}
            assert {row.timers["idle"] for row in rows if row.timers} == {token}
            assert (stage.row_count, stage.timer_count, len(stage.waiting)) == (ROWS, ROWS, token)
            stage.timers.check_valid()
