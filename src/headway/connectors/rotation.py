"""The order of the files of a rotated log, told by their names."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import pairwise
from typing import Final, NamedTuple, Optional

from headway.connectors.naming import in_order
from headway.errors import InputError

__all__ = ["is_stable", "oldest_first"]

_SHOWN: Final = 3

_COUNTED_BACK: Final = re.compile(r"(?P<stem>.+)\.(?P<number>0|[1-9]\d{0,2})")
"""`app.log.1`: the number grows at each rotation, and so the greatest one is the oldest."""
_DATED: Final = re.compile(
    r"(?P<stem>.+?)[-._](?P<date>(?:19|20)\d\d(?:-?\d\d(?:-?\d\d(?:[-_.T]?\d\d(?:[-_.:]?\d\d){0,2})?)?)?|\d{10}|\d{13})"
    r"(?P<suffix>\.[A-Za-z]\w*)?"
)
"""`app.log-20240501`, `app.log.2024-05-01`, `app-2024-05-01.log`: the rotated file keeps the date in its name."""
_MARKED: Final = re.compile(r"(?P<stem>.+?)[-._](?P<mark>\d+|old|bak|prev|orig)(?P<suffix>\.[A-Za-z]\w*)?")
"""Other marks that rotated files bear; they do not tell the order."""


class _Rotated(NamedTuple):
    """What a name tells of a rotated file."""

    kind: str
    active: str
    """The name of the file that was rotated."""
    age: tuple[int, ...]
    """Greater for newer files of one kind; the number of digits before them, so that unlike dates stand out."""


def oldest_first(names: Iterable[str]) -> list[str]:
    """The names of the files of one rotated log, without suffixes of compression, in the order of their age.

    Raises `InputError` where that cannot be told.

    >>> oldest_first(["app.log", "app.log.1", "app.log.10", "app.log.2"])
    ['app.log.10', 'app.log.2', 'app.log.1', 'app.log']
    >>> oldest_first(["app.log", "app.log-20240501", "app.log-20240430"])
    ['app.log-20240430', 'app.log-20240501', 'app.log']
    >>> oldest_first(["day-10", "day-9"])
    ['day-9', 'day-10']
    """
    known = {name: _parsed(name) for name in names}
    rotated = {name: told for name, told in known.items() if told is not None}
    counted_back = [told for told in rotated.values() if told.kind == "counted back"]
    active = {told.active for told in rotated.values() if told.active in known}
    if not active and not counted_back:
        found = in_order(known)
        if any(_extends(later, name) for name, later in pairwise(found)):
            raise _untold(known)
        return found
    kinds = {(told.kind, told.active, told.age[0]) for told in rotated.values()}
    apart = [name for name in known if name not in rotated and name not in active]
    if len(kinds) > 1 or apart or "marked" in {told.kind for told in rotated.values()}:
        raise _untold(known)
    return sorted(known, key=lambda name: (name in active, rotated[name].age if name in rotated else ()))


def is_stable(names: Iterable[str]) -> bool:
    """Whether the files of a log keep their names: none of them is renamed when the log is rotated."""
    known = {name: _parsed(name) for name in names}
    return not any(told and (told.kind == "counted back" or told.active in known) for told in known.values())


def _parsed(name: str) -> Optional[_Rotated]:
    if found := _DATED.fullmatch(name):
        digits = re.sub(r"\D", "", found["date"])
        return _Rotated("dated", found["stem"] + (found["suffix"] or ""), (len(digits), int(digits)))
    if found := _COUNTED_BACK.fullmatch(name):
        return _Rotated("counted back", found["stem"], (0, -int(found["number"])))
    if found := _MARKED.fullmatch(name):
        return _Rotated("marked", found["stem"] + (found["suffix"] or ""), (0,))
    return None


def _extends(name: str, other: str) -> bool:
    """Whether a name is another one with a mark behind it, such as `app.log~`; `day-10` is not `day-1` with a mark."""
    rest = name.removeprefix(other)
    return rest != name and not (rest[:1].isdecimal() and other[-1:].isdecimal())


def _untold(names: Iterable[str]) -> InputError:
    listed = sorted(names)
    shown = ", ".join(listed[:_SHOWN]) + (f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else "")
    msg = (
        f"the order of the rotated files {shown} cannot be told by their names; expected one log, as app.log.2, "
        "app.log.1, app.log (counted back), as app.log-20240430, app.log-20240501, app.log (dated), or as log-01, "
        "log-02 (counted up, without a file that keeps its name): choose a pattern that matches one kind only, or "
        "read each file by itself, without rotated=True"
    )
    return InputError(msg)
