"""Values are the same wherever they have been, for every type that is accepted; all other types are refused."""

from __future__ import annotations

import collections
import datetime as dt
import enum
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, Literal, NamedTuple, Optional, TypedDict
from uuid import UUID

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import headway as hw
from headway.errors import FlowError, UserCodeError
from headway.graph import SinkNode
from headway.plan.planner import compile_plan
from headway.runtime.batch import Batch, register_codecs
from headway.runtime.seal import Seal
from headway.runtime.triggers import TriggerEncoder
from headway.state.group import GroupStore
from headway.state.options import StoreOptions
from headway.state.stage import OperatorSpec
from headway.types.decoding import LineCodec
from headway.types.isolation import isolator
from headway.types.values import shape_of

QUICK = settings(deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = -(2**63)
    HIGH = 2**63 - 1


class Pair(NamedTuple):
    left: int
    right: float


@dataclass(frozen=True)
class Point:
    x: float
    names: list[str]


class Options(TypedDict, total=False):
    size: int
    at: dt.datetime


class Leaf(hw.Event, tag=True):
    value: Optional[int] = None


class Tree(hw.Event, tag=True):
    branches: list[Tree | Leaf] = []


Typed = tuple[Any, st.SearchStrategy[Any]]
"""A type and its values."""

ZONES = st.integers(-23 * 60, 23 * 60).map(lambda minutes: dt.timezone(dt.timedelta(minutes=minutes)))
INTEGERS = st.integers(-(2**63), 2**64 - 1) | st.sampled_from([-(2**63), 2**63 - 1, 2**63, 2**64 - 1, -1, 0])
FLOATS = st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([-0.0, 5e-324, 1.7e308, 1e19, 2.0**63])
TEXTS = st.text(max_size=5) | st.sampled_from(["18446744073709551616", "2024-12-31T23:59:59.9999999Z", "\x00", "é🦊"])
FIRST, LAST = (dt.datetime.fromisoformat(day) for day in ("0001-01-02", "9999-12-30"))
INSTANTS = st.datetimes(FIRST, LAST, timezones=ZONES) | st.sampled_from(
    [dt.datetime.min.replace(tzinfo=dt.timezone.utc), dt.datetime.max.replace(tzinfo=dt.timezone.utc)]
)
PLAIN: list[Typed] = [
    (int, INTEGERS),
    (float, FLOATS),
    (str, TEXTS),
    (bytes, st.binary(max_size=5)),
    (dt.datetime, INSTANTS | st.datetimes()),
    (dt.date, st.dates()),
    (dt.time, st.times() | st.times(timezones=ZONES)),
    (dt.timedelta, st.timedeltas() | st.sampled_from([dt.timedelta.min, dt.timedelta.max])),
    (Decimal, st.decimals(allow_nan=False) | st.sampled_from([Decimal("-0"), Decimal("1.10"), Decimal("1E+5")])),
    (UUID, st.uuids()),
    (Color, st.sampled_from(Color)),
    (Level, st.sampled_from(Level)),
    (Literal["a", 1], st.sampled_from(["a", 1])),
    (Annotated[int, msgspec.Meta(ge=0, lt=10)], st.integers(0, 9)),
    (Annotated[str, msgspec.Meta(max_length=2, description="short")], st.text(max_size=2)),
]
"""Types whose values may be keys of dicts, too."""

JSON = st.recursive(
    st.none() | st.booleans() | INTEGERS | FLOATS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
OTHERS: list[Typed] = [
    (None, st.none()),
    (bool, st.booleans()),
    (Any, JSON),
    (hw.Json, st.dictionaries(TEXTS, JSON, max_size=3)),
    (Pair, st.builds(Pair, INTEGERS, FLOATS)),
    (Point, st.builds(Point, FLOATS, st.lists(TEXTS, max_size=2))),
    (Options, st.fixed_dictionaries({}, optional={"size": INTEGERS, "at": INSTANTS})),
    (
        Tree | Leaf,
        st.recursive(
            st.builds(Leaf, INTEGERS), lambda inner: st.builds(Tree, st.lists(inner, max_size=2)), max_leaves=4
        ),
    ),
]
_numbers = itertools.count()
LIST: Any = list
TUPLE: Any = tuple
DICT: Any = dict


def containers(inner: Typed) -> list[Typed]:
    """Types that hold values of a type."""
    kind, values = inner
    struct = msgspec.defstruct(f"Holder{next(_numbers)}", [("value", kind)], frozen=True)
    return [
        (LIST[kind], st.lists(values, max_size=3)),
        (TUPLE[kind, ...], st.lists(values, max_size=3).map(tuple)),
        (TUPLE[kind, int], st.tuples(values, INTEGERS)),
        (DICT[str, kind], st.dictionaries(TEXTS, values, max_size=3)),
        (struct, values.map(struct)),
        *([] if kind in (None, Any) else [(Optional[kind], st.none() | values)]),
    ]


@st.composite
def typed(draw: st.DrawFn) -> Typed:
    """Any accepted type, nested up to twice, also as the keys of a dict."""
    found = draw(st.sampled_from(PLAIN + OTHERS))
    if found in PLAIN and draw(st.booleans()):
        found = (DICT[found[0], int], st.dictionaries(found[1], INTEGERS, max_size=3))
    for _ in range(draw(st.integers(0, 2))):
        found = draw(st.sampled_from(containers(found)))
    return found


def encoded(value: Any) -> tuple[bytes, bytes]:
    return msgspec.json.encode(value), msgspec.msgpack.encode(value)


def assert_same(value: Any, other: Any) -> None:
    assert value == other and type(value) is type(other)
    assert encoded(value) == encoded(other)
    assert repr(value) == repr(other)


class Opened:
    """A database, with as many stages as one likes."""

    def __init__(self, group: GroupStore) -> None:
        self.group = group
        self.count = 0

    def stored(self, state_type: Any, state: Any) -> Any:
        """The state as it comes back from the disk."""
        self.count += 1
        stage = self.group.stage("s", [OperatorSpec("op", state_type, id=self.count)], [], task=self.count)
        stage.resume(None)
        row = stage.tables[0].fetch("key")
        row.state = state
        stage.tables[0].mark(row)
        stage.resume(stage.commit(None))
        return stage.tables[0].fetch("key").state


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    with GroupStore.open(tmp_path_factory.mktemp("values"), 0, StoreOptions(sync=False)) as group:
        yield Opened(group)


class Pass(hw.Operator[Any, hw.State]):
    def on_event(self, state: hw.State, event: Any, ctx: hw.Context[Any]) -> None:
        ctx.emit(event)


def event_class(kind: Any) -> Any:
    return msgspec.defstruct(f"Drawn{next(_numbers)}", [("value", kind)], bases=(hw.Event,))


def crossed(event_type: Any, event: Any) -> Any:
    """The event as it arrives in another process."""
    flow = hw.Flow("f")
    source = flow.source("s", event_type, hw.items([]), time=lambda event: 0)
    source.key_by(lambda event: "k").process("op", Pass()).to("out", hw.to_list([]))
    register_codecs(compile_plan(flow.graph))
    batch = Batch(0, "000", 0, 5, "p", [(1, "k", event)])
    here, there = (Seal(b"key", index, ["one", "two"], "log", _failed) for index in range(2))
    return there.loads(here.dumps(batch)).records[0][2]


def _failed(error: BaseException) -> None:
    raise error


def test_a_batch_says_which_of_its_records_has_no_encoding() -> None:
    crossed(hw.Json, {})
    batch = Batch(0, "000", 0, 5, "p", [(1, "k", {}), (2, "bad", {"n": 2**64})])
    with pytest.raises(UserCodeError, match=r"what 's' sends to 'op' for key 'bad' at time 2 is .*64"):
        batch.parts()


def written(event_type: Any, value: Any) -> bytes:
    """The value as a line of an output."""
    flow = hw.Flow("f")
    flow.source("s", event_type, hw.items([]), time=lambda event: 0).to("out", hw.to_list([]))
    sink = compile_plan(flow.graph).sinks[0]
    assert isinstance(sink.node, SinkNode)
    line: bytes = TriggerEncoder("f", sink.inputs[0], sink.node).encode(1, None, 0, "p", value)[2]
    return line


@settings(QUICK, max_examples=100)
@given(data=st.data())
def test_a_value_is_the_same_wherever_it_has_been(database: Opened, data: st.DataObject) -> None:
    kind, values = data.draw(typed())
    made = event_class(kind)
    line = msgspec.json.encode(made(data.draw(values)))
    codec = LineCodec(made)
    event = codec.decode(line)
    assert shape_of(made, "x").fits(event, None)
    assert_same(event, codec.decode_lines(line)[0])
    state_type = msgspec.defstruct("Kept", [("value", Optional[made], None)], bases=(hw.State,))
    assert_same(event, database.stored(state_type, state_type(event)).value)
    assert_same(event, crossed(made, event))
    assert_same(event, isolator(made)(event))
    assert written(made, event) == msgspec.json.encode(event)
    assert_same(event, codec.decode(written(made, event)))


class Flags(enum.Flag):
    A = 1


REFUSED: list[tuple[Any, str]] = [
    (set[int], "a set"),
    (frozenset[str], "a set"),
    (collections.abc.Set, "a set"),
    (bytearray, "use bytes"),
    (memoryview, "use bytes"),
    (msgspec.Raw, "undecoded"),
    (msgspec.msgpack.Ext, "extension"),
    (collections.Counter[str], "use dict"),
    (collections.deque[int], "use list"),
    (complex, "use tuple"),
    (Flags, "flags"),
    (dict[tuple[int, int], int], "no key"),
    (dict[Optional[str], int], "no key"),
]


@settings(QUICK, max_examples=40)
@given(data=st.data())
def test_every_other_type_is_refused_where_it_is_declared(data: st.DataObject) -> None:
    kind, reason = data.draw(st.sampled_from(REFUSED))
    for _ in range(data.draw(st.integers(0, 2))):
        kind = data.draw(st.sampled_from(containers((kind, st.none()))))[0]
    made = event_class(kind)
    flow = hw.Flow("f")
    with pytest.raises(FlowError, match=rf"(Drawn\d+|Holder\d+)\.value.*{reason}"):
        flow.source("s", made, hw.items([]), time="value")
    events = flow.source("e", hw.Json, hw.items([]), time="at")
    events.map(lambda event: event, into=made).to("out", hw.to_list([]))
    with pytest.raises(FlowError, match=rf"\.value.*{reason}"):
        compile_plan(flow.graph)
    if reason != "no key":
        operator = Pass()
        operator.state_type = msgspec.defstruct("Kept", [("kept", Optional[kind], None)])
        with pytest.raises(FlowError, match=rf"\.(value|kept).*{reason}"):
            events.key_by("k").process("op", operator)


DEFAULTS = [(float, 0, "0.0"), (int, 1.0, ""), (list[int], (1,), ""), (str, None, "")]


@pytest.mark.parametrize(("kind", "default", "instead"), DEFAULTS)
def test_a_default_of_another_type_is_refused(kind: Any, default: Any, instead: str) -> None:
    made = msgspec.defstruct("Made", [("total", kind, default)], frozen=True)
    with pytest.raises(FlowError, match=rf"default of Made.total is .*{instead}"):
        shape_of(made, "x")


class Chain(hw.State):
    next: Optional[Chain] = None
    gap: int | msgspec.UnsetType = msgspec.UNSET


def test_types_that_hold_what_is_described_or_themselves_are_accepted() -> None:
    shape = shape_of(Chain, "x")
    assert shape.fits(Chain(Chain(gap=3)), set())
    assert not shape.fits(Chain(Chain(gap=2**64)), set())
