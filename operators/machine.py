"""State machines as values: declared, checked, and drawn; `operators/state_machine.py` runs them."""

import copy
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Optional, Union, cast

from typing_extensions import Self, TypeVar

from headway.basics.times import Duration, format_duration
from headway.errors import FlowError
from headway.operators.conditions import Condition, resolve, where
from headway.operators.options import positive_ms
from headway.types.schema import State

__all__ = ["Move", "StateMachine", "Timeout"]

D = TypeVar("D", default=None)

Guard = Callable[[Any, Any], bool]
"""May the event move the instance? Given the event and the instance's data, which it must not change."""
Action = Callable[[Any, Any], None]
"""Changes the instance's data in place. Given the event (None for a timeout) and the data."""


@dataclass(frozen=True)
class Move:
    """What an event does in a state."""

    source: str
    event: str
    target: Optional[str]
    """The state that it leads to; None when the instance stays as it is."""
    when: Optional[Guard]
    do: Optional[Action]

    @property
    def ignores(self) -> bool:
        """Whether the event is allowed and does nothing."""
        return self.target is None and self.do is None


@dataclass(frozen=True)
class Timeout:
    """What happens to an instance that has been in a state for too long."""

    source: str
    after_ms: int
    target: str
    do: Optional[Action]


_RESERVED = frozenset({"end", "state", "note", "direction", "class", "classDef", "default", "style", "as"})
"""Words that Mermaid does not take as the name of a state."""


def _names(states: Sequence[str], what: str) -> tuple[str, ...]:
    names = () if isinstance(states, str) else tuple(states)
    if not names or any(not isinstance(name, str) or not name for name in names) or len(set(names)) < len(names):
        msg = f'the {what} must be different names, such as ("new", "paid"), not {states!r}'
        raise FlowError(msg)
    return names


def _mermaid_id(state: str) -> str:
    plain = "".join(letter if letter.isascii() and letter.isalnum() else f"_{ord(letter):x}_" for letter in state)
    plain = state if state.isascii() and state.isidentifier() else plain
    return f"{plain}_" if state in _RESERVED else plain


def _escaped(text: str) -> str:
    """Text as Mermaid shows it: what would end or comment a line out stands as an entity."""
    return "".join({"#": "#35;", ";": "#59;", '"': "#34;", "\n": " "}.get(letter, letter) for letter in text)


def _label(function: Any) -> str:
    name = getattr(function, "__name__", "") or type(function).__name__
    return "guard" if name == "<lambda>" else name


Rule = Union[Move, Timeout]


def _leads_to(rule: Rule) -> str:
    if isinstance(rule, Move) and rule.ignores:
        return "(ignored)"
    return rule.target or "(stays)"


