"""How values and code are described: what leaves a description as it is, and what does not."""

from __future__ import annotations

import functools
import logging
import operator
import re
import textwrap
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta, timezone
from enum import Enum
from pathlib import Path
from typing import Any, Optional
from zoneinfo import ZoneInfo

import pytest

import headway as hw
from headway.operators.given import Given
from headway.plan.codemarks import mark_of_class, mark_of_function
from headway.plan.describe import TEXT_MAX, entries, operator_entries, text_of, type_entries
from headway.types.typetexts import type_mark


def made(source: str, name: str = "f", module: str = "shop") -> Any:
    """What a piece of source defines, as a module of that name would."""
    namespace: dict[str, Any] = {"__name__": module, "hw": hw}
    exec(compile(textwrap.dedent(source), f"{module}.py", "exec"), namespace)
    return namespace[name]


def mark(source: str, name: str = "f", module: str = "shop") -> str:
    found = made(source, name, module)
    return mark_of_class(found, repr) if isinstance(found, type) else mark_of_function(found, repr)


FUNCTION = """
import datetime, re
__file__ = "shop.py"
LIMIT = 5
PAGES = re.compile("a+")
WAIT = datetime.timedelta(minutes=5)
NAMES = {"b", "a"}
def ask(event):
    return event.n > 1
def f(event, most=3):
    text = "x"
    return ask(event) and event.n in (1, 2) and text and LIMIT and NAMES and (PAGES, WAIT, __file__)
"""


@pytest.mark.parametrize(
    ("what", "old", "new"),
    [
        ("lines and comments", "def f(", "\n\n\n# What it does.\ndef f("),
        ("a docstring", "    text =", '    """What it does."""\n    text ='),
        ("the name of a local variable", "text", "word"),
        ("a type", "def f(event,", "def f(event: 'Click',"),
        ("where its module lies", '"shop.py"', '"elsewhere/shop.py"'),
        ("what it does not use", "LIMIT = 5", "LIMIT = 5\nOTHER = 6"),
    ],
)
def test_what_a_function_is_not_marked_by(what: str, old: str, new: str) -> None:
    assert mark(FUNCTION) == mark(FUNCTION.replace(old, new))


@pytest.mark.parametrize(
    ("what", "old", "new"),
    [
        ("a constant in it", '"x"', '"y"'),
        ("a number of another type", "(1, 2)", "(1, 2.0)"),
        ("an attribute", "event.n in", "event.m in"),
        ("a default", "most=3", "most=4"),
        ("a constant of the module", "LIMIT = 5", "LIMIT = 6"),
        ("a set of the module", '"b", "a"', '"b", "c"'),
        ("a regular expression of the module", "a+", "a*"),
        ("a length of time of the module", "minutes=5", "minutes=6"),
        ("a function of the module", "> 1", "> 2"),
        ("what it does", "and text", "or text"),
    ],
)
def test_what_a_function_is_marked_by(what: str, old: str, new: str) -> None:
    assert mark(FUNCTION) != mark(FUNCTION.replace(old, new))


def test_what_a_function_holds_marks_it() -> None:
    def maker(limit: Any) -> Callable[[Any], bool]:
        return lambda event: bool(event > limit)

    assert mark_of_function(maker(1), repr) == mark_of_function(maker(1), repr) != mark_of_function(maker(2), repr)
    assert mark_of_function(maker(int), repr) != mark_of_function(maker(str), repr)


def test_functions_that_call_each_other_have_a_mark() -> None:
    both = "def g(n):\n    return n and f(n - 1)\ndef f(n):\n    return n and g(n - 1)"
    assert mark(both) != mark(both.replace("n - 1)\ndef", "n - 2)\ndef"))


CLASS = """
class Base:
    LIMIT = 5
    def help(self):
        return 1
class f(Base):
    word = "x"
    def on_event(self, state, event, ctx):
        state.n += self.help()
    @property
    def size(self):
        return 3
    @staticmethod
    def other():
        return 4
"""


def test_what_a_class_is_marked_by() -> None:
    marks = [mark(CLASS)]
    marks += [
        mark(CLASS.replace(old, new)) for old, new in (("5", "6"), ("1", "2"), ("3", "7"), ("4", "8"), ('"x"', '"y"'))
    ]
    assert len(set(marks)) == len(marks)
    assert mark(CLASS) == mark(CLASS.replace("class f", "class Other"), "Other")


def test_code_of_the_engine_has_no_mark() -> None:
    assert mark(FUNCTION, module="headway.operators.lag") == ""
    assert mark(CLASS, module="headway.runtime.stage") == ""
    assert mark(FUNCTION, module="headway.flows.carts") != ""
    assert mark_of_function(len, repr) == ""


class Colour(Enum):
    DARK_RED = 1


@dataclass(frozen=True)
class Settings:
    most: int
    per_ms: int = 60_000
    name: str = "x"


class Plain:
    def __init__(self, value: Any) -> None:
        self.value = value
        self._cache = object()


