"""Steps of keyed streams: what workflows need, such as state machines, deadlines and silences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, Optional, TypeVar, Union

from headway.basics.declaring import Was
from headway.basics.times import Duration
from headway.declare.steps.changes import ChangeSteps
from headway.declare.steps.rates import RateSteps
from headway.operators.absence import Absence, Absent
from headway.operators.conditions import Predicate
from headway.operators.deadline import Deadline, DeadlineResult, Within
from headway.operators.machine import StateMachine
from headway.operators.silence import Silence, Silent
from headway.operators.state_machine import RunStateMachine, Transition

if TYPE_CHECKING:
    from headway.declare.streams import Processed

__all__ = ["WorkflowSteps"]

T = TypeVar("T")
D = TypeVar("D")


class WorkflowSteps(RateSteps[T], ChangeSteps[T]):
    """Steps of keyed streams: what workflows need, such as state machines, deadlines and silences."""

    def absence(
        self,
        name: str,
        *,
        start: Predicate[T],
        end: Union[Predicate[T], Sequence[Predicate[T]]],
        within: Duration,
        rearm: bool = False,
        was: Was = (),
    ) -> Processed[Absent[T]]:
        """Fires when an event that meets `start` is not followed by one that meets `end` within a duration.

        `end` may be a list of conditions: any of them ends the wait. With `rearm` each further start begins the wait
        anew, as in `deadline`. See `Absence`.
        """
        return self._process(name, was, lambda: Absence(start=start, end=end, within=within, rearm=rearm))

    def deadline(
        self,
        name: str,
        *,
        start: Predicate[T],
        ends: Mapping[str, Predicate[T]],
        within: Within,
        emit: Literal["all", "met", "missed"] = "all",
        rearm: bool = False,
        was: Was = (),
    ) -> Processed[DeadlineResult[T]]:
        """Tells which of the named `ends` followed an event that meets `start`, and how long it took, or that none did.

        `within` is a duration, the name of a field of the start event that holds one, or a function of it. `emit`
        chooses the outcomes that are told. With `rearm` each further start begins the wait anew. See `Deadline`.
        """
        return self._process(name, was, lambda: Deadline(start=start, ends=ends, within=within, emit=emit, rearm=rearm))

    def silence(
        self,
        name: str,
        after: Duration,
        *,
        resumed: bool = False,
        expire_after: Optional[Duration] = None,
        was: Was = (),
    ) -> Processed[Silent[T]]:
        """Fires when a key that has sent something sends nothing for a duration: once for each silence.

        With `resumed` the first event after a reported silence goes to the side output `resumed`; silent keys are
        then remembered until they resume, or for `expire_after`. See `Silence`.
        """
        return self._process(name, was, lambda: Silence(after=after, resumed=resumed, expire_after=expire_after))

    def state_machine(
        self,
        name: str,
        machine: StateMachine[D],
        *,
        keep_final: Optional[Duration] = None,
        expire_after: Optional[Duration] = None,
        was: Was = (),
    ) -> Processed[Transition[T, D]]:
        """Runs a declared `StateMachine` for each key and emits each transition, those by timeouts too.

        Events that the machine knows but does not take in the current state go to the side output `illegal`, those
        that it does not know to `unknown`. An instance is gone when it is final, or `keep_final` later.
        See `StateMachine` and `RunStateMachine`.
        """
        return self._process(
            name, was, lambda: RunStateMachine(machine, keep_final=keep_final, expire_after=expire_after)
        )
