"""One flow on several machines: how they start together, end together, and go back together.

**Who does what.** Each machine, a *host*, has a supervisor, worker processes, and a state directory with the key groups
that its workers have. The supervisor of the first host also *coordinates*: all others dial it (`headway.cluster.site`)
and do what it orders. The engine's recovery log lies with the first host alone: one place knows which epoch is
committed. Events cross between workers as in a run on one machine.

**An attempt** is one run of the engine on all hosts. It has a number and a key of its own, and ports that the attempt
before has not used: a process that is left of an earlier one cannot join a later one, and what it sends is refused. An
attempt begins when all hosts have come. It ends as a whole: when a worker dies, a host is gone, or nothing moves
anywhere, all workers of all hosts are ended, and the next attempt goes on from the last epoch that is committed.

**Going back.** State directories of several machines are parts of one state. A *lineage* names the history that they
share (`headway.cluster.place`). When all hosts have the same, they go on from it. When one has lost its disk, was
replaced, or has missed that the others went back, they all go back to the last backup, and get a new lineage. The same
happens when the hosts file has other machines or worker counts than before: key groups live elsewhere then. With a log
that can be read again nothing is lost: what came after the backup is read once more.

**Backups.** All workers end with an epoch; each host links its part of a savepoint, which takes a moment; the next
attempt starts, and meanwhile each host sends the files that the store lacks. When all are there, the coordinator
publishes one backup, which is no different from that of a run on one machine, and can be restored there. Backups are
made under a claim in the store (`headway.backups.catalog`): of two clusters with one place for backups, the one that
has claimed it first is fenced off, and ends.

**What can be lost.** The coordinator: then all others end their workers, and dial until it is back. Its disk: then it
has no lineage, and all go back to the last backup. A network that is cut in one direction only is a lost connection:
each side of a connection ends it when it hears nothing for `silent_after`.

**Rejected.** *Electing a coordinator*: it needs a majority of at least three, and while one host is away no epoch can
be committed anyway, as its key groups are there. *Restarting the workers of one host*: what the others have done since
the last epoch cannot be taken back by them alone. *A savepoint of the running cluster*: processes of several machines
have no memory in common on which they could agree on an epoch (`headway.runtime.marking`); an end with an epoch is
such an agreement, and costs a restart of some seconds.
"""

from __future__ import annotations

import logging
import os
import secrets
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Final, Optional

import msgspec

from headway.backups.store import StoreError
from headway.cluster.backing import ClusterBackups
from headway.cluster.hosts import Hosts
from headway.cluster.messages import (
    Adopt,
    Answer,
    Done,
    End,
    Ended,
    Fetch,
    Join,
    Leaving,
    Listen,
    Message,
    Open,
    Start,
    Stats,
    Stop,
    Trust,
    What,
)
from headway.cluster.peers import Closed, PeerGone, Peers
from headway.cluster.rounds import BackupRounds
from headway.errors import ClusterError, StateError
from headway.runtime.restarts import Restarts
from headway.runtime.stats import WorkerStats
from headway.runtime.worker import error_of, failure_of
from headway.state.manifest import Manifest

__all__ = ["Coordinator"]


log = logging.getLogger("headway")

_END_S: Final = 5.0
_TELL_AGAIN_S: Final = 60.0
_CAUSE_S: Final = 2.0
"""How long to wait for a host that knows more, when others say only that a peer is gone."""
_LOOK_S: Final = 0.5
_LISTEN_S: Final = 0.1


class _AttemptLost(Exception):
    """An attempt has failed, and another one may help."""


