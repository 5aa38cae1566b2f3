"""What a proof has found: how often runs were ended and where, what was compared, and the difference, if any."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Optional

from headway.basics.crashpoints import POINTS
from headway.declare.loading import FlowSpec
from headway.proving.lanes import Use
from headway.proving.outcome import Difference
from headway.proving.plans import Trial
from headway.proving.scope import Scope

__all__ = ["Fault", "Progress", "Proof", "again_command", "proof_json"]


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
    restored: Counter[str] = field(default_factory=Counter)
    """How often a state directory was lost, and the flow went on from a `savepoint` or a `backup`."""
    reached: frozenset[str] = frozenset()
    """The points that a run comes to which nobody disturbs, and those that one comes to which goes on after a kill."""
    lines: int = 0
    """How many lines and rows were compared in each run."""
    said: int = 0
    """How many of them are no dead letters."""
    seconds: float = 0.0
    fault: Optional[Fault] = None
    scope: Scope = field(default_factory=Scope)
    """What was compared, and how."""
    use: Use = field(default_factory=Use)
    """What runs have taken of the machine, at most."""

    @property
    def nothing(self) -> str:
        """Why nothing is proven although nothing differs, in words; empty where something is."""
        if not self.events:
            return "there are no events: the beginnings of the inputs are empty"
        if not self.runs:
            return "it was stopped before a run could be compared"
        if self.lines and not self.said:
            return "these events lead to dead letters, and to no output and no state"
        if not self.said:
            return "these events lead to no output and no state that could be compared; read more of them"
        return ""

    @property
    def holds(self) -> bool:
        """Whether something was compared, and nothing differs."""
        return self.fault is None and not self.nothing

    @property
    def untried(self) -> list[str]:
        """Points that were reached, and at which no run was ended."""
        return sorted(self.reached - self.disturbances.keys())

    @property
    def never_reached(self) -> list[str]:
        """Points that the flow does not come to: it has nothing of the kind, or did not need to."""
        return [point for point in POINTS if point not in self.reached and point not in self.disturbances]


Progress = Callable[[Proof], None]


def again_command(
    spec: FlowSpec, fault: Fault, count: int, *, logs: Sequence[tuple[str, str]] = (), run_steps: bool = False
) -> str:
    """The one command that carries out the plan that has shown a difference.

    `count` is how many events the proof has asked for, and not how many there were: a sample is divided among its
    partitions by that number. `logs` are the files that were given, with their sources.
    """
    words = ["headway", "prove", spec.ref]
    words += [word for name, value in spec.parameters.items() for word in ("--set", f"{name}={value}")]
    words += [word for name, path in logs for word in ("--log", f"{name}={path}")]
    words += ["--run-steps"] if run_steps else []
    words += ["--events", str(count), "--first", str(fault.events), "--again", str(fault.trial)]
    return shlex.join(words)


def proof_json(proof: Proof) -> dict[str, Any]:
    """What was found, as JSON values."""
    fault = proof.fault
    return {
        "flow": proof.flow,
        "holds": proof.holds,
        "nothing_compared": proof.nothing or None,
        "events": proof.events,
        "runs": proof.runs,
        "compared": proof.lines,
        "not_compared": dict(sorted(proof.scope.left_out.items())),
        "disturbances": dict(sorted(proof.disturbances.items())),
        "power_losses": proof.power_losses,
        "restored": dict(sorted(proof.restored.items())),
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
            "tried": fault.tried,
            "shown": fault.shown,
        },
    }
