"""Which modules run compiled, and when they run as plain Python instead.

The modules on the path of each event are compiled to C when Headway is installed, from the same Python source that
runs where there is no compiler; the `.pxd` file beside each one only adds the types of C. So there is one text to
read and to test. Set HEADWAY_PURE=1 to run the source itself, for a debugger or to compare.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.machinery import EXTENSION_SUFFIXES, ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Final, Optional

__all__ = ["EXTENSIONS", "HOT", "TOGETHER", "how", "notice"]

TOGETHER: Final = (
    "headway.types.containers",
    "headway.runtime.context",
    "headway.runtime.stage",
    "headway.runtime.triggers",
    "headway.types.shapes",
    "headway.state.layered",
    "headway.state.queue",
    "headway.state.rows",
    "headway.state.timers",
    "headway.state.undo",
)
"""Modules that know each other's C types: all of them run compiled, or none does."""

HOT: Final = (*TOGETHER, "headway.runtime.attempt", "headway.runtime.exchange", "headway.state.keys")
"""Modules of Python source that are compiled as they are; but for those `TOGETHER` each runs as it can."""

EXTENSIONS: Final = ("headway.basics._scan",)
"""Modules of C only; each has a twin in Python that stands in for it, where it is imported."""

_PACKAGE: Final = Path(__file__).parent.parent


class _Sources:
    """Finds the source of a module that is not to run compiled, also where a compiled one lies beside it.

    Of modules that are C only it finds nothing, so that their twins are used.
    """

    def find_spec(
        self, fullname: str, path: Optional[Sequence[str]], target: Optional[ModuleType] = None
    ) -> Optional[ModuleSpec]:
        if fullname not in _REASONS:
            return None
        if fullname in EXTENSIONS:
            msg = f"{fullname} is not used: {_REASONS[fullname]}"
            raise ImportError(msg)
        return spec_from_file_location(fullname, _source(fullname))


def how() -> str:
    """How this process runs the hot modules, for people.

    >>> how().partition(" ")[0] in ("compiled", "plain")
    True
    """
    if not _REASONS:
        return "compiled"
    first = next(iter(_REASONS.values()))
    if len(_REASONS) == len(HOT) + len(EXTENSIONS):
        return f"plain Python ({first})"
    return f"compiled but for {', '.join(_REASONS)} ({first})"


def notice() -> Optional[str]:
    """What those who run a flow should know: that it runs slower than it could, why, and what to do; else None."""
    if not _REASONS:
        return None
    if _is_pure():
        return "plain Python runs, as HEADWAY_PURE asks"
    remedy = (
        "`make setup` compiles it, where there is a C compiler that finds the headers of Python"
        if _is_checkout()
        else "install a C compiler and the headers of Python, then Headway again: pip install --force-reinstall"
    )
    return f"the compiled part is off, which makes runs some 1.3 times slower: {how()}; {remedy}"


def _reasons() -> dict[str, str]:
    """The modules that do not run compiled, and why; those that are the cause come first."""
    everything = (*HOT, *EXTENSIONS)
    if _is_pure():
        return dict.fromkeys(everything, "HEADWAY_PURE is set")
    found = {name: why for name in everything if (why := _why_not(name))}
    off = [name for name in TOGETHER if name in found]
    if off:
        found |= {name: found.get(name, f"{off[0]} does not run compiled") for name in TOGETHER}
    return found


def _why_not(name: str) -> str:
    """Why a module cannot run compiled, for its own part; empty when it can."""
    built = _built(name)
    if built is None:
        return f"{name} is not compiled"
    if _is_checkout() and built.stat().st_mtime < max(part.stat().st_mtime for part in _parts(name)):
        return f"{name} has changed since it was compiled"
    return ""


def _is_pure() -> bool:
    return os.environ.get("HEADWAY_PURE", "0") not in ("", "0")


def _is_checkout() -> bool:
    return (_PACKAGE.parents[1] / "setup.py").exists()


def _source(name: str) -> Path:
    return _PACKAGE.joinpath(*name.split(".")[1:]).with_suffix(".py")


def _built(name: str) -> Optional[Path]:
    found = (_source(name).with_suffix(suffix) for suffix in EXTENSION_SUFFIXES)
    return next((path for path in found if path.exists()), None)


def _parts(name: str) -> list[Path]:
    source = _source(name)
    return [path for path in map(source.with_suffix, (".py", ".pxd", ".pyx")) if path.exists()]


_REASONS: Final = _reasons()
if _REASONS:
    sys.meta_path.insert(0, _Sources())
