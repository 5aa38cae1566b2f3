"""Finding instances: by function, status, search fields, and when they were started."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable
from typing import Any, Final, Optional

import msgspec

from headway.basics.function_figures import ENDED
from headway.durable.state import BLOCKED, RUNNING
from headway.errors import UsageError
from headway.functions.search import SearchValue

__all__ = ["STATUSES", "Filter", "filter_of"]

STATUSES: Final = (RUNNING, BLOCKED, *ENDED)
_CONDITION: Final = re.compile(r"([^\W\d]\w*)\s*(<=|>=|!=|=|<|>)(.*)", re.DOTALL)
_COMPARE: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class Filter(msgspec.Struct, frozen=True):
    """What instances are looked for; all of it must hold.

    >>> found = filter_of(where=["cents>=500", "customer=ann"])
    >>> found.matches("running", 0, '{"customer":"ann","cents":700}'), found.matches("running", 0, "")
    (True, False)
    """

    name: str = ""
    """The function; empty for all."""
    statuses: tuple[str, ...] = ()
    where: tuple[str, ...] = ()
    since_ms: int = 0
    """Only those that were started then or later."""

    @property
    def prefix(self) -> str:
        """What the keys of all of them begin with."""
        return f"{self.name}/" if self.name else ""

    def matches(self, status: str, started_ms: int, search: str) -> bool:
        """Whether an instance is one of them. `search` are its fields as a JSON object; empty where it has none."""
        if (self.statuses and status not in self.statuses) or started_ms < self.since_ms:
            return False
        if not self.where:
            return True
        fields: dict[str, SearchValue] = msgspec.json.decode(search) if search else {}
        return all(_holds(fields, *_parts(condition)) for condition in self.where)


def filter_of(
    *,
    name: str = "",
    statuses: Iterable[str] = (),
    where: Iterable[str] = (),
    since_ms: Optional[int] = None,
) -> Filter:
    """A filter of what a client gives. Raises `UsageError` for a status or a condition that is none."""
    chosen = tuple(statuses)
    for status in chosen:
        if status not in STATUSES:
            msg = f"status {status!r:.80} is none: there are {', '.join(STATUSES)}"
            raise UsageError(msg)
    conditions = tuple(where)
    for condition in conditions:
        _parts(condition)
    return Filter(name, chosen, conditions, since_ms or 0)


def _parts(condition: str) -> tuple[str, str, str]:
    found = _CONDITION.fullmatch(condition.strip())
    if found is None:
        msg = f"where {condition!r:.80}: write FIELD=VALUE, such as customer=ann, or with !=, <, <=, > or >="
        raise UsageError(msg)
    return found[1], found[2], found[3].strip()


def _holds(fields: dict[str, SearchValue], name: str, sign: str, text: str) -> bool:
    """Whether a field is there and compares so; the text is read as the field's own type."""
    found = fields.get(name)
    if found is None:
        return False
    wanted: Any = text
    if isinstance(found, bool):
        wanted = {"true": True, "false": False}.get(text.lower())
    elif not isinstance(found, str):
        try:
            wanted = int(text) if isinstance(found, int) and re.fullmatch(r"[+-]?\d+", text) else float(text)
        except ValueError:
            wanted = None
    # What is no value of the field's type is equal to none.
    return sign == "!=" if wanted is None else _COMPARE[sign](found, wanted)