class Circle:
    def __init__(self) -> None:
        self.inner = [self]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("price", "price"),
        (5, "5"),
        (["a", "b"], "['a', 'b']"),
        ({"b", "a"}, "{'a', 'b'}"),
        ({"b": 1, "a": {2, 1}}, "{'a': {1, 2}, 'b': 1}"),
        (timedelta(minutes=90), "1h30m"),
        (Colour.DARK_RED, "dark red"),
        (re.compile("a+"), "/a+/"),
        (Path("a/b"), "a/b"),
        (Settings(5, 1_000), "Settings(most 5, per 1s)"),
        (Circle(), "Circle(inner [Circle])"),
        (int, "int"),
        (Optional[int], "int | None"),
        (len, "len()"),
        (functools.partial(len, [1]), "partial(len(), [1])"),
        (hw.tumbling("1d", offset="6h"), "tumbling 1d, offset 6h"),
        (hw.session("30m"), "session 30m"),
        (hw.count_window(10, every=5), "count_window 10, every 5"),
        (hw.monthly("Europe/Berlin"), "calendar month, zone Europe/Berlin"),
        (
            hw.pattern("a", kind="x").followed_by("b").times(2, 3).within("1h"),
            "followed by a where(kind='x'), followed by b 2 to 3 times, within 1h",
        ),
        (hw.where(kind={"b", "a"}, n=1), "where(kind='a' or 'b', n=1)"),
        (hw.sum("price"), "sum price"),
        (hw.lookup("a.csv", key="sku"), "lookup('a.csv', key='sku')"),
        (ZoneInfo("Europe/Berlin"), "Europe/Berlin"),
        (timezone.utc, "UTC"),
        (deque([1, 2]), "[1, 2]"),
        (operator.methodcaller("m", object()), "operator.methodcaller('m', <object object>)"),
        (logging.getLogger("shop"), "Logger shop"),
        (object(), "object"),
    ],
)  # fmt: skip
def test_values(value: Any, text: str) -> None:
    assert re.sub(r" \[\d.*\]$", "", text_of(value)) == text


def test_an_object_of_the_flow_is_what_it_holds_and_does() -> None:
    assert text_of(Plain(1)) == text_of(Plain(1)) != text_of(Plain(2))
    assert text_of(Plain(1)).startswith("Plain(value 1) [3.")


def test_what_a_method_is_bound_to_marks_it_and_is_not_written() -> None:
    class Asking:
        def __init__(self, secret: str) -> None:
            self.secret = secret

        def ask(self, event: Any) -> bool:
            return bool(event == self.secret)

    one, other = text_of(Asking("hunter2").ask), text_of(Asking("hunter3").ask)
    assert one == text_of(Asking("hunter2").ask) != other
    assert "hunter" not in one
    assert text_of({"a": 1}.get) != text_of({"a": 2}.get)


def test_long_texts_are_cut_and_still_told_apart() -> None:
    one, other = (text_of([*range(1_000), last]) for last in (1, 2))
    assert one != other
    assert max(len(one), len(other)) <= TEXT_MAX


@pytest.mark.parametrize("length", ["60m", "1h", 3_600_000, timedelta(hours=1)])
def test_durations_are_written_in_one_way(length: Any) -> None:
    assert dict(operator_entries(hw.Silence(after=length)))["after"] == "1h"


def test_what_is_in_a_parameter_is_told_by_name() -> None:
    operator = hw.Expiring(hw.Silence(after="1h"), hw.ttl("1d"))
    assert dict(entries("operator", operator.wrapped)) == {
        "operator": "Silence", "operator.after": "1h", "operator.resumed": "False",
    }  # fmt: skip


def test_parameters_are_those_of_the_outermost_class() -> None:
    class Base(hw.Operator[hw.Json, hw.State]):
        def __init__(self, after_ms: int, *rest: int, **more: Any) -> None: ...

    class Derived(Base):
        def __init__(self, name: str, *, key: Optional[str] = None) -> None:
            super().__init__(5)

    assert Base(1, 2, 3, a=4).arguments() == {"after_ms": 1, "rest": (2, 3), "a": 4}
    assert Derived("x").arguments() == {"name": "x", "key": None}
    found = dict(operator_entries(Derived("x")))
    assert found.pop("own code")
    assert found == {"name": "x"}


def test_a_class_may_say_what_is_written_of_it() -> None:
    class Secret(hw.Operator[hw.Json, hw.State]):
        def __init__(self, password: str) -> None: ...

        def arguments(self) -> dict[str, Any]:
            return {}

    assert "hunter2" not in str(dict(operator_entries(Secret("hunter2"))))


def test_a_class_without_a_constructor_takes_nothing() -> None:
    class Bare(Given): ...

    kind: Any = Bare
    assert Bare().arguments() == {}
    with pytest.raises(TypeError, match=r"Bare\(\) takes no arguments"):
        kind(5)


class Inner(hw.Event):
    n: int


class Outer(hw.Event):
    inner: list[Inner]
    at: hw.Time = 0


def test_types_are_told_by_field_and_marked_with_all_that_they_are_made_of() -> None:
    assert dict(type_entries("t", Outer)) == {"t": "Outer", "t.inner": "list[Inner]", "t.at": "int = 0"}

    def nested(kind: Any) -> Any:
        inner = type("Inner", (hw.Event,), {"__annotations__": {"n": kind}, "__module__": __name__})
        return type("Outer", (hw.Event,), {"__annotations__": {"inner": inner}, "__module__": __name__})

    assert type_mark(nested(int)) == type_mark(nested(int)) != type_mark(nested(str))


def test_a_docstring_does_not_mark_a_type() -> None:
    source = """
    class f(hw.Event):
        page: str
        description: str
    """
    documented = source.replace("hw.Event):", 'hw.Event):\n        """One."""')
    retyped = source.replace("description: str", "description: int")
    assert type_mark(made(source)) == type_mark(made(documented)) != type_mark(made(retyped))
