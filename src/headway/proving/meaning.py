"""What a difference says about a flow: found by carrying out simpler plans, each with one more thing to blame."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Optional

from headway.errors import UserCodeError
from headway.proving.outcome import FAILS, Difference
from headway.proving.plans import Ending, Life, Trial

if TYPE_CHECKING:
    from headway.proving.proof import Fault

__all__ = ["UNEXPECTED", "meaning_of"]

UNEXPECTED: Final = "nothing was disturbed: what the flow gives is not what is expected of it"
_REPEATED: Final = "it differs although nothing was changed: it reads the clock, chance, or something else from outside"
_HASHED: Final = "it differs under another hash seed: it depends on the order of a set, or on hash()"
_DIVIDED: Final = (
    "it differs with other batches, epochs or key groups: something is kept outside of the state, such as in a global "
    "or in a mutable default, and sees the events of all keys in the order in which they are worked on"
)
_RESTARTED: Final = (
    "it differs once a process ends and another one goes on, even without a kill: something is kept outside of the "
    "state, such as in a global, a mutable default or a file, and does not survive, or is there twice"
)
_KILLED: Final = (
    "undisturbed runs agree, and one that was killed does not: something is kept outside of the state, such as in a "
    "global, a mutable default or a file, and does not survive, or is there twice"
)
_CLUSTERED: Final = (
    "it differs only with several workers: something is kept outside of the state, such as in a global, and each "
    "process has one of its own"
)
_OWN_FAULT: Final = "if the flow keeps nothing outside of its state, this is a fault of Headway: please report it"
_FAILED: Final = (
    "a run that was disturbed cannot go on, and not because the flow's code raises: this is a fault of Headway: please "
    "report it"
)
_REPEATS: Final = 4
"""How often what nobody disturbs is carried out to see whether it differs by itself: chance may be rare."""
_ALONE: Final = 2

Attempt = Callable[[Trial, int], Optional[Difference]]
"""Carries out a plan on so many events, and tells what differs."""


def meaning_of(fault: Fault, undisturbed: Life, attempt: Attempt, stop: Callable[[], bool]) -> str:
    """What a fault says about the flow. `undisturbed` is the run with which all others are compared.

    Carries out some ten simpler plans, each up to four times.
    """
    for meaning, trial, times in _suspects(fault.trial, undisturbed):
        for _ in range(times):
            if stop():
                break
            if attempt(trial, fault.events) is not None:
                return meaning
    if fault.difference.where == FAILS and not fault.difference.found.startswith(UserCodeError.__name__):
        return _FAILED
    clustered = any(life.workers > 1 for life in fault.trial.lives)
    meaning = _CLUSTERED if clustered and not fault.trial.disturbances else _KILLED
    return f"{meaning}; {_OWN_FAULT}"


def _suspects(trial: Trial, undisturbed: Life) -> Iterator[tuple[str, Trial, int]]:
    """Plans with ever more of the one that has shown a difference, and what it means if they show one."""
    last = trial.lives[-1]
    yield _REPEATED, Trial((undisturbed,)), _REPEATS
    for hash_seed in sorted({life.hash_seed for life in trial.lives} - {0}):
        yield _HASHED, Trial((replace(undisturbed, hash_seed=hash_seed),)), _ALONE
    for life in dict.fromkeys(replace(life, share=1.0, mix=0, workers=1, hash_seed=0) for life in trial.lives):
        yield _DIVIDED, Trial((replace(life, drain=last.drain, ending=Ending()),)), _ALONE
    # All lives, none of which is killed; of those that close the books only the last one.
    whole = Trial((*(replace(life, ending=Ending()) for life in trial.lives[:-1] if not life.drain), last))
    if len(whole.lives) > 1:
        yield _RESTARTED, whole, _ALONE
