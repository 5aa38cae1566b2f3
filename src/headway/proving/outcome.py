"""What a run leaves, in a form that two runs can be compared in byte for byte, and the first difference in words."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Optional

import msgspec

from headway.proving.replay import JOURNAL, OUTPUTS
from headway.state.reader import StateReader
from headway.types.logs import Log

__all__ = ["Difference", "Outcome", "difference", "outcome_of"]

_SHOWN: Final = 240


@dataclass(frozen=True)
class Outcome:
    """Everything that a flow has done with its logs: lines and rows by their places, in order."""

    parts: dict[str, list[bytes]]
    """By the name of an output, a delivered output, an operator, or a file of dead letters."""
    counts: dict[str, Any]
    """How many events, late ones, keys and so on there were; empty where the last life had nothing left to do."""


@dataclass(frozen=True)
class Difference:
    """The first thing in which a run differs from the one that nobody disturbed."""

    where: str
    """Such as `output 'cart.abandoned', line 17`."""
    expected: str
    found: str

    def __str__(self) -> str:
        return f"{self.where}\n  undisturbed  {self.expected}\n  disturbed    {self.found}"


def outcome_of(folder: Path, counts: dict[str, Any], *, by_clock: bool = False) -> Outcome:
    """What the run in a folder has left. All its processes must be gone.

    A flow with durable functions goes `by_clock`: which of them ends first, and what is kept of when, is not for the
    log to say. Of such a flow only what its outputs get is compared, in whatever order.
    """
    parts: dict[str, list[bytes]] = {}
    for path in sorted((folder / OUTPUTS).glob("*.jsonl")):
        lines = path.read_bytes().splitlines()
        parts[f"output {path.stem!r}"] = sorted(lines) if by_clock else lines
    if by_clock:
        return Outcome({name: lines for name, lines in parts.items() if lines}, {})
    parts.update(_deliveries(folder / JOURNAL))
    letters = folder / "state" / "dead-letters"
    for path in sorted(letters.rglob("*.jsonl")):
        parts[f"dead letters {path.relative_to(letters)}"] = path.read_bytes().splitlines()
    with StateReader(folder / "state") as reader:
        known = {**reader.manifest.retired.operators, **reader.manifest.operators}
        for operator in reader.kept():
            rows = [
                msgspec.json.encode([row.key, _plain(row.state), row.timers], enc_hook=repr)
                for row in reader.rows(operator)
            ]
            # Each key group has a copy of what all keys share.
            parts[f"state of {operator!r}"] = list(dict.fromkeys(rows)) if known[operator].shared else rows
    return Outcome({name: lines for name, lines in parts.items() if lines}, counts)


def _plain(state: Any) -> Any:
    if isinstance(state, dict):
        return {name: list(value) if isinstance(value, Log) else value for name, value in state.items()}
    return state


def _deliveries(path: Path) -> dict[str, list[bytes]]:
    """What was delivered: by output and key, in order. What came again after a crash counts once if it was the same."""
    found: dict[tuple[str, Optional[str]], dict[bytes, None]] = {}
    for line in path.read_bytes().splitlines() if path.exists() else ():
        output, key = msgspec.json.decode(line)[:2]
        # Without a key there is no order.
        found.setdefault((output, key), {})[line] = None
    parts: dict[str, list[bytes]] = {}
    for (output, key), lines in sorted(found.items(), key=lambda item: (item[0][0], item[0][1] or "")):
        parts.setdefault(f"deliveries of {output!r}", []).extend(sorted(lines) if key is None else lines)
    return parts


def difference(expected: Outcome, found: Outcome) -> Optional[Difference]:
    """The first difference, None where there is none."""
    for name in [*expected.parts, *(name for name in found.parts if name not in expected.parts)]:
        wanted, got = expected.parts.get(name, []), found.parts.get(name, [])
        if wanted != got:
            return _in_lines(name, wanted, got)
    if expected.counts and found.counts and expected.counts != found.counts:
        name = next(name for name in expected.counts if expected.counts[name] != found.counts.get(name))
        return Difference(f"the count of {name}", str(expected.counts[name]), str(found.counts.get(name)))
    return None


def _in_lines(name: str, wanted: list[bytes], got: list[bytes]) -> Difference:
    at = next((index for index, (one, two) in enumerate(zip(wanted, got)) if one != two), min(len(wanted), len(got)))
    unit = "row" if name.startswith("state") else "line"
    where = f"{name}, {unit} {at + 1} (of {len(wanted):,}; disturbed: {len(got):,})"
    one, two = (lines[at] if at < len(lines) else None for lines in (wanted, got))
    begin = 0
    if one is not None and two is not None and max(len(one), len(two)) > _SHOWN:
        same = next((index for index, (a, b) in enumerate(zip(one, two)) if a != b), 0)
        begin = max(0, same - _SHOWN // 3)
    return Difference(where, _shown(one, begin), _shown(two, begin))


def _shown(line: Optional[bytes], begin: int) -> str:
    if line is None:
        return "nothing more"
    text = line[begin : begin + _SHOWN].decode(errors="backslashreplace")
    return f"{'…' if begin else ''}{text}{'…' if begin + _SHOWN < len(line) else ''}"
