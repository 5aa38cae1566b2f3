"""A run whose state directory is taken from under it ends, and writes nothing into what takes its place."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from headway.declare.loading import FlowSpec, load_flow
from headway.errors import StateError
from headway.runtime.run import RunOptions, run_flow
from headway.runtime.stopping import StopFlag
from headway.runtime.supervisor import run_cluster

FLOW = """
import headway as hw

flow = hw.Flow("f")
source = flow.source("s", hw.Json, hw.files({here!r} + "/in.jsonl"), time="at")
source.key_by("user").aggregate("n", n=hw.count()).to("out", hw.to_jsonl({here!r} + "/out.jsonl"))
"""


def moved(state: Path) -> None:
    state.rename(state.with_name("elsewhere"))


def replaced(state: Path) -> None:
    state.rename(state.with_name("elsewhere"))
    state.mkdir()


def removed(state: Path) -> None:
    shutil.rmtree(state)


def lock_removed(state: Path) -> None:
    (state / "lock").unlink()


def lock_replaced(state: Path) -> None:
    (state / "lock").unlink()
    (state / "lock").touch()


class Taking(StopFlag):
    """Does something to the directory once the run is under way; stops for good if nobody notices."""

    def __init__(self, act: Callable[[], None]) -> None:
        super().__init__()
        self._act = act
        self._looks = 0

    def __call__(self) -> bool:
        self._looks += 1
        if self._looks == 30:
            self._act()
        return self._looks > 2_000 or super().__call__()


@pytest.mark.parametrize("take", [moved, replaced, removed, lock_removed, lock_replaced])
@pytest.mark.parametrize("workers", [1, 2])
def test_it_is_noticed(tmp_path: Path, take: Callable[[Path], None], workers: int) -> None:
    (tmp_path / "in.jsonl").write_bytes(b"".join(b'{"user": "u", "at": %d}\n' % number for number in range(100)))
    (tmp_path / "f.py").write_text(FLOW.format(here=str(tmp_path)))
    spec = FlowSpec(str(tmp_path / "f.py"))
    state = tmp_path / "state"
    options = RunOptions(state, key_groups=2, epoch_ms=20, sync=False, follow=True, workers=workers)
    stop = Taking(lambda: take(state))
    with pytest.raises(StateError, match=r"state directory .*state was moved, removed or replaced, or the file lock"):
        if workers == 1:
            run_flow(load_flow(spec), options, stop=stop)
        else:
            run_cluster(spec, options, stop=stop)
    if take is replaced:
        assert list(state.iterdir()) == []
