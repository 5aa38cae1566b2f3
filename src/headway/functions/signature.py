"""What a function takes and gives, from its annotations: values are checked where they come in, and are JSON beyond.

Arguments are a JSON array in the order of the parameters, or an object by their names where some can only be given by
name. A reader takes either, so a service may post whichever is easier to write.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Final, Optional, get_type_hints

import msgspec

from headway.basics.declaring import fail
from headway.basics.jsontext import shown, to_json
from headway.errors import FlowError, UsageError
from headway.types.values import shape_of

__all__ = ["Signature"]

_RAW_LIST: Final = msgspec.json.Decoder(list[msgspec.Raw])
_RAW_DICT: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encoder: Final = msgspec.json.Encoder()

_EMPTY: Final = inspect.Parameter.empty
_BY_NAME: Final = inspect.Parameter.KEYWORD_ONLY
_REST: Final = inspect.Parameter.VAR_POSITIONAL
_NAMED_REST: Final = inspect.Parameter.VAR_KEYWORD


class Signature:
    """The parameters of a function and the type of its result.

    `skip` parameters at the beginning are not the caller's: the context of a durable function. Raises `FlowError` at
    the line of the declaration for types whose values do not survive being stored.

    >>> def charge(order_id: str, cents: int, *, currency: str = "EUR") -> bool: ...
    >>> signature = Signature(charge, "step 'charge'")
    >>> signature.encode(("o-17", 250), {})
    b'["o-17",250]'
    >>> signature.encode(("o-17", 250), {"currency": "USD"})
    b'{"order_id":"o-17","cents":250,"currency":"USD"}'
    >>> signature.decode(b'{"order_id": "o-17", "cents": 250}')
    (('o-17', 250), {})
    >>> signature.encode(("o-17", "much"), {})
    Traceback (most recent call last):
    headway.errors.UsageError: step 'charge': argument 'cents': Expected `int`, got `str`: 'much'
    """

    def __init__(self, function: Callable[..., Any], what: str, *, skip: int = 0) -> None:
        self.what = what
        signature = inspect.signature(function)
        self._parameters = list(signature.parameters.values())[skip:]
        self._bound = signature.replace(parameters=self._parameters, return_annotation=_EMPTY)
        self._by_name = {p.name: p for p in self._parameters if p.kind not in (_REST, _NAMED_REST)}
        self._rest = next((p for p in self._parameters if p.kind is _REST), None)
        self._named_rest = next((p for p in self._parameters if p.kind is _NAMED_REST), None)
        self._decoders = {p.name: self._decoder(function, p.annotation, p.name) for p in self._parameters}
        self._result = self._decoder(function, signature.return_annotation, "")
        self.result_type: Any = self._result.type

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters, in their order."""
        return tuple(p.name for p in self._parameters)

    def encode(self, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> bytes:
        """The arguments of one call as JSON. Raises `UsageError` for those that the function does not take."""
        try:
            bound = self._bound.bind(*arguments, **keywords)
        except TypeError as error:
            msg = f"{self.what}: {error}: it takes ({', '.join(map(str, self._parameters))})"
            raise UsageError(msg) from None
        if not bound.kwargs:
            return self._checked_list(bound.args)
        values: dict[str, Any] = dict(bound.arguments)
        if self._rest is not None and values.pop(self._rest.name, ()):
            msg = f"{self.what}: arguments by position after {self._rest.name!r} do not go with arguments by name"
            raise UsageError(msg)
        if self._named_rest is not None:
            values |= values.pop(self._named_rest.name, {})
        return (
            b"{" + b",".join(_encoder.encode(name) + b":" + self._check(name, v) for name, v in values.items()) + b"}"
        )

    def decode(self, data: bytes) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments in JSON text, as they are passed to the function. Raises `UsageError` as `encode` does."""
        try:
            if data.lstrip()[:1] == b"{":
                return self._from_object(_RAW_DICT.decode(data))
            return self._from_list(_RAW_LIST.decode(data))
        except msgspec.DecodeError as error:
            msg = f"{self.what}: arguments must be a JSON array or object: {error}: {data[:200]!r}"
            raise UsageError(msg) from None

    def encode_result(self, value: Any) -> bytes:
        """A result as JSON. Raises `UsageError` for one that is not of the declared type, or has no such form."""
        what = f"the result of {self.what}"
        data = to_json(value, what)
        self._read(self._result, data, what)
        return data

    def decode_result(self, data: bytes) -> Any:
        """The result in JSON text. Raises `UsageError` for one that is not of the declared type."""
        return self._read(self._result, data, f"the result of {self.what}")

    def _checked_list(self, arguments: tuple[Any, ...]) -> bytes:
        parts = []
        for position, value in enumerate(arguments):
            parameter = self._parameters[position] if position < len(self._by_name) else self._rest
            assert parameter is not None
            parts.append(self._check(parameter.name, value))
        return b"[" + b",".join(parts) + b"]"

    def _check(self, name: str, value: Any) -> bytes:
        data = to_json(value, f"{self.what}: argument {name!r}")
        self._argument(name, data)
        return data

    def _argument(self, name: str, data: Any) -> Any:
        decoder = self._decoders.get(name)
        if decoder is None:
            if self._named_rest is None:
                msg = f"{self.what} has no argument {name!r}: it takes ({', '.join(map(str, self._parameters))})"
                raise UsageError(msg)
            decoder = self._decoders[self._named_rest.name]
        return self._read(decoder, data, f"{self.what}: argument {name!r}")

    def _read(self, decoder: msgspec.json.Decoder[Any], data: Any, what: str) -> Any:
        try:
            return decoder.decode(data)
        except msgspec.DecodeError as error:
            msg = f"{what}: {error}: {shown(msgspec.json.decode(data))}"
            raise UsageError(msg) from None

    def _from_list(self, raws: list[msgspec.Raw]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        positional = [p for p in self._parameters if p.kind not in (_BY_NAME, _REST, _NAMED_REST)]
        if len(raws) > len(positional) and self._rest is None:
            taken = "1 argument" if len(positional) == 1 else f"{len(positional)} arguments"
            msg = f"{self.what} takes {taken} by position, got {len(raws)}"
            raise UsageError(msg)
        names = [p.name for p in positional[: len(raws)]]
        if self._rest is not None:
            names += [self._rest.name] * (len(raws) - len(names))
        return self._complete(tuple(self._argument(name, raw) for name, raw in zip(names, raws)), {})

    def _from_object(self, raws: dict[str, msgspec.Raw]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        values = {name: self._argument(name, raw) for name, raw in raws.items()}
        leading = []
        for parameter in self._parameters:
            if parameter.kind in (_BY_NAME, _REST, _NAMED_REST) or parameter.name not in values:
                break
            leading.append(values.pop(parameter.name))
        return self._complete(tuple(leading), values)

    def _complete(self, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        try:
            self._bound.bind(*arguments, **keywords)
        except TypeError as error:
            msg = f"{self.what}: {error}: it takes ({', '.join(map(str, self._parameters))})"
            raise UsageError(msg) from None
        return arguments, keywords

    def _decoder(self, function: Callable[..., Any], annotation: Any, name: str) -> msgspec.json.Decoder[Any]:
        what = f"{self.what}: argument {name!r}" if name else f"the result of {self.what}"
        found = _evaluated(function, annotation, what)
        if found is not Any:
            try:
                shape_of(found, what)
            except FlowError as error:
                fail(str(error))
        return msgspec.json.Decoder(found)


def _evaluated(function: Callable[..., Any], annotation: Any, what: str) -> Any:
    """The type that an annotation means, also where it is text and names what a function around it has defined."""
    if annotation is _EMPTY:
        return Any
    holder = type("Holder", (), {"__annotations__": {"found": annotation}})
    enclosing: Optional[dict[str, Any]] = None
    if inspect.isfunction(function):
        enclosing = dict(inspect.getclosurevars(function).nonlocals)
    try:
        return get_type_hints(holder, getattr(function, "__globals__", {}), enclosing, include_extras=True)["found"]
    except (NameError, TypeError, ValueError) as error:
        fail(f"{what}: the annotation {annotation!r} cannot be read: {error}: name a type that is known in its module")
