"""Flow parameters: values that a flow declares with a default and the command line may set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Optional, TypeVar

from headway.errors import UsageError

__all__ = ["Parameter", "check_all_used", "convert", "given_parameters", "is_setting_parameters", "set_parameters"]

V = TypeVar("V", str, int, float, bool)

_given: ContextVar[Optional[Mapping[str, str]]] = ContextVar("headway_parameters", default=None)
_TRUE = {"true", "yes", "on", "1"}
_FALSE = {"false", "no", "off", "0"}


@dataclass(frozen=True)
class Parameter:
    """A declared parameter, as `headway explain` shows it."""

    name: str
    default: Any
    value: Any
    help: str


@contextmanager
def set_parameters(values: Mapping[str, str]) -> Iterator[None]:
    """While a flow is imported inside this block, its parameters take these values."""
    token = _given.set(dict(values))
    try:
        yield
    finally:
        _given.reset(token)


def is_setting_parameters() -> bool:
    """Whether a flow is being imported inside a `set_parameters` block."""
    return _given.get() is not None


def given_parameters() -> Mapping[str, str]:
    """The values that were set for the flow that is being imported."""
    return _given.get() or {}


def convert(name: str, text: str, default: V) -> V:
    """The value that `text` means for a parameter with this default; its type is the default's.

    >>> convert("limit", "5", 3), convert("verbose", "yes", False)
    (5, True)
    """
    if isinstance(default, bool):
        lowered = text.lower()
        if lowered in _TRUE | _FALSE:
            return lowered in _TRUE
    elif isinstance(default, (int, float)):
        try:
            return type(default)(text)
        except ValueError:
            pass
    else:
        return text
    msg = f"--set {name}={text}: the parameter {name!r} is {_article(default)} (default {default!r})"
    raise UsageError(msg)


def _article(default: Any) -> str:
    return {bool: "true or false", int: "a whole number", float: "a number"}[type(default)]


def check_all_used(given: Mapping[str, str], declared: Mapping[str, Parameter], flow: str) -> None:
    """Raise `UsageError` for a value whose name no parameter has."""
    for name in given:
        if name not in declared:
            known = ", ".join(sorted(declared)) or "none at all"
            msg = f"--set {name}={given[name]}: the flow {flow!r} has no parameter {name!r}; it has {known}"
            raise UsageError(msg)
