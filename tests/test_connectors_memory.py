"""Lists as input and output."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Union

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.connectors.base import Decoded, PartitionReader
from headway.connectors.memory import items, to_list
from headway.errors import InputError, UsageError
from headway.types.decoding import LineCodec
from headway.types.schema import Event, Json


class Item(Event):
    n: int


class Other(Event):
    n: int


def read_all(reader: PartitionReader, event_type: Any) -> list[Decoded]:
    found = []
    while (chunk := reader.read(1)) is not None:
        found.append(chunk.decode(LineCodec(event_type)))
    return found


def decode(batch: list[Any], event_type: Any) -> Decoded:
    (decoded,) = read_all(items(batch).open("items", None, follow=False), event_type)
    return decoded


def test_typed_objects_are_checked_like_lines() -> None:
    wrong = Item("3")  # type: ignore[arg-type]
    decoded = decode([Item(1), wrong, Item(2)], Item)
    assert decoded.events == [Item(1), Item(2)]
    assert decoded.ordinals == [0, 2]
    assert [(bad.ordinal, bad.raw) for bad in decoded.bad] == [(1, b'{"n":"3"}')]


def test_dicts_and_lines_are_converted() -> None:
    decoded = decode([{"n": 1}, b'{"n": 2}\r\n', b" \n", Item(4), {"n": 5, "more": True}], Item)
    assert decoded == Decoded([Item(1), Item(2), Item(4), Item(5)], [0, 1, 3, 4], [])


def test_untyped() -> None:
    assert decode([{"n": 1}, b'{"n": 2}'], Json) == Decoded([{"n": 1}, {"n": 2}], [0, 1], [])
    assert decode([{"n": 1}], dict).events == [{"n": 1}]


def test_types_that_are_no_classes() -> None:
    tagged = Union[int, list[int]]
    assert decode([3, [1, 2], b"4", "five"], tagged).events == [3, [1, 2], 4]
    assert decode([[1], [2]], list[int]).events == [[1], [2]]


@pytest.mark.parametrize(
    ("item", "event_type", "reason", "raw"),
    [
        (Other(1), Item, "Expected `Item`, a dict or bytes, got `Other`", b'{"n":1}'),
        ({"n": "x"}, Item, "Expected `int`, got `str` - at `$.n`", b'{"n":"x"}'),
        ({"m": object}, Item, "Object missing required field `n`", b"{'m': <class 'object'>}"),
        (b'{"n": }\n', Item, "JSON is malformed: invalid character (byte 6)", b'{"n": }'),
        (b'{"n": 1, "\xff": 2}', Item, "not UTF-8: byte 0xff, number 10 of the text (invalid start byte)", None),
        (7, Json, "Expected `Json`, a dict or bytes, got `int`", b"7"),
        (Item(1), Json, "Expected `Json`, a dict or bytes, got `Item`", b'{"n":1}'),
    ],
)
def test_bad_items(item: Any, event_type: Any, reason: str, raw: bytes | None) -> None:
    decoded = decode([{"n": 0}, item], event_type)
    assert len(decoded.events) == 1
    (record,) = decoded.bad
    assert (record.ordinal, record.position, record.reason) == (1, "item 1", reason)
    assert record.raw == (item if raw is None else raw)


@given(st.integers(0, 30), st.integers(1, 7), st.integers(0, 10), st.booleans())
def test_resumes_after_any_batch(count: int, batch: int, reads: int, iterator: bool) -> None:
    class Again:
        def __iter__(self) -> Iterator[Item]:
            return map(Item, range(count))

    source = items(Again() if iterator else list(Again()), batch=batch)
    reader = source.open("items", None, follow=False)
    found: list[Any] = []
    for _ in range(reads):
        chunk = reader.read(1)
        if chunk is not None:
            found += chunk.decode(LineCodec(Item)).events
    position = reader.position()
    assert position == {"item": len(found)}
    resumed = source.open("items", position, follow=False)
    rest = read_all(resumed, Item)
    assert found + [event for decoded in rest for event in decoded.events] == list(map(Item, range(count)))
    assert [n for decoded in rest for n in decoded.ordinals] == list(range(len(found), count))
    assert resumed.at_end


def test_a_list_that_grows_is_followed() -> None:
    log = [Item(1)]
    source = items({"left": log})
    reader = source.open("left", None, follow=True)
    read_all(reader, Item)
    assert not reader.at_end
    log.append(Item(2))
    assert [decoded.events for decoded in read_all(reader, Item)] == [[Item(2)]]


def test_a_new_process_may_resume_an_iterator() -> None:
    reader = items(map(Item, range(5))).open("items", {"item": 3}, follow=False)
    assert [decoded.events for decoded in read_all(reader, Item)] == [[Item(3), Item(4)]]


def test_an_iterator_cannot_be_opened_twice() -> None:
    source = items({"left": iter([Item(1)])})
    source.open("left", None, follow=False)
    with pytest.raises(
        InputError, match=r"items left: partition 'left' is a list_iterator, .*to item 0; .*give a list"
    ):
        source.open("left", {"item": 0}, follow=False)


@pytest.mark.parametrize("log", [[Item(1)], iter([Item(1)])])
def test_fewer_items_than_before(log: Any) -> None:
    with pytest.raises(InputError, match=r"the run stood at item 2, but there are only 1; expected all items"):
        items(log).open("items", {"item": 2}, follow=False)


@pytest.mark.parametrize(
    ("events", "batch", "text"),
    [
        ([], 0, r"batch=0\): expected a whole number of items, 1 or more"),
        ([], True, r"batch=True\): expected a whole number"),
        ("a.jsonl", 1, r"items\(...\) of str 'a.jsonl': expected an iterable .*files\(...\)"),
        (7, 1, r"of int '7': expected an iterable"),
        ({1: []}, 1, r"items\({1: ...}\): expected names of partitions as text"),
        ({"left": {"n": 1}}, 1, r"of dict .*: expected an iterable"),
    ],
)
def test_misuse(events: Any, batch: int, text: str) -> None:
    with pytest.raises(UsageError, match=text):
        items(events, batch=batch)


def test_describe() -> None:
    assert items([]).describe() == "items"
    assert items({"b": [], "a": []}).describe() == "items a, b"


def test_to_list() -> None:
    target: list[Any] = [0]
    writer = to_list(target).open(None, mark=None)
    assert not writer.transactional
    assert writer.notice is None
    writer.write([b'{"n": 1}', b"[2]"])
    assert target == [0, {"n": 1}, [2]]
    assert to_list(target).open(writer.position(), mark=None).position() == {}
    assert to_list(target).describe() == "list"
    with pytest.raises(UsageError, match=r"to_list\(\(\)\): expected a list"):
        to_list(())  # type: ignore[arg-type]


class Loose(Event):
    n: int
    extra: Any = None


@pytest.mark.parametrize("event_type", [Json, Loose])
def test_what_a_step_changes_in_an_event_is_not_in_the_item(event_type: Any) -> None:
    source = items([{"n": 1, "extra": {"seen": [1]}}])
    decoder = source.format.decoder(event_type)
    chunk = source.open("items", None, follow=False).read(1)
    assert chunk is not None
    for _ in range(2):
        [event] = chunk.decode(decoder).events
        extra = event["extra"] if event_type is Json else event.extra
        assert extra == {"seen": [1]}
        extra["seen"].append(2)
