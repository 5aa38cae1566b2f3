"""What tests of workflow engines share: the applications that run beside the server, each a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path

ROOT = Path(__file__).parent.parent


@contextmanager
def application(module: str, *arguments: str) -> Iterator[None]:
    """A module as a process, from when it says that it is ready until its standard input ends."""
    command = [sys.executable, "-m", module, *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        try:
            assert process.stdout.readline() == b"ready\n", f"{module} has ended with {process.wait(10)}"
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
