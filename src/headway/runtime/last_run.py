"""`last-run.json`: the counts with which the last run ended, for people."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

import msgspec

from headway.runtime.stats import RunStats
from headway.state.files import state_files
from headway.state.private import write_private

__all__ = ["forget_stats", "load_stats", "save_stats", "stats_path"]


def stats_path(state_dir: Path) -> Path:
    """Where the counts of the last run are kept, for people."""
    return state_dir / "last-run.json"


def load_stats(state_dir: Path) -> Optional[RunStats]:
    """The counts of the last run that ended; None where there was none."""
    path = stats_path(state_dir)
    try:
        with state_files(path, "read"):
            return msgspec.json.decode(path.read_bytes(), type=RunStats) if path.exists() else None
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def save_stats(state_dir: Path, stats: RunStats) -> None:
    """Keep the counts of this run."""
    path = stats_path(state_dir)
    with state_files(path, "write"):
        write_private(path, msgspec.json.encode(stats))


def forget_stats(state_dir: Path) -> None:
    """Remove these counts."""
    path = stats_path(state_dir)
    with state_files(path, "remove"):
        path.unlink(missing_ok=True)
