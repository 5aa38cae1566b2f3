"""The operator API: what a keyed operator is, and what its handlers may do.

An operator is a class with a typed state per key and two handlers. Handlers see the events of their key in
the order of event time, whatever the order of arrival, and may set named timers, emit, and forget.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Generic, NamedTuple, Optional, Protocol, TypeVar, Union, get_args, get_origin, overload

from typing_extensions import Self
from typing_extensions import TypeVar as DefaultTypeVar

from headway.basics.times import Duration
from headway.errors import FlowError
from headway.operators.conditions import Condition
from headway.operators.given import Given
from headway.types.schema import Json, State, type_label

__all__ = [
    "BroadcastContext",
    "Context",
    "NotGiven",
    "Operator",
    "Timer",
    "check_handlers",
    "ignored_result",
    "name_of",
    "no_loss",
    "no_shared_state",
    "no_tally",
    "no_wall_clock",
    "two_times",
]

E_contra = TypeVar("E_contra", contravariant=True)
S = TypeVar("S")
Out_co = DefaultTypeVar("Out_co", covariant=True, default=Json)
Out_contra = DefaultTypeVar("Out_contra", contravariant=True, default=Json)


class Timer(NamedTuple):
    """A timer that fires: its name and the event time it was set for, in epoch milliseconds."""

    name: str
    at: int


class Context(Protocol[Out_contra]):
    """What a handler may do, for the key it was called for. Valid only during the call.

    There is no watermark here on purpose, and no clock but for operators that declare it: both depend on batching,
    and what a flow emits must not. The only time is `time`.
    """

    key: str
    """The key of the workflow instance."""

    time: int
    """Event time in epoch milliseconds: the event's, or in `on_timer` the time the timer was set for."""

    @property
    def shared(self) -> Any:
        """What broadcast inputs have told so far: an object of the operator's `shared_type`, to be read only.

        Raises `TypeError`, which is an `AttributeError` as well, for an operator without broadcast inputs.
        """

    @property
    def wall(self) -> int:
        """The wall clock in epoch milliseconds, the same for all that runs in one batch; it may go back.

        Raises `TypeError`, which is an `AttributeError` as well, for an operator that does not declare `wall_clock`.
        """

    def emit(self, value: Out_contra, /) -> None:
        """Send `value` downstream, with this key and time. Operators on the same key see it at once."""

    def emit_to(self, side: str, value: Any, /) -> None:
        """Send `value` to the side output `side`, one of the operator's `sides`; else raises `KeyError`."""

    def is_read(self, side: str, /) -> bool:
        """Whether anything follows the side output `side`: what is made for nobody need not be made."""

    def lose(self, side: str, count: int, /) -> None:
        """Count values as lost that belong to the side output `side`, one of the operator's `losses`.

        Sends nothing. Counted over the life of the state directory, told at the end of a run. Raises `KeyError` for a
        side that is not among the losses.
        """

    def tally(self, name: str, by: int, /) -> None:
        """Add to a count that is kept with the state and told among a run's figures; `TypeError` without `tallies`."""

    @overload
    def timer(self, name: str, at: int, /) -> None: ...

    @overload
    def timer(self, name: str, /, *, after: Duration) -> None: ...

    def timer(self, name: str, at: Optional[int] = None, /, *, after: Optional[Duration] = None) -> None:
        """Set the timer `name` of this key, or move it: to event time `at` (epoch milliseconds), or `after` a while.

        `after` is a length of time counted from `time`: text such as `"30m"`, integer milliseconds, or a `timedelta`.
        Text is parsed once, not for each event. The timer fires once, after all events of its time. A time that
        has passed counts as now; in `on_timer` as one millisecond from now; one after the year 9999 is an error. Moving
        a timer to a later time costs next to nothing.

        Raises `TypeError` or `ValueError` for what is no time, and for both or neither of the two.
        """

    def cancel(self, name: str, /) -> None:
        """Cancel the timer `name` of this key; nothing happens when it is not set."""

    def due(self, name: str, /) -> Optional[int]:
        """The event time the timer `name` is set for, or None."""

    @property
    def timers(self) -> Mapping[str, int]:
        """The timers of this key that are set, each with its event time: a copy, as of now."""

    def forget(self) -> Any:
        """Drop this key's state and all its timers; returns the fresh state, which is what its next event finds.

        The state that the handler was given is of no key any more: what is still to be kept goes into the new one.
        """


