"""Values of a flow's declaration as short texts, to be stored and compared: what an option is, as a person writes it.

A text is the same in every process: no addresses, no order of sets, no line numbers. Two values with the same text are
taken to be the same. Where functions are part of a value, the text ends with a mark of their code, such as
`reads_twice() [3.11 5c0d9e1a]`, which says when they do something else (see `headway.plan.codemarks`).
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, time, timedelta, tzinfo
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any, Final, Union, get_args, get_origin
from uuid import UUID

import msgspec

from headway.basics.times import duration_ms, format_duration
from headway.errors import UsageError
from headway.operators.aggregates.base import Aggregate
from headway.operators.base import Operator
from headway.operators.conditions import Where, choices
from headway.operators.given import Given
from headway.operators.joins.lookups import Lookup
from headway.operators.machine import Move, StateMachine, Timeout
from headway.operators.patterns.pattern import Contiguity, Either, Pattern, Quantifier, Step
from headway.operators.windows.windowers import Windower
from headway.plan.codemarks import PYTHON, is_engine, mark_of_class, mark_of_function, unwrapped
from headway.types.typetexts import checksum, type_text

__all__ = ["entries", "operator_entries", "text_of", "type_entries"]

TEXT_MAX: Final = 300
"""Longer texts are cut, with a checksum of the whole."""
_DEPTH_MAX: Final = 8
_ENTRIES_MAX: Final = 100


def text_of(value: Any, *, is_duration: bool = False) -> str:
    """What a value is, with the mark of the code in it.

    >>> from headway.operators.conditions import where
    >>> from headway.operators.windows.windowers import sliding
    >>> text_of("90m", is_duration=True), text_of(where(kind={"view", "add"})), text_of(sliding("1h", every="5m"))
    ('1h30m', "where(kind='add' or 'view')", 'sliding 1h, every 5m')
    """
    if is_duration and not callable(value):
        value = _as_duration(value)
    writer = _Writer()
    text = value if isinstance(value, str) else writer.write(value)
    return _short(text) + writer.mark


def entries(name: str, value: Any, *, is_duration: bool = False) -> Iterator[tuple[str, str]]:
    """A value by name, and what is in it by longer names: so that a difference in it can be told by name.

    What is stored means something else under another value of some kinds: such names say the kind, as in
    `windows of windower`.

    >>> from headway.operators.aggregates.basic import count
    >>> list(entries("aggregates", {"all": count(), "adds": count(kind="add")}))
    [('aggregate of aggregates.all', 'count'), ('aggregate of aggregates.adds', "count where(kind='add')")]
    """
    if isinstance(value, Operator):
        yield name, type(value).__qualname__.lstrip("_")
        for inner, text in operator_entries(value):
            yield f"{name}.{inner}", text
    elif isinstance(value, StateMachine):
        yield f"states of {name}", ", ".join(value.states)
        yield from ((f"{name}.{part}", text_of(what)) for part, what in _machine_parts(value).items())
    elif isinstance(value, Mapping) and 0 < len(value) <= _ENTRIES_MAX and all(isinstance(key, str) for key in value):
        for key, part in value.items():
            yield f"aggregate of {name}.{key}" if isinstance(part, Aggregate) else f"{name}.{key}", text_of(part)
    elif value is not None:
        kind = "windows of " if isinstance(value, Windower) else "pattern of " if isinstance(value, Pattern) else ""
        yield kind + name, text_of(value, is_duration=is_duration)


def operator_entries(operator: Operator[Any, Any, Any]) -> Iterator[tuple[str, str]]:
    """What an operator was given, and the mark of its code where that is the flow's own."""
    kind = type(operator)
    engine = is_engine(kind.__module__)
    annotations = getattr(kind.__init__, "__annotations__", {})
    for name, value in operator.arguments().items():
        if engine and (name.endswith("_type") or name == "name"):
            continue  # They follow from the streams that it reads, and from its own name.
        is_duration = name.endswith("_ms") or _means_duration(annotations.get(name))
        label = f"order of {name}" if name in operator._ordered_by else name.removesuffix("_ms")
        yield from entries(label, value, is_duration=is_duration)
    if not engine:
        yield "own code", f"[{PYTHON} {mark_of_class(kind, _plain_text)}]"


