"""What a flow writes is never what it reads, however the paths are written and whenever the files appear."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

import headway as hw
from headway.declare.loading import FlowSpec
from headway.errors import FlowError, UsageError
from headway.runtime.run import RunOptions, RunResult, run_flow
from headway.runtime.stopping import StopFlag
from headway.runtime.supervisor import run_cluster

LINES = b"".join(b'{"user": "u%d", "at": %d}\n' % (number % 3, number) for number in range(20))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, with an input in it."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl").write_bytes(LINES)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def flow(read: str, *outputs: str, rotated: bool = False) -> hw.Flow:
    made = hw.Flow("f")
    source = made.source("events", hw.Json, hw.files(read, rotated=rotated), time="at")
    for number, output in enumerate(outputs):
        source.to(f"out{number}", hw.to_jsonl(output))
    return made


def options(**changes: object) -> RunOptions:
    return RunOptions(Path("state"), key_groups=2, epoch_ms=20, sync=False, **changes)  # type: ignore[arg-type]


def run(made: hw.Flow) -> RunResult:
    return run_flow(made, options())


def snapshot(directory: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file()}


def linked_directory(here: Path) -> None:
    (here / "alias").symlink_to("in")


def linked_output(here: Path) -> None:
    (here / "out.jsonl").symlink_to("in/a.jsonl")


def hard_linked_output(here: Path) -> None:
    os.link(here / "in" / "a.jsonl", here / "out.jsonl")


def linked_input(here: Path) -> None:
    (here / "out.jsonl").write_bytes(LINES)
    (here / "in" / "b.jsonl").symlink_to("../out.jsonl")


def made_directory(here: Path) -> None:
    (here / "state").mkdir()


def nothing(here: Path) -> None:
    pass


@pytest.mark.parametrize(
    ("prepare", "read", "output"),
    [
        (nothing, "in/a.jsonl", "in/a.jsonl"),
        (nothing, "in/a.jsonl", "./in/../in/a.jsonl"),
        (nothing, "in/a.jsonl", "{here}/in/a.jsonl"),
        (nothing, "in/*.jsonl", "in/out.jsonl"),
        (nothing, "in", "in/out.jsonl"),
        (nothing, "**/*.jsonl", "deep/down/out.jsonl"),
        (nothing, "in/*", "in/out"),
        (nothing, "in/a.jsonl*", "in/a.jsonl"),
        (nothing, "in/*.1", "in/out.jsonl"),
        (linked_directory, "in/*.jsonl", "alias/out.jsonl"),
        (linked_directory, "alias/*.jsonl", "in/out.jsonl"),
        (linked_output, "in/*.jsonl", "out.jsonl"),
        (hard_linked_output, "in/*.jsonl", "out.jsonl"),
        (linked_input, "in/*.jsonl", "out.jsonl"),
        (nothing, "state/*.json", "out.jsonl"),
        (made_directory, "state", "out.jsonl"),
        (nothing, "in/a.jsonl", "state/out.jsonl"),
        (nothing, "in/a.jsonl", "state/groups/out.jsonl"),
    ],
)
@pytest.mark.parametrize("rotated", [False, True])
def test_refused_at_the_start(
    here: Path, prepare: Callable[[Path], None], read: str, output: str, rotated: bool
) -> None:
    prepare(here)
    before = snapshot(here)
    with pytest.raises(UsageError, match=r"would read what it writes|writes that|in the state directory"):
        run(flow(read, output.format(here=here), rotated=rotated))
    assert snapshot(here) == before


@pytest.mark.parametrize(
    ("read", "output"),
    [("in/*.jsonl", "out.jsonl"), ("in", "in/out.txt"), ("*.jsonl", "in/out.jsonl"), ("in/a.jsonl", "in/b.jsonl")],
)
def test_what_does_not_meet_runs(here: Path, read: str, output: str) -> None:
    (here / "b.jsonl").write_bytes(LINES)
    assert run(flow(read, output)).stats.events == 20


@pytest.mark.parametrize("other", ["./out.jsonl", "{here}/out.jsonl", "hard.jsonl", "link.jsonl", "alias/out.jsonl"])
def test_two_outputs_to_one_file_are_refused(here: Path, other: str) -> None:
    (here / "out.jsonl").write_bytes(b"mine\n")
    os.link("out.jsonl", "hard.jsonl")
    (here / "link.jsonl").symlink_to("out.jsonl")
    (here / "alias").symlink_to(".")
    with pytest.raises(FlowError, match=r"'out1': file .* is written by 'out0' already"):
        flow("in/*.jsonl", "out.jsonl", other.format(here=here))


def test_a_link_between_two_outputs_that_is_made_later_is_refused(here: Path) -> None:
    made = flow("in/*.jsonl", "out.jsonl", "link.jsonl")
    (here / "out.jsonl").write_bytes(b"mine\n")
    (here / "link.jsonl").symlink_to("out.jsonl")
    with pytest.raises(UsageError, match=r"'out0' and 'out1' write the same file, out\.jsonl and link\.jsonl: give"):
        run(made)
    assert (here / "out.jsonl").read_bytes() == b"mine\n"


class StopsAfter(StopFlag):
    """Does something on the way, and stops a run some looks later."""

    def __init__(self, act: Callable[[], None], looks: int = 60) -> None:
        super().__init__()
        self._act: Callable[[], None] | None = act
        self._left = looks

    def __call__(self) -> bool:
        self._left -= 1
        if self._left < 40 and self._act is not None:
            self._act()
            self._act = None
        return self._left < 0 or super().__call__()


@pytest.mark.parametrize("kind", ["link", "hard link", "state", "moved aside"])
def test_what_appears_while_following_is_passed_over_and_told(
    here: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headway.runtime.discovery.Discovery.is_due", lambda self, now_ms: True)

    def appear() -> None:
        if kind == "link":
            (here / "in" / "b.jsonl").symlink_to("../out.jsonl")
        elif kind == "hard link":
            os.link("out.jsonl", "in/b.jsonl")
        elif kind == "state":
            (here / "in" / "b.jsonl").symlink_to("../state/flow.json")
        else:
            (here / "in" / "b.jsonl").symlink_to("../out.jsonl.7")
            (here / "out.jsonl.7").write_bytes(LINES)

    result = run_flow(flow("in/*.jsonl", "out.jsonl"), options(follow=True), stop=StopsAfter(appear))
    assert (here / "in" / "b.jsonl").exists()
    assert result.stats.events == 20
    (notice,) = [notice for worker in result.stats.workers for notice in worker.notices]
    assert notice.startswith("in/b.jsonl matches in/*.jsonl and is not read: the ")


def test_with_two_workers(here: Path) -> None:
    (here / "f.py").write_text(
        "import headway as hw\n"
        'flow = hw.Flow("f")\n'
        'source = flow.source("events", hw.Json, hw.files("in/*.jsonl"), time="at")\n'
        'source.to("out", hw.to_jsonl("in/a.jsonl"))\n'
    )
    with pytest.raises(UsageError, match="the flow would read what it writes"):
        run_cluster(FlowSpec(str(here / "f.py")), options(workers=2))
    assert json.loads((here / "in" / "a.jsonl").read_text().splitlines()[0]) == {"user": "u0", "at": 0}