class Coordinator:
    """Leads all hosts through attempts, in a thread of its own; an error that it ends with is told to all of them."""

    def __init__(
        self, hosts: Hosts, backups: Optional[ClusterBackups], *, max_restarts: int, hang_after_ms: int
    ) -> None:
        self._hosts = hosts
        self._names = [host.name for host in hosts.hosts]
        self._peers = Peers(hosts)
        self._rounds = None if backups is None else BackupRounds(backups)
        self._hang_after_ms = hang_after_ms
        self._leaving: set[str] = set()
        self._early: dict[str, Ended] = {}
        """Hosts whose workers have ended well while others were yet to be told that they may read."""
        self._attempt = int(time.time())  # Greater than all before, also when the coordinator starts anew.
        self._attempted = False
        self._fetched = 0
        """The last generation that hosts were told to write: some may have done so, although not all have."""
        self._restarts = Restarts(max_restarts)
        self._stats: dict[str, list[WorkerStats]] = {}
        """What the workers of each host have said last."""
        self.done: Optional[Done] = None
        """How it has ended, if it has."""
        self._thread = threading.Thread(target=self._run, name="headway-coordinator", daemon=True)

    def start(self) -> None:
        """Listen for hosts. Raises `ClusterError` when the port cannot be had."""
        self._peers.start()
        self._thread.start()

    def close(self) -> None:
        """End it, whatever it is doing, and all connections; but let it tell the other hosts how it has ended."""
        if self.done is not None:
            self._thread.join(self._hosts.silent_after_ms / 1000)
        self._peers.close()
        self._thread.join(_END_S)
        if self._rounds is not None:
            self._rounds.backups.close()

    # The hosts

    def _next(self, timeout_s: float) -> Optional[tuple[str, Message]]:
        """The next message that is not about something which is done beside; None when there is none in time.

        Raises `_AttemptLost` when a host has gone that the attempt under way needs.
        """
        try:
            heard = self._peers.next(timeout_s)
        except PeerGone as gone:
            self._gone(gone)
            return None
        if heard is not None and isinstance(heard[1], Leaving):
            self._leaving.add(heard[0])
        if heard is not None and isinstance(heard[1], Answer) and self._rounds is not None:
            return None if self._rounds.heard(heard[1]) else heard
        return heard

    def _gone(self, gone: PeerGone) -> None:
        self._leaving.discard(gone.host)
        if self._rounds is not None:
            self._rounds.give_up(str(gone))
        if self._attempted:
            raise _AttemptLost(str(gone))
        log.warning("%s", gone)

    def _ask(self, orders: Mapping[str, What]) -> dict[str, Answer]:
        """Give an order to each of several hosts, and wait for all answers.

        Raises `_AttemptLost`, or the error of a host that could not carry it out.
        """
        wanted = {self._order(host, what): host for host, what in orders.items()}
        answers: dict[str, Answer] = {}
        while wanted:
            heard = self._next(_LISTEN_S)
            if heard is None:
                continue
            host, message = heard
            if isinstance(message, Ended) and message.attempt == self._attempt:
                if message.is_bad:
                    self._ended_badly({host: message})
                self._early[host] = message  # It had nothing to do, and ended before all others were let go.
            if not isinstance(message, Answer) or message.number not in wanted:
                continue
            del wanted[message.number]
            if message.failure is not None:
                raise error_of(message.failure)
            if message.lost:
                msg = f"host {host}: {message.lost}"
                raise _AttemptLost(msg)
            answers[host] = message
        return answers

    def _order(self, host: str, what: What) -> int:
        try:
            return self._peers.order(host, what)
        except PeerGone as gone:
            raise _AttemptLost(str(gone)) from None

    # From attempt to attempt

    def _run(self) -> None:
        with suppress(Closed):
            try:
                done = self._lead()
            except Closed:
                raise
            except BaseException as error:
                log.error("the cluster ends: %s", error)
                self._peers.tell_all(End(attempt=self._attempt))
                done = Done(finished=False, failure=failure_of(error))
            self.done = done
            self._tell_others(done)
        self._peers.close()  # Whoever dials now finds nobody; the first host looks how it has ended, and ends as well.

    def _lead(self) -> Done:
        """Lead until the input has ended."""
        while True:
            self._await_hosts()
            began_s = time.monotonic()
            lost, finished = "", False
            self._attempted = True
            try:
                finished = self._try()
            except (_AttemptLost, StoreError) as error:
                lost = str(error)
                self._peers.tell_all(End(attempt=self._attempt))
            finally:
                self._attempted = False
            if finished:
                self._await_backup()
                return self._summed_up(finished=True)
            if lost and self._leaving:
                log.warning("%s, while the cluster was being stopped: it goes on from the last durable epoch", lost)
            elif lost:
                self._back_off(lost, time.monotonic() - began_s)

    def _await_hosts(self) -> None:
        """Until all hosts have come."""
        said_s = time.monotonic() - _TELL_AGAIN_S + 2
        while True:
            self._let_go()
            missing = self._peers.missing
            if not missing:
                return
            if time.monotonic() - said_s >= _TELL_AGAIN_S:
                said_s = time.monotonic()
                log.warning("host %s waits for %s", self._hosts.first.name, ", ".join(f"host {one}" for one in missing))
            self._next(_LISTEN_S)

    def _let_go(self) -> None:
        """Tell hosts that are being stopped that they may end; their workers have ended."""
        if self._leaving:
            self._await_backup()  # Whoever leaves may be sending his part of it, or is to publish it.
        for host in sorted(self._leaving):
            if host in self._peers:
                self._peers[host].line.send(self._summed_up(finished=False))
                self._peers.let_go(host)
        self._leaving.clear()

    def _try(self) -> bool:
        """One attempt; returns whether the input has ended. False: it was stopped, and all are at the same epoch."""
        lineage = self._go_together()
        self._attempt += 1
        self._early = {}
        first, *others = self._names
        manifest = self._ask({first: Open(lineage=lineage)})[first].manifest
        self._ask(dict.fromkeys(others, Adopt(lineage=lineage, manifest=manifest)))
        generation = msgspec.json.decode(manifest, type=Manifest).generation
        for peer in self._peers:
            standing = msgspec.structs.replace(peer.standing, lineage=lineage, generation=generation, has_groups=True)
            peer.standing = standing
            peer.still_ms = 0
        if self._rounds is not None and self._rounds.backups.claim() and not self._rounds.backups.has_any():
            self._rounds.take(self._names, self._ask, self._order)  # A disk may be lost before the first one is due.
        if self._leaving:
            return False
        listening = self._ask(dict.fromkeys(self._names, Listen(attempt=self._attempt)))
        addresses = [address for name in self._names for address in listening[name].addresses]
        self._ask(dict.fromkeys(self._names, Start(attempt=self._attempt, addresses=addresses, number=os.urandom(32))))
        for name in self._names:  # Each once the one before listens: a failed dial costs a second.
            self._ask({name: Join()})
        self._ask(dict.fromkeys(self._names, Trust()))
        finished = self._watch()
        if self._rounds is not None:
            self._await_backup()
            if self._rounds.backups.claim():
                self._rounds.take(self._names, self._ask, self._order)
        return finished

    def _go_together(self) -> str:
        """See to it that all hosts have one history; returns its name."""
        standings = {name: self._peers[name].standing for name in self._names}
        known = {(standing.lineage, standing.generation) for standing in standings.values()}
        [found] = known if len(known) == 1 else [("", 0)]
        if found[0]:
            return found[0]
        backup = None if self._rounds is None else self._rounds.backups.last()
        without = [name for name, standing in standings.items() if not standing.lineage]
        if backup is None:
            if any(standing.has_groups for standing in standings.values()):
                raise self._no_way(without)
            return secrets.token_hex(8)
        lineage = secrets.token_hex(8)
        why = f"host {', '.join(without)} has no state of it" if without else "they are not at the same point"
        log.warning("all hosts go back to the backup %s, since %s", backup.name, why)
        latest = max(standing.latest for standing in standings.values())
        generation = self._fetched = max(backup.generation, self._fetched, latest) + 1
        answers = self._ask(
            dict.fromkeys(self._names, Fetch(backup=backup.name, generation=generation, lineage=lineage))
        )
        for name, answer in answers.items():
            assert answer.standing is not None
            self._peers[name].standing = answer.standing
        return lineage

    def _no_way(self, without: list[str]) -> StateError:
        names = ", ".join(without) or "one of them"
        where = "no --backup-to was given" if self._rounds is None else f"{self._rounds.backups.where} has no backup"
        return StateError(
            f"the hosts cannot go on together: host {names} has no state, or one of other hosts and worker counts, and "
            f"{where}; put its state directory and the hosts file back, or begin with empty state directories on all "
            "hosts, which reads the input from its beginning"
        )

    def _watch(self) -> bool:
        """Until the workers of all hosts have ended well; returns whether because the input has ended."""
        ended, self._early = self._early, {}
        stopping_s: Optional[float] = None
        looked_s = time.monotonic()
        if self._rounds is not None:
            self._rounds.work_begins()
        while len(ended) < len(self._names):
            heard = self._next(_LISTEN_S)
            if heard is not None:
                host, message = heard
                if isinstance(message, Stats) and message.attempt == self._attempt:
                    self._stats[host], self._peers[host].still_ms = message.workers, message.still_ms
                elif isinstance(message, Ended) and message.attempt == self._attempt:
                    ended[host] = message
                    if message.is_bad:
                        self._ended_badly(ended)
                    self._stats[host] = message.workers
            now_s = time.monotonic()
            if stopping_s is None and (self._leaving or (self._rounds is not None and self._rounds.is_due())):
                stopping_s = now_s
                self._peers.tell_all(Stop())
            if now_s - looked_s >= _LOOK_S and len(ended) < len(self._names):
                looked_s = now_s
                self._look(stopping_s, ended)
        return stopping_s is None

    def _look(self, stopping_s: Optional[float], ended: Mapping[str, Ended]) -> None:
        """Raise `_AttemptLost` when nothing moves on any host, or when some do not end."""
        still_ms = min(self._peers[name].still_ms for name in self._names if name not in ended)
        ending_ms = 0 if stopping_s is None else (time.monotonic() - stopping_s) * 1000
        if still_ms > self._hang_after_ms or (ending_ms > self._hang_after_ms and ended):
            msg = f"nothing has moved on any host for {self._hang_after_ms / 1000:.0f} s"
            raise _AttemptLost(msg)

    def _summed_up(self, *, finished: bool) -> Done:
        """What a host is told at its end."""
        workers = [worker for name in self._names for worker in self._stats.get(name, [])]
        return Done(finished=finished, workers=workers, restarts=self._restarts.count)

    def _ended_badly(self, ended: dict[str, Ended]) -> None:
        """Raise why workers have ended: when one goes, others follow, and the first to be heard may not know why."""
        until_s = time.monotonic() + _CAUSE_S
        with suppress(_AttemptLost):  # A host that goes now is no better reason than that which is known.
            while time.monotonic() < until_s and not any(one.failure for one in ended.values()):
                heard = self._next(_LISTEN_S)
                if heard is not None and isinstance(heard[1], Ended) and heard[1].attempt == self._attempt:
                    ended[heard[0]] = heard[1]
                if len(ended) == len(self._names):
                    break
        for one in ended.values():
            if one.failure is not None and not isinstance(error_of(one.failure), ClusterError):
                raise error_of(one.failure)
        host, one = next((host, one) for host, one in ended.items() if one.is_bad)
        msg = f"host {host}: {one.lost if one.failure is None else error_of(one.failure)}"
        raise _AttemptLost(msg)

    def _back_off(self, loss: str, lasted_s: float) -> None:
        commits = sum(worker.commits for workers in self._stats.values() for worker in workers)
        # A host that is gone comes back when it does: it is waited for, and that is no restart that did not help.
        is_counted = all(name in self._peers for name in self._names)
        wait_s = self._restarts.next_wait_s(loss, lasted_s, commits, is_counted=is_counted)
        log.warning("%s; restarting the workers of all hosts in %.2g s", loss, wait_s)
        until_s = time.monotonic() + wait_s
        while time.monotonic() < until_s and not self._leaving:
            self._next(_LISTEN_S)

    def _tell_others(self, done: Done) -> None:
        """Tell all hosts how it has ended, and give the others the time to hear it."""
        self._peers.tell_all(done)
        first = self._hosts.first.name
        until_s = time.monotonic() + self._hosts.silent_after_ms / 1000
        while any(peer.hello.host != first for peer in self._peers) and time.monotonic() < until_s:
            with suppress(PeerGone):
                self._peers.next(_LISTEN_S)

    def _await_backup(self) -> None:
        """Until the backup under way is published, or given up."""
        while self._rounds is not None and self._rounds.is_under_way:
            self._next(_LISTEN_S)
