"""Proving a flow: it is run undisturbed, then many times with disturbances, and everything it leaves is compared."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from queue import SimpleQueue
from random import Random
from typing import Final, Optional

from headway.declare.flow import Flow
from headway.declare.loading import FlowSpec
from headway.proving.crashes import Kill
from headway.proving.lanes import Lane, Run
from headway.proving.meaning import UNEXPECTED, meaning_of
from headway.proving.outcome import FAILS, Difference, Outcome, difference
from headway.proving.plans import (
    Reference,
    Trial,
    drawn_trial,
    quick_trials,
    reference_trial,
    resuming_trials,
    without_drain,
)
from headway.proving.proof import Fault, Progress, Proof
from headway.proving.sample import Sample
from headway.proving.scope import check_steps, scope_of
from headway.proving.shrink import shrunk
from headway.runtime.worker import WorkerFailure, error_of

__all__ = ["ProofOptions", "prove_flow"]

_LANES_MOST: Final = 2
_AGAIN: Final = 10
"""How often a plan is carried out that is to be seen again: chance and moments are not the same each time."""
_ROOM_BYTES: Final = 512 << 20


@dataclass(frozen=True)
class ProofOptions:
    """How thoroughly to prove."""

    runs: int = 200
    """How many disturbed runs there are at most."""
    seed: int = 0
    minutes: Optional[float] = None
    """For how long to go on at most."""
    again: Optional[Trial] = None
    """One plan to carry out, in the place of all others."""
    shrink: bool = True
    """Whether to look for the least that shows a difference."""
    run_steps: bool = False
    """Whether the steps of durable functions may be run, for real and many times."""


Expects = Callable[[bool], Mapping[str, list[bytes]]]
"""The lines of each output, by name, by whether the books are closed in the end."""


def prove_flow(
    spec: FlowSpec,
    flow: Flow,
    sample: Sample,
    options: ProofOptions,
    *,
    observe: Progress = lambda proof: None,
    stop: Callable[[], bool] = lambda: False,
    expects: Optional[Expects] = None,
) -> Proof:
    """Compare disturbed runs of a flow on a sample with one that nobody disturbs, until one differs.

    `flow` is what `spec` makes: its processes make their own. `expects` says what the outputs must get where nobody
    disturbs the flow, without and with the books closed in the end. Look at `Proof.holds`: where there was nothing to
    compare there is no difference either.
    Raises the error with which the flow fails where nobody disturbs it, and `UsageError` for a flow with steps, unless
    `options.run_steps` allows to run them.
    """
    check_steps(flow, may_run=options.run_steps)
    proof = Proof(flow.name, sample.count, scope=scope_of(flow))
    if not sample.count:
        return proof
    with _folder() as folder:
        return _Proving(spec, sample, options, Path(folder), proof, observe, stop, expects).prove()


@contextmanager
def _folder() -> Iterator[str]:
    """In memory where there is room: a loss of power is played, so a disk adds nothing but time."""
    memory = Path("/dev/shm")
    roomy = "TMPDIR" not in os.environ and memory.is_dir() and shutil.disk_usage(memory).free > _ROOM_BYTES
    with tempfile.TemporaryDirectory(
        prefix="headway-prove-", dir=memory if roomy else None, ignore_cleanup_errors=True
    ) as folder:
        yield folder


class _Proving:
    def __init__(
        self,
        spec: FlowSpec,
        sample: Sample,
        options: ProofOptions,
        folder: Path,
        proof: Proof,
        observe: Progress,
        stop: Callable[[], bool],
        expects: Optional[Expects],
    ) -> None:
        self._expects = expects
        self._spec = spec
        self._options = options
        self._folder = folder
        self._proof = proof
        self._observe = observe
        self._stop = stop
        self._began_s = time.monotonic()
        self._lanes: list[Lane] = []
        self._free: SimpleQueue[Lane] = SimpleQueue()
        self._known: dict[tuple[int, bool], tuple[Outcome, Reference]] = {}
        self._resumed: dict[str, tuple[Kill, int]] = {}
        self._lock = threading.Lock()
        self._samples = {sample.count: sample}
        self._all = sample

    def prove(self) -> Proof:
        path = self._folder / "sample"
        self._all.store(path)
        for number in range(min(_LANES_MOST, os.cpu_count() or 1)):
            lane = Lane(self._spec, path, self._all.sizes, self._folder / f"lane-{number}", self._proof.scope)
            self._lanes.append(lane)
            self._free.put(lane)
        try:
            self._prove()
        finally:
            for lane in self._lanes:
                lane.close()
        self._proof.seconds = time.monotonic() - self._began_s
        return self._proof

    def _prove(self) -> None:
        again = self._options.again
        pace = Reference({}, 0, longest=self._longest).pace
        resuming = resuming_trials(pace)
        before = len(quick_trials()) + len(resuming)
        self._proof.wanted = _AGAIN if again is not None else before + self._options.runs
        if again is not None:
            self._reference(drain=again.drain)
            for _ in range(_AGAIN):
                if self._proof.fault is None and not self._is_over():
                    self._note(again, self._carried_out(again))
            return
        for drain in self._drains:
            self._reference(drain=drain)
        self._check_expected()
        self._observe(self._proof)
        for trial in map(self._allowed, (*quick_trials(pace).values(), *resuming)):
            if self._proof.fault is not None or self._is_over():
                return
            run = self._carried_out(trial)
            self._note(trial, run)
            self._learn(trial, run)
        if self._proof.fault is None and not self._is_over():
            staying = self._reference(drain=False)[1]._replace(resumed=self._resumed)
            self._disturbed(staying, self._reference(drain=self._drains[-1])[1])

    def _learn(self, trial: Trial, run: Run) -> None:
        """Remember the points that only a start comes to which goes on behind a kill."""
        first, *others = trial.lives
        if others and first.ending.how == "kill":
            known = self._reference(drain=False)[1].counts
            found = {
                point: (first.ending.kill, count) for point, count in run.last_counts.items() if point not in known
            }
            self._resumed = {**found, **self._resumed}
            self._proof.reached |= found.keys()

    def _allowed(self, trial: Trial) -> Trial:
        """The trial as this flow can be run: the books of durable functions stay open."""
        return without_drain(trial) if self._proof.scope.has_functions else trial

    @property
    def _longest(self) -> int:
        return max((size for parts in self._all.sizes.values() for size in parts.values()), default=0)

    def _check_expected(self) -> None:
        """Compare what nobody disturbed with what is expected, if anything is."""
        for drain in self._drains if self._expects is not None else ():
            assert self._expects is not None
            wanted = {f"output {name!r}": lines for name, lines in self._expects(drain).items() if lines}
            outcome = self._reference(drain=drain)[0]
            got = {name: lines for name, lines in outcome.parts.items() if name.startswith("output ")}
            found = difference(Outcome(wanted, {}), Outcome(got, {}))
            if found is not None and self._proof.fault is None:
                trial = self._undisturbed(drain=drain)
                self._proof.fault = Fault(found, UNEXPECTED, trial, self._proof.events)

    @property
    def _drains(self) -> tuple[bool, ...]:
        """Whether books are closed: without and with. Durable functions never know that nothing more will come."""
        return (False,) if self._proof.scope.has_functions else (False, True)

    def _disturbed(self, staying: Reference, draining: Reference) -> None:
        """The many runs, as many at a time as there are lanes. What they find is noted in their order."""
        plans = (
            drawn_trial(Random(f"{self._options.seed}:{number}"), number, staying, draining)
            for number in range(self._options.runs)
        )
        with ThreadPoolExecutor(len(self._lanes), "headway-prove") as pool:
            under_way: dict[Future[Run], Trial] = {}
            for trial in map(self._allowed, plans):
                if self._is_over() or self._proof.fault is not None:
                    break
                under_way[pool.submit(self._carried_out, trial)] = trial
                if len(under_way) >= len(self._lanes):
                    self._take(under_way)
            while under_way:
                self._take(under_way)

    def _take(self, under_way: dict[Future[Run], Trial]) -> None:
        done, _ = wait(under_way, return_when=FIRST_COMPLETED)
        for future in done:
            self._note(under_way.pop(future), future.result())

    def _note(self, trial: Trial, run: Run) -> None:
        proof = self._proof
        proof.runs += 1
        proof.disturbances.update(run.kills)
        proof.power_losses += run.lost_power
        proof.restored.update(run.lost)
        proof.use = proof.use.most(run.use)
        if proof.fault is None:
            found = self._difference(trial, run, proof.events)
            if found is not None:
                proof.fault = Fault(found, "", trial, proof.events)
                self._observe(proof)
                if self._options.shrink and not self._stop():
                    proof.fault = shrunk(proof.fault, self._tried, self._stop)
                [undisturbed] = self._undisturbed(drain=trial.drain).lives
                meaning = meaning_of(proof.fault, undisturbed, self._tried, self._stop)
                proof.fault = replace(proof.fault, meaning=meaning)
        proof.seconds = time.monotonic() - self._began_s
        self._observe(proof)

    def _tried(self, trial: Trial, events: int) -> Optional[Difference]:
        """Whether a plan shows a difference on the first events of the sample."""
        run = self._carried_out(trial, events)
        return self._difference(trial, run, events)

    def _difference(self, trial: Trial, run: Run, events: int) -> Optional[Difference]:
        expected = self._reference(drain=trial.drain, events=events)[0]
        if run.outcome is None:
            return Difference(FAILS, "ends well", f"{run.kind}: {run.failure}")
        return difference(expected, run.outcome)

    def _reference(self, *, drain: bool, events: Optional[int] = None) -> tuple[Outcome, Reference]:
        key = events or self._proof.events, drain
        if key not in self._known:
            run = self._carried_out(self._undisturbed(drain=drain), key[0])
            if run.outcome is None:
                raise error_of(WorkerFailure(run.kind, run.failure))
            self._known[key] = run.outcome, Reference(run.counts, run.took_s * 1_000, longest=self._longest)
            if events is None:
                self._proof.reached |= run.counts.keys()
                self._proof.lines = max(self._proof.lines, sum(map(len, run.outcome.parts.values())))
                self._proof.said = max(self._proof.said, run.outcome.said)
        return self._known[key]

    def _undisturbed(self, *, drain: bool) -> Trial:
        return reference_trial(drain=drain, pace=Reference({}, 0, longest=self._longest).pace)

    def _carried_out(self, trial: Trial, events: Optional[int] = None) -> Run:
        lane = self._free.get()
        try:
            if events is not None and events != self._proof.events:
                return self._on_less(lane, events).run(trial)
            return lane.run(trial)
        finally:
            self._free.put(lane)

    def _on_less(self, lane: Lane, events: int) -> Lane:
        """A lane with the same processes on the first events of the sample."""
        path = self._folder / f"sample-{events}"
        with self._lock:
            if events not in self._samples:
                self._samples[events] = self._all.first(events)
                self._samples[events].store(path)
        return lane.on(path, self._samples[events].sizes)

    def _is_over(self) -> bool:
        minutes = self._options.minutes
        return self._stop() or (minutes is not None and time.monotonic() - self._began_s >= 60 * minutes)
