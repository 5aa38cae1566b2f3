"""How often code of the flow has failed and the run went on: counted with the state, and bounded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from threading import Lock
from typing import Any, Final, Optional

from headway.errors import UserCodeError
from headway.graph import Tolerance
from headway.types.letters import DeadLetter

__all__ = ["FailureTotal", "Failures"]

_FIRST: Final = 3
"""How many failures a stage of a group, or a slot, remembers; and how many the error names that ends the run."""
_SHOWN: Final = 300


class FailureTotal:
    """The count of a whole run, as one process knows it: its own, and what the others have published.

    `publish` tells the others this process's count, `elsewhere` what they have told. A run that is over the bound stops
    within the epoch, and goes back to the last durable one: what has been set aside since then is not.
    """

    def __init__(
        self, publish: Callable[[int], object] = lambda count: None, elsewhere: Callable[[], int] = lambda: 0
    ) -> None:
        self._publish = publish
        self._elsewhere = elsewhere
        self._counted: list[Failures] = []
        self._lock = Lock()

    def join(self, failures: Failures) -> None:
        """Count these too."""
        with self._lock:
            self._counted.append(failures)

    def publish(self) -> None:
        """Tell the other processes how many there are here."""
        with self._lock:
            self._publish(self.count)

    @property
    def count(self) -> int:
        """Failures of this process."""
        return sum(failures.count for failures in self._counted)

    def check(self, tolerance: Tolerance) -> None:
        """One more was counted: raise `UserCodeError` when they are too many by now."""
        with self._lock:
            own = self.count
            self._publish(own)
            count = own + self._elsewhere()
            if count <= tolerance.at_most:
                return
            first = [text for failures in self._counted for text in failures.first][:_FIRST]
        listed = "".join(f"\n  {text}" for text in first)
        msg = (
            f"code of the flow has failed {count:,} times, and on_error sets {tolerance.at_most:,} failures aside at "
            f"most; the first of them:{listed}\n"
            "Mend the flow and run it again, which goes on at the last durable epoch, or raise the bound with "
            "on_error=hw.dead_letter(at_most=...); 'headway dead-letters ls FLOW' lists what was set aside"
        )
        raise UserCodeError(msg)


class Failures:
    """Those of one slot, or of one stage in one key group; `stored` is what its state has kept of them."""

    def __init__(self, total: FailureTotal, stored: Optional[Mapping[str, Any]]) -> None:
        self.count = 0
        self.first: list[str] = []
        self._total = total
        total.join(self)
        self.restore(stored)

    def restore(self, stored: Optional[Mapping[str, Any]]) -> None:
        """Go on from what was stored."""
        known = stored or {}
        self.count = known.get("count", 0)
        self.first = list(known.get("first", ()))
        if self.count:
            self._total.publish()

    def add(self, tolerance: Tolerance, letter: DeadLetter) -> None:
        """Count a failure; raises `UserCodeError` when there are too many by now."""
        self.count += 1
        if len(self.first) < _FIRST:
            self.first.append(f"{_place(letter)}: {letter.reason}"[:_SHOWN])
        self._total.check(tolerance)

    def stored(self) -> dict[str, Any]:
        """What is to be kept with the state; empty when there are none."""
        return {"count": self.count, "first": self.first} if self.count else {}


def _place(letter: DeadLetter) -> str:
    parts = [
        "" if letter.step is None else f"step {letter.step!r}",
        "" if letter.timer is None else f"timer {letter.timer!r}",
        "" if letter.key is None else f"key {letter.key!r}",
        "" if letter.time is None else f"time {letter.time}",
        letter.position and f"{letter.position} of {letter.partition!r}",
    ]
    return ", ".join(part for part in parts if part)
