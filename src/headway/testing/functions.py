"""The kit for unit tests of durable functions: virtual time, fakes for steps, crashes between any two rounds."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Final, Optional, Union

import msgspec

from headway.basics.jsontext import to_json
from headway.basics.times import Duration, duration_ms, milliseconds_of
from headway.durable.flow import Functions
from headway.errors import FunctionBlocked, UsageError
from headway.functions.declared import Callee, DurableFunction
from headway.functions.failures import failure_of
from headway.functions.history import (
    CancelAsked,
    Entry,
    Happening,
    Identity,
    Signalled,
    TerminateAsked,
    UpdateAsked,
    decode,
    encode,
)
from headway.functions.instance import Instance
from headway.functions.recorded import Recorded, entries_of, replayed, rounds_of
from headway.functions.status import Status
from headway.functions.tokens import read_token
from headway.testing.fakes import Fakes
from headway.testing.function_run import FunctionRun
from headway.testing.functions_world import World
from headway.testing.sandbox import NotDurable

__all__ = ["FunctionTest", "replay"]

_START: Final = "2024-01-01T00:00:00Z"


class FunctionTest:
    """Runs a durable function in this process, in virtual time: a sleep of 30 days is over at once.

    `flow` is the group that the function belongs to: children run by their own code, and steps are checked by their
    declared types and tried again by their declared retry policies. Without it the function stands alone. `steps` names
    what stands in for steps, for children whose code is not to run, and for functions over HTTP
    (`headway.testing.fakes`); nothing stands in by itself, and with `real_steps` the declared ones run. `views` gives
    what `context.query` finds: by the name of a view a dict, or a function of the key. `id` is that of the instance,
    `at` the time of its start. A function that goes on for ever is left `within` that time after its start.

    `signal`, `update`, `query`, `cancel`, `terminate` and `complete` plan what happens to it, at a time after its
    start; they give the test back, so that they may follow one another. `run` runs it, as often as one likes.

    While the function's code runs it is watched: what it reads of the clock, of chance, of files or the environment is
    told as a warning, `NotDurable`. Costs some 50 us for each thing that happens.

    >>> import headway as hw
    >>> from headway.testing import FunctionTest, after, fails
    >>> @hw.durable_workflow
    ... async def refund_order(context, order_id):
    ...     await context.call("cancel_shipping", order_id)
    ...     try:
    ...         await context.call("refund_payment", order_id)
    ...     except:
    ...         await context.call("escalate_issue", order_id)
    >>> steps = {"cancel_shipping": after("1h"), "refund_payment": fails(OSError("no funds")), "escalate_issue": None}
    >>> run = FunctionTest(refund_order, steps=steps).with_crashes().run("o-17")
    >>> run.status.value, run.called
    ('completed', ['cancel_shipping', 'refund_payment', 'escalate_issue'])
    >>> print(run.timeline)
    +0s  started ["o-17"]
    +0s    1: call("cancel_shipping", ["o-17"])
    +1h  answered 1: null
    +1h    2: call("refund_payment", ["o-17"])
    +1h  failed 2: OSError: no funds
    +1h    3: call("escalate_issue", ["o-17"])
    +1h  answered 3: null
    +1h    returned null
    """

    def __init__(
        self,
        function: Union[DurableFunction[Any], str],
        flow: Optional[Functions] = None,
        *,
        steps: Optional[Mapping[str, Any]] = None,
        views: Optional[Mapping[str, Any]] = None,
        real_steps: bool = False,
        id: str = "test",  # noqa: A002 - what a function's id is called everywhere
        at: Union[datetime, int, str] = _START,
        within: Optional[Duration] = None,
    ) -> None:
        self._function, self._callees = _found(function, flow)
        self._steps = dict(steps or {})
        self._views = dict(views or {})
        self._real_steps = real_steps
        self._id = id
        self._start_ms = milliseconds_of(at)
        self._within_ms = None if within is None else duration_ms(within, what="within")
        self._planned: list[tuple[int, Callable[[World], None]]] = []
        self._queries: list[Any] = []
        self._updates = 0
        self._crashes = False
        self._steps_twice = False
        self._world: Optional[World] = None

    def with_crashes(self, *, steps_twice: bool = False) -> FunctionTest:
        """The same test, whose runs are checked against crashes.

        After each run the function is made again from its history before and after everything that happened to it, as
        after a crash there, and must do the same; `run` raises `AssertionError` where it does not. With `steps_twice`
        each attempt of a fake that is a function is made twice, as when the process dies between doing and recording.
        Costs time with the square of the number of things that happen.
        """
        made = copy.copy(self)
        made._planned = list(self._planned)
        made._queries = []
        made._crashes = True
        made._steps_twice = steps_twice
        return made

    # What happens to it.

    def signal(self, name: str, value: Any = None, *, at: Duration = 0, to: Optional[str] = None) -> FunctionTest:
        """A signal comes; `to` names another instance, as in `"ship/o-17.1"`.

        As all that is planned, it may be called in a fake, too: its time counts from there on.
        """
        data = to_json(value, f"signal {name!r}")
        address = to or self._address
        return self._plan(
            at, lambda world: world.tell(address, lambda now_ms: Signalled(now_ms, name, data), f"signal {name!r}")
        )

    def update(
        self,
        name: str,
        value: Any = None,
        *,
        at: Duration = 0,
        id: Optional[str] = None,  # noqa: A002 - as of the constructor
    ) -> FunctionTest:
        """An update is asked for; `run.updates[id]` is its answer, or the `Failure`. Without an `id` it is `"u1"`..."""
        data = to_json(value, f"update {name!r}")
        self._updates += 1
        update_id = id or f"u{self._updates}"
        return self._tell(at, lambda now_ms: UpdateAsked(now_ms, update_id, name, data), f"update {name!r}")

    def query(self, name: str, value: Any = None, *, at: Duration = 0) -> FunctionTest:
        """A query is asked; `run.queries` are the answers, in their order, and a `Failure` for one that has failed."""
        data = to_json(value, f"query {name!r}")

        def ask(world: World) -> None:
            instance = self._instance(world, f"query {name!r}")
            try:
                self._queries.append(msgspec.json.decode(instance.query(name, data)))
            except Exception as error:
                self._queries.append(failure_of(error))

        return self._plan(at, ask)

    def cancel(self, reason: str = "", *, at: Duration = 0) -> FunctionTest:
        """It is asked to end in an orderly way."""
        return self._tell(at, lambda now_ms: CancelAsked(now_ms, reason), "cancel")

    def terminate(self, reason: str = "", *, at: Duration = 0) -> FunctionTest:
        """It ends there, and none of its code runs."""
        return self._tell(at, lambda now_ms: TerminateAsked(now_ms, reason), "terminate")

    def complete(self, value: Any = None, *, at: Duration = 0, token: Optional[str] = None) -> FunctionTest:
        """Somebody answers a token: the one of that text, or the oldest that is open. An error is a failure."""

        def answer(world: World) -> None:
            identity, call = self._open_token(world) if token is None else read_token(token)
            if isinstance(value, BaseException):
                world.resolve(identity, call, b"null", failure_of(value))
            else:
                world.resolve(identity, call, to_json(value, "the answer to a token"), None)

        return self._plan(at, answer)

    # Running it.

    def run(self, *arguments: Any, **keywords: Any) -> FunctionRun:
        """Run it until nothing is left to happen, also to functions that it has started.

        Raises `UsageError` for arguments that it does not take and for a test that is set up wrongly, `FunctionBlocked`
        where the code cannot go on, and `AssertionError` where a crash makes a difference. What the function itself
        raises is its outcome: see `FunctionRun.result`.
        """
        encoded = self._function.encode_arguments(*arguments, **keywords)
        fakes = Fakes(self._steps, self._callees, real_steps=self._real_steps)
        world = World(self._callees, fakes, self._views, self._start_ms, twice=self._steps_twice)
        world.soon(lambda: world.start(self._function.name, self._id, encoded))
        self._queries = []
        for after_ms, action in self._planned:
            world.at(self._start_ms + after_ms, _bound(action, world))
        self._world = world
        try:
            world.run(None if self._within_ms is None else self._start_ms + self._within_ms)
            run = FunctionRun(world, self._address, list(self._queries))
            for read in world.watch.reads:
                warnings.warn(f"function {self._function.name!r}: {read}", NotDurable, stacklevel=2)
            if self._crashes:
                for recorded in run.histories:
                    _check_crashes(recorded, self._callees, run.states.get(str(recorded.identity)))
        finally:
            self._world = None
            for row in world.rows.values():
                row.instance.close()
        return run

    @property
    def _address(self) -> str:
        return f"{self._function.name}/{self._id}"

    def _plan(self, at: Duration, action: Callable[[World], None]) -> FunctionTest:
        after_ms = duration_ms(at, what="at")
        world = self._world
        if world is None:
            self._planned.append((after_ms, action))
        else:
            world.at(world.now_ms + after_ms, lambda: action(world))
        return self

    def _tell(self, at: Duration, happening: Callable[[int], Happening], what: str) -> FunctionTest:
        return self._plan(at, lambda world: world.tell(self._address, happening, what))

    def _instance(self, world: World, what: str) -> Instance:
        row = world.rows[self._address]
        if not row.is_running:
            msg = f"{what} comes after the end: {self._address} is {row.instance.status.value}"
            raise UsageError(msg)
        return row.instance

    def _open_token(self, world: World) -> tuple[Identity, int]:
        row = world.rows[self._address]
        for number, (made, _, _) in sorted(row.open.items()):
            if made.kind == "token":
                return row.identity, number
        msg = f"complete: {self._address} waits for no token then"
        raise UsageError(msg)

    def __repr__(self) -> str:
        return f"FunctionTest({self._function.name!r}, {len(self._steps)} fakes, {len(self._planned)} planned)"


def replay(
    history: Union[Recorded, Iterable[Union[Entry, bytes]]],
    function: Union[DurableFunction[Any], Functions],
    *,
    id: str = "test",  # noqa: A002 - as of `FunctionTest`
    run: int = 0,
) -> Status:
    """Feed a recorded history to the code of today: how far the run has come.

    `history` is a `Recorded`, as in `FunctionRun.histories` and the files of `headway functions replay-check`, or the
    entries of one run, whose `id` and `run` are needed as far as its code asks for chance, unique ids or children.
    Raises `ReplayMismatch` where the code does something else.

    >>> import headway as hw
    >>> @hw.durable_workflow
    ... async def remind(context, days: int) -> None:
    ...     await context.sleep(f"{days}d")
    >>> from headway.testing import FunctionTest
    >>> history = FunctionTest(remind).run(30).history
    >>> replay(history, remind).value
    'completed'
    """
    if isinstance(function, Functions):
        callees: Mapping[str, Callee] = function.callees
        if not isinstance(history, Recorded):
            msg = "replay(history, flow): give a Recorded, which says whose history it is, or the function itself"
            raise UsageError(msg)
    else:
        callees = {function.name: function}
        if not isinstance(history, Recorded):
            history = Recorded(Identity(function.name, id, run), tuple(entries_of(history)))
    instance = replayed(history, callees)
    try:
        return instance.status
    finally:
        instance.close()


def _found(
    function: Union[DurableFunction[Any], str], flow: Optional[Functions]
) -> tuple[DurableFunction[Any], Mapping[str, Callee]]:
    if isinstance(function, DurableFunction):
        callees: Mapping[str, Callee] = {function.name: function} if flow is None else flow.callees
        if callees.get(function.name) is not function:
            msg = f"FunctionTest({function!r}, ...): the group has no such function: hw.Functions(NAME, [...])"
            raise UsageError(msg)
        return function, callees
    found = None if flow is None else flow.callees.get(function)
    if flow is None or not isinstance(found, DurableFunction):
        msg = f"FunctionTest({function!r}): expected a durable function, or the name of one and the group that has it"
        raise UsageError(msg)
    return found, flow.callees


def _bound(action: Callable[[World], None], world: World) -> Callable[[], None]:
    return lambda: action(world)


def _check_crashes(recorded: Recorded, callees: Mapping[str, Callee], state: Optional[dict[str, Any]]) -> None:
    """Make a run again from its history before and after each round: it must do what it did without."""
    who = recorded.identity
    stored = [encode(entry) for entry in recorded.entries]
    before = 0
    for count, expected in enumerate(rounds_of(recorded.entries)):
        where = f"{who}: after a crash before happening {count + 1}, {type(expected[0]).__name__}"
        try:
            instance = _restored(recorded, callees, stored[:before])
            found = instance.take(expected[0])
        except FunctionBlocked as error:
            msg = f"{where}: {error}"
            raise AssertionError(msg) from error
        instance.close()
        if found != expected:
            msg = f"{where}, it does\n  {found}\nand without one\n  {expected}"
            raise AssertionError(msg)
        before += len(expected)
    try:
        instance = _restored(recorded, callees, stored)
    except FunctionBlocked as error:
        msg = f"{who}: after a crash at the end: {error}"
        raise AssertionError(msg) from error
    after = dict(instance.state)
    instance.close()
    if state is not None and after != state:
        msg = f"{who}: context.state is {after} after a crash at the end, and {state} without one"
        raise AssertionError(msg)


def _restored(recorded: Recorded, callees: Mapping[str, Callee], stored: list[bytes]) -> Instance:
    function = callees[recorded.identity.name]
    assert isinstance(function, DurableFunction)
    instance = Instance(function, recorded.identity, callees=callees)
    instance.restore(map(decode, stored))
    return instance
