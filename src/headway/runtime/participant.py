"""The epoch protocol: how everything that keeps something takes part in an epoch, and learns that it is durable.

**What it is.** A *participant* keeps something between epochs: a reader slot its positions, a keyed stage its rows and
timers, an output what it has written or still has to write. When an epoch closes, each is asked to `prepare`: it writes
what the epoch changed as *pending* and answers with a version, an integer. When all that is pending has reached the
disk, the engine writes these numbers of all workers into its log; with the last of them the epoch is durable. Then each
participant hears `committed`, and does what must not be done sooner: print lines, let readers see rows, acknowledge
what was read. After a crash the engine names for each participant the version that all workers have, and `resume`
promotes what is pending up to it and discards the rest.

**Prior art.** It is two-phase commit with the engine's log as the coordinator's. Flink's `TwoPhaseCommitSinkFunction`
has the same steps for sinks (pre-commit at the barrier, commit at "checkpoint complete"); its operators and sources
get `notifyCheckpointComplete`, which may be skipped, so that each must be able to commit several checkpoints at once.
Kafka Streams gets atomicity from a transaction over changelogs and offsets: one coordinator outside, a round trip for
each commit, and readers that wait for it. Here there is one log, at most one epoch is in doubt, and nobody misses a
notice: participants are simpler for it.

**What holds.** `Commitment` is one participant's side of the agreement, and sees to it that

1. `resume` comes first and once. What it goes to is durable.
2. `prepare` answers with the version before where nothing has changed, else with the next one.
3. A version is in doubt from its `prepare` on. While it is, the participant does nothing: no version is prepared on top
   of one in doubt.
4. `committed` is heard exactly once for each version that `prepare` has made, in order, on the thread on which the
   participant works, and before anything of the next epoch reaches it. After a crash `resume` stands for it: all up to
   the version resumed at was durable, although perhaps not all of it was heard.
5. The run's clean end is heard as well: then everything is durable.
6. Silence withholds nothing. While any participant of any worker waits to hear, the slots go on proving.

**What proves it.** The engine tells nobody. But a source may emit in an epoch, or even be asked for more, only after
every worker's versions of the epoch before are in the log: so its back-pressure works. To be polled is therefore a
slot's proof, and it costs nothing. What a slot then sends is the proof of whoever receives it, and what that one sends
on the same for the next. A wake-up by a clock proves nothing: it may come while an epoch is still being closed.

In silence a slot sends a heartbeat at the start of an epoch, if anybody waits. Who waits is known by counting: each
process has the set of its commitments in doubt, and says its size on the board that the workers of one machine share,
before its part of the epoch is closed. A slot is polled after that, so it cannot miss one. Processes that share no
board do not know of each other, and prove in each epoch. An idle flow sends nothing.

**What it costs.** Nothing for an event. For a participant and an epoch in which something changed, one write in
`prepare`, and one that is not synced in `committed`: if that is lost, the version is still pending, and the start
promotes it again. It lies behind the epoch's end, where nobody waits for it. The writes of `prepare` are synced at the
same time, by threads: the epoch waits for the disk where its tokens become bytes, see `headway.state.syncs`.

**Rejected.**

* *Committing in the next `prepare`*, in one write with it: a write less, but nothing leaves before a second epoch
  closes, and in silence never.
* *A clock that says when proofs may end* (some epochs after the last news): an epoch that took longer to close left
  lines unprinted until the next event came.
* *Positions of slots as synced rows*, so that the engine keeps nothing but integers: one more fsync for each slot and
  epoch, for a value of some bytes that the engine's log makes durable anyway. A slot's token keeps its positions beside
  the version.
* *A transaction over all participants*, or one log of our own: the stop of the world would be longer, and the engine
  has to write its log all the same.
* *Asking the engine's log* (SQLite) what is committed: a read by every worker in each epoch, of a file that one of them
  is writing.
"""

from __future__ import annotations

from typing import Generic, Optional, Protocol, TypeVar

from headway.errors import InternalError
from headway.runtime.board import Board
from headway.runtime.stats import ParticipantStats

__all__ = ["Commitment", "Commitments", "Participant"]


