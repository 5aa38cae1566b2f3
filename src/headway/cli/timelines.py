"""The timeline of a function: steps as bars over time, on a terminal and as an SVG picture."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import escape, quoteattr

from headway.basics.times import format_duration, format_time
from headway.cli.escapes import printable

if TYPE_CHECKING:
    from headway.functions.timeline import Bar

__all__ = ["timeline_svg", "timeline_text"]

_LABEL: Final = 28
_SIGNS: Final = {"done": "━", "failed": "✗", "cancelled": "╌", "open": "─"}
_MOMENT: Final = "◆"
_ROW: Final = 22
_LEFT: Final = 240
_WIDTH: Final = 960
_TOP: Final = 56
_TICKS_MOST: Final = 7
_ROWS_MOST: Final = 1_000
"""Bars in a picture; a function may have made any number of calls."""
_TITLE_MOST: Final = 120
_STEPS_MS: Final = (
    *(base * 10**power for power in range(3) for base in (1, 2, 5)),
    *(1_000 * seconds for seconds in (1, 2, 5, 10, 15, 30)),
    *(60_000 * minutes for minutes in (1, 2, 5, 10, 15, 30)),
    *(3_600_000 * hours for hours in (1, 2, 3, 6, 12)),
    *(86_400_000 * days for days in (1, 2, 5, 7, 14, 30, 60, 90, 180)),
)
"""How far ticks may be from each other; beyond, whole years."""
_YEAR_MS: Final = 365 * 86_400_000
_STYLE: Final = """
text { font: 12px system-ui, sans-serif; fill: #1f2430; }
.title { font-weight: 600; font-size: 14px; }
.quiet, .length { fill: #5b6270; }
.tick { stroke: #d8dce4; }
.moment { fill: #2d6cb5; } .done { fill: #2f7d4f; } .failed { fill: #c0392b; } .cancelled { fill: #8a8f9c; }
.open { fill: #cfe0f5; stroke: #2d6cb5; stroke-dasharray: 4 3; }
.whole { opacity: 0.55; }
@media (prefers-color-scheme: dark) {
  svg { background: #16181d; } text { fill: #e6e8ec; } .quiet, .length { fill: #a4abb8; } .tick { stroke: #333842; }
  .open { fill: #1f3a5c; stroke: #6aa3e0; } .done { fill: #3f9c66; } .failed { fill: #e0604f; }
}
"""


def timeline_text(bars: Sequence[Bar], now_ms: int, width: int) -> str:
    """Bars as lines of text, `width` columns wide; what is open goes on to now.

    >>> from headway.functions.timeline import Bar
    >>> print(timeline_text([Bar("order", 0, 4_000, "done"), Bar("pack", 1_000, 2_000, "failed")], 9_000, 57))
    order                        ━━━━━━━━━━━━━━━━  4s
    pack                             ✗✗✗✗          1s failed
    """
    begin_ms, end_ms = _span(bars, now_ms)
    columns = max(10, width - _LABEL - 13)
    lines = []
    for bar in bars:
        first = _place(bar.begin_ms, begin_ms, end_ms, columns)
        last = max(first + 1, _place(_end(bar, now_ms), begin_ms, end_ms, columns))
        sign = _MOMENT if bar.is_moment else _SIGNS[bar.outcome]
        drawn = " " * min(first, columns - 1) + sign * (1 if bar.is_moment else last - first)
        lines.append(f"{_padded(printable(bar.label))} {drawn:<{columns}}  {_told(bar, now_ms)}".rstrip())
    return "\n".join(lines)


def timeline_svg(title: str, bars: Sequence[Bar], now_ms: int) -> str:
    """Bars as an SVG picture. Texts of users are escaped; nothing is read from elsewhere."""
    begin_ms, end_ms = _span(bars, now_ms)
    drawn = bars[:_ROWS_MOST]
    bottom = _TOP + _ROW * len(drawn)
    height = bottom + 36
    right = _WIDTH - 120
    shown = _clean(title)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}" '
        f"role={quoteattr('img')} aria-label={quoteattr(f'timeline of {shown}')}>",
        f"<style>{_STYLE}</style>",
        # What fonts make of a label is not known here: it is cut off before it runs into the bars.
        f'<clipPath id="labels"><rect x="0" y="0" width="{_LEFT - 8}" height="{height}"/></clipPath>',
        f'<text class="title" x="8" y="20"><title>{escape(shown)}</title>{escape(_cut(shown, _TITLE_MOST))}</text>',
        f'<text class="quiet" x="8" y="40">{format_time(begin_ms)}</text>',
    ]
    for after_ms in _ticks(end_ms - begin_ms):
        x = _LEFT + (right - _LEFT) * after_ms // (end_ms - begin_ms)
        told = f"+{_length(after_ms)}" if after_ms else "0"
        parts.append(f'<line class="tick" x1="{x}" y1="{_TOP - 8}" x2="{x}" y2="{bottom}"/>')
        parts += [f'<text class="quiet" x="{x}" y="{y}" text-anchor="middle">{told}</text>' for y in (40, bottom + 16)]
    for row, bar in enumerate(drawn):
        parts += _svg_bar(bar, row, begin_ms, end_ms, now_ms, right)
    if len(drawn) < len(bars):
        parts.append(f'<text class="quiet" x="8" y="{bottom + 16}">and {len(bars) - len(drawn):,} more</text>')
    return "\n".join([*parts, "</svg>", ""])


def _svg_bar(bar: Bar, row: int, begin_ms: int, end_ms: int, now_ms: int, right: int) -> list[str]:
    y = _TOP + _ROW * row
    x = _LEFT + _place(bar.begin_ms, begin_ms, end_ms, right - _LEFT)
    until = _LEFT + _place(_end(bar, now_ms), begin_ms, end_ms, right - _LEFT)
    label = _clean(bar.label)
    told = f"{label}: {_told(bar, now_ms)}" + (f" ({_clean(bar.detail)[:500]})" if bar.detail else "")
    kind = f"{bar.outcome}{' whole' if row == 0 else ''}"
    if bar.is_moment:
        mark = f'<circle class="moment" cx="{x}" cy="{y + 8}" r="5"/>'
    else:
        mark = f'<rect class="{kind}" x="{x}" y="{y}" width="{max(2, until - x)}" height="16" rx="2"/>'
    return [
        f"<g><title>{escape(told)}</title>",
        f'<text x="8" y="{y + 13}" clip-path="url(#labels)">{escape(_cut(label, 34))}</text>',
        mark,
        f'<text class="length" x="{right + 8}" y="{y + 13}">{escape(_told(bar, now_ms))}</text></g>',
    ]


def _ticks(length_ms: int) -> range:
    """Where ticks are, from the beginning: some round times.

    >>> list(_ticks(5_950)), list(_ticks(32 * 86_400_000))[1] // 86_400_000
    ([0, 1000, 2000, 3000, 4000, 5000], 5)
    """
    step_ms = next((step for step in _STEPS_MS if length_ms < step * _TICKS_MOST), 0)
    step_ms = step_ms or _YEAR_MS * (1 + length_ms // (_YEAR_MS * _TICKS_MOST))
    return range(0, length_ms + 1, step_ms)


def _padded(label: str) -> str:
    """A label in its columns; some characters take two of them."""
    shown, left = "", _LABEL
    for char in label:
        width = 0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        if width > left:
            break
        shown, left = shown + char, left - width
    return shown + " " * left


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _span(bars: Sequence[Bar], now_ms: int) -> tuple[int, int]:
    begin_ms = min(bar.begin_ms for bar in bars)
    return begin_ms, max(begin_ms + 1, *(_end(bar, now_ms) for bar in bars))


def _end(bar: Bar, now_ms: int) -> int:
    return max(now_ms, bar.begin_ms) if bar.end_ms is None else bar.end_ms


def _place(at_ms: int, begin_ms: int, end_ms: int, columns: int) -> int:
    return (at_ms - begin_ms) * columns // (end_ms - begin_ms)


def _told(bar: Bar, now_ms: int) -> str:
    """How long it took, and how it came out where that is not well."""
    if bar.is_moment:
        return ""
    length = _length(_end(bar, now_ms) - bar.begin_ms)
    return length if bar.outcome == "done" else f"{length} {bar.outcome}"


def _length(length_ms: int) -> str:
    """A duration in its two largest units."""
    for unit_ms, least_ms in ((3_600_000, 86_400_000), (60_000, 3_600_000), (1_000, 60_000), (100, 10_000)):
        if length_ms >= least_ms:
            return format_duration(length_ms // unit_ms * unit_ms)
    return format_duration(length_ms)


def _clean(text: str) -> str:
    """Text that XML can have: without control characters."""
    return "".join(char if char.isprintable() else "�" for char in text)
