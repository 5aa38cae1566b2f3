"""Carrying out trials: one at a time in each lane, with the processes of the lives as children of nurseries."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from select import select
from typing import Final, NamedTuple, Optional
from zlib import crc32

import msgspec

from headway.declare.loading import FlowSpec
from headway.errors import FlowError, InternalError
from headway.proving.crashes import Crashes
from headway.proving.nursery import LOST, RESULT, Order, Result, Told
from headway.proving.outcome import Outcome, outcome_of
from headway.proving.plans import HASH_SEEDS, Trial, pace_of
from headway.proving.scope import Scope
from headway.runtime.directory import StateDirectory

__all__ = ["Lane", "Run", "Use"]

_HANGS_S: Final = 60.0
"""A life that comes to no crash point for so long hangs: a long log takes longer, and comes to many."""
_LOOK_S: Final = 5.0
_ANSWERS_S: Final = 60.0
"""The import of a flow may take its time."""
_LOG_SHOWN: Final = 2_000


class Use(NamedTuple):
    """What runs take of the machine, at most."""

    memory_bytes: int = 0
    """Of the process of a life, without those of its workers."""
    open_files: int = 0
    """Of one that ended by itself."""
    disk_bytes: int = 0
    """Of all that a trial has written, at its end."""

    def most(self, other: Use) -> Use:
        """The most of both."""
        return Use(*map(max, self, other))


class Run(NamedTuple):
    """How a trial went."""

    outcome: Optional[Outcome]
    failure: str
    """Why there is no outcome: the error that ended the last life, or that it hangs."""
    kind: str
    """The class of that error."""
    kills: Counter[str]
    """How lives were ended: by the name of the point, `at a moment` or `stopped`."""
    lost_power: int
    """How often what was not synced was lost."""
    lost: Counter[str]
    """How often a life went on from what was kept, because its directory was lost: by how it was kept."""
    counts: dict[str, int]
    """How often points were reached in the first life."""
    last_counts: dict[str, int]
    """How often they were in the last one."""
    took_s: float
    """How long the first life took, in seconds."""
    use: Use
    """What it took of the machine."""


@dataclass
class Lane:
    """Carries out trials in a folder of its own, which only it uses. Close it: it has processes."""

    spec: FlowSpec
    sample: Path
    sizes: dict[str, dict[str, int]]
    folder: Path
    scope: Scope = Scope()  # noqa: RUF009 - it is frozen
    """What is compared."""
    _nurseries: dict[int, _Nursery] = field(default_factory=dict)
    _use: Use = field(default_factory=Use)

    def run(self, trial: Trial) -> Run:
        """Carry out a trial from an empty state directory on."""
        folder = self.folder / "trial"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        crashes = Crashes(folder / "crashes")
        rng = Random(crc32(str(trial).encode()))
        kills: Counter[str] = Counter()
        lost_power = 0
        lost: Counter[str] = Counter()
        first: tuple[dict[str, int], float] = {}, 0.0
        result = Result({})
        for number, life in enumerate(trial.lives):
            result, how, took_s = self._live(trial, number, folder, crashes)
            if number == 0:
                first = crashes.counts(), took_s
            if how:
                kills[how] += 1
            if (note := folder / LOST).exists():
                lost[note.read_text()] += 1
            if how and life.ending.loses_power:
                crashes.lose_power(rng)
                lost_power += 1
            if result.error:
                break
        outcome = None if result.error else outcome_of(folder, result.counts, self.scope)
        disk_bytes = sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())
        use = self._use.most(Use(open_files=result.open_files, disk_bytes=disk_bytes))
        counts, took_s = first
        return Run(outcome, result.error, result.kind, kills, lost_power, lost, counts, crashes.counts(), took_s, use)

    def _live(self, trial: Trial, number: int, folder: Path, crashes: Crashes) -> tuple[Result, str, float]:
        """One life; what it has left, how it was ended, empty where it ended by itself, and how long it took."""
        life = trial.lives[number]
        ending = life.ending
        crashes.arm(ending.kill if ending.how == "kill" else None)
        (folder / RESULT).unlink(missing_ok=True)
        (folder / LOST).unlink(missing_ok=True)
        order = Order(
            folder=str(folder),
            sample=str(self.sample),
            crashes=str(crashes.folder),
            pace=pace_of(trial, number, self.sizes),
            workers=life.workers,
            epoch_ms=life.epoch_ms,
            key_groups=life.key_groups,
            drain=life.drain,
            keeps=life.keeps,
            loses=life.loses,
        )
        signals = {"moment": signal.SIGKILL, "stop": signal.SIGTERM}
        if life.hash_seed not in self._nurseries:
            self._nurseries[life.hash_seed] = _Nursery(self.spec, life.hash_seed)
        nursery = self._nurseries[life.hash_seed]
        ended = nursery.have_run(order, signals.get(ending.how), ending.after_ms / 1_000, crashes.counts)
        assert ended.told.status is not None
        status, took_s = ended.told.status, ended.took_s
        self._use = self._use.most(Use(memory_bytes=ended.told.rss_bytes))
        if life.workers > 1:
            with StateDirectory(folder / "state").locked():
                pass  # Workers follow their supervisor within moments: they hold the lock as long.
        result = self._result(folder, status, hung=ended.hung)
        if os.WIFSIGNALED(status):
            return result, ending.kill.point if ending.how == "kill" else "at a moment", took_s
        worker_killed = ending.how == "kill" and crashes.counts().get(ending.kill.point, 0) >= ending.kill.nth
        if ending.how == "stop":
            return result, "stopped" if ended.was_sent else "", took_s
        return result, ending.kill.point if worker_killed else "", took_s

    def _result(self, folder: Path, status: int, *, hung: bool) -> Result:
        log = folder / "life.log"
        told = log.read_text(errors="replace")[-_LOG_SHOWN:] if log.exists() else ""
        if hung:
            msg = f"the process came to no crash point for {_HANGS_S:.0f} s: {told or 'it has written nothing'}"
            return Result({}, msg, "InternalError")
        if os.WIFSIGNALED(status):
            number = os.WTERMSIG(status)
            # One that is told to stop before it listens ends as if it was killed.
            if number in (signal.SIGKILL, signal.SIGTERM):
                return Result({})
            return Result({}, f"the process was ended by signal {number}: {told}", "InternalError")
        path = folder / RESULT
        if not path.exists():
            return Result({}, f"the process ended without a word: {told}", "InternalError")
        return msgspec.json.decode(path.read_bytes(), type=Result)

    def on(self, sample: Path, sizes: dict[str, dict[str, int]]) -> Lane:
        """The same lane on another sample: with the same folder and the same processes, so use one at a time."""
        return replace(self, sample=sample, sizes=sizes)

    def close(self) -> None:
        """End all processes."""
        for nursery in self._nurseries.values():
            nursery.close()
        self._nurseries.clear()


class _Ended(NamedTuple):
    """How a life ended."""

    told: Told
    """What the nursery says of it."""
    took_s: float
    was_sent: bool
    """Whether the signal was sent before."""
    hung: bool


class _Nursery:
    """The parent's side of `headway.proving.nursery`."""

    def __init__(self, spec: FlowSpec, hash_seed: int) -> None:
        assert 0 <= hash_seed < HASH_SEEDS
        commands, self._commands = os.pipe()
        self._answers, answers = os.pipe()
        command = [sys.executable, "-m", "headway.proving.nursery", str(commands), str(answers), spec.ref]
        self._process = subprocess.Popen(
            [*command, msgspec.json.encode(dict(spec.parameters)).decode()],
            pass_fds=(commands, answers),
            stdin=subprocess.DEVNULL,
            # What a flow prints while it is imported is not for here.
            stdout=subprocess.DEVNULL,
            env={**os.environ, "PYTHONHASHSEED": str(hash_seed), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        os.close(commands)
        os.close(answers)
        self._heard = b""
        self._life = 0

    def have_run(
        self, order: Order, sends: Optional[signal.Signals], after_s: float, progress: Callable[[], object]
    ) -> _Ended:
        """Have a life run to its end, and send a signal on the way.

        `progress` tells how far the life is: one for which that stays the same hangs, and is killed.
        """
        os.write(self._commands, msgspec.json.encode(order) + b"\n")
        told = self._hear_within(_ANSWERS_S)
        if told is None:
            msg = f"the process that starts runs does not answer within {_ANSWERS_S:.0f} s"
            raise InternalError(msg)
        pid = self._life = told.pid
        began_s = time.monotonic()
        was_sent = hung = False
        try:
            told = None if sends is None else self._hear_within(after_s)
            if told is None and sends is not None:
                _send(pid, sends)
                was_sent = True
            before, since_s = progress(), time.monotonic()
            while told is None:
                told = self._hear_within(_LOOK_S)
                now = progress()
                if now != before:
                    before, since_s = now, time.monotonic()
                elif told is None and time.monotonic() - since_s >= _HANGS_S:
                    hung = True
                    _send(pid, signal.SIGKILL)
        finally:
            self._life = 0
        return _Ended(told, time.monotonic() - began_s, was_sent, hung)

    def _hear_within(self, within_s: float) -> Optional[Told]:
        until = time.monotonic() + within_s
        while b"\n" not in self._heard:
            left = until - time.monotonic()
            if left <= 0 or not select([self._answers], [], [], left)[0]:
                return None
            said = os.read(self._answers, 65_536)
            if not said:
                msg = f"the process that starts runs has ended with exit code {self._process.wait()}"
                raise InternalError(msg)
            self._heard += said
        line, _, self._heard = self._heard.partition(b"\n")
        told = msgspec.json.decode(line, type=Told)
        if told.failure:
            raise FlowError(told.failure)
        return told

    def close(self) -> None:
        if self._life:
            _send(self._life, signal.SIGKILL)
        os.close(self._commands)
        self._process.kill()
        self._process.wait()
        os.close(self._answers)


def _send(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)
