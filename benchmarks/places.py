"""Where servers for tests and benchmarks are installed, and ports for them."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Optional

__all__ = ["SERVICES", "fetched", "free_ports"]

SERVICES: Final = Path(__file__).resolve().parent.parent / ".services"
"""The folder of the project in which `make services` installs what a package manager of the system does not."""


def free_ports(count: int) -> list[int]:
    """So many ports of loopback that nobody listens on now."""
    held = [socket.socket() for _ in range(count)]
    try:
        for one in held:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in held]
    finally:
        for one in held:
            one.close()


def fetched(command: Sequence[str], directory: Optional[Path] = None) -> Optional[str]:
    """Run a command that fetches something, again when it fails; returns what it said last, None where it succeeded."""
    for pause_s in (0, 5, 20):
        time.sleep(pause_s)
        ran = subprocess.run(
            command, cwd=directory, check=False, text=True, errors="replace", timeout=900,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        if ran.returncode == 0:
            return None
    return ran.stdout.strip()[-600:]