class NotGiven(TypeError, AttributeError):
    """A handler asked its context for what it does not have there; so `hasattr` says that it does not."""


_OF_A_KEY: Final = frozenset(
    (
        "key",
        "shared",
        "wall",
        "emit",
        "emit_to",
        "is_read",
        "lose",
        "tally",
        "timer",
        "cancel",
        "due",
        "timers",
        "forget",
    )
)


class BroadcastContext:
    """What a handler of a broadcast input is given: the time, and refusals.

    Every key group runs the handler, so that what it sent would be sent once by each of them.
    """

    def __init__(self, time: int) -> None:
        self.time = time
        """Event time of the broadcast event, in epoch milliseconds."""

    def __getattr__(self, name: str) -> Any:
        """Raise `NotGiven` for what belongs to a key, and `AttributeError` for everything else."""
        if name in _OF_A_KEY:
            msg = (
                f"ctx.{name} in a handler of a broadcast input: it is called for no key, may change the shared state "
                "it is given, and do nothing else"
            )
            raise NotGiven(msg)
        raise AttributeError(name)


def name_of(operator: Operator[Any, Any, Any]) -> str:
    """The class of an operator, for messages; of one that wraps another, the class whose handlers they are about."""
    return type(operator if operator.wrapped is None else operator.wrapped).__name__


def no_shared_state(operator: Operator[Any, Any, Any]) -> NotGiven:
    """The error for `ctx.shared` of an operator without broadcast inputs."""
    return NotGiven(
        f"ctx.shared: {name_of(operator)} has no broadcast inputs; "
        "declare them with broadcasts = {...} and shared_type = ..."
    )


def no_loss(operator: Operator[Any, Any, Any], side: str) -> NotGiven:
    """The error for `ctx.lose` of a side output that does not take losses."""
    known = ", ".join(operator.losses) or "none"
    return NotGiven(
        f"ctx.lose({side!r}): {name_of(operator)} does not say that this side output takes losses; "
        f"declare it with losses = {{...}}, it has: {known}"
    )


def no_tally(operator: Operator[Any, Any, Any], name: str) -> NotGiven:
    """The error for `ctx.tally` of an operator that does not declare it."""
    return NotGiven(f"ctx.tally({name!r}): {name_of(operator)} does not say that it keeps tallies: tallies = True")


def no_wall_clock(operator: Operator[Any, Any, Any]) -> NotGiven:
    """The error for `ctx.wall` of an operator that does not declare it."""
    return NotGiven(
        f"ctx.wall: {name_of(operator)} does not say that it reads the wall clock, which makes what a flow emits "
        "depend on when it runs: use ctx.time, the time of the event, or declare wall_clock = True"
    )


def two_times(name: str) -> str:
    """The message for `ctx.timer` with both times, or with none."""
    return f'timer {name!r}: give either a time, ctx.timer({name!r}, ctx.time + 500), or after="30m", and not both'


def ignored_result(handler: str, returned: Any) -> str:
    """The message for a handler that returned something, from its name on."""
    return (
        f"{handler} returned {returned!r:.300}, which goes nowhere: send values on with ctx.emit(value), change the "
        "state in place, and return nothing"
    )


