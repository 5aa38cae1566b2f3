"""The input for queues that cannot be read again: their messages, from the log that they were made durable in.

There is one log, and one consumer for a run, in the process that reads the log. Several consumers would each have a
log, and a message that comes again, after a crash, might come to another one, which knows nothing of it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Optional

from headway.basics.needed import whole_in
from headway.basics.times import Duration
from headway.connectors.base import Chunk, Input, PartitionReader, Position, Session, Tell, unheard
from headway.connectors.parts import RecordPart
from headway.connectors.remote import format_without_header
from headway.connectors.troubles import Troubles
from headway.errors import InputError, UsageError
from headway.formats.base import Format
from headway.formats.named import JSON, FormatLike
from headway.inbox.cells import Cells
from headway.inbox.commits import Inbox
from headway.inbox.queues.base import Consumer
from headway.inbox.queues.consuming import Consuming
from headway.inbox.queues.records import QueueChunk
from headway.inbox.reader import InboxReader
from headway.inbox.settings import InboxSettings, settings_of
from headway.inbox.window import hash_of
from headway.state.files import INBOX_NAME, state_files

__all__ = ["MOST_WAITING", "QueueInput", "log_name", "queue_source"]

MOST_WAITING: Final = 1_000_000
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.~-]{0,199}")
_LOOK_S: Final = 30.0
_NAME_MOST: Final = 200
_ODD: Final = re.compile(r"[^A-Za-z0-9_.-]")


def queue_source(
    name: str,
    consumer: Callable[[], Consumer],
    *,
    format: FormatLike = JSON,  # noqa: A002 - the word of the field
    window: Duration = "24h",
    window_keys: int = 500_000,
    retention: Duration = "0s",
    most_waiting: int = MOST_WAITING,
    described: Optional[str] = None,
) -> Input:
    """Read a queue through a consumer of yours: its messages are made durable, then acknowledged, then read.

    `name` is that of the log in the state directory, which stays the same for a queue: what was taken and is yet to be
    read is in there. Inputs that are made for a kind of server name it after the queue, such as `rabbitmq.orders`,
    whatever the server's address is; `log` gives another name, where a flow reads two of one name. `consumer` makes
    what takes and acknowledges messages; it is called in the process that reads the log, once for each run.

    `window` is how long ids of messages are remembered, but no more than the last `window_keys`, some 220 bytes each: a
    message with the id and the value of one that came within it is passed over. `retention` is how long messages stay
    in the log at least, once the flow needs them no more; and no less than `window`. When the flow is `most_waiting`
    messages behind, no more are taken. A run without `--follow` takes what there is, and ends when nothing has come for
    a second, or with an error when the queue does not answer within 15 seconds at its begin.

    Raises `UsageError` for an option that cannot be.
    """
    where = f"queue_source({name!r})"
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        msg = f"{where}: expected a name of letters, digits, '_', '.', '~' and '-', such as 'orders'"
        raise UsageError(msg)
    whole_in("most_waiting", most_waiting, 1, 10**12)
    settings = settings_of(retention, window, window_keys, where)
    form = format_without_header(format, where)
    return QueueInput(name, consumer, described or f"queue {name}", settings, most_waiting, form)


def log_name(kind: str, *parts: str) -> str:
    """The name of a queue's log.

    >>> log_name("mqtt", "carts/+/seen")
    'mqtt.carts~2f~2b~2fseen'

    The address of the server is no part of it, so that a server may move. What is too long for a file ends in a hash.
    """
    named = "~-".join(
        _ODD.sub(lambda found: "".join(f"~{byte:02x}" for byte in found[0].encode()), one) for one in parts
    )
    name = f"{kind}.{named}"
    return name if len(name) <= _NAME_MOST else f"{name[: _NAME_MOST - 17]}.{hash_of(name.encode()).hex()[:16]}"


@dataclass(frozen=True)
class QueueInput(Input):
    """What `queue_source` returns; `state_dir` is known once a flow is to run."""

    name: str
    make: Callable[[], Consumer] = field(compare=False)
    described: str
    settings: InboxSettings
    most_waiting: int
    format: Format = JSON
    state_dir: Optional[Path] = None

    record_parts = frozenset(RecordPart)

    @property
    def log(self) -> str:
        """The name of the log. The first character keeps it apart from those of paths."""
        return f"={self.name}"

    @property
    def own_log(self) -> Optional[str]:
        """Its log."""
        return f"{INBOX_NAME}/{self.log}"

    def within(self, directory: Path) -> Input:
        """The same in a state directory."""
        return replace(self, state_dir=directory)

    def look(self) -> Optional[str]:
        """What the consumer says of the queue."""
        consumer = self.make()
        transient: tuple[type[BaseException], ...] = (asyncio.TimeoutError, *consumer.transient)
        try:
            return asyncio.run(asyncio.wait_for(consumer.look(), _LOOK_S))
        except transient as error:
            msg = f"{self.describe()}: {consumer.words(error)}"
            raise InputError(msg) from error

    def session(self) -> Session:
        """What takes messages once the log is opened."""
        return QueueSession(self)

    def partitions(self, tell: Tell = unheard) -> list[str]:
        """One."""
        return [f"{self.log}/0"]

    @property
    def directory(self) -> Path:
        """Where the log is."""
        if self.state_dir is None:
            msg = f"{self.describe()} is read by `headway run` or hw.run(...), which give it a state directory"
            raise UsageError(msg)
        return self.state_dir / INBOX_NAME / self.log / "0"

    def open(self, partition: str, position: Optional[Position], *, follow: bool) -> PartitionReader:
        """A reader with a consumer of its own."""
        return QueueSession(self).open(partition, position, follow=follow)

    def describe(self) -> str:
        """The queue and its server."""
        return self.described


class QueueSession(Session):
    """What one process has of a queue: a consumer, in the process that reads the log."""

    def __init__(self, given: QueueInput) -> None:
        self._queue = given
        self._troubles = Troubles(given.describe())

    def partitions(self, tell: Tell = unheard) -> list[str]:
        """One."""
        return self._queue.partitions()

    def notices(self, tell: Tell) -> None:
        """What there is to tell of the queue."""
        self._troubles.take(tell)

    def open(self, partition: str, position: Optional[Position], *, follow: bool) -> PartitionReader:
        """Read the log from the record on that a position names, and take messages into it."""
        return QueueReader(self._queue, self._troubles, partition, position, follow=follow)


class QueueReader(PartitionReader):
    """Reads the log of a queue, and has its messages taken while it is open."""

    def __init__(
        self, given: QueueInput, troubles: Troubles, name: str, position: Optional[Position], *, follow: bool
    ) -> None:
        self._name = name
        self._log = InboxReader(given.directory, name, position, follow=follow)
        self._is_over = False
        with state_files(given.directory):
            self._cells = Cells(given.directory)
        cells = self._cells
        self._consuming = Consuming(
            given.describe(),
            given.make(),
            lambda: Inbox(given.directory, given.settings),
            lambda: cells.next - cells.needed,
            troubles,
            most_waiting=given.most_waiting,
            follow=follow,
        )

    def read(self, max_bytes: int) -> Optional[Chunk]:
        """The next batches. Raises what has ended the consumer, once all that it took has been read."""
        was_finished, failure = self._consuming.is_finished, self._consuming.failure  # Before the log is looked at.
        found = self._log.read(max_bytes)
        if found is not None:
            return QueueChunk(self._name, found)
        if failure is not None:
            raise failure
        self._is_over = was_finished
        return None

    @property
    def at_end(self) -> bool:
        """Whether a bounded run has read all that it took."""
        return self._is_over

    def has_more(self) -> bool:
        """Whether there is something to be read now."""
        return self._log.has_more()

    @property
    def behind(self) -> Optional[int]:
        """How many messages were taken and not read yet. How many the queue has is its own knowledge."""
        return self._log.behind

    def position(self) -> Position:
        """The number of the next record."""
        return self._log.position()

    def floor_ms(self, wall_ms: int) -> Optional[int]:
        """No record that is yet to be read was received before this time; None when nothing is known yet."""
        return self._log.floor_ms(wall_ms)

    def committed(self, position: Position) -> None:
        """What is before it may be deleted, once it is old enough."""
        self._log.committed(position)

    def close(self) -> None:
        """End the consumer, and let go of the files."""
        self._consuming.close()
        self._cells.close()
        self._log.close()
