"""What the engine shares within a process belongs to one run at a time."""

from __future__ import annotations

import pickle
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import headway as hw
from headway.errors import UsageError
from headway.runtime.run import RunOptions, run_flow
from headway.runtime.stopping import StopFlag


def flow_of(found: list[Any]) -> hw.Flow:
    flow = hw.Flow("f")
    flow.source("s", hw.Json, hw.items([{"at": 1}, {"at": 2}]), time="at").to("out", hw.to_list(found))
    return flow


def test_a_second_run_in_the_process_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    loads, hook = pickle.loads, sys.excepthook
    begun, go_on = threading.Event(), threading.Event()

    def hold() -> bool:
        begun.set()
        go_on.wait()
        return False

    found: list[Any] = []
    first = threading.Thread(
        target=run_flow, args=(flow_of(found), RunOptions(tmp_path / "one")), kwargs={"stop": StopFlag(also=hold)}
    )
    first.start()
    begun.wait()
    with pytest.raises(UsageError, match="another flow is running in this process"):
        run_flow(flow_of([]), RunOptions(tmp_path / "two"))
    go_on.set()
    first.join()
    assert found == [{"at": 1}]
    assert (pickle.loads, sys.excepthook) == (loads, hook)
    run_flow(flow_of(found), RunOptions(tmp_path / "two"))
    assert found == [{"at": 1}, {"at": 1}]
