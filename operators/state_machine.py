"""State machine: each key is an instance that events and timeouts move between declared states."""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Generic, Literal, Optional

import msgspec
from typing_extensions import TypeVar

from headway.basics.times import Duration
from headway.errors import FlowError
from headway.operators.base import Context, Operator, Timer
from headway.operators.machine import Move, StateMachine
from headway.operators.options import optional_ms
from headway.operators.versions import of_type
from headway.types.schema import Event, State

__all__ = ["IllegalEvent", "RunStateMachine", "Transition"]

E = TypeVar("E", default=Any)
D = TypeVar("D", default=Any)


class Transition(Event, Generic[E, D]):
    """What `state_machine` emits: an instance went from one state to another, or entered the same one anew."""

    from_state: str
    to_state: str
    cause: str
    """The name of the event as the machine declares it; `timeout` for a timeout."""
    event: Optional[E]
    """The event; None for a timeout."""
    entered_at: int
    """Event time at which the instance came into `from_state`, in epoch milliseconds."""
    at: int
    """Event time of the transition, in epoch milliseconds."""
    duration_ms: int
    """How long the instance was in `from_state`."""
    data: Optional[D]
    """The instance's data after the transition; None for a machine without data."""


class IllegalEvent(Event, Generic[E]):
    """What goes to the side output `illegal`: an event that the machine knows, but does not take now."""

    state: str
    """The state of the instance; the initial one where there is no instance."""
    cause: str
    """The name of the event as the machine declares it; the first one, where it has several."""
    reason: Literal["state", "guard"]
    """Whether no rule takes the event in this state, or only rules whose guards refused."""
    event: E


@cache
def _state_of(data_type: Any) -> Any:
    """The state of the instances of machines with one type of data; all fields may be asked for by readers."""
    data = [] if data_type is None else [("data", data_type, msgspec.field(default_factory=data_type))]
    return msgspec.defstruct(
        "InstanceState",
        [("state", str, ""), ("since", int, 0), *data],
        bases=(State,),
        module=__name__,
        gc=False,
    )


