"""What Linux knows of processes: memory, children, and how busy the machine is."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

__all__ = ["Memory", "busy_seconds", "cpu_of", "memory_of", "tree_of"]

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_IDLE_FIELDS: Final = {3, 4}
_GUEST_FIELDS: Final = {8, 9}  # counted in user and nice already


class Memory(NamedTuple):
    """Resident memory of one process, in bytes."""

    now: int
    peak: int


def memory_of(pid: int | str = "self") -> Memory:
    """The memory of a process, nothing for one that is gone.

    The peak is that of its program alone: what the parent held at the fork is not in it, as it is in `getrusage`.
    """
    now = peak = 0
    with suppress(FileNotFoundError, ProcessLookupError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                peak = int(line.split()[1]) * 1024
            elif line.startswith("VmRSS:"):
                now = int(line.split()[1]) * 1024
    return Memory(now, peak)


def cpu_of(pid: int) -> float:
    """CPU time of a living process, all its threads together, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def tree_of(pid: int) -> list[int]:
    """A process and all its descendants that live now."""
    found = [pid]
    for parent in found:
        with suppress(FileNotFoundError, ProcessLookupError):
            for thread in os.listdir(f"/proc/{parent}/task"):
                found += map(int, Path(f"/proc/{parent}/task/{thread}/children").read_text().split())
    return found


def busy_seconds() -> float:
    """CPU time that the whole machine has spent on anything so far, stolen time included."""
    with open("/proc/stat", encoding="ascii") as lines:
        fields = [int(field) for field in lines.readline().split()[1:]]
    return sum(ticks for index, ticks in enumerate(fields) if index not in _IDLE_FIELDS | _GUEST_FIELDS) / _TICKS
