"""What tests of workflow engines share: the applications that run beside the server, each a process of its own."""

from __future__ import annotations

import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeVar

ROOT = Path(__file__).parent.parent
PATIENCE_S = 60.0
"""How long a busy machine may take for what usually takes a moment."""
Found = TypeVar("Found")


def once_there(look: Callable[[], Found], what: str) -> Found:
    """What another process gives, once there is anything; it is asked again and again for a while."""
    until_s = time.monotonic() + PATIENCE_S
    while not (found := look()):
        assert time.monotonic() < until_s, f"waited {PATIENCE_S:g} s in vain for {what}"
        time.sleep(0.02)
    return found


def first_line(process: subprocess.Popen[Any]) -> bytes:
    """What a process says first; empty where it ends, or says nothing for a while."""
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], PATIENCE_S)
    return process.stdout.readline() if ready else b""


@contextmanager
def application(module: str, *arguments: str) -> Iterator[None]:
    """A module as a process, from when it says that it is ready until its standard input ends."""
    command = [sys.executable, "-m", module, *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        try:
            assert first_line(process) == b"ready\n", f"{module} is not ready: it has ended with {process.poll()}"
            yield
        finally:
            process.stdin.close()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()


def contract_ids(count: int) -> list[str]:
    """The ids of the first triggers that `check_target` delivers."""
    return [blake2b(str(number).encode(), digest_size=16).hexdigest() for number in range(count)]
