"""Typed events and states, and what their types tell.

An event is decoded from one line of JSON straight into its class, validated on the way. State is stored as
MessagePack with field names, so that a person can read it and a later version of the class can too.
"""

import inspect
from collections.abc import Callable
from keyword import iskeyword
from types import UnionType
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    ClassVar,
    Optional,
    TypeAlias,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

import msgspec
import msgspec.inspect

from headway.types.eventcolumns import EventColumns
from headway.types.timefields import TIME_MARK, plain_type

__all__ = [
    "Event",
    "Json",
    "State",
    "Time",
    "columnar",
    "decoded_type",
    "eventwise",
    "field_names",
    "returned_type",
    "type_label",
    "without_none",
]

_MADE_HERE = {"__name__": __name__}
"""Names for functions that are made from source: tracebacks tell by them that it is not the user's code."""

Json: TypeAlias = dict[str, Any]
"""An untyped event: one JSON object as a dict."""

Time: TypeAlias = Annotated[int, TIME_MARK]
"""A point in time: epoch milliseconds. RFC 3339 text with a zone is converted to it where an event is read."""


if TYPE_CHECKING:

    class _Immutable(msgspec.Struct):
        """Type checkers want every class of a frozen family to say so; authors of events need not."""

else:

    class _Immutable(msgspec.Struct, frozen=True, gc=False):
        """What makes events immutable."""


class Event(_Immutable):
    """Base class of typed events: fields with types, decoded and validated straight from JSON bytes.

    Events are immutable, because several steps may hold the same one. Unknown fields in the input are
    ignored; a missing field without a default, or a value of the wrong type, makes the line a dead letter.

    >>> class Click(Event):
    ...     user: str
    ...     at: Time
    ...     page: str = "/"
    >>> from headway.types.decoding import LineCodec
    >>> LineCodec(Click).decode(b'{"user": "ann", "at": 17}')
    Click(user='ann', at=17, page='/')
    """


class State(msgspec.Struct, gc=False):
    """Base class of the state that an operator keeps for each key: fields with types *and defaults*.

    A fresh key starts with `YourState()`. A row whose state equals a fresh one and that has no timers is
    not stored at all.

    Fields may come, go, move and take more types of values while states are stored. For other changes raise
    `state_version` and write `migrate(cls, old, version)`, a class method that is given what is stored, as builtins,
    with the version that wrote it, and returns the state or its builtins. It is called when a state is read that is of
    an older version, perhaps several times, so it must always make the same of the same. What it returns is validated.
    The states inside a state are its own affair: only that of the outermost class is called.

    >>> class Cart(State):
    ...     items: dict[str, int] = {}
    ...     cents: int = 0
    ...     state_version: ClassVar[int] = 2
    ...     @classmethod
    ...     def migrate(cls, old, version):
    ...         return cls(items=old["items"], cents=round(old["total"] * 100))
    >>> Cart()
    Cart(items={}, cents=0)
    """

    state_version: ClassVar[int] = 1
    """The version of the class, which each stored state is marked with; a whole number from 1 up."""


def field_names(event_type: Any) -> Optional[tuple[str, ...]]:
    """The names of a type's fields, or None when the type does not tell (dicts, `Any`).

    >>> field_names(Event), field_names(dict)
    ((), None)
    """
    fields: Optional[tuple[str, ...]] = getattr(get_origin(event_type) or event_type, "__struct_fields__", None)
    return fields


def columnar(expression: str, field: str, event_type: Any) -> Optional[Callable[..., list[Any]]]:
    """A function of a column of events (and whatever else) that evaluates `expression` for each of them.

    In the expression `FIELD` stands for the event's field, `given` for the second argument. It is compiled from
    source, because the interpreter reads the attribute of a known class in half the time that `attrgetter` takes.
    Of events that are known as columns no object is made. None for types that do not declare the field.

    >>> class Click(Event):
    ...     user: str
    >>> columnar("FIELD in given", "user", Click)([Click("ann"), Click("bob")], ["bob"])
    [False, True]
    """
    each = _of_field(expression, field, event_type)
    if each is None:
        return None
    of_events = eval(f"lambda events, given=None: [{each} for event in events]", _MADE_HERE)
    of_values = eval(
        f"lambda values, given=None: [{expression.replace('FIELD', 'value')} for value in values]", _MADE_HERE
    )

    def column(events: Any, given: Any = None) -> list[Any]:
        held = events.column_of(field) if isinstance(events, EventColumns) else None
        if held is not None and expression == "FIELD":
            return held
        return cast(list[Any], of_events(events, given) if held is None else of_values(held, given))

    return column


