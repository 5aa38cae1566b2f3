"""Times that are written as text, in fields that are declared as `Time`.

A decoder wants integers there, and refuses text. Only then is the line looked at again: text in such fields is
replaced by its epoch milliseconds, everything else stays byte for byte what it is, and the line is decoded once more.
So a log of integers pays nothing, and one of text some microseconds an event.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Annotated, Any, Final, Optional, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec.structs import fields as struct_fields
from typing_extensions import NotRequired, Required, is_typeddict

from headway.basics.times import milliseconds_of

__all__ = ["TIME_MARK", "plain_type", "taking_text_as_times"]

TIME_MARK: Final = "epoch milliseconds"
"""What tells the fields that are declared as `Time` from other integers."""

T = TypeVar("T")

_Rewrite = Callable[[msgspec.Raw, str], Optional[bytes]]
"""From the JSON of a value, and the path to it, to that with numbers for times; None where it stays as it is."""
_Known = dict[Any, Optional[_Rewrite]]

_decode_text: Final = msgspec.json.Decoder(str).decode
_decode_object: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_array: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode
_encode: Final = msgspec.json.Encoder().encode


def taking_text_as_times(decode: Callable[[bytes], T], event_type: Any) -> Callable[[bytes], T]:
    """A decoder of one line that takes text too where `event_type` declares a `Time`; `decode` where it declares none.

    Raises `msgspec.ValidationError` as `decode` does, also for text that is no time.
    """
    rewrite = _rewriter(event_type, {})
    if rewrite is None:
        return decode

    def decode_text_too(line: bytes) -> T:
        try:
            return decode(line)
        except msgspec.ValidationError:
            with_numbers = rewrite(msgspec.Raw(line), "$")
            if with_numbers is None:
                raise
        return decode(with_numbers)

    return decode_text_too


def plain_type(annotation: Any) -> Any:
    """A type without what is noted about it: `Time` is an `int`.

    >>> plain_type(Annotated[int, TIME_MARK]), plain_type(list[int])
    (<class 'int'>, list[int])
    """
    return annotation.__origin__ if get_origin(annotation) is Annotated else annotation


def _rewriter(annotation: Any, known: _Known) -> Optional[_Rewrite]:
    """What replaces text in the times of a type; None where it has no times. `known` are types that were met before."""
    origin = get_origin(annotation)
    if origin is Annotated:
        is_time = TIME_MARK in annotation.__metadata__
        return _time if is_time else _rewriter(annotation.__origin__, known)
    if origin in (Required, NotRequired):
        return _rewriter(get_args(annotation)[0], known)
    if origin in (Union, types.UnionType):
        return _of_union([option for option in get_args(annotation) if option is not type(None)], known)
    if origin is not None and isinstance(origin, type) and not hasattr(origin, "__struct_fields__"):
        return _of_collection(origin, get_args(annotation), known)
    return _of_class(annotation, known)


def _time(raw: msgspec.Raw, path: str) -> Optional[bytes]:
    if not bytes(raw).startswith(b'"'):
        return None
    try:
        return b"%d" % milliseconds_of(_decode_text(raw))
    except ValueError as error:
        msg = f"{error} - at `{path}`"
        raise msgspec.ValidationError(msg) from None


def _of_union(options: list[Any], known: _Known) -> Optional[_Rewrite]:
    """Of several classes the one that the tag names. Where text is text as well, nothing is to be replaced."""
    if len(options) == 1:
        return _rewriter(options[0], known)
    by_tag: dict[bytes, Optional[_Rewrite]] = {}
    tag_field = ""
    for option in options:
        config = getattr(get_origin(option) or option, "__struct_config__", None)
        if config is None or config.tag is None or config.array_like:
            return None
        tag_field = config.tag_field
        by_tag[_encode(config.tag)] = _rewriter(option, known)
    if not any(by_tag.values()):
        return None

    def rewrite(raw: msgspec.Raw, path: str) -> Optional[bytes]:
        tag = _decode_object(raw).get(tag_field)
        chosen = None if tag is None else by_tag.get(bytes(tag).strip())
        return None if chosen is None else chosen(raw, path)

    return rewrite


def _of_collection(origin: type, arguments: tuple[Any, ...], known: _Known) -> Optional[_Rewrite]:
    if issubclass(origin, dict) and len(arguments) == 2:
        values = _rewriter(arguments[1], known)
        return None if values is None else _of_object(lambda name: values)
    if origin is tuple and Ellipsis not in arguments:
        return _of_array([_rewriter(argument, known) for argument in arguments])
    items = _rewriter(arguments[0], known) if arguments else None
    return None if items is None else _of_array(items)


def _of_class(cls: Any, known: _Known) -> Optional[_Rewrite]:
    if cls in known:
        # It is a part of itself: what it is made of is known once all of it has been looked at.
        return lambda raw, path: found(raw, path) if (found := known[cls]) is not None else None
    parts, is_array = _parts(cls)
    if not parts:
        return None
    known[cls] = None
    rewrites = {name: _rewriter(annotation, known) for name, annotation in parts.items()}
    if not any(rewrites.values()):
        del known[cls]
        return None
    known[cls] = rewrite = _of_array(list(rewrites.values())) if is_array else _of_object(rewrites.get)
    return rewrite


def _parts(cls: Any) -> tuple[dict[str, Any], bool]:
    """The annotations of a class's fields, by their names in JSON, and whether they stand in an array."""
    struct = get_origin(cls) or cls
    if hasattr(struct, "__struct_fields__"):
        return {part.encode_name: part.type for part in struct_fields(cls)}, struct.__struct_config__.array_like
    is_named_tuple = isinstance(cls, type) and issubclass(cls, tuple) and hasattr(cls, "_fields")
    if is_named_tuple or is_typeddict(cls) or hasattr(cls, "__dataclass_fields__"):
        return get_type_hints(cls, include_extras=True), is_named_tuple
    return {}, False


def _of_object(rewrite_of: Callable[[str], Optional[_Rewrite]]) -> _Rewrite:
    def rewrite(raw: msgspec.Raw, path: str) -> Optional[bytes]:
        if not bytes(raw).lstrip().startswith(b"{"):
            return None
        values = _decode_object(raw)
        changed = {}
        for name, value in values.items():
            of_value = rewrite_of(name)
            new = None if of_value is None else of_value(value, f"{path}.{name}")
            if new is not None:
                changed[name] = msgspec.Raw(new)
        return _encode({**values, **changed}) if changed else None

    return rewrite


def _of_array(of_items: Union[_Rewrite, list[Optional[_Rewrite]]]) -> Optional[_Rewrite]:
    """For arrays of one kind of items, or of as many kinds as there are items."""
    if isinstance(of_items, list) and not any(of_items):
        return None

    def rewrite(raw: msgspec.Raw, path: str) -> Optional[bytes]:
        if not bytes(raw).lstrip().startswith(b"["):
            return None
        values = _decode_array(raw)
        rewrites = of_items if isinstance(of_items, list) else [of_items] * len(values)
        changed = False
        for index, (value, of_item) in enumerate(zip(values, rewrites)):
            new = None if of_item is None else of_item(value, f"{path}[{index}]")
            if new is not None:
                values[index] = msgspec.Raw(new)
                changed = True
        return _encode(values) if changed else None

    return rewrite
