"""Names that a module gives without importing what they name, until somebody asks for one."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

__all__ = ["lazily"]


def lazily(module: str, homes: Mapping[str, str]) -> tuple[list[str], Callable[[str], Any], Callable[[], list[str]]]:
    """`__all__`, `__getattr__` and `__dir__` of a module whose names live elsewhere.

    `homes` maps modules, below `headway`, to the names in them, with blanks between. Asking for a name imports its
    module and keeps the value, so only the first time costs anything. What such a module gives to type checkers
    stands in it below `if TYPE_CHECKING`.

    >>> names, get, _ = lazily("headway", {"basics.times": "duration_ms format_time"})
    >>> names, get("duration_ms")("2s")
    (['duration_ms', 'format_time'], 2000)
    """
    found = {name: f"headway.{home}" for home, names in homes.items() for name in names.split()}

    def get(name: str) -> Any:
        if name not in found:
            msg = f"module {module!r} has no attribute {name!r}"
            raise AttributeError(msg, name=name, obj=sys.modules[module])
        value = getattr(import_module(found[name]), name)
        setattr(sys.modules[module], name, value)
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[module]), *found})

    return sorted(found), get, names
