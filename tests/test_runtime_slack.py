"""Which threads may be woken late: the one that waits for the engine, and none that works."""

from __future__ import annotations

import ctypes
import sys
import threading

import pytest

from headway.runtime.slack import patient, prompt

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a slack of timers for each thread")

_GET_SLACK = 30


def slack_ns() -> int:
    return int(ctypes.CDLL(None).prctl(_GET_SLACK, 0, 0, 0, 0))


def in_a_thread(early: list[int], late: list[int]) -> None:
    early.append(slack_ns())
    prompt()
    late.append(slack_ns())


def test_a_worker_is_prompt_though_the_thread_that_started_it_is_not() -> None:
    early: list[int] = []
    late: list[int] = []
    with patient():
        waiting = slack_ns()
        worker = threading.Thread(target=in_a_thread, args=(early, late))
        worker.start()
        worker.join()
    assert early == [waiting], "a thread begins with the slack of the one that starts it"
    assert late == [slack_ns()] and late[0] < waiting / 100
