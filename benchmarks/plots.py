"""Plots of throughput against keys, timers, workers and epochs, as small SVG files written by hand."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Final

from benchmarks.report import Outcome

__all__ = ["draw", "svg"]

_PLOTS: Final = {
    "keys": "Events/s against keys with state",
    "timers": "Events/s against pending timers",
    "workers": "Events/s against processes",
    "epochs": "Events/s against the length of epochs",
}
_WIDTH: Final = 520
_BAR: Final = 24
_GAP: Final = 12
_TOP: Final = 44
_LEFT: Final = 170
_RIGHT: Final = 80
_STYLE: Final = (
    "text{font:13px system-ui,sans-serif;fill:#222}.title{font-weight:600}.bar{fill:#2f6f9f}"
    "@media(prefers-color-scheme:dark){text{fill:#ddd}.bar{fill:#6aa9d8}}"
)

Point = tuple[str, float]
"""A label, and events/s."""


def draw(outcomes: Sequence[Outcome], directory: Path) -> list[Path]:
    """Write the plots of those cases that were run; returns where they are."""
    directory.mkdir(parents=True, exist_ok=True)
    written = []
    for outcome in outcomes:
        if outcome.case.name not in _PLOTS or outcome.finding is None:
            continue
        path = directory / f"{outcome.case.name}.svg"
        path.write_text(svg(_PLOTS[outcome.case.name], _points(outcome)))
        written.append(path)
    return written


def svg(title: str, points: Sequence[Point]) -> str:
    """Bars from zero, each with its number: a ratio is seen as it is."""
    height = _TOP + len(points) * (_BAR + _GAP)
    most = max(value for _, value in points)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img">',
        f"<title>{escape(title)}</title><style>{_STYLE}</style>",
        f'<text class="title" x="8" y="22">{escape(title)}</text>',
    ]
    for index, (label, value) in enumerate(points):
        top = _TOP + index * (_BAR + _GAP)
        length = (_WIDTH - _LEFT - _RIGHT) * value / most
        lines += [
            f'<text x="{_LEFT - 8}" y="{top + 17}" text-anchor="end">{escape(label)}</text>',
            f'<rect class="bar" x="{_LEFT}" y="{top}" width="{length:.1f}" height="{_BAR}" rx="2"/>',
            f'<text x="{_LEFT + length + 8:.1f}" y="{top + 17}">{value:,.0f}</text>',
        ]
    return "\n".join([*lines, "</svg>", ""])


def _points(outcome: Outcome) -> list[Point]:
    assert outcome.finding is not None
    points = {arm.label: arm.running for arm in outcome.finding.arms if not _is_other(arm.label)}
    return sorted(points.items(), key=lambda point: _number_in(point[0]))


def _is_other(label: str) -> bool:
    """Whether it measures something else than the throughput of the case: how the state was made."""
    return label.startswith(("opening", "loading"))


def _number_in(label: str) -> float:
    """The number in the label; seconds count as a thousand."""
    found = re.search(r"(\d[\d,]*)( s$)?", label)
    return float(found[1].replace(",", "")) * (1_000 if found[2] else 1) if found else 0.0
