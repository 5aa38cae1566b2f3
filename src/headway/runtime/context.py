"""What an operator's handlers are given, and how a value goes on from them: straight-line, built once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Optional

from headway.basics.times import LAST_TIMER_MS, Duration, known_duration_ms
from headway.errors import HeadwayError, UserCodeError
from headway.graph import MAIN, KeyByNode, OperatorNode, StatelessNode
from headway.operators.base import (
    BroadcastContext,
    Operator,
    Timer,
    ignored_result,
    name_of,
    no_shared_state,
    no_wall_clock,
    two_times,
)
from headway.operators.lifetimes import TIMER
from headway.plan.stages import Apply, Segment, ToOperator, ToSink, ToStage
from headway.runtime.columns import getter
from headway.runtime.concerns import concerned, sifted
from headway.runtime.exchange import as_key
from headway.runtime.losses import add_loss, add_tally
from headway.state.rows import Row, RowTable
from headway.state.stage import StageStore
from headway.types.isolation import declared, isolator

if TYPE_CHECKING:
    from headway.runtime.attempt import Attempt
    from headway.runtime.stage import StageTask

__all__ = ["Handle", "OperatorContext"]

_new_tuple = tuple.__new__  # What a named tuple's own constructor comes to, at a third of the time.

Push = Callable[[Any], None]
Handle = Callable[[int, str, Any], None]
"""Runs a handler: `(time_ms, key, event)`."""


class OperatorContext:
    """One operator in one key group: the `Context` of its handlers, and where its events are handed in."""

    __slots__ = (
        "_after_ms",
        "_losses",
        "_shared",
        "_sides",
        "emit",
        "key",
        "name",
        "on_event",
        "on_timer",
        "operator",
        "rank",
        "row",
        "table",
        "time",
        "wall_ms",
    )

    emit: Push

    def __init__(self, node: OperatorNode, rank: int, store: StageStore, shared: Optional[RowTable] = None) -> None:
        self.operator: Operator[Any, Any, Any] = node.operator
        self.name = node.name
        self.rank = rank
        self.table: RowTable = store.tables[rank]
        self.on_event = node.operator.on_event
        self.on_timer = node.operator.on_timer
        self.key = ""
        self.time = 0
        self.wall_ms = 0
        self.row = Row("", None, 0, False)
        self._shared = shared
        self._after_ms = 0
        self._sides: dict[str, Push] = {}
        self._losses: dict[str, int] = {}

    def connect(self, main: Push, sides: dict[str, Push], losses: dict[str, int]) -> None:
        """Say where emitted values go, and where losses are counted, by side output."""
        self.emit = main
        self._sides = sides
        self._losses = losses

    def handler(self, name: str, value_type: Any, attempt: Optional[Attempt]) -> Handle:
        """What takes the events of one input: runs its handler for one event, after the timers before it.

        With an `attempt`, what it does can be undone.
        """
        if name in self.operator.broadcasts:
            handle = self._broadcast_handler(name, isolator(value_type, self.place))
            assert self._shared is not None
            return handle if attempt is None else attempt.guarded(self.name, self._shared, handle, shared=True)
        handle = self._keyed_handler("on_event" if name == MAIN else f"on_{name}")
        if attempt is not None:
            handle = attempt.guarded(self.name, self.table, handle, shared=False)
        return concerned(self, handle, name, value_type)

    def _keyed_handler(self, name: str) -> Handle:
        table = self.table
        settle = table.settle
        method = getattr(self.operator, name)

        def handle(time_ms: int, key: str, event: Any) -> None:
            row = table.young.get(key)
            if row is None:
                row = table.fetch(key)
            self.key = key
            self.time = time_ms
            self.row = row
            if not row.dirty:
                table.mark(row)
            row.touched_ms = time_ms
            try:
                returned = method(row.state, event, self)
                if returned is not None:
                    self.refuse(name, returned)
                if settle is not None:
                    settle(row.state)
            except HeadwayError:
                raise
            except BaseException as error:
                failure = self.failure(name, event)
                raise failure from error

        return handle

    def _broadcast_handler(self, name: str, isolate: Callable[[Any], Any]) -> Handle:
        table = self._shared
        assert table is not None
        settle = table.settle
        method = getattr(self.operator, f"on_{name}")

        def handle(time_ms: int, key: str, event: Any) -> None:
            row = table.young.get("") or table.fetch("")
            if not row.dirty:
                table.mark(row)
            row.touched_ms = time_ms
            self.key, self.time = "", time_ms
            try:
                returned = method(row.state, isolate(event), BroadcastContext(time_ms))
                if returned is not None:
                    self.refuse(f"on_{name}", returned)
                if settle is not None:
                    settle(row.state)
            except HeadwayError:
                raise
            except BaseException as error:
                failure = self.failure(f"on_{name}", event)
                raise failure from error

        return handle

    @property
    def shared(self) -> Any:
        """See `Context.shared`."""
        table = self._shared
        if table is None:
            raise no_shared_state(self.operator)
        return (table.young.get("") or table.fetch("")).state

    @property
    def wall(self) -> int:
        """See `Context.wall`; the stage sets `wall_ms` before it runs what a batch has released."""
        if not self.operator.wall_clock:
            raise no_wall_clock(self.operator)
        return self.wall_ms

    def handle_timer(self, row: Row, time_ms: int, name: str) -> None:
        """Run `on_timer` for one timer that is due and already disarmed.

        That of a time to live that the operator no longer has is none of its own, and does nothing.
        """
        self.key = row.key
        self.time = time_ms
        self.row = row
        if not row.dirty:
            self.table.mark(row)
        row.touched_ms = time_ms
        if name == TIMER and self.operator.wrapped is None:
            return
        self._after_ms = 1
        timer = _new_tuple(Timer, (name, time_ms))
        try:
            returned = self.on_timer(row.state, timer, self)
            if returned is not None:
                self.refuse("on_timer", returned)
            if self.table.settle is not None:
                self.table.settle(row.state)
        except HeadwayError:
            raise
        except BaseException as error:
            failure = self.failure("on_timer", timer)
            raise failure from error
        finally:
            self._after_ms = 0

    def place(self) -> str:
        """What is emitted now, for messages."""
        return f"what the operator {self.name!r} emits for key {self.key!r} at time {self.time}"

    def failure(self, handler: str, subject: Any) -> UserCodeError:
        """The error for an exception in a handler."""
        error = UserCodeError(
            f"{name_of(self.operator)}.{handler} of the operator {self.name!r} failed for key {self.key!r} "
            f"at time {self.time}, on {subject!r:.300}"
        )
        error.step = self.name
        return error

    def refuse(self, handler: str, returned: Any) -> None:
        """Raise the error for a handler that returned something."""
        what = ignored_result(f"{name_of(self.operator)}.{handler}", returned)
        msg = f"operator {self.name!r}, key {self.key!r}, time {self.time}: {what}"
        raise UserCodeError(msg)

    def emit_to(self, side: str, value: Any, /) -> None:
        """See `Context.emit_to`."""
        push = self._sides.get(side)
        if push is None:
            known = ", ".join(self.operator.sides) or "none"
            msg = f"{name_of(self.operator)} has no side output {side!r}; its sides are: {known}"
            raise KeyError(msg)
        push(value)

    def is_read(self, side: str, /) -> bool:
        """See `Context.is_read`."""
        return self._sides.get(side, _ignore) is not _ignore

    def lose(self, side: str, count: int, /) -> None:
        """See `Context.lose`."""
        add_loss(self._losses, self.operator, side, count)

    def tally(self, name: str, by: int, /) -> None:
        """See `Context.tally`."""
        add_tally(self._losses, self.operator, name, by)

    def timer(self, name: str, at: Optional[int] = None, /, *, after: Optional[Duration] = None) -> None:
        """See `Context.timer`."""
        if after is not None:
            if at is not None:
                raise TypeError(two_times(name))
            at = self.time + (after if type(after) is int and after >= 0 else known_duration_ms(after))
        self.set_timer(name, at)

    def set_timer(self, name: str, at: Optional[int]) -> None:
        """Set or move a timer to a time."""
        if type(at) is not int:
            if at is None:
                raise TypeError(two_times(name))
            msg = f"timer {name!r}: {at!r} is not a time in epoch milliseconds (an int)"
            raise TypeError(msg)
        row = self.row
        # Put off, as most are: the index is looked at when the earlier time comes.
        if self.time < at <= LAST_TIMER_MS and row.put_off(name, at):
            return
        if at <= self.time:
            at = self.time + self._after_ms
        self.table.set_timer(row, name, at)

    def cancel(self, name: str, /) -> None:
        """See `Context.cancel`."""
        self.table.cancel_timer(self.row, name)

    def due(self, name: str, /) -> Optional[int]:
        """See `Context.due`."""
        times = self.row.find_timer(name)
        return None if times is None else times[0]

    @property
    def timers(self) -> dict[str, int]:
        """See `Context.timers`."""
        return self.row.timers or {}

    def forget(self) -> Any:
        """See `Context.forget`."""
        self.table.forget(self.row)
        return self.row.state


def compile_port(task: StageTask, context: OperatorContext, segment: Optional[Segment], value_type: Any) -> Push:
    """What sends a value of a port on its way, as its type says where functions follow; else branches see to that."""
    if segment is None or not segment.branches:
        return _ignore
    push = _fan_out([_compile_branch(task, context, branch, None) for branch in segment.branches])
    settle = declared(value_type, context.place)
    if settle is None or not any(isinstance(branch, Apply) for branch in segment.branches):
        return push
    return lambda value: push(settle(value))


def _ignore(value: Any) -> None:
    """Nothing follows this port."""


def _fan_out(pushes: list[Push]) -> Push:
    if len(pushes) == 1:
        return pushes[0]

    def push_all(value: Any) -> None:
        for push in pushes:
            push(value)

    return push_all


def _compile_branch(task: StageTask, context: OperatorContext, branch: Any, rekey: Optional[_Rekey]) -> Push:
    if isinstance(branch, Apply):
        node = branch.node
        if isinstance(node, KeyByNode):
            rekeyed = _Rekey(node)
            rest = _fan_out([_compile_branch(task, context, then, rekeyed) for then in branch.then.branches])
            return rekeyed.then(context, rest)
        rest = _fan_out([_compile_branch(task, context, then, rekey) for then in branch.then.branches])
        return _stateless(node, context, rest)
    if isinstance(branch, ToOperator):
        target = task.contexts[branch.entry.rank]
        isolate = isolator(branch.value_type, context.place)
        handle = target.handler(branch.entry.input, branch.value_type, task.attempt)
        return lambda value: handle(context.time, context.key, isolate(value))
    keyed = context if rekey is None else rekey
    records = task.out.records[branch.edge.id]
    if isinstance(branch, ToStage):
        isolate = isolator(branch.edge.value_type, context.place)
        if branch.edge.broadcast:
            return lambda value: records.append((context.time, "", isolate(value), context.key))
        if branch.edge.sieve is not None:
            return sifted(branch.edge.sieve, isolate, records, context, keyed)
        return lambda value: records.append((context.time, keyed.key, isolate(value), context.key))
    assert isinstance(branch, ToSink)
    encode = task.out.encoders[branch.edge.id].encode_keyed
    return lambda value: records.append(encode(context.time, keyed.key, context.key, value))


class _Rekey:
    """The new key of the value that is passing a `key_by`."""

    __slots__ = ("_get", "_name", "key")

    def __init__(self, node: KeyByNode) -> None:
        self.key = ""
        self._name = node.name
        self._get = getter(node.key)

    def then(self, context: OperatorContext, rest: Push) -> Push:
        get = self._get

        def push(value: Any) -> None:
            try:
                key = as_key(get(value))
            except BaseException as error:
                raise step_failure(self._name, context, value) from error
            self.key = key
            rest(value)

        return push


def step_failure(name: str, context: OperatorContext, value: Any) -> UserCodeError:
    """The error for an exception in a stateless step that follows an operator."""
    error = UserCodeError(f"the step {name!r} failed for key {context.key!r} at time {context.time}, on {value!r:.300}")
    error.step = name
    return error


def _stateless(node: StatelessNode, context: OperatorContext, rest: Push) -> Push:
    function, name, kind = node.function, node.name, node.kind

    def call(value: Any) -> Any:
        try:
            return list(function(value)) if kind == "flat_map" else function(value)
        except HeadwayError:
            raise
        except BaseException as error:
            raise step_failure(name, context, value) from error

    if kind == "map":
        return lambda value: rest(call(value))
    if kind == "flat_map":

        def push_each(value: Any) -> None:
            for result in call(value):
                rest(result)

        return push_each
    wanted = kind == "filter"

    def push_some(value: Any) -> None:
        if bool(call(value)) is wanted:
            rest(value)

    return push_some
