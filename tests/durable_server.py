"""A server of the views and functions of a group, in a thread, and requests to it."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from tests.durable_harness import Group

pytest.importorskip("uvicorn", reason="the extra `serve` is not installed")

from tests.web_harness import served as served_by

from headway.plan.planner import compile_plan
from headway.serving.app import ViewsApp
from headway.serving.state import DecisionState
from headway.web.middleware import Gate, guarded


@contextmanager
def served(group: Group) -> Iterator[str]:
    state = DecisionState(compile_plan(group.flow.graph), group.state)
    state.refresh()
    gate = Gate()
    app = ViewsApp(state, wall_ms=lambda: time.time_ns() // 1_000_000, first_s=0.0, callees=group.flow.callees)
    guard = guarded(app, gate=gate, tokens=None, hosts={"localhost", "127.0.0.1"})
    try:
        with served_by(guard, gate=gate) as address:
            try:
                yield f"http://{address}"
            finally:
                app.end()
    finally:
        state.close()


def asked(url: str, body: bytes | None = None) -> tuple[int, Any]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body)) as response:
            return response.status, json.loads(response.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())
