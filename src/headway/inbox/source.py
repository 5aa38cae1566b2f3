"""The input `http_source`: what clients post, from the log that it was made durable in."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Optional, Protocol

from headway.basics.times import Duration
from headway.connectors.base import Input, PartitionReader, Position, Tell, unheard
from headway.errors import UsageError
from headway.inbox.reader import InboxReader
from headway.inbox.settings import PARTITIONS_MOST, InboxSettings, settings_of
from headway.state.files import INBOX_NAME

__all__ = ["NOTHING_ASKED", "Asked", "HttpInput", "Translated", "Translator", "Way", "http_source"]

_PATH: Final = re.compile(r"(?:/[A-Za-z0-9_][A-Za-z0-9_.~-]*)+")
_RESERVED: Final = ("/healthz", "/readyz", "/openapi.json")
_FORMATS: Final = ("json", "cloudevents")


def http_source(
    path: str,
    *,
    format: str = "json",  # noqa: A002 - the word of the field
    partitions: int = 1,
    window: Duration = "24h",
    window_keys: int = 500_000,
    retention: Duration = "24h",
    require_key: bool = False,
) -> Input:
    """Read what clients post to `path` of the server that `headway run FLOW --listen HOST:PORT` starts.

    An event is acknowledged once it is durable in a log of the state directory, and the flow reads that log: whatever
    is killed, and whenever, each acknowledged event is in the flow exactly once. An event that the source's type does
    not take, or that has no usable time, is refused and never acknowledged. `headway ingest` appends events of a file
    to the same log. See `docs/ingest.md`.

    `format`: with "json", clients post JSON objects (or an array of them), JSON lines, or CloudEvents whose `data` is
    the event. With "cloudevents" the event is the whole CloudEvent, with its attributes and `data` as fields.

    `window` is how long idempotency keys are remembered (those of CloudEvents are `source` and `id`), but no more than
    the last `window_keys` of a partition, some 220 bytes each. `retention` is how long events stay in the log at least;
    later they are deleted once the flow needs them no more. With `require_key` a request without a key is refused.

    `partitions` is fixed at the first start. In one partition events are in the order in which they were acknowledged.
    With more, requests go by the hash of the CloudEvents attribute `partitionkey` or the header `Partition-Key`, those
    without it to the first; several workers then decode in parallel, and a partition that is silent holds time back as
    that of any input does, see `idle_after`. One partition brings more than a server takes: leave it at 1 unless steps
    behind the source are slow.

    With `time=hw.INGESTION_TIME` an event happens when the log took it: the time is kept, and a replay has the same.

    >>> import headway as hw
    >>> flow = hw.Flow("shop")
    >>> orders = flow.source("orders", hw.Json, hw.http_source("/orders"), time=hw.INGESTION_TIME)
    """
    where = f"http_source({path!r})"
    if not isinstance(path, str) or not _PATH.fullmatch(path) or path in _RESERVED:
        msg = f"{where}: expected a path such as '/orders' or '/shop/orders', and none of {', '.join(_RESERVED)}"
        raise UsageError(msg)
    if format not in _FORMATS:
        msg = f"{where}: format is {format!r}, it must be one of {', '.join(map(repr, _FORMATS))}"
        raise UsageError(msg)
    if type(partitions) is not int or not 1 <= partitions <= PARTITIONS_MOST:
        msg = f"{where}: partitions is {partitions!r}, it must be a whole number from 1 to {PARTITIONS_MOST}"
        raise UsageError(msg)
    settings = settings_of(retention, window, window_keys, where)
    return HttpInput(path, format, partitions, settings, bool(require_key))


class Way(NamedTuple):
    """A path behind that of a source."""

    summary: str
    """What it is for."""
    body: Any
    """The schema of the body of a request."""
    query: Mapping[str, Any] = MappingProxyType({})
    """The schemas of the parameters that a request may have, by their names."""


class Asked(NamedTuple):
    """What a request says beside its path and its body."""

    query: Mapping[str, str] = MappingProxyType({})
    """Its parameters."""
    traceparent: str = ""
    """The header of that name, where it is one of W3C trace context; else empty."""
    key: str = ""
    """Its idempotency key; empty for none."""


NOTHING_ASKED: Final = Asked()


class Translated(NamedTuple):
    """The record that a request means."""

    line: bytes
    """One line of JSON without its end."""
    untraced: bytes
    """The same without the trace context of the request: who sends it again may do so with another span."""


class Translator(Protocol):
    """Makes records of requests whose paths go on behind that of the source."""

    def ways(self) -> Mapping[str, Way]:
        """The paths behind that of the source, with `{NAMES}` in them."""

    def line(self, parts: Sequence[str], body: bytes, asked: Asked = NOTHING_ASKED) -> Translated:
        """The record of a request to these parts of a path.

        Raises `LookupError` for a path that is none, and `UsageError` for what cannot be taken.
        """


@dataclass(frozen=True)
class HttpInput(Input):
    """What `http_source` returns; `state_dir` is known once a flow is to run."""

    path: str
    envelope: str
    """What requests hold: `json`, events as they are, or `cloudevents`."""
    count: int
    settings: InboxSettings
    require_key: bool
    state_dir: Optional[Path] = None
    translator: Optional[Translator] = field(default=None, compare=False)
    """Where the paths of requests say what is asked for: what makes records of them."""

    @property
    def log(self) -> str:
        """The name of the log, which receipts have; that of the path, so that a source may get another name."""
        return self.path[1:].replace("/", ".")

    @property
    def own_log(self) -> Optional[str]:
        """Its log."""
        return f"{INBOX_NAME}/{self.log}"

    def within(self, directory: Path) -> Input:
        """The same in a state directory."""
        return replace(self, state_dir=directory)

    def partitions(self, tell: Tell = unheard) -> list[str]:
        """As many as are declared: `orders/0` is the first one of `/orders`."""
        return sorted(f"{self.log}/{number}" for number in range(self.count))

    def directory(self, partition: str) -> Path:
        """Where a partition's log is."""
        if self.state_dir is None:
            msg = f"{self.describe()} is read by `headway run` or hw.run(...), which give it a state directory"
            raise UsageError(msg)
        return self.state_dir / INBOX_NAME / partition

    def partition_of(self, key: Optional[str]) -> str:
        """Where events with a partition key go."""
        number = 0 if key is None else zlib.crc32(key.encode()) % self.count
        return f"{self.log}/{number}"

    def open(self, partition: str, position: Optional[Position], *, follow: bool) -> PartitionReader:
        """Read from the record on that a position names."""
        return InboxReader(self.directory(partition), partition, position, follow=follow)

    def describe(self) -> str:
        """The path."""
        return f"http {self.path}"

    @property
    def reading(self) -> str:
        """The number of partitions says where events go."""
        return f"in {self.count} partitions" if self.count > 1 else "in one partition"
