"""Where and with what the figures were taken."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path

from benchmarks.processes import ROOT

__all__ = ["commit", "describe"]


def commit() -> str:
    """The commit that is checked out, marked when files have changed since; the date without git."""
    try:
        head = _git("rev-parse", "--short=10", "HEAD")
        return f"{head}-changed" if _git("status", "--porcelain", "--untracked-files=no") else head
    except (OSError, subprocess.CalledProcessError):
        return datetime.now(timezone.utc).strftime("%Y-%m-%d")


def describe() -> dict[str, str]:
    """Processor, memory, versions."""
    memory_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    packages = ("bytewax", "rocksdict", "msgspec", "orjson")
    return {
        "commit": commit(),
        "at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "memory": f"{memory_bytes / 2**30:.0f} GiB",
        "python": platform.python_version(),
        **{package: version(package) for package in packages},
    }


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(ROOT), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