def eventwise(expression: str, field: str, event_type: Any, given: Any) -> Optional[Callable[[Any], Any]]:
    """The function of one event that `columnar` would apply to each of them.

    >>> class Click(Event):
    ...     user: str
    >>> is_bob = eventwise("FIELD in given", "user", Click, ["bob"])
    >>> is_bob is not None and is_bob(Click("bob"))
    True
    """
    each = _of_field(expression, field, event_type)
    return None if each is None else cast(Any, eval(f"lambda event: {each}", {**_MADE_HERE, "given": given}))


def _of_field(expression: str, field: str, event_type: Any) -> Optional[str]:
    names = field_names(event_type)
    if names is None or field not in names or not field.isidentifier() or iskeyword(field):
        return None
    return expression.replace("FIELD", f"event.{field}")


def decoded_type(event_type: Any, field: str) -> Optional[type]:
    """`int` or `str` when the decoder lets nothing else into a field; None when other types can be there.

    >>> from typing import Literal
    >>> class Click(Event):
    ...     user: str
    ...     at: Time
    ...     kind: Literal["click", "tap"]
    ...     page: Optional[str] = None
    >>> [decoded_type(Click, field) for field in ("user", "at", "kind", "page")], decoded_type(dict, "at")
    ([<class 'str'>, <class 'int'>, <class 'str'>, None], None)
    """
    if not (isinstance(event_type, type) and issubclass(event_type, msgspec.Struct)):
        return None
    info = msgspec.inspect.type_info(event_type)
    assert isinstance(info, msgspec.inspect.StructType)
    found = [entry.type for entry in info.fields if entry.name == field]
    if not found:
        return None
    if isinstance(found[0], msgspec.inspect.LiteralType):
        types = set(map(type, found[0].values))
        return types.pop() if len(types) == 1 else None
    kinds = {msgspec.inspect.IntType: int, msgspec.inspect.StrType: str}
    return kinds.get(type(found[0]))


def returned_type(function: Callable[..., Any]) -> Any:
    """What a function's annotation says that it returns, `Any` where it says nothing; a class returns itself.

    Only that annotation is looked at: the others may name what is not there at run time.

    >>> def price(event: "NotImported") -> Optional[int]: ...
    >>> returned_type(price)
    typing.Optional[int]
    """
    if inspect.isclass(function):
        return function
    annotation = getattr(function, "__annotations__", {}).get("return", Any)
    holder = type("Holder", (), {"__annotations__": {"found": annotation}})
    # A class that was defined inside a function, such as a test, is known to those that use it by their closure.
    enclosing = dict(inspect.getclosurevars(function).nonlocals) if inspect.isfunction(function) else None
    try:
        return get_type_hints(holder, getattr(function, "__globals__", {}), enclosing)["found"]
    except (NameError, TypeError, ValueError):
        return Any


def without_none(annotation: Any) -> Any:
    """The type of the values that are not None, without what is noted about it.

    >>> without_none(Optional[int]), without_none(type(None))
    (<class 'int'>, typing.Any)
    """
    if get_origin(annotation) not in (Union, UnionType):
        return Any if annotation is type(None) else plain_type(annotation)
    return Union[tuple(plain_type(option) for option in get_args(annotation) if option is not type(None))]


def type_label(event_type: Any) -> str:
    """How a type is written in messages and plans.

    >>> type_label(Json), type_label(int), type_label(Optional[int])
    ('Json', 'int', 'int | None')
    """
    if event_type is dict or event_type == Json:
        return "Json"
    event_type = plain_type(event_type)
    if get_origin(event_type) in (Union, UnionType):
        return " | ".join(map(type_label, get_args(event_type)))
    if event_type is type(None):
        return "None"
    return getattr(event_type, "__name__", None) or str(event_type)
