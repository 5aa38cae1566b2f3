"""What a handler does nothing with, read from its code: whatever is left out must not touch anything in it."""

from __future__ import annotations

import functools
import importlib.util
import itertools
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

import headway as hw
from headway.flows.abandoned_carts import Abandonment
from headway.flows.abandoned_carts import Shop as CartEvent
from headway.plan.guards import Equality, asked_by

KINDS = ("add", "view", "gone")


class Shop(hw.Event):
    kind: Literal["add", "view", "gone"]
    sku: str
    count: int
    note: Optional[str] = None


class Untouchable:
    """Raises whatever is done with it."""

    def __getattribute__(self, name: str) -> Any:
        raise AssertionError(name)

    def __getitem__(self, key: Any) -> Any:
        raise AssertionError(key)

    def __setitem__(self, key: Any, value: Any) -> None:
        raise AssertionError(key)

    def __bool__(self) -> bool:
        raise AssertionError


numbers = itertools.count()

comparisons = st.sampled_from(
    [
        *('event.kind == "add"', 'event.kind in ("add", "gone")', 'event.kind != "add"', 'event.sku == "a"'),
        *('event.kind not in ["add", "view"]', "event.count == 1", "event.count in {0, 2}", 'event.note == "x"'),
        *("event.count == True", "event.count == 1.0", '"add" == event.kind', "event.count > 1", "state", "ctx.key"),
        *('event.kind == event.sku == "a"', 'event.kind == f"{state}"', "not state", "len(event.sku) == 1", "True"),
    ]
)
tests = st.recursive(
    comparisons,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(lambda parts: f"({' '.join(parts)})"),
        inner.map(lambda test: f"not ({test})"),
    ),
    max_leaves=4,
)
simple = st.sampled_from(
    ["pass", "return", "return None", "return state", "state['n'] = 1", "event.kind = 'add'", "'text'", "ctx.forget()"]
)


@st.composite
def blocks(draw: st.DrawFn, depth: int = 2) -> list[str]:
    """Lines of a body."""
    lines: list[str] = []
    for _ in range(draw(st.integers(1, 3))):
        if depth and draw(st.booleans()):
            lines += [f"if {draw(tests)}:", *indented(draw(blocks(depth - 1)))]
            if draw(st.booleans()):
                lines += [f"elif {draw(tests)}:", *indented(draw(blocks(depth - 1)))]
            if draw(st.booleans()):
                lines += ["else:", *indented(draw(blocks(depth - 1)))]
        else:
            lines.append(draw(simple))
    return lines


def indented(lines: list[str]) -> list[str]:
    return [f"    {line}" for line in lines]


def handler_of(directory: Path, lines: list[str]) -> Any:
    """The bound handler of an operator whose body has these lines, from a file of its own."""
    name = f"guarded_{next(numbers)}"
    path = directory / f"{name}.py"
    body = ['"""Two', '        lines."""', *lines]
    head = ["class Given:", "    def on_event(self, state, event, ctx):"]
    path.write_text("\n".join([*head, *indented(indented(body))]) + "\n")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Given().on_event


def events() -> Iterator[Shop]:
    for kind, sku, count in itertools.product(KINDS, ("a", "b"), (0, 1, 2, 3)):
        yield Shop(kind=kind, sku=sku, count=count)  # type: ignore[arg-type]


@given(lines=blocks())
def test_what_is_left_out_runs_through_the_handler_without_touching_anything(lines: list[str]) -> None:
    with TemporaryDirectory() as directory:
        handler = handler_of(Path(directory), lines)
        asked = asked_by(handler, Shop)
        if asked is None:
            return
        for event in events():
            if not any(getattr(event, field) in values for field, values in asked):
                before = repr(event)
                assert handler(Untouchable(), event, Untouchable()) is None
                assert repr(event) == before


