"""At the door: what is wrong in the data becomes a dead letter, what is wrong in the flow's code stops the run."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from enum import Enum
from pathlib import Path
from typing import Any, Literal, Optional, TypedDict, Union

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import headway as hw
from headway.cli.summary import Ending, summary_json, warnings
from headway.errors import FlowError, InputError, UserCodeError
from headway.runtime.run import RunOptions, RunResult, StopFlag, compile_flow, run_flow
from headway.runtime.stats import FirstLetter, SourceStats
from headway.schema import codec_for
from headway.testing import FlowTest
from headway.times import EARLIEST_MS, LATEST_MS, format_time

Json = dict[str, Any]


class Visit(hw.Event):
    user: Optional[str]
    at: int
    n: int = 0


class Keep(hw.Operator[Any, hw.State, hw.Json]):
    def on_event(self, state: hw.State, event: Any, ctx: hw.Context[hw.Json]) -> None:
        ctx.emit({"key": ctx.key})


def flow_of(source: hw.Flow, stream: Any, key: Any, output: Any) -> hw.Flow:
    stream.key_by(key).process("keep", Keep()).to("kept", output)
    return source


def run(directory: Path, event_type: Any, *, time: Any = "at", key: Any = "user", threads: int = 1) -> RunResult:
    flow = hw.Flow("door")
    log = flow.source("log", event_type, hw.files(directory / "*.log"), time=time)
    flow_of(flow, log, key, hw.to_jsonl(directory / "kept.jsonl"))
    return run_flow(flow, RunOptions(directory / "state", key_groups=2, threads=threads, drain=True, sync=False))


def read(path: Path) -> list[Json]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def write(path: Path, *records: Json) -> list[bytes]:
    lines = [json.dumps(record).encode() for record in records]
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return lines


def misspelt(event: Any) -> Any:
    return event.usr


def of_nothing(event: Any) -> Any:
    return event["user"] + 1 if isinstance(event, dict) else event.user + 1


def undefined(event: Any) -> Any:
    return nowhere  # type: ignore[name-defined]  # noqa: F821


def of_missing_file(event: Any) -> Any:
    msg = "the table is not there"
    raise InputError(msg)


GOOD = {"user": "ann", "at": 1, "n": 1}
NEXT = {"user": "bob", "at": 2, "n": 2}


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("event_type", [Visit, hw.Json])
@pytest.mark.parametrize("function", [misspelt, of_nothing, undefined])
@pytest.mark.parametrize("role", ["time", "key"])
def test_a_mistake_in_a_function_of_the_flow_stops_the_run(
    tmp_path: Path, role: str, function: Callable[[Any], Any], event_type: Any, threads: int
) -> None:
    write(tmp_path / "a.log", GOOD, NEXT)
    with pytest.raises(UserCodeError) as stopped:
        run(tmp_path, event_type, threads=threads, **{role: function})
    text = str(stopped.value)
    step = "time= of the source 'log'" if role == "time" else "the step 'key_by-1'"
    assert text.startswith(f"{step} (")
    assert "test_runtime_door.py:" in text
    assert type(stopped.value.__cause__).__name__ in text
    assert "line 1, byte 0 of 'a.log' of the source 'log'" in text
    assert "'ann'" in text


@pytest.mark.parametrize("role", ["time", "key"])
def test_an_error_that_a_function_raises_on_purpose_is_told_as_it_is(tmp_path: Path, role: str) -> None:
    write(tmp_path / "a.log", GOOD)
    with pytest.raises(InputError, match="the table is not there"):
        run(tmp_path, hw.Json, **{role: of_missing_file})


class Odd(Enum):
    ONE = 1


key_values = st.sampled_from([None, True, 1.5, "", "ann", 7, [], {}, "missing"])
time_values = st.sampled_from(
    [None, True, 1.5, 3.0, "yesterday", "2024-05-01T00:00:00", "2024-05-01T00:00:00Z", 5, EARLIEST_MS, LATEST_MS]
    + [EARLIEST_MS - 1, LATEST_MS + 1, 2**70, [], {}, "missing"]
)


def usable_key(value: Any) -> bool:
    return isinstance(value, (str, int)) and not isinstance(value, bool)


def usable_time(value: Any) -> bool:
    if isinstance(value, str):
        return value == "2024-05-01T00:00:00Z"
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and value == int(value) and EARLIEST_MS <= value <= LATEST_MS


SPECS: dict[str, tuple[Any, Any]] = {
    "names of fields": ("at", "user"),
    "functions": (lambda event: event["at"], lambda event: event["user"]),
    "functions that read text": (
        lambda event: event["at"] if event["at"] != "yesterday" else datetime.fromisoformat("yesterday"),
        lambda event: event["user"],
    ),
}


@pytest.mark.parametrize("specs", SPECS)
@given(values=st.lists(st.tuples(key_values, time_values), max_size=12))
def test_values_that_cannot_be_used_are_dead_letters(specs: str, values: list[tuple[Any, Any]]) -> None:
    time, key = SPECS[specs]
    flow = hw.Flow("door")
    log = flow.source("log", hw.Json, hw.items([]), time=time, out_of_order="36500d")
    flow_of(flow, log, key, hw.to_list([]))
    test = FlowTest(flow)
    good = 0
    for user, at in values:
        event = {name: value for name, value in (("user", user), ("at", at)) if value != "missing"}
        used = "user" in event and "at" in event and usable_key(user) and usable_time(at)
        before = len(test.dead_letters) + len(test.late("log"))
        test.send("log", event)
        # Lateness comes before the key: a late event is not asked for it.
        assert used or len(test.dead_letters) + len(test.late("log")) == before + 1
        good += used
    assert good + len(test.dead_letters) >= len(values) - len(test.late("log"))


@pytest.mark.parametrize("threads", [1, 2])
def test_a_dead_letter_has_the_place_and_the_bytes_of_its_record(tmp_path: Path, threads: int) -> None:
    rows = [{"user": f"u{n}", "at": n, "n": n} for n in range(500)]
    for n in (7, 8, 499):
        rows[n]["user"] = None
    rows[100]["at"] = LATEST_MS + 1
    rows[101]["at"] = "soon"
    lines = write(tmp_path / "a.log", *rows)
    result = run(tmp_path, Visit, threads=threads)
    letters = read(tmp_path / "state" / "dead-letters.jsonl")
    bad = [7, 8, 100, 101, 499]
    starts = [sum(len(line) + 1 for line in lines[:n]) for n in bad]
    assert [letter["position"] for letter in letters] == [
        f"line {n + 1}, byte {start}" for n, start in zip(bad, starts)
    ]
    assert [letter["raw"].encode() for letter in letters] == [lines[n] for n in bad]
    first = FirstLetter("a.log", 7, letters[0]["position"], letters[0]["reason"])
    assert result.stats.sources == {"log": SourceStats(500, 5, first, bytes_read=None, bytes_total=None)}


def test_lines_are_numbered_in_compressed_and_rotated_logs_also_where_a_run_goes_on(tmp_path: Path) -> None:
    def lines(*users: Optional[str]) -> bytes:
        return b"".join(json.dumps({"user": user, "at": 5, "n": 0}).encode() + b"\n" for user in users)

    def run_again() -> list[str]:
        flow = hw.Flow("door")
        log = flow.source("log", Visit, hw.files(tmp_path / "app*", rotated=True), time="at")
        flow_of(flow, log, "user", hw.to_jsonl(tmp_path / "kept.jsonl"))
        run_flow(flow, RunOptions(tmp_path / "state", key_groups=1, sync=False))
        return [letter["position"] for letter in read(tmp_path / "state" / "dead-letters.jsonl")]

    (tmp_path / "app-1.log.gz").write_bytes(gzip.compress(lines("a", None)))
    (tmp_path / "app-2.log").write_bytes(lines("a", "b", None))
    size = len(lines("a"))
    first = [f"app-1.log line 2, byte {size}", f"app-2.log line 3, byte {2 * size}"]
    assert run_again() == first
    with (tmp_path / "app-2.log").open("ab") as file:
        file.write(lines("c", None))
    start = len(lines("a", "b", None, "c"))
    assert run_again() == [*first, f"app-2.log line 5, byte {start}"]


def test_results_of_a_flat_map_are_told_apart(tmp_path: Path) -> None:
    write(tmp_path / "a.log", {"users": ["a", None, "b", 1.5], "at": 1})
    flow = hw.Flow("door")
    log = flow.source("log", hw.Json, hw.files(tmp_path / "a.log"), time="at")
    each = log.flat_map(lambda event: [{"user": user} for user in event["users"]], into=hw.Json)
    flow_of(flow, each, "user", hw.to_jsonl(tmp_path / "kept.jsonl"))
    run_flow(flow, RunOptions(tmp_path / "state", key_groups=1, sync=False))
    letters = read(tmp_path / "state" / "dead-letters.jsonl")
    assert [letter["position"] for letter in letters] == ["line 1, byte 0, result 1", "line 1, byte 0, result 3"]


def ending(directory: Path, flow: hw.Flow, result: RunResult) -> Ending:
    plan = compile_flow(flow, directory / "state")
    return Ending(plan, directory / "state", result, 0, resumed=False, seconds=1.0)


@pytest.mark.parametrize(("bad", "of", "told"), [(0, 100, False), (1, 100, False), (2, 100, True), (1, 1, True)])
def test_the_end_says_which_sources_are_mostly_of_no_use(tmp_path: Path, bad: int, of: int, told: bool) -> None:
    write(tmp_path / "b.log", *[{**GOOD, "at": n} for n in range(of - bad)], *[{"at": of}] * bad)
    flow = hw.Flow("door")
    log = flow.source("log", hw.Json, hw.files(tmp_path / "*.log"), time="at")
    flow_of(flow, log, "user", hw.to_jsonl(tmp_path / "kept.jsonl"))
    result = run_flow(flow, RunOptions(tmp_path / "state", key_groups=1, sync=False))
    found = list(warnings(ending(tmp_path, flow, result)))
    assert len(found) == told
    if told:
        assert f"{bad} of the {of} record" in found[0]
        assert "'log'" in found[0]
        assert f"b.log, line {of - bad + 1}, byte " in found[0]
        assert "key_by-1: no field 'user'" in found[0]
        assert "dead-letters.jsonl" in found[0]
        assert summary_json(ending(tmp_path, flow, result))["notices"] == found
    # A run that goes on still knows the first one; what it has read itself may be too bad although the whole is not.
    write(tmp_path / "a.log", {"at": of})
    again = run_flow(flow, RunOptions(tmp_path / "state", key_groups=1, sync=False))
    [warning] = warnings(ending(tmp_path, flow, again))
    assert "a.log, line 1, byte 0" in warning
    sources = summary_json(ending(tmp_path, flow, again))["sources"]
    assert sources["log"]["first_dead_letter"]["partition"] == "a.log"
    assert sources["log"]["dead_letters"] == bad + 1


def test_the_first_dead_letter_is_the_same_however_it_is_read(tmp_path: Path) -> None:
    for part in "abc":
        write(tmp_path / f"{part}.log", *[{**GOOD, "at": n} if n % 7 else {"at": n} for n in range(1, 40)])
    found = set()
    for threads in (1, 3):
        for after in (0, 1, 5):
            directory = tmp_path / f"{threads}-{after}"
            directory.mkdir()
            flow = hw.Flow("door")
            log = flow.source("log", hw.Json, hw.files(tmp_path / "*.log"), time="at")
            flow_of(flow, log, "user", hw.to_jsonl(directory / "kept.jsonl"))
            options = RunOptions(directory / "state", key_groups=2, threads=threads, chunk_bytes=100, sync=False)
            run_flow(flow, options, stop=StopAfter(after))
            found.add(run_flow(flow, options).stats.sources["log"].first)
    assert len(found) == 1
    assert found.pop() == FirstLetter("a.log", 6, found_position(tmp_path / "a.log", 6), "key_by-1: no field 'user'")


def found_position(path: Path, number: int) -> str:
    return f"line {number + 1}, byte {sum(map(len, path.read_bytes().splitlines(keepends=True)[:number]))}"


class StopAfter(StopFlag):
    """Stops a run when it has been asked a number of times."""

    def __init__(self, left: int) -> None:
        super().__init__()
        self.left = left

    def __call__(self) -> bool:
        self.left -= 1
        return super().__call__() or self.left < 0


# What a declared type says.


@dataclass
class Plain:
    at: int
    user: str


class Typed(TypedDict):
    at: int
    user: str


class Sort(str, Enum):
    A = "a"


class Many(hw.Event):
    at: hw.Time
    amount: float = 0.0
    day: Optional[date] = None
    flag: bool = False
    odd: Odd = Odd.ONE
    sort: Sort = Sort.A
    some: Union[str, float] = ""
    kind: Literal["a", 1] = "a"
    parts: list[str] = []
    when: Optional[datetime] = None


class Unknown:
    pass


class Holds(hw.Event):
    at: int
    held: Optional[list[Unknown]] = None


def as_float(event: Any) -> float:
    return 0.5


def declared(event_type: Any, time: Any, key: Any) -> None:
    flow = hw.Flow("declared")
    flow.source("log", event_type, hw.items([]), time=time).key_by(key)


@pytest.mark.parametrize(
    ("event_type", "time", "key", "text"),
    [
        (Many, "nope", "sort", "Many has no field 'nope', its fields are at, amount"),
        (Many, "day", "sort", "'day' of Many is of type date | None, and a time is epoch milliseconds"),
        (Many, "flag", "sort", "'flag' of Many is of type bool, and a time is"),
        (Many, "at", "nope", r"key_by\('nope'\): Many has no field 'nope', its fields are"),
        (Many, "at", "amount", "'amount' of Many is of type float, and a key is text or an integer"),
        (Many, "at", "odd", "'odd' of Many is of type Odd, and a key is"),
        (Many, "at", "parts", "of type list, and a key is"),
        (Many, "at", "when", "of type datetime | None, and a key is"),
        (Many, "at", as_float, "as_float.* returns float, and a key is"),
        (Plain, "at", "nope", "Plain has no field 'nope', its fields are at, user"),
        (Typed, "nope", "user", "Typed has no field 'nope', its fields are at, user"),
        (dict[str, float], "at", "user", "'user' of dict is of type float, and a key is"),
        (list[int], "at", "user", "list has no field 'at'"),
        (
            Unknown,
            "at",
            "user",
            "source 'log': Unknown cannot be decoded from JSON: declare a class derived from hw.Event",
        ),
        (Holds, "at", "user", "the field 'held' of Holds is of type Unknown, which cannot be decoded"),
        (Union[Many, Plain], "at", "user", "cannot be decoded from JSON: Type unions may not contain"),
    ],
)
def test_what_can_never_be_is_refused_at_the_declaration(event_type: Any, time: Any, key: Any, text: str) -> None:
    with pytest.raises(FlowError, match=text) as refused:
        declared(event_type, time, key)
    assert "test_runtime_door.py:" in str(refused.value)


@pytest.mark.parametrize("key", ["sort", "some", "kind", "at"])
def test_what_may_be_a_key_is_accepted(key: str) -> None:
    declared(Many, "at", key)


@pytest.mark.parametrize("event_type", [Plain, Typed, hw.Json, Any, dict[str, Any]])
def test_every_kind_of_event_has_its_time_and_key(tmp_path: Path, event_type: Any) -> None:
    write(tmp_path / "a.log", GOOD, {**NEXT, "user": "bob"})
    result = run(tmp_path, event_type)
    assert result.stats.dead_letters == 0
    assert [line["key"] for line in read(tmp_path / "kept.jsonl")] == ["ann", "bob"]


class Tagged(hw.Event, tag=True):
    at: int
    user: str


class OtherTagged(hw.Event, tag=True):
    at: int
    user: str


def test_a_source_of_several_types_has_its_time_and_key(tmp_path: Path) -> None:
    write(tmp_path / "a.log", {"type": "Tagged", **GOOD}, {"type": "OtherTagged", **NEXT})
    result = run(tmp_path, Union[Tagged, OtherTagged])
    assert result.stats.dead_letters == 0
    assert [line["key"] for line in read(tmp_path / "kept.jsonl")] == ["ann", "bob"]


def test_untyped_data_without_fields_is_a_dead_letter(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_bytes(b'[1]\n"x"\n5\nnull\n{"user": "ann", "at": 1}\n')
    result = run(tmp_path, Any)
    assert result.stats.dead_letters == 4
    reasons = [letter["reason"] for letter in read(tmp_path / "state" / "dead-letters.jsonl")]
    assert reasons[0] == "time: no field 'at': expected an object, not [1]"


# Times that are written as text.


class Inner(hw.Event, tag="inner"):
    at: hw.Time
    anything: Any = None


class Other(hw.Event, tag="other"):
    at: str


class Nested(hw.Event):
    at: hw.Time
    until: Optional[hw.Time] = None
    all: list[hw.Time] = []
    by: dict[str, hw.Time] = {}
    one: Union[Inner, Other, None] = None
    more: list[Nested] = []
    pair: Optional[tuple[str, hw.Time]] = None
    note: str = ""


instants = st.integers(EARLIEST_MS, LATEST_MS)
texts = st.sampled_from(["", "2024-05-01T00:00:00Z", "é"])
inner = st.one_of(
    instants.map(lambda at: {"type": "inner", "at": at, "anything": "2024-05-01T00:00:00Z"}),
    texts.map(lambda text: {"type": "other", "at": text}),
)
nested: st.SearchStrategy[Json] = st.deferred(
    lambda: st.fixed_dictionaries(
        {"at": instants, "note": texts},
        optional={
            "until": st.none() | instants,
            "all": st.lists(instants, max_size=3),
            "by": st.dictionaries(texts, instants, max_size=2),
            "one": inner,
            "more": st.lists(nested, max_size=1),
            "pair": st.tuples(texts, instants),
        },
    )
)


def with_text(value: Any, draw: Callable[[], bool], *, is_time: bool = False) -> Any:
    """The same JSON with some of its times as text: of `nested`, the integers are the times."""
    if isinstance(value, dict):
        return {name: with_text(part, draw) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [with_text(part, draw) for part in value]
    return format_time(value) if isinstance(value, int) and draw() else value


@given(nested, st.data())
def test_text_stands_for_its_time_in_each_field_of_times(event: Json, data: st.DataObject) -> None:
    codec = codec_for(Nested)
    expected = msgspec.json.decode(json.dumps(event), type=Nested)
    written = with_text(event, lambda: data.draw(st.booleans()))
    assert codec.decode(json.dumps(written).encode()) == expected
    assert codec.convert(written) == expected


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"at": "yesterday"}', r"Invalid RFC3339 encoded datetime - at `\$.at`"),
        (
            b'{"at": 1, "more": [{"at": "2024-05-01T00:00:00"}]}',
            r"is not a time with a zone: .* - at `\$.more\[0\].at`",
        ),
        (b'{"at": "2024-05-01T00:00:00Z", "note": 5}', r"Expected `str`, got `int` - at `\$.note`"),
        (b'{"at": []}', r"Expected `int`, got `array` - at `\$.at`"),
    ],
)
def test_text_that_is_no_time_is_refused_with_its_place(line: bytes, reason: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=reason):
        codec_for(Nested).decode(line)


def test_a_log_may_mix_text_and_numbers(tmp_path: Path) -> None:
    class Seen(hw.Event):
        user: str
        at: hw.Time

    at = [1_714_521_600_000 + n for n in range(300)]
    write(tmp_path / "a.log", *[{"user": f"u{n}", "at": format_time(t) if n % 3 else t} for n, t in enumerate(at)])
    result = run(tmp_path, Seen)
    assert (result.stats.dead_letters, result.stats.late, result.stats.newest) == (0, 0, at[-1])
    assert [line["key"] for line in read(tmp_path / "kept.jsonl")] == [f"u{n}" for n in range(300)]