class RunStateMachine(Operator[E, Any, Transition[E, D]], Generic[E, D]):
    """Runs a `StateMachine` for each key and emits its transitions.

    An instance begins with the first event that is allowed in the initial state: it is in that state from then on. Of
    the rules of its state whose event it is, the first declared whose guard agrees applies. When none does, the
    event goes to the side output `illegal`, and when the machine does not know it at all, to `unknown`. What a rule
    ignores is allowed and does nothing.
    In a final state the instance is gone, and the next allowed event begins another one; with `keep_final` it stays for
    that long, can be queried, and what the machine knows and does not ignore there is illegal. `expire_after` forgets
    an instance that no event and no timeout has moved or changed for that long; a machine without final states keeps
    its instances else. A timeout that is due when the instance expires still moves it.
    Keeps one row (`state`, `since`, `data`) and up to two timers for each living instance.

    >>> from headway.operators.conditions import where
    >>> door = StateMachine("door", states=("shut", "open"), initial="shut", events="kind")
    >>> door = door.on("shut", "open", to="open").on("open", "shut", to="shut")
    >>> RunStateMachine(door).state_type()
    InstanceState(state='', since=0)
    """

    sides = {"illegal": IllegalEvent, "unknown": Any}

    def __init__(
        self,
        machine: StateMachine[D],
        *,
        keep_final: Optional[Duration] = None,
        expire_after: Optional[Duration] = None,
    ) -> None:
        if not isinstance(machine, StateMachine):
            msg = f"{machine!r} is not a machine: declare one with hw.StateMachine(...)"
            raise FlowError(msg)
        machine.check()
        self.machine = machine
        self.keep_final_ms = optional_ms(keep_final, "keep_final")
        for move in machine.moves:
            if move.source in machine.final and keep_final is None:
                msg = (
                    f"state machine {machine.name!r}: ignore({move.source!r}, {move.event!r}) never applies, since an "
                    'instance is gone once its state is final: say how long it is kept, such as keep_final="1d"'
                )
                raise FlowError(msg)
        self.expire_ms = optional_ms(expire_after, "expire_after")
        data_type: Any = machine.data
        self.state_type = _state_of(data_type)
        self._take_version(data_type)
        self._moves = {state: [move for move in machine.moves if move.source == state] for state in machine.states}
        self._timeouts = {timeout.source: timeout for timeout in machine.timeouts}
        self._final = frozenset(machine.final)

    def _bind(self, event_type: Any, inputs: Mapping[str, Any], /) -> None:
        data_type: Any = self.machine.data
        self.output_type = Transition[event_type, data_type]
        self.sides = {"illegal": IllegalEvent[event_type], "unknown": event_type}
        self._names_of = self.machine.namer(event_type)

    def _take_version(self, data_type: Any) -> None:
        """The states are of the version of the machine's data, which is what its author wrote."""
        data = of_type(data_type)
        self.state_version = self.state_version or data.version
        if data.migrate is not None and self.migrate is None:
            migrate = data.migrate
            self.migrate = lambda old, version: {**old, "data": migrate(old.get("data", {}), version)}

    def on_event(self, state: Any, event: E, ctx: Context[Transition[E, D]], /) -> None:
        """Move the instance, change its data, or say that the event is not allowed."""
        names = self._names_of(event)
        if not names:
            ctx.emit_to("unknown", event)
            return
        here = state.state or self.machine.initial
        known = [move for move in self._moves[here] if move.event in names]
        data = getattr(state, "data", None)
        for move in known:
            if move.when is None or move.when(event, data):
                if not move.ignores:
                    self._apply(move, state, event, ctx)
                return
        reason: Literal["state", "guard"] = "guard" if known else "state"
        ctx.emit_to("illegal", IllegalEvent(state=here, cause=names[0], reason=reason, event=event))

    def on_timer(self, state: Any, timer: Timer, ctx: Context[Transition[E, D]], /) -> None:
        """Take the timeout of the state, or forget the instance."""
        if timer.name != "timeout":
            # A timeout that is due at the same time comes in time: it moves the instance on, or ends it.
            if timer.name != "expire" or state.state not in self._timeouts or ctx.due("timeout") != timer.at:
                ctx.forget()
            return
        timeout = self._timeouts.get(state.state)
        if timeout is None:  # An earlier version of the machine had one.
            return
        self._change(timeout.do, state, None)
        self._enter(timeout.target, state, "timeout", None, ctx)

    def _apply(self, move: Move, state: Any, event: E, ctx: Context[Transition[E, D]]) -> None:
        if not state.state:
            state.state, state.since = self.machine.initial, ctx.time
            if move.target is None:
                self._arm(state, ctx)
        self._change(move.do, state, event)
        if move.target is not None:
            self._enter(move.target, state, move.event, event, ctx)
        elif self.expire_ms is not None:
            ctx.timer("expire", ctx.time + self.expire_ms)

    def _change(self, action: Optional[Callable[[Any, Any], None]], state: Any, event: Optional[E]) -> None:
        if action is None:
            return
        returned: Any = action(event, state.data)
        if isinstance(returned, State) and returned is not state.data:
            msg = (
                f"an action of the state machine {self.machine.name!r} returned {returned!r:.300}, which goes nowhere: "
                "an action changes the data that it is given"
            )
            raise TypeError(msg)

    def _enter(self, target: str, state: Any, cause: str, event: Optional[E], ctx: Context[Transition[E, D]]) -> None:
        ctx.emit(
            Transition(
                from_state=state.state,
                to_state=target,
                cause=cause,
                event=event,
                entered_at=state.since,
                at=ctx.time,
                duration_ms=ctx.time - state.since,
                data=getattr(state, "data", None),
            )
        )
        state.state, state.since = target, ctx.time
        if target not in self._final:
            self._arm(state, ctx)
        elif self.keep_final_ms is None:
            ctx.forget()
        else:
            ctx.cancel("timeout")
            ctx.cancel("expire")
            ctx.timer("final", ctx.time + self.keep_final_ms)

    def _arm(self, state: Any, ctx: Context[Transition[E, D]]) -> None:
        timeout = self._timeouts.get(state.state)
        if timeout is None:
            ctx.cancel("timeout")
        else:
            ctx.timer("timeout", ctx.time + timeout.after_ms)
        if self.expire_ms is not None:
            ctx.timer("expire", ctx.time + self.expire_ms)
