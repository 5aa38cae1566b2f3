"""Every kind of participant keeps the contract of epochs, in whatever legal order an engine calls it."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any, Optional

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from tests.participant_harness import SUBJECTS, Heard, ListSubject, SlotSubject, StageSubject, Subject, Token

from headway.errors import InternalError
from headway.runtime.board import Board
from headway.runtime.participant import Commitment, Commitments
from headway.state.database import Database


class ParticipantMachine(RuleBasedStateMachine):
    """An engine that closes epochs, makes them durable, or loses and repeats them; `history` is the work by version."""

    kind: type[Subject]

    @initialize()
    def begin(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="headway-test-"))
        self.subject = self.kind(self.root)
        self.log: Token = None
        self.history = {0: 0}
        self.told = 0
        """How much work is known to be durable by all who can see something of it."""
        self.has_lost_power = False
        self.start()

    def start(self) -> None:
        self.closing: Optional[tuple[int, Token]] = None
        self.heard = Heard(self.subject.open(self.log))
        self.in_doubt: set[Any] = set()
        self.commitment = Commitment(self.heard, self.in_doubt)
        self.version = self.subject.version_of(self.log) or 0
        self.commitment.resume(self.subject.version_of(self.log))
        self.history = {version: done for version, done in self.history.items() if version <= self.version}
        self.done = self.history[self.version]
        self.must_hear: list[int] = []
        self.durable = self.version
        if self.kind is not SlotSubject:  # To be opened where it stood says it to a reader.
            self.told = self.done
        assert self.subject.kept() == self.done

    def teardown(self) -> None:
        if hasattr(self, "subject"):
            self.subject.close()
            shutil.rmtree(self.root)

    def prove(self) -> None:
        if self.durable != self.heard_last:
            self.must_hear.append(self.durable)
        self.commitment.proven()
        self.told = max(self.told, self.history[self.durable]) if self.must_hear else self.told

    @property
    def heard_last(self) -> int:
        return self.must_hear[-1] if self.must_hear else self.version

    @precondition(lambda self: self.closing is None)
    @rule()
    def work(self) -> None:
        self.prove()
        self.done += 1
        self.subject.work(self.done)

    @precondition(lambda self: self.closing is None)
    @rule()
    def look_around(self) -> None:
        self.prove()
        self.subject.look_around()

    @precondition(lambda self: self.closing is None)
    @rule()
    def close_epoch(self) -> None:
        before = max(self.history)
        changes = self.done != self.history[before]
        version = self.commitment.prepare()
        assert version == before + 1 if changes else version in (before, before + 1)
        assert version == before or self.commitment in self.in_doubt or self.kind is SlotSubject
        assert not self.commitment.is_proven, "nothing may be done before something has come"
        if version > before:
            self.subject.remember()
        self.history[version] = self.done
        self.closing = version, self.subject.token(version)

    @precondition(lambda self: self.closing is not None)
    @rule()
    def become_durable(self) -> None:
        assert self.closing is not None
        self.durable, self.log = self.closing
        self.closing = None

    @rule(power=st.booleans())
    def crash(self, power: bool) -> None:
        self.subject.close()
        if power:
            self.subject.lose_power()
            self.has_lost_power = True
        self.start()

    @precondition(lambda self: self.closing is None)
    @rule()
    def end_well(self) -> None:
        self.close_epoch()
        self.become_durable()
        self.prove()
        self.subject.settle()
        self.subject.remember()
        self.subject.close()
        self.start()

    @invariant()
    def what_is_heard(self) -> None:
        if hasattr(self, "heard"):
            assert self.heard.versions == self.must_hear
            assert self.commitment not in self.in_doubt or self.heard_last != max(self.history)
            statistics = self.heard.statistics()
            assert statistics.version == max(self.history)
            assert type(statistics).__struct_config__.frozen

    @invariant()
    def what_is_shown(self) -> None:
        if not hasattr(self, "heard"):
            return
        shown = self.subject.shown()
        expected = list(range(1, (self.done if self.kind.shows_at_once else self.told) + 1))
        if self.has_lost_power and self.kind is ListSubject:
            assert sorted(set(shown)) == expected, "after a loss of power lines may come again"
            assert all(later <= max(shown[: place + 1], default=0) + 1 for place, later in enumerate(shown[1:]))
        else:
            assert shown == expected


@pytest.mark.parametrize("kind", SUBJECTS)
def test_the_contract(kind: type[Subject]) -> None:
    machine = type(f"{kind.__name__}Machine", (ParticipantMachine,), {"kind": kind})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=15, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


@pytest.mark.soak
@pytest.mark.parametrize("kind", SUBJECTS)
def test_the_contract_for_long(kind: type[Subject]) -> None:
    machine = type(f"{kind.__name__}Machine", (ParticipantMachine,), {"kind": kind})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=300, stateful_step_count=60, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


def committed(kind: type[Subject], directory: Path) -> tuple[Subject, Commitment[Any]]:
    """A participant with one epoch in doubt."""
    subject = kind(directory)
    commitment = Commitment(subject.open(None), set())
    commitment.resume(None)
    subject.work(1)
    commitment.prepare()
    return subject, commitment


def test_work_on_what_is_in_doubt_is_a_fault(tmp_path: Path) -> None:
    subject, commitment = committed(StageSubject, tmp_path)
    subject.work(2)
    with pytest.raises(InternalError, match="StageTask has prepared version 2 on 1, which is not known to be durable"):
        commitment.prepare()
    subject.close()


def test_a_clean_end_syncs_what_was_delivered_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    syncs: list[str] = []
    real = Database.sync

    def sync(database: Database) -> None:
        syncs.append("sync")
        real(database)

    monkeypatch.setattr(Database, "sync", sync)
    subject, commitment = committed(ListSubject, tmp_path)
    commitment.proven()
    assert (subject.shown(), syncs) == ([1], [])
    subject.settle()
    assert syncs == ["sync"], "that the rows were taken out of the outbox must not get lost"
    subject.close()


def test_what_an_output_refuses_stays_in_the_outbox(tmp_path: Path) -> None:
    subject, commitment = committed(ListSubject, tmp_path)

    class Full(list[Any]):
        def __iadd__(self, other: Any) -> Any:  # type: ignore[misc]
            msg = "full"
            raise OSError(msg)

    commitment.participant._writer._target = Full()
    with pytest.raises(OSError, match="full"):
        commitment.proven()
    subject.close()
    for _ in range(2):
        again = Commitment(subject.open(1), set())
        again.resume(1)
        assert subject.shown() == [1]
        subject.close()


def test_processes_of_one_machine_know_who_waits(tmp_path: Path) -> None:
    Board.create(tmp_path / "board", 1, 2)
    boards = [Board({"s/00": 0}, tmp_path / "board", workers=2) for _ in range(2)]
    one, other = (Commitments(board, worker, 2) for worker, board in enumerate(boards))
    subject = StageSubject(tmp_path)
    commitment = one.add(subject.open(None), None)
    subject.work(1)
    commitment.prepare()
    one.tell()
    assert (one.is_awaited, other.is_awaited) == (True, True)
    commitment.proven()
    one.tell()
    assert (one.is_awaited, other.is_awaited) == (False, False)
    assert Commitments(None, 0, 2).is_awaited, "who shares no board cannot know"
    assert not Commitments(None, 0, 1).is_awaited
    subject.close()


def test_a_slot_is_never_waited_for(tmp_path: Path) -> None:
    commitments = Commitments(None, 0, 1)
    subject = SlotSubject(tmp_path)
    commitment = commitments.add(subject.open(None), None, is_called=True)
    subject.work(1)
    assert commitment.prepare() == 1
    assert not commitments.is_awaited
    commitments.end()
    assert subject.shown() == [1]
    subject.close()


def test_what_a_start_has_delivered_does_not_come_again(tmp_path: Path) -> None:
    subject, _ = committed(ListSubject, tmp_path)
    for _ in range(3):
        subject.close()
        Commitment(subject.open(1), set()).resume(1)
        assert subject.shown() == [1]
    subject.close()
