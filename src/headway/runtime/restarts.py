"""How often workers are started again that die, and after how long."""

from __future__ import annotations

from typing import Final

from headway.errors import ClusterError

__all__ = ["Restarts"]

_GOOD_RUN_S: Final = 60.0
"""After this long without a death, and with progress, the count of restarts in a row starts anew."""
_LONGEST_WAIT_S: Final = 30.0


class Restarts:
    """Counts restarts; after `most` in a row that did not help it gives up."""

    def __init__(self, most: int) -> None:
        self.count = 0
        """All of them."""
        self.recent = 0
        """Those in a row."""
        self.most = most
        self._commits = 0
        """How much had been made durable when workers were last lost."""

    def next_wait_s(
        self, loss: str, lasted_s: float, commits: int, *, is_counted: bool = True, logs: str = ""
    ) -> float:
        """How long to wait before the next one, in seconds: from 0.25 to 30, twice as long each time.

        `lasted_s` is how long workers had run, `commits` how much they had made durable in all. One that is not
        `is_counted` is none of those in a row. Raises `ClusterError`, which begins with the loss, after the last one;
        `logs` says where to look then.
        """
        if lasted_s > _GOOD_RUN_S and commits > self._commits:
            self.recent = 0
        self._commits = max(commits, self._commits)
        if self.recent >= self.most:
            msg = (
                f"{loss}; {self.recent} restarts did not help, so the run gives up. What is durable stays: the next "
                f"run goes on from there. The workers' logs are in {logs or 'the folder run of each state directory'}"
            )
            raise ClusterError(msg)
        wait_s: float = min(_LONGEST_WAIT_S, 0.25 * 2**self.recent)
        self.count += 1
        if is_counted:
            self.recent += 1
        return wait_s
