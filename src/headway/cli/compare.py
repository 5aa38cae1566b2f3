"""Whether a flow found what a generated stream holds: abandoned carts, or the triggers of other flows."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headway.cli.escapes import printable
from headway.cli.texts import count_text
from headway.errors import InputError

__all__ = ["Outcome", "compare"]

SHOWN = 10
Record = tuple[str, str, str, str]
"""Time, subject, type, and the data as JSON with sorted keys: records sort as they happened.

The type is empty where only one is to be found: a shop's expected result holds nothing but abandoned carts.
"""


@dataclass(frozen=True)
class Outcome:
    """What a comparison found."""

    expected: int
    """How many records there should be."""
    found: int
    """How many there are."""
    missing: list[Record]
    """Expected, but not found."""
    surplus: list[Record]
    """Found, but not expected; or found once too often."""
    noun: str = "abandoned cart"
    """What a record is."""

    @property
    def equal(self) -> bool:
        """Whether both hold the same."""
        return not self.missing and not self.surplus

    def as_dict(self) -> dict[str, Any]:
        """The numbers, and all differences, as JSON values."""
        return {
            "equal": self.equal,
            "expected": self.expected,
            "found": self.found,
            "missing": [_as_dict(record) for record in self.missing],
            "surplus": [_as_dict(record) for record in self.surplus],
        }

    def as_text(self) -> str:
        """One line, or the first differences."""
        if self.equal:
            return f"{count_text(self.expected, self.noun)}, all as expected"
        lines = [
            f"not as expected: {self.expected:,} {self.noun}s expected, {self.found:,} found; "
            f"{len(self.missing):,} missing, {len(self.surplus):,} not expected"
        ]
        differences = sorted([(record, "-") for record in self.missing] + [(record, "+") for record in self.surplus])
        lines += [f"  {sign} {'  '.join(map(printable, filter(None, record)))}" for record, sign in differences[:SHOWN]]
        if len(differences) > SHOWN:
            lines.append(f"  ... and {len(differences) - SHOWN:,} more (- is missing, + is not expected)")
        else:
            lines.append("  (- is missing, + is not expected)")
        return "\n".join(lines)


def compare(expected: Path, *triggers: Path) -> Outcome:
    """Compare files of CloudEvents with the expected result, or the directory that holds it, in any order.

    Holds all records in memory. Raises `InputError` for a file that cannot be read or holds something else.
    """
    if expected.is_dir():
        expected = expected / "expected.jsonl"
    wanted = Counter(_records(expected, typed=True))
    typed = any(kind for _, _, kind, _ in wanted)
    found = Counter(record for path in triggers for record in _records(path, typed=typed))
    missing = sorted((wanted - found).elements())
    surplus = sorted((found - wanted).elements())
    return Outcome(wanted.total(), found.total(), missing, surplus, "trigger" if typed else "abandoned cart")


def _records(path: Path, *, typed: bool) -> Iterator[Record]:
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                yield _record(path, number, line, typed)
    except OSError as error:
        msg = f"cannot read {path}: {error.strerror or error}"
        raise InputError(msg) from error


def _record(path: Path, number: int, line: bytes, typed: bool) -> Record:
    try:
        record = json.loads(line)
        kind = str(record.get("type", "")) if typed else ""
        return str(record["time"]), str(record["subject"]), kind, json.dumps(record["data"], sort_keys=True)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        msg = (
            f"{path}:{number} is not a {'trigger' if typed else 'cart'}: expected JSON with subject, time and data, "
            f"got {line[:80].decode(errors='backslashreplace').rstrip()!r} ({type(error).__name__}: {error})"
        )
        raise InputError(msg) from error


def _as_dict(record: Record) -> dict[str, Any]:
    time, subject, kind, data = record
    return {**({"type": kind} if kind else {}), "time": time, "subject": subject, "data": json.loads(data)}