def check_handlers(operator: Operator[Any, Any, Any]) -> None:
    """Raise `FlowError` for a handler that would only make a generator or a coroutine when it is called."""
    for name in ("on_event", "on_timer", *(f"on_{name}" for name in (*operator.inputs, *operator.broadcasts))):
        handler = getattr(operator, name, None)
        if inspect.iscoroutinefunction(handler):
            fault = "is async, and nothing awaits it: write a plain function"
        elif inspect.isgeneratorfunction(handler) or inspect.isasyncgenfunction(handler):
            fault = "yields, which goes nowhere: send values on with ctx.emit(value)"
        else:
            continue
        msg = f"{type(operator).__name__}.{name} {fault}"
        raise FlowError(msg)


class Operator(Given, Generic[E_contra, S, Out_co]):
    """Base class of keyed operators: `Operator[EventType, StateType]`, or with the type it emits as a third.

    One object serves all keys; what belongs to a key lives in its state. Options belong in `__init__`,
    and must not change afterwards. Handlers must be pure functions of (state, event, options): no clocks,
    no random numbers, no calls to the outside, or a replay will not give the same triggers. They return nothing: what
    goes on is what they emit.

    >>> class Totals(State):
    ...     events: int = 0
    >>> class Count(Operator[Json, Totals]):
    ...     def on_event(self, state, event, ctx):
    ...         state.events += 1
    ...         ctx.emit({"key": ctx.key, "events": state.events})
    >>> Count().state_type.__name__
    'Totals'
    """

    event_type: Any = Any
    """Type of the events that `on_event` takes; `Any` when it takes every type."""

    state_type: Any = State
    """Class of the state of one key; called without arguments for a fresh key."""

    output_type: Any = Json
    """Type of what `emit` sends downstream."""

    sides: Mapping[str, Any] = {}
    """Names of the side outputs, each with the type of what is sent there."""

    losses: Mapping[str, str] = {}
    """Those of the side outputs that take what a bound cuts off, each with what this means and what to do about it,
    for people. Handlers count what is lost with `ctx.lose(side, count)`, whether the side output is read or not."""

    tallies: bool = False
    """Whether handlers keep counts with `ctx.tally(name, by)`. Each of their names is stored with every epoch: few."""

    state_version: int = 0
    """The version under which states are stored, from 1 up; 0 for that of `state_type` (`State.state_version`)."""

    migrate: Optional[Callable[[Any, int], Any]] = None
    """A method `migrate(self, old, version)` for states of older versions, where it is not the class of the state that
    has it: for states that are dicts, or of a class that Headway makes. It is given the builtins that are stored and
    the version that wrote them, and returns a state of today's version, or its builtins. See `State`."""

    inputs: Mapping[str, Any] = {}
    """Names of further inputs, each with the type of its events. `process(..., NAME=stream)` gives the stream, keyed
    as the main one; its events come to the method `on_NAME(self, state, event, ctx)`. At equal times they come
    before those of the main input, in the order given here."""

    broadcasts: Mapping[str, Any] = {}
    """Names of broadcast inputs, each with the type of its events. `process(..., NAME=stream.broadcast())` gives the
    stream; each of its events is told to all keys: to the method `on_NAME(self, shared, event, ctx)`, which may
    change `shared`, the state that all keys read as `ctx.shared`, and do nothing else. At equal times they come
    before all other events."""

    shared_type: Any = None
    """Class of the state that broadcast inputs maintain, called without arguments at first; None without those."""

    concerns: Union[Condition, Sequence[Condition], None] = None
    """Which events of the main input concern the operator: those that meet this condition, or one of several; None for
    all. `on_event` is not called for the others, and they cost no row and no timer. Where the condition is made of
    `where(...)` on declared fields, they are left out before they are sent to the key group, as if a filter stood
    there, at some 40 ns each. It must depend on the event alone. Where it is None, what
    `on_event` does nothing with is read from its first questions about declared fields, if these say it."""

    shares_values: bool = False
    """Whether handlers only put values into a state and take them out, and never change one in place: the same list,
    dict or struct may then stand in two places of a state. Otherwise that ends the run, because what is one object
    until the state is stored is two once it is read."""

    wrapped: Optional[Operator[Any, Any, Any]] = None
    """The operator whose handlers this one runs, which is the one that messages name; None for one of its own."""

    wall_clock: bool = False
    """Whether handlers may read `ctx.wall`. What they make of it is state like any other, and lasts; but an epoch that
    a crash undoes, and a second run over the same log, read another time: that log then need not give the same
    triggers."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for base in cls.__dict__.get("__orig_bases__", ()):
            origin = get_origin(base)
            if isinstance(origin, type) and issubclass(origin, Operator):
                given = get_args(base)
                for name, argument in zip(("event_type", "state_type", "output_type"), given):
                    if not isinstance(argument, (TypeVar, DefaultTypeVar)) and name not in cls.__dict__:
                        setattr(cls, name, argument)

    def with_migration(self, version: int, migrate: Callable[[Any, int], Any]) -> Self:
        """The same operator, with states of `version`, which `migrate(old, version)` makes of older ones.

        For operators whose class of states is not yours: those of Headway keep events, accumulators or rows in them,
        and a change of these that is more than the schema allows needs a version as well.

        >>> class Count(Operator[Json, dict]): ...
        >>> Count().with_migration(2, lambda old, version: {"seen": old["count"]}).state_version
        2
        """
        made = copy.copy(self)
        made.state_version = version
        made.migrate = migrate
        return made

    _is_copy: bool = False
    """Whether `bind` has made it."""

    @property
    def is_bound(self) -> bool:
        """Whether it is ready to run: bound to the type of a stream, or made for one type of its own."""
        return self._is_copy or type(self)._bind is Operator._bind

    def bind(self, event_type: Any, /, **inputs: Any) -> Self:
        """The same for events of one type: fields are checked, their accessors made, and the types below are known.

        `inputs` are the types of further inputs, where they are not declared. Called once, when a step is declared
        with it. What an operator was given stays as it is, so that one object may serve several steps. One that has an
        `event_type` of its own returns itself, and so does one that is bound to these types already. Operators for
        events of any type override `_bind`.

        Raises `FlowError` for a field that the type does not have, and for one that is bound to another type.

        >>> from headway.operators.silence import Silence
        >>> silence = Silence(after="10m")
        >>> silence.bind(dict).event_type, silence.is_bound
        (<class 'dict'>, False)
        """
        further = {**self.broadcasts, **self.inputs}
        if self.is_bound:
            known, asked = {"": self.event_type, **further}, {"": event_type, **further, **inputs}
            if not self._is_copy or asked == known:
                return self
            old, new = (", ".join(map(type_label, types.values())) for types in (known, asked))
            msg = f"{name_of(self)} is bound to events of {old}, and cannot be to those of {new} too: make another one"
            raise FlowError(msg)
        bound = copy.copy(self)
        bound._is_copy = True
        bound.event_type = event_type
        bound._bind(event_type, {**further, **inputs})
        return bound

    def _bind(self, event_type: Any, inputs: Mapping[str, Any], /) -> None:
        """Make what depends on the type of the events; called on a copy.

        `inputs` has the types of the further inputs by name, `Any` for one that is not known. Sets `output_type`,
        `state_type`, `sides` and `inputs`, as far as they depend on these.
        """

    def on_event(self, state: S, event: E_contra, ctx: Context[Out_co], /) -> None:
        """Called once for each event of a key, in event-time order; `state` may be changed in place.

        Never called for late events. Events of equal time come in the order of input, partition and
        position, and before the timers of that time.
        """
        raise NotImplementedError

    def on_timer(self, state: S, timer: Timer, ctx: Context[Out_co], /) -> None:
        """Called when a timer of this key is due, in the order of (due, key, name). The timer is gone then.

        Never called for a timer that was cancelled, moved to a later time, or forgotten.
        """
        msg = f"{type(self).__name__} sets a timer {timer.name!r} but has no on_timer(self, state, timer, ctx)"
        raise NotImplementedError(msg)