def type_entries(name: str, value_type: Any) -> Iterator[tuple[str, str]]:
    """A type by name, and each of its fields: `str` for one that must be there, `str = ''` for one with a default.

    >>> from headway.types.schema import Event
    >>> class Click(Event):
    ...     user: str
    ...     page: str = "/"
    >>> list(type_entries("type", Click))
    [('type', 'Click'), ('type.user', 'str'), ('type.page', "str = '/'")]
    """
    yield name, type_text(value_type)
    if not (isinstance(value_type, type) and issubclass(value_type, msgspec.Struct)):
        return
    for field in msgspec.structs.fields(value_type):
        text = type_text(field.type)
        if field.default is not msgspec.NODEFAULT:
            text += f" = {_plain_text(field.default)}"
        elif field.default_factory is not msgspec.NODEFAULT:
            text += f" = {_plain_text(field.default_factory())}"
        yield f"{name}.{field.encode_name}", _short(text)


def _means_duration(annotation: Any) -> bool:
    if isinstance(annotation, str):
        return "Duration" in annotation
    return all(kind in get_args(annotation) for kind in (str, int, timedelta))


def _as_duration(value: Any) -> Any:
    try:
        return format_duration(duration_ms(value))
    except UsageError:  # A field that holds it, or something of the operator's own.
        return value


def _plain_text(value: Any) -> str:
    return _Writer().write(value)


def _short(text: str) -> str:
    if len(text) <= TEXT_MAX:
        return text
    return f"{text[: TEXT_MAX - 50]}… ({len(text):,} characters, {checksum(text)})"


def _is_default(field: dataclasses.Field[Any], value: Any) -> bool:
    default = field.default
    return default is not dataclasses.MISSING and type(default) is type(value) and bool(default == value)


_REPRESENTED: Final = (str, int, float, complex, bool, bytes, type(None), range, Decimal, UUID)
_CONTIGUITY: Final = {Contiguity.STRICT: "next", Contiguity.RELAXED: "followed by", Contiguity.ANY: "followed by any"}


