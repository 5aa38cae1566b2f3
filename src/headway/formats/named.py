"""Formats by the names under which options name them."""

from __future__ import annotations

from typing import Final, Union

from headway.errors import UsageError
from headway.formats.base import Format
from headway.formats.delimited import Csv
from headway.formats.json import Json, JsonSchema
from headway.formats.messagepack import MessagePack
from headway.formats.plain import Raw, Text

__all__ = ["JSON", "FormatLike", "format_of"]

FormatLike = Union[str, Format]
"""A format, or the name of one."""

JSON: Final = Json()
_NAMED: Final[dict[str, type[Format]]] = {kind.name: kind for kind in (Json, JsonSchema, Text, Raw, MessagePack, Csv)}


def format_of(given: FormatLike, what: str) -> Format:
    """The format that was given for `what`. Raises `UsageError` for an unknown name and for what is none.

    >>> format_of("text", "files('a.log')")
    Text()
    """
    if isinstance(given, Format):
        return given
    kind = _NAMED.get(given) if isinstance(given, str) else None
    if kind is None:
        known = ", ".join(map(repr, _NAMED))
        msg = f"{what}, format={given!r}: expected {known}, or a format of headway.formats"
        raise UsageError(msg)
    return kind()