READ = {
    'if event.kind == "add":\n    state["n"] = 1': [Equality("kind", ("add",))],
    'if event.kind != "add":\n    return\nstate["n"] = 1': [Equality("kind", ("add",))],
    'if event.kind not in ("add", "gone"):\n    return\nctx.forget()': [Equality("kind", ("add", "gone"))],
    'if event.kind == "add" and event.sku in state:\n    ctx.forget()\nelif event.count in (1, 2):\n    ctx.forget()': [
        Equality("kind", ("add",)),
        Equality("count", (1, 2)),
    ],
    'if event.kind == "add" or event.count == 1:\n    ctx.forget()\nelse:\n    return\nctx.forget()': [
        Equality("kind", ("add",)),
        Equality("count", (1,)),
    ],
}
NOT_READ = [
    'state["n"] = 1\nif event.kind == "add":\n    return',
    'if event.kind == "add":\n    return\nctx.forget()',
    'if event.note == "x":\n    ctx.forget()',
    "if event.count == True:\n    ctx.forget()",
    'if state or event.kind == "add":\n    ctx.forget()',
    "for _ in ():\n    pass",
    "return",
]


@pytest.mark.parametrize("body", READ)
def test_questions_of_the_usual_forms_are_read(tmp_path: Path, body: str) -> None:
    assert asked_by(handler_of(tmp_path, body.splitlines()), Shop) == READ[body]


@pytest.mark.parametrize("body", NOT_READ)
def test_whatever_else_may_happen_concerns_all_events(tmp_path: Path, body: str) -> None:
    assert asked_by(handler_of(tmp_path, body.splitlines()), Shop) is None


def test_the_flow_that_ships_is_read() -> None:
    asked = asked_by(Abandonment(1).on_event, CartEvent)
    assert asked == [Equality("kind", (kind,)) for kind in ("add", "remove", "checkout")]


def test_a_handler_that_is_not_what_its_text_says_is_not_read(tmp_path: Path) -> None:
    lines = ['if event.kind == "add":', "    ctx.forget()"]
    handler = handler_of(tmp_path, lines)
    path = Path(handler.__func__.__code__.co_filename)
    path.write_text(path.read_text().replace("ctx.forget()", "ctx.cancel('n')"))
    assert asked_by(handler, Shop) is None

    class Decorated:
        @functools.wraps(handler.__func__)
        def on_event(self, state: Any, event: Any, ctx: Any) -> None:
            ctx.forget()

    assert asked_by(Decorated().on_event, Shop) is None
    assert asked_by(lambda state, event, ctx: None, Shop) is None


def test_an_event_without_declared_fields_concerns_all(tmp_path: Path) -> None:
    handler = handler_of(tmp_path, ['if event.kind == "add":', "    ctx.forget()"])
    assert asked_by(handler, Shop) is not None
    assert asked_by(handler, hw.Json) is None and asked_by(handler, dict) is None


def test_a_run_leaves_out_what_its_operator_does_nothing_with(tmp_path: Path) -> None:
    sent: list[str] = []

    class Adds(hw.Operator[Shop, dict]):  # type: ignore[type-arg]
        def on_event(self, state: dict[str, int], event: Shop, ctx: hw.Context[Any]) -> None:
            if event.kind == "add":
                sent.append(event.kind)
                state["n"] = state.get("n", 0) + 1
                ctx.emit(state["n"])

    (tmp_path / "in.jsonl").write_text(
        "".join(f'{{"kind": "{kind}", "sku": "a", "count": {at}}}\n' for at, kind in enumerate([*KINDS, "add"]))
    )
    found: list[Any] = []
    flow = hw.Flow("adds")
    source = flow.source("shop", Shop, hw.files(tmp_path / "in.jsonl"), time="count")
    source.key_by("sku").process("adds", Adds()).to("out", hw.to_list(found))
    hw.run(flow, state=tmp_path / "state", drain=True)
    assert sent == ["add", "add"] and len(found) == 2
