"""What becomes of a value that the flow's code has made, before it goes anywhere.

A handler may emit what its state holds and then go on changing the state; it may emit an `int` where a `float` is
declared. Whoever receives the value must see it as it was, and as its type says, whether it stays in the process,
waits on disk, crosses to another process or is written.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Optional, get_origin

import msgspec

from headway.errors import UserCodeError
from headway.types.misfits import misfit_of, set_in, shown
from headway.types.schema import Json, type_label
from headway.types.shapes import Shape
from headway.types.typeinfo import is_immutable
from headway.types.values import options_of, shape_of

__all__ = ["UNENCODABLE", "Make", "declared", "isolator", "settler", "writable", "written_types"]

UNENCODABLE: Final = (TypeError, ValueError, AttributeError, OverflowError, RecursionError)
"""What encoders raise for a value that they do not know or that lacks a field, and decoders for one that is not of its
type."""

Make = Callable[[Any], Any]
Place = Callable[[], str]
"""Says for a message which value it is: that of which operator, key and time."""


def isolator(value_type: Any, place: Place = lambda: "what is emitted") -> Make:
    """A function that returns a value nobody else can change, equal to what would arrive over the network.

    Some 50 ns for a value of an immutable type that is what its type says; else one trip through MessagePack, 1 to
    2 µs. The function raises `UserCodeError` for a value that does not become one of its type. Raises `FlowError` for
    a type whose values do not survive the trip.
    """
    trip = _trip(value_type, place)
    if is_immutable(_wire_type(value_type)):
        fits = _shape(value_type, encoded=False).fits
        return lambda value: value if fits(value, None) else trip(value)
    return trip


def settler(value_type: Any, place: Place = lambda: "what is emitted") -> Make:
    """As `isolator`, for values that are nobody else's: one that is what its type says is returned as it is."""
    trip = _trip(value_type, place)
    fits = _shape(value_type, encoded=False).fits
    return lambda value: value if fits(value, None) else trip(value)


def declared(value_type: Any, place: Place = lambda: "what is emitted") -> Optional[Make]:
    """As `settler`, for what goes on through functions of the flow; None where no type is declared to settle it by."""
    return None if _wire_type(value_type) is Any else settler(value_type, place)


def writable(value_type: Any, place: Place = lambda: "what is emitted") -> Make:
    """As `isolator`, for values that are written at once: where no type is told they may be of any class."""
    trips = {_class_of(option): _trip(option, place, written=option is Any) for option in written_types(value_type)}
    default = next(iter(trips.values()))
    return default if len(trips) == 1 else lambda value: trips.get(type(value), default)(value)


def written_types(value_type: Any) -> tuple[Any, ...]:
    """What is written where values of this type are: structs in a union need no tags to be written."""
    wanted = _wire_type(value_type)
    try:
        msgspec.msgpack.Decoder(wanted)
    except TypeError:
        return tuple(_wire_type(option) for option in options_of(value_type))
    return (wanted,)


def _wire_type(value_type: Any) -> Any:
    """The type as its values are stored and sent: where dicts are declared, other values may be emitted as well."""
    return Any if value_type in (Json, dict) else value_type


def _class_of(value_type: Any) -> Any:
    return get_origin(value_type) or value_type


def _shape(value_type: Any, *, encoded: bool) -> Shape:
    return shape_of(_wire_type(value_type), f"values of type {type_label(value_type)}", encoded=encoded)


def _trip(value_type: Any, place: Place, *, written: bool = False) -> Make:
    """One trip through MessagePack."""
    wanted = _wire_type(value_type)
    shape = _shape(value_type, encoded=True)
    encode = msgspec.msgpack.Encoder().encode
    decode = msgspec.msgpack.Decoder(wanted).decode

    def trip(value: Any) -> Any:
        try:
            encoded = encode(value)
            if shape.fits(value, None):
                return decode(encoded)
            found = set_in(value)
            if found is not None:
                msg = f"it holds a set, which has no order: {found!r:.100}; make it a list, by sorted(...)"
                raise TypeError(msg)
            arrived = decode(encoded)
            if not shape.fits(arrived, None):
                raise TypeError(misfit_of(shape, arrived, "it"))
        except UNENCODABLE as error:
            raise _unfit(value, value_type, place, str(error)) from None
        if not written and type(arrived) is not type(value) and arrived != value:
            reason = (
                f"it would arrive as {type(arrived).__name__}; say its type where it is made, with an annotation of "
                "the function, into=..., or Operator[Event, State, Output]"
            )
            raise _unfit(value, value_type, place, reason)
        return arrived

    return trip


def _unfit(value: Any, value_type: Any, place: Place, reason: str) -> UserCodeError:
    wanted = "value that can be stored" if value_type in (Any, Json, dict) else type_label(value_type)
    return UserCodeError(
        f"{place()} is {shown(value):.300} ({type(value).__name__}), which is not a {wanted}: {reason}"
    )
