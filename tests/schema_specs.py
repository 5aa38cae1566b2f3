"""Random types as plain data: what they are as Python types, which values they have, and how they are edited.

A spec is a tuple: a kind, and what it is made of. `type_of` makes the type, `values_of` draws values, `edits_of` draws
specs that differ a little, and `reread` is the model: what a stored value is to those who read it as another spec.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from functools import cache
from typing import Any, Literal, Optional, Union

import msgspec
from hypothesis import strategies as st

Spec = tuple[Any, ...]

SCALARS: list[Spec] = [("int",), ("float",), ("str",), ("bool",), ("bytes",), ("when",)]
TYPES: dict[str, Any] = {
    "int": int,
    "float": float,
    "str": str,
    "bool": bool,
    "bytes": bytes,
    "when": datetime,
    "any": Any,
}
DEFAULTS: dict[str, Any] = {
    "int": 0,
    "float": 0.0,
    "str": "",
    "bool": False,
    "bytes": b"",
    "when": datetime(2026, 1, 1, tzinfo=timezone.utc),
    "any": None,
    "opt": None,
}
WORDS = ("a", "b", "c", 1, 2)
NAMES = ("p", "q", "r", "s", "t", "u", "v")
NO_DEFAULT = "none"


@cache
def type_of(spec: Spec) -> Any:
    """The Python type; the same spec gives the same class."""
    kind = spec[0]
    if kind in TYPES:
        return TYPES[kind]
    if kind == "opt":
        return Optional[type_of(spec[1])]
    if kind == "list":
        return list[type_of(spec[1])]  # type: ignore[misc]
    if kind == "dict":
        return dict[type_of(spec[1]), type_of(spec[2])]  # type: ignore[misc]
    if kind == "pair":
        return tuple[type_of(spec[1]), type_of(spec[2])]  # type: ignore[misc]
    if kind == "words":
        return Literal[spec[1]]
    if kind == "union":
        return Union[tuple(type_of(option) for option in spec[1])]
    _, name, omits, forbids, array, fields = spec
    made = [
        (field, type_of(part)) if default == NO_DEFAULT else (field, type_of(part), _made_default(part, default))
        for field, part, default in fields
    ]
    return msgspec.defstruct(
        name, made, kw_only=True, omit_defaults=omits, forbid_unknown_fields=forbids, array_like=array
    )


def _made_default(spec: Spec, default: str) -> Any:
    value = default_of(spec, default)
    return msgspec.field(default_factory=lambda: default_of(spec, default)) if _is_mutable(value) else value


def _is_mutable(value: Any) -> bool:
    return isinstance(value, (list, dict, msgspec.Struct, tuple))


def default_of(spec: Spec, default: str) -> Any:
    """The default of a field: `zero`, or for numbers `seven`."""
    kind = spec[0]
    if kind == "int" and default == "seven":
        return 7
    if kind in DEFAULTS:
        return DEFAULTS[kind]
    if kind in ("list", "dict"):
        return [] if kind == "list" else {}
    if kind == "pair":
        return default_of(spec[1], "zero"), default_of(spec[2], "zero")
    if kind == "words":
        return spec[1][0]
    if kind == "union":
        return default_of(spec[1][0], "zero")
    return type_of(spec)(**{field: default_of(part, "zero") for field, part, d in spec[5] if d == NO_DEFAULT})


def values_of(spec: Spec, made: Any) -> st.SearchStrategy[Any]:
    """Values of a spec, of which `made` is the type."""
    kind = spec[0]
    if kind == "opt":
        return st.none() | values_of(spec[1], _inner(made))
    if kind == "list":
        return st.lists(values_of(spec[1], made.__args__[0]), max_size=2)
    if kind == "dict":
        return st.dictionaries(_SIMPLE[spec[1][0]], values_of(spec[2], made.__args__[1]), max_size=2)
    if kind == "pair":
        return st.tuples(values_of(spec[1], made.__args__[0]), values_of(spec[2], made.__args__[1]))
    if kind == "words":
        return st.sampled_from(spec[1])
    if kind == "union":
        return st.one_of([values_of(option, type_of(option)) for option in spec[1]])
    if kind == "struct":
        types = {field.name: field.type for field in msgspec.structs.fields(made)}
        return st.builds(made, **{field: values_of(part, types[field]) for field, part, _ in spec[5]})
    return _SIMPLE[kind]


def _inner(made: Any) -> Any:
    options = [option for option in getattr(made, "__args__", ()) if option is not type(None)]
    return options[0] if len(options) == 1 else made


_TIMES = st.integers(0, 10**15).map(
    lambda micros: datetime.fromisoformat("2000-01-01") + timedelta(microseconds=micros)
)
_SIMPLE: dict[str, st.SearchStrategy[Any]] = {
    "int": st.integers(-5, 300),
    "float": st.floats(allow_nan=False, width=16),
    "str": st.text("abc", max_size=2),
    "bool": st.booleans(),
    "bytes": st.binary(max_size=2),
    "when": _TIMES | _TIMES.map(lambda moment: moment.replace(tzinfo=timezone.utc)),
    "any": st.none() | st.integers(0, 9) | st.text("xy", max_size=2) | st.lists(st.integers(0, 9), max_size=2),
}


@st.composite
def specs(draw: st.DrawFn, depth: int = 2) -> Spec:
    """Any spec, nested up to a depth."""
    kinds = ["scalar", "scalar", "any", "words", "union"]
    kind = draw(st.sampled_from([*kinds, "opt", "list", "dict", "pair", "struct"] if depth else kinds))
    if kind == "scalar":
        return draw(st.sampled_from(SCALARS))
    if kind == "any":
        return ("any",)
    if kind == "words":
        return ("words", tuple(draw(st.lists(st.sampled_from(WORDS), min_size=1, max_size=3, unique=True))))
    if kind == "union":
        numbers = draw(
            st.lists(st.sampled_from([("int",), ("float",), ("bool",)]), min_size=1, max_size=2, unique=True)
        )
        return ("union", (*numbers, draw(st.sampled_from([("str",), ("bytes",), ("words", ("a", "b"))]))))
    if kind == "opt":
        return _optional(draw(specs(depth - 1)))
    if kind == "dict":
        return ("dict", draw(st.sampled_from([("str",), ("int",), ("when",), ("bytes",)])), draw(specs(depth - 1)))
    if kind == "struct":
        return draw(structs(depth - 1))
    return (kind, *(draw(specs(depth - 1)) for _ in range(2 if kind == "pair" else 1)))


def _optional(spec: Spec) -> Spec:
    return spec if spec[0] in ("opt", "any") else ("opt", spec)


@st.composite
def structs(draw: st.DrawFn, depth: int = 1, *, is_state: bool = False) -> Spec:
    """A class; all fields of a state have defaults, and it is stored with names."""
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=3, unique=True))
    fields = tuple((name, draw(specs(depth)), draw(_defaults(is_state))) for name in names)
    array = not is_state and draw(st.integers(0, 4)) == 0
    return ("struct", draw(st.sampled_from(["A", "B"])), draw(st.booleans()), False, array, fields)


def _defaults(is_state: bool) -> st.SearchStrategy[str]:
    return st.sampled_from(["zero", "zero", "seven"] if is_state else ["zero", "seven", NO_DEFAULT])


@st.composite
def edits_of(draw: st.DrawFn, spec: Spec, *, free: bool = False, is_state: bool = False, is_key: bool = False) -> Spec:
    """A spec that is somewhat different; with `free` only in ways that need no migration."""
    kind = spec[0]
    edit = draw(st.sampled_from(["inside", "inside", "inside", "widen", "other"]))
    if is_state or (edit == "inside" and kind not in TYPES):
        return draw(_edited_inside(spec, free=free, is_state=is_state))
    if edit == "widen" and not is_key:
        if kind == "int":
            return ("float",)
        if kind == "words":
            return ("words", tuple(dict.fromkeys((*spec[1], draw(st.sampled_from(WORDS))))))
        return _optional(spec)
    if edit == "other" and not free:
        return draw(specs(1))
    return spec


@st.composite
def _edited_inside(draw: st.DrawFn, spec: Spec, *, free: bool, is_state: bool) -> Spec:
    kind = spec[0]
    if kind in ("list", "pair"):
        return (kind, *(draw(edits_of(part, free=free)) for part in spec[1:]))
    if kind == "opt":
        return _optional(draw(edits_of(spec[1], free=free)))
    if kind == "dict":
        return (kind, draw(edits_of(spec[1], free=True, is_key=True)), draw(edits_of(spec[2], free=free)))
    if kind != "struct":
        return spec
    _, name, _, forbids, array, fields = spec
    made = []
    for field, part, default in fields:
        changed = default
        if not free:
            changed = draw(st.sampled_from([default, default, "zero" if is_state else NO_DEFAULT]))
        made.append((field, draw(edits_of(part, free=free)), changed))
    taken = {field for field, _, _ in fields}
    new = draw(st.sets(st.sampled_from(NAMES), max_size=2)) - taken
    added = [(field, draw(specs(1)), draw(_defaults(is_state or free))) for field in sorted(new)]
    if not array:
        keeps = max(1, draw(st.integers(0, len(made)))) if not forbids else len(made)
        made = draw(st.permutations(draw(st.permutations(made))[:keeps] + added))
    elif not free:
        made = draw(st.permutations(made + added))
    return (
        "struct",
        draw(st.sampled_from([name, "Other"])),
        draw(st.booleans()),
        not free and draw(st.booleans()),
        array,
        tuple(made),
    )


def plain(value: Any, stored: Any) -> Any:
    """A value in builtins that still tell what it was, with the fields of classes that were stored."""
    if isinstance(value, msgspec.Struct):
        if isinstance(stored, list):
            return {name: plain(getattr(value, name), part) for name, part in zip(value.__struct_fields__, stored)}
        return {name: plain(getattr(value, name), part) for name, part in stored.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item, part) for item, part in zip(value, stored)]
    if isinstance(value, dict):
        return {key: plain(item, part) for (key, item), part in zip(value.items(), stored.values())}
    return value


def whole(value: Any) -> Any:
    """A value in builtins, with all fields."""
    if isinstance(value, msgspec.Struct):
        return {name: whole(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, (list, tuple)):
        return [whole(item) for item in value]
    return {key: whole(item) for key, item in value.items()} if isinstance(value, dict) else value


def reread(kept: Any, spec: Spec) -> Any:
    """The model: what `plain` says of a stored value, with the fields that the spec has, and its defaults."""
    kind = spec[0]
    if kind == "opt":
        return None if kept is None else reread(kept, spec[1])
    if kind == "list":
        return [reread(item, spec[1]) for item in kept]
    if kind == "pair":
        return [reread(item, part) for item, part in zip(kept, spec[1:])]
    if kind == "dict":
        return {key: reread(item, spec[2]) for key, item in kept.items()}
    if kind == "struct":
        return {
            field: reread(kept[field], part) if field in kept else whole(default_of(part, default))
            for field, part, default in spec[5]
        }
    return kept
