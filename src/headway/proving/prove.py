"""Proving a flow: it is run undisturbed, then many times with disturbances, and everything it leaves is compared."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from random import Random
from typing import Any, Final, Optional

from headway.basics.crashpoints import POINTS
from headway.declare.flow import Flow
from headway.declare.loading import FlowSpec
from headway.proving.lanes import Lane, Run, Use
from headway.proving.outcome import Difference, Outcome, difference
from headway.proving.plans import (
    DIVIDED,
    HASHED,
    REPEATED,
    Reference,
    Trial,
    drawn_trial,
    quick_trials,
    reference_trial,
    without_drain,
)
from headway.proving.sample import Sample, is_by_clock
from headway.proving.shrink import shrunk
from headway.runtime.worker import WorkerFailure, error_of

__all__ = ["Fault", "Progress", "Proof", "ProofOptions", "prove_flow"]

_LANES_MOST: Final = 2
_AGAIN: Final = 10
"""How often a plan is carried out that is to be seen again: chance and moments are not the same each time."""
_ROOM_BYTES: Final = 512 << 20
_MEANINGS: Final = {
    REPEATED: "it differs although nothing was changed: it reads the clock, chance, or something else from outside",
    HASHED: "it differs under another hash seed: it depends on the order of a set, or on hash()",
    DIVIDED: "it differs with other batches, epochs or key groups: something is kept outside of the state, such as in "
    "a global or in a mutable default, and sees the events of all keys in the order in which they are worked on",
}
_UNEXPECTED: Final = "nothing was disturbed: what the flow gives is not what is expected of it"
_LOST: Final = (
    "undisturbed runs agree, and one that was disturbed does not: something is kept outside of the state, such as in a "
    "global, a mutable default or a file, and does not survive, or is there twice"
)


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


@dataclass(frozen=True)
class Fault:
    """A difference, and what is known of it."""

    difference: Difference
    meaning: str
    """What it says about the flow, in words."""
    trial: Trial
    """The least plan that has shown it."""
    events: int
    """How many events of the sample it takes."""
    tried: int = 1
    """How often the plan was carried out."""
    shown: int = 1
    """How often it has shown a difference."""


@dataclass
class Proof:
    """What was found, so far."""

    flow: str
    events: int
    runs: int = 0
    """Runs that were compared, without the first ones, with which they were."""
    wanted: int = 0
    disturbances: Counter[str] = field(default_factory=Counter)
    """How lives were ended: by the name of a point, `at a moment` or `stopped`."""
    power_losses: int = 0
    """After how many of them what was not synced was lost."""
    reached: frozenset[str] = frozenset()
    """The points that an undisturbed run comes to."""
    lines: int = 0
    """How many lines and rows were compared in each run."""
    seconds: float = 0.0
    fault: Optional[Fault] = None
    by_clock: bool = False
    """Whether it has durable functions: then what its outputs get is compared in whatever order, and nothing else."""
    use: Use = field(default_factory=Use)
    """What runs have taken of the machine, at most."""

    @property
    def untried(self) -> list[str]:
        """Points that were reached, and at which no run was ended."""
        return sorted(self.reached - self.disturbances.keys())

    @property
    def never_reached(self) -> list[str]:
        """Points that the flow does not come to: it has nothing of the kind, or did not need to."""
        return [point for point in POINTS if point not in self.reached and point not in self.disturbances]


Progress = Callable[[Proof], None]
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
    disturbs the flow, without and with the books closed in the end.
    Raises the error with which the flow fails where nobody disturbs it.
    """
    with _folder() as folder:
        proof = Proof(flow.name, sample.count, by_clock=is_by_clock(flow))
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
        self._lock = threading.Lock()
        self._samples = {sample.count: sample}
        self._all = sample

    def prove(self) -> Proof:
        path = self._folder / "sample"
        self._all.store(path)
        for number in range(min(_LANES_MOST, os.cpu_count() or 1)):
            lane = Lane(self._spec, path, self._all.sizes, self._folder / f"lane-{number}", self._proof.by_clock)
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
        self._proof.wanted = _AGAIN if again is not None else self._options.runs + len(quick_trials())
        if again is not None:
            self._reference(drain=again.drain)
            for _ in range(_AGAIN):
                if self._proof.fault is None and not self._is_over():
                    self._note(again, self._carried_out(again), _LOST)
            return
        references = {drain: self._reference(drain=drain)[1] for drain in self._drains}
        self._check_expected()
        self._observe(self._proof)
        if self._proof.fault is not None:
            return
        for what, quick in quick_trials().items():
            trial = without_drain(quick) if self._proof.by_clock else quick
            self._note(trial, self._carried_out(trial), _MEANINGS[what.strip()])
            if self._proof.fault is not None or self._is_over():
                return
        self._disturbed(references[False], references[self._drains[-1]])

    def _check_expected(self) -> None:
        """Compare what nobody disturbed with what is expected, if anything is."""
        for drain in self._drains if self._expects is not None else ():
            assert self._expects is not None
            wanted = {f"output {name!r}": lines for name, lines in self._expects(drain).items() if lines}
            outcome = self._reference(drain=drain)[0]
            got = {name: lines for name, lines in outcome.parts.items() if name.startswith("output ")}
            found = difference(Outcome(wanted, {}), Outcome(got, {}))
            if found is not None and self._proof.fault is None:
                self._proof.fault = Fault(found, _UNEXPECTED, reference_trial(drain=drain), self._proof.events)

    @property
    def _drains(self) -> tuple[bool, ...]:
        """Whether books are closed: without and with. Durable functions never know that nothing more will come."""
        return (False,) if self._proof.by_clock else (False, True)

    def _disturbed(self, staying: Reference, draining: Reference) -> None:
        """The many runs, as many at a time as there are lanes. What they find is noted in their order."""
        plans = (
            drawn_trial(Random(f"{self._options.seed}:{number}"), number, staying, draining)
            for number in range(self._options.runs)
        )
        with ThreadPoolExecutor(len(self._lanes), "headway-prove") as pool:
            under_way: dict[Future[Run], Trial] = {}
            for trial in map(without_drain, plans) if self._proof.by_clock else plans:
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
            self._note(under_way.pop(future), future.result(), _LOST)

    def _note(self, trial: Trial, run: Run, meaning: str) -> None:
        proof = self._proof
        proof.runs += 1
        proof.disturbances.update(run.kills)
        proof.power_losses += run.lost_power
        proof.use = proof.use.most(run.use)
        if proof.fault is None:
            found = self._difference(trial, run, proof.events)
            if found is not None:
                proof.fault = Fault(found, meaning, trial, proof.events)
                self._observe(proof)
                if self._options.shrink and not self._stop():
                    proof.fault = shrunk(proof.fault, self._tried, self._stop)
        proof.seconds = time.monotonic() - self._began_s
        self._observe(proof)

    def _tried(self, trial: Trial, events: int) -> Optional[Difference]:
        """Whether a plan shows a difference on the first events of the sample."""
        run = self._carried_out(trial, events)
        return self._difference(trial, run, events)

    def _difference(self, trial: Trial, run: Run, events: int) -> Optional[Difference]:
        expected = self._reference(drain=trial.drain, events=events)[0]
        if run.outcome is None:
            return Difference("the run fails", "ends well", f"{run.kind}: {run.failure}")
        return difference(expected, run.outcome)

    def _reference(self, *, drain: bool, events: Optional[int] = None) -> tuple[Outcome, Reference]:
        key = events or self._proof.events, drain
        if key not in self._known:
            run = self._carried_out(reference_trial(drain=drain), key[0])
            if run.outcome is None:
                raise error_of(WorkerFailure(run.kind, run.failure))
            self._known[key] = run.outcome, Reference(run.counts, run.took_s * 1_000)
            if events is None:
                self._proof.reached |= run.counts.keys()
                self._proof.lines = max(self._proof.lines, sum(map(len, run.outcome.parts.values())))
        return self._known[key]

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


def proof_json(proof: Proof) -> dict[str, Any]:
    """What was found, as JSON values."""
    fault = proof.fault
    return {
        "flow": proof.flow,
        "holds": fault is None,
        "events": proof.events,
        "runs": proof.runs,
        "compared": proof.lines,
        "disturbances": dict(sorted(proof.disturbances.items())),
        "power_losses": proof.power_losses,
        "most": proof.use._asdict(),
        "points": {
            "reached": sorted(proof.reached),
            "untried": proof.untried,
            "never_reached": proof.never_reached,
        },
        "seconds": round(proof.seconds, 1),
        "difference": None
        if fault is None
        else {
            "where": fault.difference.where,
            "undisturbed": fault.difference.expected,
            "disturbed": fault.difference.found,
            "meaning": fault.meaning,
            "plan": str(fault.trial),
            "events": fault.events,
        },
    }
