"""Whether a flow found the abandoned carts that a generated stream holds."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headway.cli.texts import count_text
from headway.errors import InputError

__all__ = ["Outcome", "compare"]

SHOWN = 10
Cart = tuple[str, str, str]
"""Time, user, and the data as JSON with sorted keys: carts sort as they happened."""


@dataclass(frozen=True)
class Outcome:
    """What a comparison found."""

    expected: int
    """How many carts there should be."""
    found: int
    """How many there are."""
    missing: list[Cart]
    """Expected, but not found."""
    surplus: list[Cart]
    """Found, but not expected; or found once too often."""

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
            "missing": [_record(cart) for cart in self.missing],
            "surplus": [_record(cart) for cart in self.surplus],
        }

    def as_text(self) -> str:
        """One line, or the first differences."""
        if self.equal:
            return f"{count_text(self.expected, 'abandoned cart')}, all as expected"
        lines = [
            f"not as expected: {self.expected:,} abandoned carts expected, {self.found:,} found; "
            f"{len(self.missing):,} missing, {len(self.surplus):,} not expected"
        ]
        differences = sorted([(cart, "-") for cart in self.missing] + [(cart, "+") for cart in self.surplus])
        lines += [f"  {sign} {time}  {user}  {data}" for (time, user, data), sign in differences[:SHOWN]]
        if len(differences) > SHOWN:
            lines.append(f"  ... and {len(differences) - SHOWN:,} more (- is missing, + is not expected)")
        else:
            lines.append("  (- is missing, + is not expected)")
        return "\n".join(lines)


def compare(expected: Path, triggers: Path) -> Outcome:
    """Compare a file of CloudEvents with the expected result, or the directory that holds it, in any order.

    Holds all carts in memory. Raises `InputError` for a file that cannot be read or holds something else.
    """
    if expected.is_dir():
        expected = expected / "expected.jsonl"
    wanted, found = Counter(_carts(expected)), Counter(_carts(triggers))
    missing = sorted((wanted - found).elements())
    surplus = sorted((found - wanted).elements())
    return Outcome(wanted.total(), found.total(), missing, surplus)


def _carts(path: Path) -> Iterator[Cart]:
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                yield _cart(path, number, line)
    except OSError as error:
        msg = f"cannot read {path}: {error.strerror or error}"
        raise InputError(msg) from error


def _cart(path: Path, number: int, line: bytes) -> Cart:
    try:
        record = json.loads(line)
        return str(record["time"]), str(record["subject"]), json.dumps(record["data"], sort_keys=True)
    except (ValueError, KeyError, TypeError) as error:
        msg = (
            f"{path}:{number} is not a cart: expected JSON with subject, time and data, "
            f"got {line[:80].decode(errors='backslashreplace').rstrip()!r} ({type(error).__name__}: {error})"
        )
        raise InputError(msg) from error


def _record(cart: Cart) -> dict[str, Any]:
    time, user, data = cart
    return {"time": time, "subject": user, "data": json.loads(data)}
