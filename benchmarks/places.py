"""Where servers for tests and benchmarks are installed, and ports for them."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Final

__all__ = ["SERVICES", "free_ports"]

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
