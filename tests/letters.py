"""Reading the dead letters of a run, for tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def letters_of(state_dir: Path) -> list[dict[str, Any]]:
    """All dead letters: those of each partition in the order of its log."""
    files = sorted((state_dir / "dead-letters").glob("*/*.jsonl"))
    return [json.loads(line) for path in files for line in path.read_text().splitlines()]
