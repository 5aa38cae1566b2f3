"""Aggregates written out: one function for all of a bundle, instead of a call for each aggregate and event.

The functions are made of source text when a flow is declared. An aggregate gives its part as a `Written`; one that
gives none, such as a user's own, has its methods called. For `count(kind="buy")` and `max("cents")` of a struct:

    def add(held, event, time_ms):
        field0 = event.kind
        field1 = event.cents
        if field0 == wanted0:
            held.buys += 1
        if field1 is not None:
            if held.dearest is None:
                held.dearest = field1 if field1 == field1 else None
            elif field1 > held.dearest:
                held.dearest = field1
        return True

Why not closures: each would cost a call, which is what most aggregates cost. The methods remain what an aggregate
means, and the tests hold both against each other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from textwrap import indent
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Optional

from headway.operators.conditions import Condition, Where, choices, field_getter, resolve
from headway.types.schema import Json, field_names

if TYPE_CHECKING:
    from headway.operators.aggregates.base import Aggregate

__all__ = ["CALLS", "Copy", "Written", "written_functions", "written_maker", "written_of"]

Copy = Optional[Callable[[Any], Any]]
"""How an accumulator is copied; None for one that cannot be changed."""

_METHODS: Final = ("init", "add", "merge", "result")
_SOURCE: Final = "<aggregates>"
"""The name of the file in tracebacks."""


class Written(NamedTuple):
    """What the methods of an aggregate do, as source. None stands for a call of the method.

    `{held}` is the accumulator, which `add` reads and assigns; `{value}` the value of the event, `{earlier}` and
    `{later}` what is merged. `time_ms` and `at_ms` are as in the methods, and `{other}` is any of `names`.
    """

    add: Optional[str] = None
    """Statements."""
    merge: Optional[str] = None
    """An expression. It reads both only once, unless `merge_is_pure`: they may be copies, made on the spot."""
    result: Optional[str] = None
    """An expression."""
    names: Mapping[str, Any] = {}
    merge_is_pure: bool = False
    """Whether `merge` leaves what it is given as it is, so that nothing need be copied for it."""


CALLS: Final = Written()
"""Nothing is written out."""


class _Text:
    """The lines of a function, and the objects that it names."""

    def __init__(self) -> None:
        # Tracebacks tell the code of the flow from other code by the name of the module.
        self.names: dict[str, Any] = {"__name__": __name__}
        self.lines: list[str] = []

    def name(self, stem: str, value: Any) -> str:
        """A name of its own for an object."""
        name = f"{stem}{len(self.names)}"
        self.names[name] = value
        return name

    def part(self, aggregate: Aggregate[Any, Any], method: str, **places: str) -> str:
        """The source of a method of an aggregate."""
        written = written_of(aggregate)
        source: Optional[str] = getattr(written, method)
        if source is None:
            call = self.name(method, getattr(aggregate, method))
            arguments = {
                "add": "{held}, event, time_ms",
                "merge": "{earlier}, {later}",
                "result": "{held}, at_ms",
            }[method]
            source = ("{held} = " if method == "add" else "") + f"{call}({arguments})"
            return source.format(**places)
        own = {name: self.name(name, value) for name, value in written.names.items() if f"{{{name}}}" in source}
        return source.format(**places, **own)

    def function(self, header: str) -> Any:
        """The function of these lines."""
        source = f"def made({header}):\n" + indent("\n".join(self.lines), "    ")
        # Nothing of an event or a flow gets into the source, but names of fields, which are identifiers.
        exec(compile(source, _SOURCE, "exec"), self.names)
        return self.names["made"]


def written_of(aggregate: Aggregate[Any, Any]) -> Written:
    """What an aggregate gives as source: nothing where a subclass has methods of its own."""
    for kind in type(aggregate).__mro__:
        if "written" in kind.__dict__:
            return aggregate.written()
        if any(method in kind.__dict__ for method in _METHODS):
            return CALLS
    return CALLS


class _Events:
    """What a function reads of an event: each field and each condition once."""

    def __init__(self, text: _Text, event_type: Any) -> None:
        self._text = text
        self._type = event_type
        self._fields: dict[str, str] = {}
        self._tests: list[tuple[Condition, str]] = []

    def field(self, name: str) -> str:
        """The local variable that holds a field. Reading fails for no event, so all are read at first."""
        local = self._fields.get(name)
        if local is None:
            local = self._fields[name] = f"field{len(self._fields)}"
        return local

    def reading(self) -> list[str]:
        """The lines that read the fields."""
        return [f"{local} = {self._read(name)}" for name, local in self._fields.items()]

    def _read(self, name: str) -> str:
        if self._type in (Json, dict):
            return f"event.get({name!r})"
        if name in (field_names(self._type) or ()):
            return f"event.{name}"
        return self._text.name("get", field_getter(name, self._type)) + "(event)"

    def value(self, aggregate: Aggregate[Any, Any]) -> tuple[list[str], str]:
        """The value that an aggregate takes: statements, and an expression that has it after them."""
        value = getattr(aggregate, "value", None)
        if value is None:
            return [], "event"
        if isinstance(value, str):
            return [], self.field(value)
        return [f"value = {self._text.name('get', value)}(event)"], "value"

    def test(self, condition: Condition, *, shared: bool) -> tuple[list[str], str]:
        """Whether an event meets a condition: statements, and an expression; one that is shared is tested once."""
        for known, local in self._tests:
            if _same(known, condition):
                return [], local
        test = resolve(condition, self._type)
        if isinstance(condition, Where):
            expression = " and ".join(self._equals(name, wanted) for name, wanted in condition.fields.items())
        else:
            expression = self._text.name("test", test) + "(event)"
        if not shared:
            return [], expression
        local = f"meets{len(self._tests)}"
        self._tests.append((condition, local))
        return [f"{local} = {expression}"], local

    def _equals(self, name: str, wanted: Any) -> str:
        values = choices(wanted)
        field = self.field(name)
        if len(values) == 1 and type(values[0]) in (str, int, bool):
            return f"{field} == " + self._text.name("wanted", values[0])
        return f"{field} in " + self._text.name("wanted", values)


def _same(one: Optional[Condition], other: Optional[Condition]) -> bool:
    """Whether two conditions are certainly met by the same events."""
    if isinstance(one, Where) and isinstance(other, Where):
        return one.fields == other.fields
    return one is other


def written_functions(
    aggregates: Mapping[str, Aggregate[Any, Any]],
    event_type: Any,
    accumulator_type: Callable[..., Any],
    copies: Sequence[Copy],
) -> tuple[Any, Any, Any, Any]:
    """The functions `add`, `merge`, `absorb` and `combine` of a `Bundle`, over objects with a field for each name."""
    return (
        _add(aggregates, event_type),
        _merge(aggregates, [None] * len(copies)),
        _merge(aggregates, copies),
        _combine(aggregates, accumulator_type, copies),
    )


def _add(aggregates: Mapping[str, Aggregate[Any, Any]], event_type: Any) -> Any:
    text = _Text()
    events = _Events(text, event_type)
    conditions = [aggregate.where for aggregate in aggregates.values()]
    always = None in conditions
    for name, aggregate in aggregates.items():
        before, value = ([], "") if written_of(aggregate).add is None else events.value(aggregate)
        body = "\n".join([*before, text.part(aggregate, "add", held=f"held.{name}", value=value)])
        condition = aggregate.where
        if condition is None:
            text.lines.append(body)
            continue
        shared = sum(_same(other, condition) for other in conditions) > 1
        tested, test = events.test(condition, shared=shared)
        counted = "" if always else "\nadded = True"
        text.lines += [*tested, f"if {test}:", indent(body + counted, "    ")]
    text.lines[:0] = events.reading() if always else [*events.reading(), "added = False"]
    text.lines.append("return True" if always else "return added")
    return text.function("held, event, time_ms")


def _merge(aggregates: Mapping[str, Aggregate[Any, Any]], copies: Sequence[Copy]) -> Any:
    text = _Text()
    for (name, aggregate), copy in zip(aggregates.items(), copies):
        later = _copied(text, f"later.{name}", copy)
        merged = text.part(aggregate, "merge", earlier=f"earlier.{name}", later=later)
        text.lines.append(f"earlier.{name} = {merged}")
    text.lines.append("return earlier")
    return text.function("earlier, later")


def _combine(
    aggregates: Mapping[str, Aggregate[Any, Any]], accumulator_type: Callable[..., Any], copies: Sequence[Copy]
) -> Any:
    text = _Text()
    merged = []
    for (name, aggregate), copy in zip(aggregates.items(), copies):
        earlier, later = (_copied(text, f"{side}.{name}", copy) for side in ("earlier", "later"))
        merged.append(text.part(aggregate, "merge", earlier=earlier, later=later))
    new = text.name("new", accumulator_type)
    text.lines.append(f"return {new}({', '.join(merged)})")
    return text.function("earlier, later")


def _copied(text: _Text, source: str, copy: Copy) -> str:
    return source if copy is None else f"{text.name('copy', copy)}({source})"


def written_maker(
    aggregates: Mapping[str, Aggregate[Any, Any]], result_type: Callable[..., Any], leading: Sequence[str]
) -> Any:
    """A function `(held, at_ms, *leading)` that makes a `result_type` of what leads and of the results."""
    text = _Text()
    results = [text.part(aggregate, "result", held=f"held.{name}") for name, aggregate in aggregates.items()]
    new = text.name("new", result_type)
    text.lines.append(f"return {new}({', '.join([*leading, *results])})")
    return text.function(", ".join(["held", "at_ms", *leading]))