class StateMachine(Generic[D]):
    """The states of a workflow instance, what moves it between them, and how long it may stay.

    A value: `on` and `timeout` return a machine with one more rule, and leave the given one alone. The name of a
    state or an event that was not declared, and a rule that could never apply, raise `FlowError` at once; `check`,
    called where the machine is used, finds states that cannot be reached or left.

    `events` names the events that the machine knows: conditions by name, of which the first that holds counts,
    or the name of a field whose value is the event's name. `data` is a class for what each instance keeps, derived
    from `State`; guards (`when`) read it and actions (`do`) change it.

    >>> from headway.operators.conditions import where
    >>> order = StateMachine("order", states=("new", "paid", "sent", "lost"), initial="new", final=("sent", "lost"),
    ...                      events={"pay": where(kind="payment"), "send": where(kind="parcel")})
    >>> order = order.on("new", "pay", to="paid").on("paid", "send", to="sent").timeout("paid", after="2d", to="lost")
    >>> print(order.mermaid())
    stateDiagram-v2
        [*] --> new
        new --> paid : pay
        paid --> sent : send
        paid --> lost : after 2d
        sent --> [*]
        lost --> [*]
    """

    def __init__(
        self,
        name: str,
        *,
        states: Sequence[str],
        initial: str,
        events: Union[Mapping[str, Condition], str],
        final: Sequence[str] = (),
        data: Optional[type[D]] = None,
    ) -> None:
        self.name = name
        self.states = _names(states, f"states of {name!r}")
        self.final = (final,) if isinstance(final, str) else tuple(final)
        self.initial = self._known(initial, "initial")
        for state in self.final:
            self._known(state, "final")
        if initial in self.final:
            self._fail(f"the initial state {initial!r} is final, so that nothing could ever happen")
        self.events: Union[dict[str, Condition], str] = events if isinstance(events, str) else dict(events)
        if not self.events:
            self._fail('it has no events: name them, such as events={"pay": where(kind="payment")}')
        if data is not None and not (isinstance(data, type) and issubclass(data, State)):
            self._fail(f"data={data!r} is not a class derived from hw.State")
        self.data = data
        self.moves: tuple[Move, ...] = ()
        self.timeouts: tuple[Timeout, ...] = ()

    def on(
        self,
        states: Union[str, Sequence[str]],
        event: str,
        *,
        to: Optional[str] = None,
        when: Optional[Callable[[Any, D], bool]] = None,
        do: Optional[Callable[[Any, D], None]] = None,
    ) -> Self:
        """In any of `states` the event leads `to` a state, if the guard `when(event, data)` agrees.

        Without `to` the instance stays as it is, its timeout goes on, and nothing is emitted: for events that only
        change the data. A move from a state to itself enters it anew. Of several rules that apply, the first declared
        wins.
        """
        if to is None and do is None:
            self._fail(
                f"on({states!r}, {event!r}) does nothing: say to=STATE, or do=FUNCTION to change the data; where the "
                f"event may come and is to do nothing, write ignore({states!r}, {event!r})"
            )
        return self._with_moves("on", states, (event,), to, when, do)

    def ignore(
        self, states: Union[str, Sequence[str]], *events: str, when: Optional[Callable[[Any, D], bool]] = None
    ) -> Self:
        """In any of `states` the events are allowed and do nothing, if the guard `when(event, data)` agrees.

        They are not illegal, begin no instance, and leave its timeout and its `expire_after` alone. Final states may
        ignore events as well, for as long as `keep_final` keeps their instances.

        >>> door = StateMachine("door", states=("shut", "open"), initial="shut", events="kind")
        >>> door = door.on("shut", "push", to="open").on("open", "pull", to="shut").ignore(("shut", "open"), "knock")
        >>> print(door.table())
        state  event  to
        shut   push   open
        shut   knock  (ignored)
        open   pull   shut
        open   knock  (ignored)
        """
        if not events:
            self._fail(f"ignore({states!r}) needs the names of the events that are to do nothing there")
        return self._with_moves("ignore", states, events, None, when, None)

    def timeout(self, state: str, *, after: Duration, to: str, do: Optional[Callable[[Any, D], None]] = None) -> Self:
        """An instance that has been in `state` for a duration goes `to` another one.

        An event that comes exactly then is earlier than the timeout.
        """
        if any(timeout.source == state for timeout in self.timeouts):
            self._fail(f"the state {state!r} has two timeouts; one state has one")
        after_ms = positive_ms(after, f"timeout({state!r}): after")
        self._check_plain(f"timeout({state!r})", do=do)
        timeout = Timeout(self._leavable(state, "timeout"), after_ms, self._known(to, "to"), cast(Optional[Action], do))
        return self._with(timeouts=(*self.timeouts, timeout))

    def check(self) -> None:
        """Raise `FlowError` for states that cannot be reached, or from which no final state can be reached.

        A machine without final states never ends; then every state must have a way out.
        """
        reached = self._closure({self.initial}, lambda move: (move.source, move.target))
        for state in self.states:
            if state not in reached:
                self._fail(f"the state {state!r} cannot be reached from {self.initial!r}; add on(..., to={state!r})")
        ending = self._closure(set(self.final), lambda move: (move.target, move.source))
        for state in self.states:
            if self.final and state not in ending:
                self._fail(f"no final state can be reached from {state!r}; add a way out, or declare it as final")
            if state not in self.final and not any(rule.source == state for rule in self._leaving()):
                self._fail(f"the state {state!r} has no way out; add on({state!r}, ...) or declare it as final")
        used = {move.event for move in self.moves}
        for event in self.events if isinstance(self.events, dict) else ():
            if event not in used:
                self._fail(f"the event {event!r} is declared, but leads nowhere; add on(..., {event!r}, ...)")

    def namer(self, event_type: Any) -> Callable[[Any], Sequence[str]]:
        """A function from an event to the names of the machine's events that it is, in the order of declaration.

        Raises `FlowError` for fields that the type does not have.
        """
        if isinstance(self.events, str):
            names = list(dict.fromkeys(move.event for move in self.moves))
            events: Mapping[str, Condition] = {name: where(**{self.events: name}) for name in names}
        else:
            events = self.events
        tests = [(name, resolve(condition, event_type)) for name, condition in events.items()]
        return lambda event: [name for name, test in tests if test(event)]

    def mermaid(self) -> str:
        """The machine as a Mermaid state diagram; guards in brackets, timeouts as `after` their duration."""
        lines = ["stateDiagram-v2"]
        ids = {state: _mermaid_id(state) for state in self.states}
        lines += [f'    state "{_escaped(state)}" as {ids[state]}' for state in self.states if ids[state] != state]
        lines.append(f"    [*] --> {ids[self.initial]}")
        for source, cause, rule in self._rows():
            ignored = " (ignored)" if isinstance(rule, Move) and rule.ignores else ""
            lines.append(f"    {ids[source]} --> {ids[rule.target or source]} : {_escaped(cause)}{ignored}")
        lines += [f"    {ids[state]} --> [*]" for state in self.final]
        return "\n".join(lines)

    def table(self) -> str:
        """The machine as plain text: a line for each rule.

        >>> from headway.operators.conditions import where
        >>> lamp = StateMachine("lamp", states=("off", "on"), initial="off", events={"press": where(kind="press")})
        >>> lamp = lamp.on("off", "press", to="on").on("on", "press", to="off").timeout("on", after="5m", to="off")
        >>> print(lamp.table())
        state  event     to
        off    press     on
        on     press     off
        on     after 5m  off
        """
        rows = [("state", "event", "to"), *((state, cause, _leads_to(rule)) for state, cause, rule in self._rows())]
        rows += [(state, "", "(final)") for state in self.final]
        widths = [max(len(row[column]) for row in rows) for column in range(2)]
        return "\n".join(f"{s:<{widths[0]}}  {cause:<{widths[1]}}  {target}" for s, cause, target in rows)

    def _rows(self) -> Iterator[tuple[str, str, Rule]]:
        for state in self.states:
            for move in self.moves:
                if move.source == state:
                    guard = "" if move.when is None else f" [{_label(move.when)}]"
                    yield state, move.event + guard, move
            for timeout in self.timeouts:
                if timeout.source == state:
                    yield state, f"after {format_duration(timeout.after_ms)}", timeout

    def _leaving(self) -> list[Rule]:
        rules: list[Rule] = [*self.moves, *self.timeouts]
        return [rule for rule in rules if rule.target not in (None, rule.source)]

    def _closure(self, found: set[str], ends: Callable[[Rule], tuple[Optional[str], Optional[str]]]) -> set[str]:
        """All states that rules lead to from those in `found`; `ends` says which end of a rule is which."""
        pairs = [ends(rule) for rule in self._leaving()]
        while True:
            more = {there for here, there in pairs if here in found and there is not None} - found
            if not more:
                return found
            found = found | more

    def _with_moves(
        self,
        what: str,
        states: Union[str, Sequence[str]],
        events: Sequence[str],
        to: Optional[str],
        when: Any,
        do: Any,
    ) -> Self:
        """With a rule for each pair of a state and an event; `what` is the method that the author called."""
        sources = (states,) if isinstance(states, str) else tuple(states)
        if not sources:
            self._fail(f"{what}({states!r}, {', '.join(map(repr, events))}) names no state in which it applies")
        machine = self
        for state in sources:
            for event in events:
                machine = machine._with(moves=(*machine.moves, machine._move(what, state, event, to, when, do)))
        return machine

    def _move(self, what: str, state: str, event: str, to: Optional[str], when: Any, do: Any) -> Move:
        if isinstance(self.events, dict) and event not in self.events:
            self._fail(
                f"{what}({state!r}, {event!r}): no such event, its events are {', '.join(map(str, self.events))}"
            )
        for other in self.moves:
            if (other.source, other.event, other.when) == (state, event, None):
                self._fail(
                    f"{what}({state!r}, {event!r}): an earlier rule without a guard takes the event, so put it last"
                )
        if do is not None and self.data is None:
            self._fail(f"on({state!r}, {event!r}, do=...) has no data to change: declare data=... at the machine")
        source = self._known(state, what) if what == "ignore" else self._leavable(state, what)
        self._check_plain(f"{what}({state!r}, {event!r})", when=when, do=do)
        return Move(source, event, None if to is None else self._known(to, "to"), when, do)

    def _check_plain(self, rule: str, **functions: Any) -> None:
        """Refuse what would only make a coroutine or a generator when it is called."""
        for name, function in functions.items():
            if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
                self._fail(f"{rule}: {name}= is async, and nothing awaits it: give a plain function")
            if inspect.isgeneratorfunction(function):
                self._fail(f"{rule}: {name}= yields, which goes nowhere: give a plain function")

    def _leavable(self, state: str, what: str) -> str:
        if state in self.final:
            self._fail(f"{what}({state!r}): the state is final, nothing leads on from it")
        return self._known(state, what)

    def _known(self, state: str, what: str) -> str:
        if state not in self.states:
            self._fail(f"{what} names the state {state!r}, its states are {', '.join(self.states)}")
        return state

    def _with(self, **changes: Any) -> Self:
        changed = copy.copy(self)
        vars(changed).update(changes)
        return changed

    def _fail(self, text: str) -> None:
        msg = f"state machine {self.name!r}: {text}"
        raise FlowError(msg)

    def __repr__(self) -> str:
        return f"StateMachine({self.name!r}, {len(self.states)} states, {len(self.moves)} moves)"
