"""A flow that can fail in many ways, run as the command in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

FLOW = """
import sys
import headway as hw

class Click(hw.Event):
    user: str
    at: hw.Time
    pad: str = ""

class Seen(hw.State):
    clicks: int = 0
    pad: str = ""

class Odd(BaseException):
    pass

class Count(hw.Operator[Click, Seen]):
    def on_event(self, state, event, ctx):
        state.clicks += 1
        state.pad = event.pad
        if event.at == 250:
            BOOMS[boom]()
        ctx.emit({"clicks": state.clicks, "at": event.at})

def fail(error):
    raise error

def recurse():
    recurse()

def die():
    import os
    os._exit(3)

BOOMS = {
    "none": lambda: None,
    "exit": lambda: sys.exit(9),
    "exit-text": lambda: sys.exit("bye"),
    "interrupt": lambda: fail(KeyboardInterrupt),
    "generator": lambda: fail(GeneratorExit),
    "stop": lambda: fail(StopIteration),
    "odd": lambda: fail(Odd("odd")),
    "pipe": lambda: fail(BrokenPipeError()),
    "disk": lambda: fail(OSError(28, "full")),
    "memory": lambda: fail(MemoryError()),
    "recursion": recurse,
    "die": die,
}

flow = hw.Flow("clicks")
boom = flow.param("boom", "none")
rotated = flow.param("rotated", False)
split = flow.param("split", 1)
out = flow.param("out", "out.jsonl")
if flow.param("marker", False):
    open("imported", "w").close()
    import time
    for _ in range(600):  # A signal just before a sleep begins does not cut that sleep short.
        time.sleep(0.1)
clicks = flow.source("clicks", Click, hw.files("in-*.jsonl", rotated=rotated, split=split), time="at")
clicks.key_by("user").process("count", Count()).to("counted", hw.to_jsonl(out) if out else hw.to_stdout())
"""


def feed(events: int, pad: int = 0) -> None:
    for part in range(2):
        with Path(f"in-{part}.jsonl").open("w") as log:
            for at in range(1 + part, events + 1, 2):
                # Text that does not compress.
                noise = os.urandom(pad // 2).hex()
                log.write(json.dumps({"user": f"user{at}", "at": at, "pad": noise}) + "\n")


def command(*args: object, **options: Any) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "headway", "run", "flow.py", "--quiet", "--key-groups", "4", *map(str, args)]
    return subprocess.run(line, capture_output=True, text=True, check=False, timeout=120, **options)


def check_told(done: subprocess.CompletedProcess[str], code: int, *told: str) -> None:
    """One message, in one line, with all of `told` in it."""
    assert done.returncode == code, done.stderr
    assert done.stderr.startswith("headway: error: ") and done.stderr.count("\n") == 1, done.stderr
    for text in told:
        assert text in done.stderr
