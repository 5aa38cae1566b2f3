"""Which file of a `to_parquet` output a row is in: by its time, and by the fields that divide the rows."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from headway.basics.times import format_time

__all__ = ["Place", "Spans", "folder_of"]

_NAME_MAX: Final = 150
_NULL: Final = "null"
_EMPTY: Final = "empty"
_DAY_MS: Final = 86_400_000
_HOUR_MS: Final = 3_600_000
_MINUTE_MS: Final = 60_000


class Place(NamedTuple):
    """A file."""

    name: str
    """Its path below the directory of the output, without its suffix."""
    closes_ms: int
    """No row is put into it any more that is written for a later time than this."""


class Spans:
    """The spans of time that rows are divided by: all of one length, counted from 1970 in UTC.

    A row is *about* one time, which is that of a field, and is written *at* another, in whose order rows come. The
    file of a span is closed when rows are written for times beyond its end, `wait_ms` later. What is about a span that
    is closed goes to another file, named after the span and the one it is written in. So which file a row is in depends
    on these two times alone.
    """

    def __init__(self, every_ms: int, wait_ms: int) -> None:
        self._every_ms = every_ms
        self._wait_ms = wait_ms
        self._names: dict[int, str] = {}

    def place(self, folder: str, about_ms: int, at_ms: int) -> Place:
        """The file of a row in a folder."""
        start = about_ms - about_ms % self._every_ms
        closes_ms = start + self._every_ms - 1 + self._wait_ms
        if at_ms <= closes_ms:
            return Place(f"{folder}{self._name(start)}", closes_ms)
        written = at_ms - at_ms % self._every_ms
        return Place(f"{folder}{self._name(start)}.late-{self._name(written)}", written + self._every_ms - 1)

    def _name(self, start_ms: int) -> str:
        found = self._names.get(start_ms)
        if found is None:
            if len(self._names) > 10_000:
                self._names.clear()
            found = self._names[start_ms] = self._text_of(start_ms)
        return found

    def _text_of(self, start_ms: int) -> str:
        """When a span begins, as long as its length needs, without a `:`, which not every system has in names."""
        text = format_time(start_ms)[:-1]
        date, _, time_of_day = text.partition("T")
        for unit_ms, digits in ((_DAY_MS, 0), (_HOUR_MS, 2), (_MINUTE_MS, 5), (1_000, 8)):
            if self._every_ms % unit_ms == 0:
                shown = time_of_day[:digits].replace(":", "-")
                return f"{date}T{shown}" if shown else date
        return f"{date}T{time_of_day.replace(':', '-')}"


def folder_of(values: Sequence[Any]) -> str:
    """The folders of rows with these values, each with a `/` behind it.

    >>> folder_of(["bern", 7]), folder_of(["a/b", True]), folder_of([None, "null"]), folder_of([""])
    ('bern/7/', 'a%2Fb/true/', 'null/%6Eull/', 'empty/')

    What is behind a `~` says which letters are capitals, because there are file systems to which `Bern` and `bern` are
    one name: it is a number in hexadecimal digits, whose lowest bit stands for the first letter from `a` to `z`.

    >>> folder_of(["Bern", "bErn"]), folder_of(["DE"])
    ('Bern~1/bErn~2/', 'DE~3/')
    """
    return "".join(f"{_folder_name(value)}/" for value in values)


def _folder_name(value: Any) -> str:
    if value is None:
        return _NULL
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if not text:
        return _EMPTY
    name = quote(text, safe=" +,=@").replace("~", "%7E")
    if name in (_NULL, _EMPTY) or name[0] in "._ ":  # Names that begin so are passed over by those who read.
        name = f"%{ord(name[0]):02X}{name[1:]}"
    if name[-1] in ". ":  # There are file systems that leave this out.
        name = f"{name[:-1]}%{ord(name[-1]):02X}"
    if len(name) > _NAME_MAX:
        return f"{name[: _NAME_MAX - 20]}~~{blake2b(text.encode(), digest_size=8).hexdigest()}"
    capitals = 0
    for place, letter in enumerate(letter for letter in text if letter.isascii() and letter.isalpha()):
        capitals |= letter.isupper() << place
    return f"{name}~{capitals:x}" if capitals else name
