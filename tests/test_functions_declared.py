"""Declaring durable functions: what is refused, and what their arguments and results may be."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any, Optional

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import headway as hw
from headway.errors import FlowError, UsageError
from headway.functions.declared import Callee, DurableFunction, durable_workflow
from headway.functions.history import Called
from headway.functions.options import CallOptions
from headway.functions.signature import Signature
from headway.testing import FunctionTest


class Order(msgspec.Struct):
    id: str
    cents: int = 0


def plain(context: Any) -> None: ...
async def yields(context: Any) -> Any:
    yield 1


async def nothing() -> None: ...
async def only_names(*, context: Any) -> None: ...
async def with_default(context: Any = None) -> None: ...
async def good(context: Any) -> None: ...
async def takes_set(context: Any, items: set[int]) -> None: ...
async def gives_class(context: Any) -> Callable[[], None]:
    return print


@pytest.mark.parametrize(
    ("code", "options", "word"),
    [
        (plain, {}, "is no `async def`"),
        (yields, {}, "yields"),
        (nothing, {}, "takes no context"),
        (only_names, {}, "takes no context"),
        (with_default, {}, "has no default"),
        (5, {}, "is no `async def`"),
        (good, {"name": "a/b"}, "its name"),
        (good, {"name": ""}, "its name"),
        (good, {"id_reuse": "again"}, "id_reuse"),
        (good, {"deadline": "soon"}, "deadline"),
        (good, {"retention": -5}, "retention"),
        (takes_set, {}, "items"),
        (gives_class, {}, "the result of"),
    ],
)
def test_refused_at_the_line(code: Any, options: Any, word: str) -> None:
    with pytest.raises(FlowError, match=word) as caught:
        durable_workflow(**options)(code)
    assert str(caught.value).startswith("tests/test_functions_declared.py:")


def test_annotations_that_cannot_be_read_are_refused() -> None:
    async def unknown(context: Any, order: "Nowhere") -> None:  # type: ignore[name-defined] # noqa: F821, UP037
        ...

    with pytest.raises(FlowError, match="Nowhere"):
        durable_workflow(unknown)


def test_classes_of_the_place_are_known() -> None:
    class Local(msgspec.Struct):
        n: int

    @durable_workflow
    async def local(context: Any, value: Local) -> Local:
        return Local(value.n)

    assert local.decode_arguments(b'[{"n": 5}]') == ((Local(5),), {})


@durable_workflow(name="ship", deadline="1d", options=CallOptions(parent_close="abandon"))
async def ship(context: Any, order: Order, *codes: int, when: Optional[datetime] = None) -> list[Order]:
    """Send it."""
    return [order]


def test_what_it_says_of_itself() -> None:
    assert isinstance(ship, Callee)
    assert isinstance(ship, DurableFunction)
    assert (ship.name, ship.kind, ship.deadline_ms, ship.__doc__) == ("ship", "function", 86_400_000, "Send it.")
    assert (ship.id_reuse, ship.retention_ms, ship.options) == (
        "return",
        7 * 86_400_000,
        CallOptions(parent_close="abandon"),
    )


def test_by_position_and_by_name() -> None:
    when = datetime(2026, 1, 1, tzinfo=timezone.utc)
    assert ship.encode_arguments(Order("o"), 1, 2) == b'[{"id":"o","cents":0},1,2]'
    assert ship.decode_arguments(b'[{"id":"o"}, 1, 2]') == ((Order("o"), 1, 2), {})
    encoded = ship.encode_arguments(Order("o"), when=when)
    assert ship.decode_arguments(encoded) == ((Order("o"),), {"when": when})
    assert ship.decode_result(ship.encode_result([Order("o")])) == [Order("o")]


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"[]", "missing"),
        (b'[{"id": 5}]', "argument 'order'"),
        (b'[{"id": "o"}, "x"]', "argument 'codes'"),
        (b'{"order": {"id": "o"}, "other": 1}', "no argument 'other'"),
        (b"5", "array or object"),
        (b"{", "array or object"),
        (b"", "array or object"),
    ],
)
def test_arguments_that_do_not_fit(data: bytes, word: str) -> None:
    with pytest.raises(UsageError, match=word) as caught:
        ship.decode_arguments(data)
    assert str(caught.value).startswith("function 'ship'")


def test_calls_that_do_not_fit() -> None:
    when = datetime(2026, 1, 1, tzinfo=timezone.utc)
    for arguments, keywords, word in (
        ((), {}, "missing"),
        (("o",), {}, "argument 'order'"),
        ((Order("o"), 1), {"when": when}, "do not go with"),
        ((Order("o"),), {"then": 1}, "unexpected"),
        ((object(),), {}, "cannot be written"),
    ):
        with pytest.raises(UsageError, match=word):
            ship.encode_arguments(*arguments, **keywords)
    with pytest.raises(UsageError, match="the result of function 'ship'"):
        ship.encode_result([5])  # type: ignore[list-item]


json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(json, max_size=4), st.dictionaries(st.sampled_from("abcdef"), json, max_size=4))
def test_any_arguments_come_back(values: list[Any], names: dict[str, Any]) -> None:
    def anything(one: Any = 1, two: Any = 2, *rest: Any, three: Any = 3, **more: Any) -> Any: ...

    signature = Signature(anything, "step 'anything'")
    if names and len(values) > 2:
        with pytest.raises(UsageError, match="do not go with"):
            signature.encode(tuple(values), names)
        return
    found, keywords = signature.decode(signature.encode(tuple(values), names))
    assert list(found) == values
    assert keywords == names


def test_options_that_a_call_takes_no_heed_of_are_refused() -> None:
    """Nothing that is said of a call is dropped without a word."""
    to, replies = hw.to_jsonl("requests.jsonl"), hw.files("replies.jsonl")
    quote = hw.topic_step("quote", to, replies)
    charge = hw.http_step("charge", "https://bank.example/charge")

    def refused(how: str, called: Any, arguments: tuple[Any, ...] = (), **options: Any) -> str:
        @durable_workflow
        async def tell(context: Any) -> str:
            try:
                getattr(context, how)(called, *arguments, options=CallOptions(**options))
            except UsageError as error:
                return str(error)
            return ""

        flow = hw.Functions("group", [ship, tell], steps=[quote, charge])
        flow.step(name="plain")(lambda: None)
        return str(FunctionTest(tell, flow, steps={"quote": 1, "charge": 1, "plain": None, "far": 1}).run().result)

    for name in ("quote", quote):
        assert refused("call", name, queue="slow") == (
            "step 'quote' takes no option queue='slow': its calls take retry, attempt_timeout, timeout"
        )
    for option in ({"priority": 1}, {"fairness": "a"}, {"start_timeout": "1s"}, {"heartbeat_timeout": "1s"}):
        assert "step 'quote' takes no option" in refused("call", "quote", **option)
        assert "step 'quote' takes no option" in refused("compensate", "quote", **option)
    assert refused("call", "quote", timeout="1h", attempt_timeout="1m", retry=hw.RetryPolicy()) == ""
    assert "takes no option heartbeat_timeout=1000" in refused("call", "charge", heartbeat_timeout="1s")
    for name in ("plain", "far"):
        assert "takes no option parent_close='cancel'" in refused("call", name, parent_close="cancel")
        assert refused("call", name, heartbeat_timeout="1s") == ""
    for how in ("call", "child", "start"):
        for function in (ship, "ship"):
            told = refused(how, function, (Order("o"),), timeout="1h")
            assert told == "function 'ship' takes no option timeout=3600000: its calls take parent_close"
    with pytest.raises(FlowError, match="durable function 'ship' takes no option queue='slow'"):
        durable_workflow(name="ship", options=CallOptions(queue="slow"))(ship.code)


def test_a_function_that_is_called_by_its_name_has_an_id_of_its_own() -> None:
    @durable_workflow
    async def twice(context: Any) -> None:
        await context.call("ship", Order("o"))
        await context.call("ship", Order("p"))

    run = FunctionTest(twice, hw.Functions("group", [ship, twice])).run()
    children = [entry.to for entry in run.history if isinstance(entry, Called)]
    assert len(set(children)) == 2 and all(children)
