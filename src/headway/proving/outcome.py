"""What a run leaves, in a form that two runs can be compared in byte for byte, and the first difference in words."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Optional

import msgspec

from headway.proving.replay import JOURNAL, OUTPUTS
from headway.proving.scope import Scope
from headway.state.reader import StateReader
from headway.types.logs import Log

__all__ = ["FAILS", "LETTERS", "Difference", "Outcome", "difference", "outcome_of"]

FAILS: Final = "the run fails"
"""Where a run differs that ends with an error."""
LETTERS: Final = "dead letters "
"""What the name of a part begins with that is a file of dead letters."""
_SHOWN: Final = 240


@dataclass(frozen=True)
class Outcome:
    """Everything that a flow has done with its logs: lines and rows by their places, in order."""

    parts: dict[str, list[bytes]]
    """By the name of an output, a delivered output, an operator, or a file of dead letters."""
    counts: dict[str, Any]
    """How many events, late ones, keys and so on there were; empty where that is not compared, or where the last life
    had nothing left to do."""

    @property
    def said(self) -> int:
        """How many lines and rows there are besides dead letters."""
        return sum(len(lines) for name, lines in self.parts.items() if not name.startswith(LETTERS))


@dataclass(frozen=True)
class Difference:
    """The first thing in which a run differs from the one that nobody disturbed."""

    where: str
    """Such as `output 'cart.abandoned', line 17`."""
    expected: str
    found: str

    def __str__(self) -> str:
        return f"{self.where}\n  undisturbed  {self.expected}\n  disturbed    {self.found}"


def outcome_of(folder: Path, counts: dict[str, Any], scope: Scope) -> Outcome:
    """What the run in a folder has left, as far as it is compared. All its processes must be gone."""
    parts: dict[str, list[bytes]] = {}
    for path in sorted((folder / OUTPUTS).glob("*.jsonl")):
        if path.stem not in scope.left_out:
            lines = path.read_bytes().splitlines()
            in_order = path.stem not in scope.by_clock
            parts[f"output {path.stem!r}"] = lines if in_order else _values(lines, path.stem in scope.triggers)
    parts.update(_deliveries(folder / JOURNAL, scope))
    letters = folder / "state" / "dead-letters"
    for path in sorted(letters.rglob("*.jsonl")):
        place = path.relative_to(letters)
        # Beside those of sources are those of operators, of all of them in one file.
        if scope.is_exact or place.parts[0] in scope.sources:
            parts[f"{LETTERS}{place}"] = path.read_bytes().splitlines()
    with StateReader(folder / "state") as reader:
        known = {**reader.manifest.retired.operators, **reader.manifest.operators}
        for operator in reader.kept():
            if operator in scope.left_out or operator in scope.by_clock:
                continue
            rows = [
                msgspec.json.encode([row.key, _plain(row.state), row.timers], enc_hook=repr)
                for row in reader.rows(operator)
            ]
            # Each key group has a copy of what all keys share.
            parts[f"state of {operator!r}"] = list(dict.fromkeys(rows)) if known[operator].shared else rows
    return Outcome({name: lines for name, lines in parts.items() if lines}, counts if scope.is_exact else {})


def _values(lines: list[bytes], is_trigger: bool) -> list[bytes]:
    """Lines in an order of their own; of triggers without what says when they were made."""
    if not is_trigger:
        return sorted(lines)
    found = map(msgspec.json.decode, lines)
    return sorted(msgspec.json.encode([one.get("type"), one.get("subject"), one.get("data")]) for one in found)


def _plain(state: Any) -> Any:
    if isinstance(state, dict):
        return {name: list(value) if isinstance(value, Log) else value for name, value in state.items()}
    return state


def _deliveries(path: Path, scope: Scope) -> dict[str, list[bytes]]:
    """What was delivered: by output and key, in order. What came again after a crash counts once if it was the same."""
    found: dict[tuple[str, Optional[str]], dict[bytes, None]] = {}
    by_clock: dict[str, dict[str, bytes]] = {}
    for line in path.read_bytes().splitlines() if path.exists() else ():
        output, key, trigger_id, of, *_, value = msgspec.json.decode(line)
        if output in scope.by_clock:
            by_clock.setdefault(output, {})[trigger_id] = msgspec.json.encode([of, key, value])
        elif output not in scope.left_out:
            # Without a key there is no order.
            found.setdefault((output, key), {})[line] = None
    parts: dict[str, list[bytes]] = {}
    for (output, key), lines in sorted(found.items(), key=lambda item: (item[0][0], item[0][1] or "")):
        parts.setdefault(f"deliveries of {output!r}", []).extend(sorted(lines) if key is None else lines)
    parts.update({f"deliveries of {output!r}": sorted(values.values()) for output, values in by_clock.items()})
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
