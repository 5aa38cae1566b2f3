"""Text stands for its time in each field that is declared as a time, wherever it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Optional, Union

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.door_harness import Json, read, run, write

import headway as hw
from headway.basics.times import EARLIEST_MS, LATEST_MS, format_time
from headway.types.decoding import LineCodec


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


def with_text(value: Any, draw: Callable[[], bool]) -> Any:
    """The same JSON with some of its times as text: of `nested`, the integers are the times."""
    if isinstance(value, dict):
        return {name: with_text(part, draw) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [with_text(part, draw) for part in value]
    return format_time(value) if isinstance(value, int) and draw() else value


@given(nested, st.data())
def test_text_stands_for_its_time_in_each_field_of_times(event: Json, data: st.DataObject) -> None:
    codec = LineCodec(Nested)
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
            r"not a time with a zone: .* - at `\$.more\[0\].at`",
        ),
        (b'{"at": "2024-05-01T00:00:00Z", "note": 5}', r"Expected `str`, got `int` - at `\$.note`"),
        (b'{"at": []}', r"Expected `int`, got `array` - at `\$.at`"),
    ],
)
def test_text_that_is_no_time_is_refused_with_its_place(line: bytes, reason: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=reason):
        LineCodec(Nested).decode(line)


def test_a_log_may_mix_text_and_numbers(tmp_path: Path) -> None:
    class Seen(hw.Event):
        user: str
        at: hw.Time

    at = [1_714_521_600_000 + n for n in range(300)]
    write(tmp_path / "a.log", *[{"user": f"u{n}", "at": format_time(t) if n % 3 else t} for n, t in enumerate(at)])
    result = run(tmp_path, Seen)
    assert (result.stats.dead_letters, result.stats.late, result.stats.newest) == (0, 0, at[-1])
    assert [line["key"] for line in read(tmp_path / "kept.jsonl")] == [f"u{n}" for n in range(300)]
