"""Which modules run compiled, and when they run as plain Python instead.

The modules on the path of each event are compiled to C when Headway is installed, from the same Python source that
runs where there is no compiler; the `.pxd` file beside each one only adds the types of C. So there is one text to
read and to test. Set HEADWAY_PURE=1 to run the source itself, for a debugger or to compare.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import EXTENSION_SUFFIXES, ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Final, Optional

__all__ = ["EXTENSIONS", "HOT", "how"]

HOT: Final = (
    "headway.runtime.context",
    "headway.runtime.exchange",
    "headway.runtime.stage",
    "headway.runtime.triggers",
    "headway.shapes",
    "headway.state.keys",
    "headway.state.layered",
    "headway.state.queue",
    "headway.state.rows",
    "headway.state.timers",
)
"""Modules of Python source that are compiled as they are. All of them or none: they know each other's C types."""

EXTENSIONS: Final = ("headway._scan",)
"""Modules of C only; each has a twin in Python that stands in for it, where it is imported."""

_PACKAGE: Final = Path(__file__).parent


class _Sources(MetaPathFinder):
    """Finds the sources of the hot modules, also where compiled ones lie beside them, and none of the extensions."""

    def find_spec(
        self, fullname: str, path: Optional[Sequence[str]], target: Optional[ModuleType] = None
    ) -> Optional[ModuleSpec]:
        if fullname in HOT:
            return spec_from_file_location(fullname, _source(fullname))
        if fullname in EXTENSIONS:
            msg = f"{fullname} is not used: {_REASON}"
            raise ImportError(msg)
        return None


def how() -> str:
    """How this process runs the hot modules, for people.

    >>> how().partition(" ")[0] in ("compiled", "plain")
    True
    """
    return f"plain Python ({_REASON})" if _REASON else "compiled"


def _why_not() -> str:
    """Why the sources are to be run; empty when everything is compiled."""
    if os.environ.get("HEADWAY_PURE", "0") not in ("", "0"):
        return "HEADWAY_PURE is set"
    is_checkout = (_PACKAGE.parents[1] / "setup.py").exists()
    for name in (*HOT, *EXTENSIONS):
        built = _built(name)
        if built is None:
            return f"{name} is not compiled"
        if is_checkout and built.stat().st_mtime < max(part.stat().st_mtime for part in _parts(name)):
            return f"{name} has changed since it was compiled"
    return ""


def _source(name: str) -> Path:
    return _PACKAGE.joinpath(*name.split(".")[1:]).with_suffix(".py")


def _built(name: str) -> Optional[Path]:
    found = (_source(name).with_suffix(suffix) for suffix in EXTENSION_SUFFIXES)
    return next((path for path in found if path.exists()), None)


def _parts(name: str) -> list[Path]:
    source = _source(name)
    return [path for path in map(source.with_suffix, (".py", ".pxd", ".pyx")) if path.exists()]


_REASON: Final = _why_not()
if _REASON:
    sys.meta_path.insert(0, _Sources())