class Participant(Protocol):
    """Whoever keeps something from epoch to epoch. All methods are called on the thread on which it works."""

    def resume(self, version: Optional[int]) -> None:
        """Go to this version, which is durable on every worker: promote what is pending of it, discard what is later.

        Called once, before everything else; None where the engine knows of no version. Cost does not depend on how
        much is kept. Raises `StateError` where that version is not there.
        """

    def prepare(self) -> int:
        """Close the epoch: write what it changed as pending; returns the version to resume from.

        That is the version before where nothing has changed, else the next one. The sync of what was written may be
        under way: before the engine's log may have the version, it is waited for. Raises what ends the run.
        """

    def committed(self, version: int) -> None:
        """What `prepare` returned last is durable on every worker.

        Heard once for each new version and before anything of the next epoch. Not heard for the version resumed at.
        """

    def statistics(self) -> ParticipantStats:
        """What it knows of itself: a frozen record. Called at any time, also by another thread; some microseconds."""


P_co = TypeVar("P_co", bound=Participant, covariant=True)


class Commitment(Generic[P_co]):
    """What one participant has prepared, and whether that is known to be durable; see the module's text.

    `in_doubt` is where those are listed that wait to hear. Whoever works for the engine calls `proven` whenever
    something has come that is a proof, and calls nothing that does work while `is_proven` is False.
    """

    __slots__ = ("_heard", "_in_doubt", "is_proven", "participant", "prepared")

    def __init__(self, participant: P_co, in_doubt: set[Commitment[Participant]]) -> None:
        self.participant = participant
        self.is_proven = False
        """Whether everything that was prepared is known to be durable: only then may the participant do anything."""
        self.prepared = 0
        """The version that was prepared last."""
        self._in_doubt = in_doubt
        self._heard = 0

    def resume(self, version: Optional[int]) -> None:
        """Begin at the version that the engine knows."""
        self.participant.resume(version)
        self.prepared = self._heard = version or 0
        self.is_proven = True

    def prepare(self) -> int:
        """Close the epoch; returns the version for the engine's log."""
        version = self.participant.prepare()
        if version != self.prepared:
            if not self.is_proven or version != self.prepared + 1:
                msg = (
                    f"{type(self.participant).__name__} has prepared version {version} on {self.prepared}, "
                    f"which {'is' if self.is_proven else 'is not'} known to be durable; please report this"
                )
                raise InternalError(msg)
            self.prepared = version
            self._in_doubt.add(self)
        self.is_proven = False
        return version

    def proven(self) -> None:
        """Something has come that proves the epoch before to be durable. Costs nothing after the first in an epoch."""
        if self.is_proven:
            return
        self.is_proven = True
        if self._heard != self.prepared:
            self._heard = self.prepared
            self._in_doubt.discard(self)
            self.participant.committed(self.prepared)


P = TypeVar("P", bound=Participant)


class Commitments:
    """All participants of one process, and which of them wait to hear that what they have prepared is durable.

    `shared` is the board that the workers of one machine share, None where there is none; `worker` is the number of
    this process of `workers`.
    """

    def __init__(self, shared: Optional[Board], worker: int, workers: int) -> None:
        self.in_doubt: set[Commitment[Participant]] = set()
        self._all: list[Commitment[Participant]] = []
        self._shared = shared
        self._worker = worker
        self._workers = workers
        self._told = 0

    def add(self, participant: P, version: Optional[int], *, is_called: bool = False) -> Commitment[P]:
        """Let a participant take part, resumed at the version that the engine knows.

        One that `is_called` by the engine needs nobody who sends it a proof, and so is never waited for.
        """
        commitment = Commitment(participant, set() if is_called else self.in_doubt)
        commitment.resume(version)
        self._all.append(commitment)
        return commitment

    def tell(self) -> None:
        """Let the slots of other processes know how many wait here; call it before the epoch ends here."""
        count = len(self.in_doubt)
        if self._shared is not None and count != self._told:
            self._shared.report_in_doubt(self._worker, count)
            self._told = count

    @property
    def is_awaited(self) -> bool:
        """Whether anybody needs a proof that the epoch before is durable.

        Asked by slots at the start of an epoch: who has prepared something in the one before is known by then. Where
        processes share no board, none can tell, and all may.
        """
        if self.in_doubt:
            return True
        return self._workers > 1 if self._shared is None else self._shared.in_doubt() > 0

    def end(self) -> None:
        """The run has ended well on every worker, and so everything is durable."""
        for commitment in self._all:
            commitment.proven()