class _Writer:
    """Writes one value, and collects the marks of the code in it."""

    def __init__(self) -> None:
        self._marks: list[str] = []
        self._open: set[int] = set()

    @property
    def mark(self) -> str:
        """What follows the text; empty where there is no code in it."""
        if not self._marks:
            return ""
        one, *others = self._marks
        together = checksum(" ".join(self._marks)) if others else one
        return f" [{PYTHON} {together}]"

    def write(self, value: Any) -> str:
        """The text of a value; the class of one that holds itself, or is too deep."""
        if isinstance(value, Enum):
            return value.name.lower().replace("_", " ")
        if isinstance(value, _REPRESENTED):
            return _atom(value)
        if isinstance(value, (date, time)):
            return value.isoformat()
        if isinstance(value, tzinfo):
            return str(value)
        if isinstance(value, timedelta):
            return _as_duration(value) if value >= timedelta(0) else str(value)
        if isinstance(value, PurePath):
            return value.as_posix()
        if isinstance(value, re.Pattern):
            return f"/{value.pattern}/" + (f" {int(value.flags)}" if value.flags & ~re.UNICODE else "")
        if id(value) in self._open or len(self._open) >= _DEPTH_MAX:
            return type(value).__qualname__
        self._open.add(id(value))
        try:
            return self._compound(value)
        finally:
            self._open.discard(id(value))

    def _compound(self, value: Any) -> str:
        if isinstance(value, type) or get_origin(value) is not None:
            return type_text(value)
        if isinstance(value, (set, frozenset)):
            return "{" + ", ".join(sorted(map(self.write, value))) + "}"
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            return self._named(_words(type(value).__name__), zip(value._fields, value))
        if isinstance(value, Sequence):
            return "[" + ", ".join(map(self.write, value)) + "]"
        if isinstance(value, Mapping):
            return (
                "{" + ", ".join(sorted(f"{self.write(key)}: {self.write(part)}" for key, part in value.items())) + "}"
            )
        if isinstance(value, Lookup):
            return repr(value)
        if isinstance(value, Where):
            return self._where(value)
        if isinstance(value, (Pattern, Step, Either)):
            return self._pattern(value)
        if isinstance(value, (Move, Timeout)):
            return self._rule(value)
        if isinstance(value, Given):
            return self._made(value)
        if dataclasses.is_dataclass(value) or isinstance(value, msgspec.Struct):
            return self._record(value)
        return self._function(value) if callable(value) else self._object(value)

    def _where(self, condition: Where) -> str:
        parts = []
        for name, wanted in condition.fields.items():
            texts = list(map(self.write, choices(wanted)))
            parts.append(f"{name}={' or '.join(sorted(texts) if isinstance(wanted, (set, frozenset)) else texts)}")
        return f"where({', '.join(parts)})"

    def _made(self, value: Given) -> str:
        """An aggregate, or an operator within something else."""
        kind = type(value)
        name = getattr(value, "_name", "") or kind.__name__
        parts = [_words(name) if is_engine(kind.__module__) else kind.__qualname__]
        if not is_engine(kind.__module__):
            self._marks.append(mark_of_class(kind, _plain_text))
        annotations = getattr(kind.__init__, "__annotations__", {})
        last = []
        for label, given in value.arguments().items():
            if given is None or label in ("greatest", "what"):  # They are in the name already.
                continue
            text = self.write(_as_duration(given) if _means_duration(annotations.get(label)) else given)
            if label == "where":
                last.append(text if isinstance(given, Where) else f"where {text}")
            elif label == "value":
                parts.append(given if isinstance(given, str) else text)
            else:
                parts.append(f"{label} {given if isinstance(given, str) else text}")
        return " ".join([*parts, *last])

    def _record(self, value: Any) -> str:
        kind = type(value)
        if isinstance(value, msgspec.Struct):
            return self._named(kind.__name__, ((name, getattr(value, name)) for name in value.__struct_fields__))
        shown = [field for field in dataclasses.fields(value) if field.repr]
        pairs = [(field.name, getattr(value, field.name)) for field in shown]
        if isinstance(value, Windower):
            first, *others = pairs
            head = f"{_words(kind.__name__)} {self._part(first)}"
            return ", ".join([head, *(f"{_label(pair)} {self._part(pair)}" for pair in others if pair[1])])
        given = [pair for field, pair in zip(shown, pairs) if not _is_default(field, pair[1])]
        return self._named(_words(kind.__name__) if is_engine(kind.__module__) else kind.__qualname__, given)

    def _named(self, name: str, pairs: Any) -> str:
        texts = [f"{_label(pair)} {self._part(pair)}" for pair in pairs]
        return f"{name}({', '.join(texts)})" if texts else name

    def _part(self, pair: tuple[str, Any]) -> str:
        name, value = pair
        if type(value) is str:
            return value
        return (
            format_duration(value) if name.endswith("_ms") and type(value) is int and value >= 0 else self.write(value)
        )

    def _pattern(self, value: Union[Pattern, Step, Either]) -> str:
        if isinstance(value, Either):
            return f"({self.write(value.left)} or {self.write(value.right)})"
        if isinstance(value, Pattern):
            text = ", ".join(map(self.write, value.steps))
            return text if value.within_ms is None else f"{text}, within {format_duration(value.within_ms)}"
        words = [_CONTIGUITY[value.contiguity], *(["not"] if value.negated else []), value.name or ""]
        if value.group:
            words.append("(" + " | ".join(map(self.write, value.group)) + ")")
        words += map(self.write, value.conditions)
        if value.quantifier != Quantifier():
            words.append(self._quantifier(value.quantifier))
        if value.gap_ms is not None:
            words.append(f"in {format_duration(value.gap_ms)}")
        return " ".join(filter(None, words))

    def _quantifier(self, given: Quantifier) -> str:
        least, most = given.at_least, given.at_most
        words = [
            f"{least} times" if least == most else f"{least} to {most} times" if most else f"{least} or more times"
        ]
        words += ["optional"] * given.optional + ["greedy"] * given.greedy
        words.append("" if given.contiguity is Contiguity.RELAXED else f"each {_CONTIGUITY[given.contiguity]}")
        words.append("" if given.until is None else f"until {self.write(given.until)}")
        return " ".join(filter(None, words))

    def _rule(self, rule: Union[Move, Timeout]) -> str:
        cause = f"after {format_duration(rule.after_ms)}" if isinstance(rule, Timeout) else rule.event
        text = f"{rule.source} -> {rule.target or rule.source} on {cause}"
        functions = [("when", rule.when if isinstance(rule, Move) else None), ("do", rule.do)]
        return text + "".join(f" {word} {self.write(function)}" for word, function in functions if function is not None)

    def _function(self, value: Any) -> str:
        if isinstance(value, functools.partial):
            rest = [self.write(part) for part in (*value.args, *(value.keywords.items()))]
            return f"partial({', '.join([self.write(value.func), *rest])})"
        plain = unwrapped(value)
        if not isinstance(plain, (FunctionType, BuiltinFunctionType)):
            return self._object(value)
        owner = getattr(value, "__self__", None)
        is_bound = owner is not None and not isinstance(owner, (type, ModuleType))
        if is_bound:  # In the mark alone: nobody has said that what it holds may be written.
            self._marks.append(checksum(self.write(owner)))
        mark = mark_of_function(plain, _plain_text)
        if mark:
            self._marks.append(mark)
        elif isinstance(plain, FunctionType) and plain.__closure__:  # Headway's own: what counts is what is in it.
            return ", ".join(self.write(cell.cell_contents) for cell in plain.__closure__)
        name = f"{type(owner).__qualname__}.{plain.__name__}" if is_bound else plain.__name__
        return "a lambda" if plain.__name__ == "<lambda>" else f"{name}()"

    def _object(self, value: Any) -> str:
        kind = type(value)
        if kind.__module__ == "operator":  # Such as `attrgetter("at")`, which says what it is.
            return re.sub(r" at 0x[0-9A-Fa-f]+", "", repr(value))
        if kind.__module__ == "logging":  # A logger holds all others that there are in a process.
            return f"{kind.__qualname__} {getattr(value, 'name', '')}".rstrip()
        if not is_engine(kind.__module__) and kind.__module__ != "builtins" and isinstance(kind.__init__, FunctionType):
            self._marks.append(mark_of_class(kind, _plain_text))
        attributes = {name: part for name, part in getattr(value, "__dict__", {}).items() if not name.startswith("_")}
        return self._named(kind.__qualname__, sorted(attributes.items()))


def _words(name: str) -> str:
    """The name of a class as one of a function: `CountWindow` as `count_window`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name.lstrip("_")).lower()


def _label(pair: tuple[str, Any]) -> str:
    return pair[0].removesuffix("_ms")


def _atom(value: Any) -> str:
    text = repr(value)
    return text if type(value) in _REPRESENTED else f"{type(value).__qualname__} {text}"


def _machine_parts(machine: StateMachine[Any]) -> dict[str, Any]:
    rules: Sequence[Union[Move, Timeout]] = (*machine.moves, *machine.timeouts)
    return {
        "initial": machine.initial,
        "final": ", ".join(machine.final),
        "events": machine.events if isinstance(machine.events, str) else dict(machine.events),
        "rules": list(rules),
        **({} if machine.data is None else {"data": type_text(machine.data)}),
    }
