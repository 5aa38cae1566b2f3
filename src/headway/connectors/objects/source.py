"""The input `object_store`: objects of S3 and others, which are read as files are, each complete when it is found."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final, Optional

from headway.basics.needed import needed
from headway.basics.secret import Secret
from headway.basics.times import Duration, duration_ms
from headway.connectors.base import Input, Session
from headway.connectors.parts import RecordPart
from headway.errors import UsageError
from headway.formats.base import Format
from headway.formats.columns import COLUMNS
from headway.formats.named import JSON, FormatLike, format_of

__all__ = ["ObjectsInput", "object_store"]

_SCHEMES: Final = ("s3", "s3a", "gs", "az", "azure", "abfs", "abfss", "http", "https", "file")
_FOLDER: Final = "objects"


def object_store(
    url: str,
    *,
    match: str = "*",
    format: FormatLike = JSON,  # noqa: A002 - the word of the field
    one_log: bool = False,
    poll: Duration = "10s",
    options: Optional[Mapping[str, str]] = None,
) -> Input:
    """Read objects of an object store: those below a URL such as `s3://bucket/orders/2024`, whose names match.

    Each object is one partition, in time order by itself, and named by its path below the URL. With `one_log` all
    objects are one partition, read one after the other in the order of their names, in which numbers count as numbers.
    `match` is a pattern for these paths, in which `*` stands for any text; what begins with `.` or `_` is passed over.

    `format` is that of lines, as for `files`, also compressed by gzip or zstd; or `"parquet"`: then rows are events, as
    for `parquet`. An object is copied into the state directory when it is read, and its copy is gone once it has been:
    with `one_log` one object is read and the next one copied, else the copies of all that were begun are there.

    Objects are complete when they are found, and never changed. One that has another ETag than when it was begun is
    refused; one that was changed after it was read is told. While the input is followed, the store is asked every
    `poll` for new objects; with `one_log` they must come behind the last one. A store that is away is waited for.

    `options` go to the client, such as `{"aws_region": "eu-central-1", "aws_secret_access_key": "env:SECRET"}`; what is
    not given is taken from the environment, as of `AWS_ACCESS_KEY_ID`. `file:///path` is a directory. Needs the extra
    `objects`. Raises `UsageError` for a URL or an option that cannot be.

    >>> object_store("s3://shop/orders", match="2024/*.jsonl.gz").describe()
    'objects s3://shop/orders, 2024/*.jsonl.gz'
    """
    scheme, separator, rest = url.partition("://") if isinstance(url, str) else ("", "", "")
    if scheme not in _SCHEMES or not separator or not rest or "@" in rest.partition("/")[0]:
        msg = (
            f"object_store({_shown(url)!r}): expected the URL of a store, such as s3://bucket/prefix or file:///path; "
            "credentials are given by options= or the environment"
        )
        raise UsageError(msg)
    if not isinstance(match, str) or not match:
        msg = f"object_store(..., match={match!r}): expected a pattern of names, such as '*.jsonl.gz'"
        raise UsageError(msg)
    poll_ms = duration_ms(poll, what="poll")
    if poll_ms < 100:
        msg = f'object_store(..., poll={poll!r}): expected 100 ms or more, such as "10s"'
        raise UsageError(msg)
    form = COLUMNS if format == "parquet" else format_of(format, "object_store(...)")
    if form is not COLUMNS and not form.has_lines:
        msg = f"object_store(..., format={form.name!r}): records of this format may have line ends in them"
        raise UsageError(msg)
    secrets = tuple((name, Secret(value, name)) for name, value in sorted((options or {}).items()))
    return ObjectsInput(url, match, bool(one_log), poll_ms / 1_000, secrets, format=form)


def _shown(url: Any) -> str:
    """A URL without what may be a password."""
    return str(url).rpartition("@")[2]


@dataclass(frozen=True)
class ObjectsInput(Input):
    """What `object_store` returns."""

    url: str
    match: str
    one_log: bool
    poll_s: float
    options: tuple[tuple[str, Secret], ...]
    format: Format = JSON
    folder: Optional[Path] = field(default=None, compare=False)
    """Where copies are while they are read; None for where the system has its temporary files."""

    record_parts = frozenset({RecordPart.OFFSET, RecordPart.PARTITION})

    def session(self) -> Session:
        """One client for the process."""
        from headway.connectors.objects.session import ObjectsSession

        needed("obstore", "objects", "hw.object_store(...)")
        if self.format is COLUMNS:
            needed("pyarrow", "parquet", "hw.object_store(..., format='parquet')")
        return ObjectsSession(self)

    def partitions(self, tell: Any = None) -> list[str]:
        """Those that there are now, by a session that ends with the answer."""
        session = self.session()
        try:
            return session.partitions()
        finally:
            session.close()

    def open(self, partition: str, position: Any, *, follow: bool) -> Any:
        """A reader with a session of its own, which ends when the reader is closed."""
        session = self.session()
        reader = session.open(partition, position, follow=follow)
        reader.on_close = session.close  # type: ignore[attr-defined]
        return reader

    def takes(self, name: str) -> bool:
        """Whether an object of this path below the URL is read."""
        hidden = any(part[:1] in ("", ".", "_") for part in name.split("/"))
        return not hidden and fnmatchcase(name, self.match)

    def within(self, directory: Path) -> Input:
        """Copy objects into the state directory."""
        return replace(self, folder=directory / _FOLDER)

    def prepare(self, workers: int) -> None:
        """Remove what a run that was killed has left of its copies."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)

    def describe(self) -> str:
        """The URL and the pattern."""
        return f"objects {self.url}, {self.match}{' (one log)' if self.one_log else ''}"

    @property
    def reading(self) -> str:
        """Whether `one_log` was given."""
        return "as one log (one_log=True)" if self.one_log else "object by object"
