"""A host's side of a cluster: it does what the coordinator orders, and tells it how its workers are.

A host decides nothing. It dials the coordinator and says what it has in its state directory. Then it carries out
orders, one after the other, until it is done. When the coordinator is gone, it ends its workers and dials again: so
a host that was cut off never works on by itself, and nothing that it holds has to be taken back.
"""

from __future__ import annotations

import logging
import queue
import secrets
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from importlib.metadata import version
from typing import Final, Optional

import msgspec

from headway.backups.store import StoreError
from headway.cluster.duties import Duties
from headway.cluster.hosts import Host, Hosts
from headway.cluster.messages import (
    Answer,
    Done,
    End,
    Ended,
    Hello,
    Leaving,
    Message,
    Order,
    Refused,
    Send,
    Stats,
    Stop,
)
from headway.cluster.talk import Line, dial
from headway.errors import ClockError, ClusterError, ForeignPeerError, HeadwayError
from headway.runtime.run import Observer
from headway.runtime.stats import total
from headway.runtime.worker import failure_of
from headway.runtime.workers import WorkerLost

__all__ = ["Site"]

log = logging.getLogger("headway")

_LISTEN_S: Final = 0.05
_STATS_S: Final = 0.5
_DIAL_AGAIN_S: Final = 0.5
_LEAVE_AGAIN_S: Final = 1.0
_TELL_AGAIN_S: Final = 60.0
"""How often it is said that the coordinator is still away."""

Inbox = queue.Queue[Optional[Message]]


class _Gone(Exception):
    """The coordinator is gone."""


class Site:
    """One host; `run` does all.

    `ended` tells how the coordinator has ended, where that is in this process.
    """

    def __init__(
        self,
        duties: Duties,
        hosts: Hosts,
        here: Host,
        *,
        stop: Callable[[], bool],
        observe: Optional[Observer] = None,
        ended: Callable[[], Optional[Done]] = lambda: None,
    ) -> None:
        self._duties = duties
        self._hosts = hosts
        self._here = here
        self._stop = stop
        self._ended = ended
        self._observe = observe
        self._secret = hosts.secret_bytes()
        self._process = secrets.token_hex(8)
        self._told_s = 0.0

    def run(self) -> Done:
        """Take part until the coordinator says that this host is done, or it is stopped while there is none.

        Raises `ClusterError` where the cluster does not take this host, and what is wrong with its state directory.
        """
        said_s = -_TELL_AGAIN_S
        first = self._hosts.first
        with closing(self._duties):
            while not self._stop():
                inbox: Inbox = queue.Queue()
                try:
                    with closing(dial(first.ip, first.port, self._secret, self._hosts.silent_after_ms)) as line:
                        line.open(inbox.put)
                        said_s = -_TELL_AGAIN_S  # Each loss of the coordinator is told, however soon after the last.
                        return self._serve(line, inbox)
                except ForeignPeerError:
                    raise
                except (OSError, _Gone) as error:
                    self._duties.end()
                    done = self._ended()
                    if done is not None:
                        return done
                    why = getattr(error, "strerror", None) or error
                    if time.monotonic() - said_s >= _TELL_AGAIN_S:
                        said_s = time.monotonic()
                        log.warning(
                            "host %s waits for host %s at %s: %s", self._here.name, first.name, first.address, why
                        )
                    time.sleep(_DIAL_AGAIN_S)
        return Done(finished=False)

    def _serve(self, line: Line, inbox: Inbox) -> Done:
        leaving_s = -_LEAVE_AGAIN_S
        line.send(
            Hello(
                host=self._here.name,
                process=self._process,
                digest=self._hosts.digest,
                version=version("headway"),
                standing=self._duties.standing(),
            )
        )
        while True:
            if self._stop() and time.monotonic() - leaving_s >= _LEAVE_AGAIN_S:
                leaving_s = time.monotonic()
                line.send(Leaving())  # Again and again: a host that waits to be let in is not heard.
            with suppress(queue.Empty):
                message = inbox.get(timeout=_LISTEN_S)
                if message is None:
                    raise _Gone(line.why)
                if isinstance(message, Done):
                    return message
                if isinstance(message, Refused):
                    raise ClusterError(message.why)
                self._hear(line, message)
            self._watch(line)

    def _hear(self, line: Line, message: Message) -> None:
        if isinstance(message, Stop):
            self._duties.stop()
        elif isinstance(message, End):
            if message.attempt >= self._duties.attempt:
                self._duties.end()
        elif isinstance(message, Order) and isinstance(message.what, Send):
            # It may take minutes, and the workers go on meanwhile.
            threading.Thread(target=self._obey, args=(line, message), name="headway-send", daemon=True).start()
        elif isinstance(message, Order):
            self._obey(line, message)

    def _obey(self, line: Line, order: Order) -> None:
        """Carry out an order, and answer it."""
        try:
            answer = self._duties.carry_out(order.what)
        except (WorkerLost, ClockError, StoreError) as loss:
            answer = Answer(number=0, lost=str(loss))
        except Exception as error:
            answer = Answer(number=0, failure=failure_of(error))
        line.send(msgspec.structs.replace(answer, number=order.number))

    def _watch(self, line: Line) -> None:
        """Look after the workers; tells when all have ended, or one has ended badly."""
        duties = self._duties
        if not duties.has_workers:
            return
        attempt = duties.attempt
        try:
            running = duties.are_running()
            if not running:
                line.send(Ended(attempt=attempt, workers=duties.statistics()))
                duties.end()
            elif time.monotonic() - self._told_s >= _STATS_S:
                self._told_s = time.monotonic()
                duties.check()
                workers = duties.statistics()
                line.send(Stats(attempt=attempt, workers=workers, still_ms=duties.still_ms(workers)))
                if self._observe is not None:
                    self._observe(total(workers))
        except (WorkerLost, ClockError) as loss:
            duties.end()
            line.send(Ended(attempt=attempt, workers=[], lost=str(loss)))
        except HeadwayError as error:
            duties.end()
            line.send(Ended(attempt=attempt, workers=[], failure=failure_of(error)))
