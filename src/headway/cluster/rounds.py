"""When a cluster makes backups, and the one under way: all hosts link and send it, the coordinator publishes it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Optional

from headway.backups.store import StoreError
from headway.cluster.backing import ClusterBackups, Pending
from headway.cluster.messages import Answer, Link, Send, What

__all__ = ["BackupRounds"]

log = logging.getLogger("headway")

Ask = Callable[[Mapping[str, What]], dict[str, Answer]]
"""Gives orders to hosts and waits for the answers."""
Order = Callable[[str, What], int]
"""Gives an order to a host, and returns the number of its answer."""


class BackupRounds:
    """The backups of a cluster, one after the other."""

    def __init__(self, backups: ClusterBackups) -> None:
        self.backups = backups
        self._every_s = backups.every_ms / 1000
        self._due_s = time.monotonic() + self._every_s
        self._pending: Optional[Pending] = None

    @property
    def is_under_way(self) -> bool:
        """Whether parts of a backup are being sent."""
        return self._pending is not None

    def work_begins(self) -> None:
        """An attempt has begun: however long that took, work goes on for half of the time between two backups."""
        self._due_s = max(self._due_s, time.monotonic() + self._every_s / 2)

    def is_due(self) -> bool:
        """Whether it is time for the next one."""
        return self._pending is None and time.monotonic() >= self._due_s

    def take(self, names: Sequence[str], ask: Ask, order: Order) -> None:
        """Link what each host has, at the epoch with which all have ended, and let them send it.

        The first of `names` is the host that has the engine's log.
        """
        self._due_s = time.monotonic() + self._every_s
        first, *others = names
        name, made_ms = self.backups.new_name()
        answers = ask({first: Link(name=name, made_ms=made_ms, versions=None)})
        link = Link(name=name, made_ms=made_ms, versions=answers[first].versions)
        answers |= ask(dict.fromkeys(others, link))
        parts = {host: answer.part for host, answer in answers.items() if answer.part is not None}
        pending = Pending(name, list(parts.values()))
        for host, digests in self.backups.lacking(parts).items():
            pending.numbers[order(host, Send(claim=self.backups.number, name=name, digests=digests))] = host
            pending.digests[host] = digests
        self._pending = pending
        self._publish_if_sent()

    def heard(self, answer: Answer) -> bool:
        """Take an answer of a host that has sent its part; False for one that is about something else.

        Raises `FencedError` when another cluster has claimed the place of the backups.
        """
        if self._pending is None or not self._pending.heard(answer):
            return False
        self._publish_if_sent()
        return True

    def give_up(self, why: str) -> None:
        """Make nothing of the one under way, if there is one."""
        if self._pending is not None:
            self._pending = None
            log.warning("no backup was made: %s; the next one is tried as planned", why)

    def _publish_if_sent(self) -> None:
        """Put the backup into the catalog, once all hosts have sent their part of it."""
        pending = self._pending
        if pending is None or pending.numbers:
            return
        if pending.failed:
            self.give_up(pending.failed)
            return
        try:
            self.backups.publish(pending)
        except StoreError as error:
            self.give_up(str(error))
        self._pending = None
