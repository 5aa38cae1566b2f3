"""`headway demo`: the whole story, with real processes."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest


def test_the_demo_tells_a_story_that_is_true() -> None:
    for needed in ("aiohttp", "uvicorn", "starlette"):
        pytest.importorskip(needed)
    done = subprocess.run(
        [sys.executable, "-m", "headway", "demo"], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert not done.stderr
    told = done.stdout
    assert "200 steps/0@0, duplicate" in told
    assert re.search(r"GET /v1/views/carts/ann +-> lamp for 49.00", told)
    assert re.search(r"GET /v1/views/carts/ben +-> no cart", told)
    hooks = re.findall(r"cart.abandoned (\w+) +.*, id (\w+)\.\.\., (.*)", told)
    assert len(hooks) == 4
    assert {user for user, _, _ in hooks} == {"ann", "cleo", "dan"}
    assert len({hook for _, hook, _ in hooks}) == 3, "the one that was refused came again with another id"
    assert all("its signature is right" in said for _, _, said in hooks)
    assert sum("503" in said for _, _, said in hooks) == 1
