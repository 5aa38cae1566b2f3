"""How many questions the server of views beside a run has answered: a line of the live panel."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, Optional

from headway.cli.texts import count_text

if TYPE_CHECKING:
    from headway.metrics.snapshots import ViewsSnapshot

__all__ = ["Questions", "questions_in"]

_WINDOW_MS: Final = 5_000


class Questions:
    """Counts what is answered and how fast; `read` gives what the server has left last.

    >>> from headway.metrics.snapshots import ViewsSnapshot
    >>> said = dict(process="7-1", under_way=0, cut_at_ms=None)
    >>> left = [ViewsSnapshot(at_ms=500, responses={"200": 20}, watching=0, **said)]
    >>> left += [ViewsSnapshot(at_ms=1_500, responses={"200": 60, "404": 2}, watching=3, **said)]
    >>> questions = Questions(iter(left).__next__)
    >>> questions.text(), questions.text()
    ('20 questions answered   0/s', '62 questions answered   42/s   3 clients wait')
    """

    def __init__(self, read: Callable[[], Optional[ViewsSnapshot]]) -> None:
        self._read = read
        self._before = 0
        """Answered by servers that have ended, which were started again."""
        self._process = ""
        self._counts: deque[tuple[int, int]] = deque()

    def text(self) -> Optional[str]:
        """What is shown; None as long as the server has said nothing."""
        found = self._read()
        if found is None:
            return None
        answered = sum(found.responses.values())
        if found.process != self._process:
            self._before += self._counts[-1][1] if self._counts else 0
            self._process = found.process
            self._counts.clear()
        if not self._counts or found.at_ms > self._counts[-1][0]:
            self._counts.append((found.at_ms, answered))
        while len(self._counts) > 2 and self._counts[1][0] < found.at_ms - _WINDOW_MS:
            self._counts.popleft()
        span_ms = self._counts[-1][0] - self._counts[0][0]
        per_s = 1_000 * (self._counts[-1][1] - self._counts[0][1]) / span_ms if span_ms else 0.0
        total = self._before + answered
        parts = [f"{count_text(total, 'question')} answered", f"{per_s:,.0f}/s"]
        if found.watching:
            parts.append(f"{count_text(found.watching, 'client')} {'waits' if found.watching == 1 else 'wait'}")
        return "   ".join(parts)


def questions_in(directory: Path) -> Questions:
    """What is read of the snapshots in a directory; nothing of a run before, until the server has left its first."""
    from headway.metrics.snapshots import ViewsSnapshot, now_ms, read_snapshot

    began_ms = now_ms()

    def read() -> Optional[ViewsSnapshot]:
        found = read_snapshot(directory, ViewsSnapshot)
        return found if found is not None and found.at_ms >= began_ms else None

    return Questions(read)
