"""What steps that are no code of the flow have in common, be they services or topics with replies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from headway.basics.declaring import fail
from headway.basics.jsontext import to_json
from headway.errors import FlowError, UsageError
from headway.functions.history import CallKind
from headway.functions.options import CallOptions
from headway.types.values import shape_of

__all__ = ["OutsideStep"]


class OutsideStep:
    """A step that somebody else does: arguments and result are JSON, and the result is of a declared type.

    `kind_of_step` is what it is called in messages. Raises `FlowError` for a type whose values do not survive being
    stored.
    """

    kind: CallKind = "step"
    takes: Sequence[str]
    """The names of the options that its calls may give."""

    def __init__(self, kind_of_step: str, name: str, returns: Any, options: CallOptions) -> None:
        self.what = f"{kind_of_step} {name!r}"
        """Itself, for messages."""
        if returns is not Any:
            try:
                shape_of(returns, f"the result of {self.what}")
            except FlowError as error:
                fail(str(error))
        self.name = name
        self.options = options
        self._result: msgspec.json.Decoder[Any] = msgspec.json.Decoder(returns)

    def encode_arguments(self, *arguments: Any, **keywords: Any) -> bytes:
        """The arguments as JSON: an object of those by name, or an array of those by position.

        Raises `UsageError` for both at once, and for values that have no such form.
        """
        if arguments and keywords:
            msg = f"{self.what}: give its arguments all by name, as the members of a JSON object, or all by position"
            raise UsageError(msg)
        return to_json(keywords if keywords else list(arguments), f"{self.what}: arguments")

    def decode_result(self, data: bytes) -> Any:
        """The result of a call. Raises `UsageError` for one that is not of the declared type."""
        try:
            return self._result.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            msg = f"the result of {self.what}: {error}: {data[:200].decode(errors='replace')}"
            raise UsageError(msg) from None
