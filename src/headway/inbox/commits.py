"""What clients send, made durable: idempotency keys are looked up, and what is new is appended, many at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Optional, Union

from headway.errors import StateError
from headway.inbox.frames import Entry
from headway.inbox.log import Batch, InboxLog, machine_ms
from headway.inbox.settings import InboxSettings
from headway.inbox.window import Seen, Window, hash_of

__all__ = ["ConflictError", "Inbox", "Item", "Outcome", "Receipt", "item_of"]


class Receipt(NamedTuple):
    """What a client is told of its events: they are durable, and the flow will read them."""

    position: int
    """The number in the log of the last one of them."""
    duplicate: bool
    """Whether they were there before; then this is what the first one was told."""


class ConflictError(Exception):
    """An idempotency key was used before, within the window, for other content. Nothing of the batch was appended."""

    def __init__(self, number: int, key: str, position: Optional[int]) -> None:
        where = "" if position is None else f", at position {position}"
        super().__init__(f"the idempotency key {key[1:]!r} was used for other content{where}")
        self.number = number
        """Which item of the batch has it, from 0."""


class Item(NamedTuple):
    """Some records, of which a client knows by one idempotency key, or by none."""

    lines: bytes
    """Each a line of JSON with its end."""
    records: int
    key: Optional[str]
    """With a letter before it that says what kind of key it is."""
    content: Optional[bytes] = None
    """What must be the same where the key is; None for the lines."""


def item_of(line: bytes, key: Optional[str] = None, content: Optional[bytes] = None) -> Item:
    """One record."""
    return Item(line + b"\n", 1, key, content)


Outcome = Union[list[Receipt], ConflictError, StateError]
"""What came of a batch: a receipt for each of its items, or why none of them was appended."""


class _Pending(NamedTuple):
    """A batch of a group: for each item a receipt, or where in the batch its records begin."""

    receipts: list[Union[Receipt, Entry]]
    batch: Optional[int]
    """Which batch of the log it becomes; None where all of it was there before."""


class Inbox:
    """One partition of an inbox: a log and the window of its idempotency keys. Used by one thread.

    `commit` takes the batches of many clients together. They are in the log in the order in which they are given.
    Other content under a key that was used is a conflict; with `first_counts` it is passed over as a repetition.
    Raises what `InboxLog` raises when it is opened.
    """

    def __init__(
        self,
        directory: Path,
        settings: InboxSettings,
        wall_ms: Callable[[], int] = machine_ms,
        *,
        first_counts: bool = False,
        **options: Any,
    ) -> None:
        self._wall_ms = wall_ms
        self._first_counts = first_counts
        self.window = Window(settings.window_ms, settings.window_keys)
        self.log = InboxLog(
            directory,
            retention_ms=settings.retention_ms,
            window_ms=settings.window_ms,
            on_frame=self.window.take,
            wall_ms=wall_ms,
            **options,
        )

    def commit(self, groups: Sequence[Sequence[Item]]) -> list[Outcome]:
        """Make batches durable that are not yet; what came of each. One write and one sync, or none if none is new."""
        now_ms = self._wall_ms()
        self.window.forget(now_ms)
        fresh: dict[bytes, tuple[Entry, int]] = {}  # What this group has of each key, and in which batch of the log.
        batches: list[Batch] = []
        pending = [self._resolve(items, now_ms, fresh, batches) for items in groups]
        if not batches:
            return [self._told(found, [], fresh) for found in pending]
        try:
            numbers = self.log.append(batches)
        except StateError as error:
            return [error if _waits(found) else self._told(found, [], fresh) for found in pending]
        received_ms = self.log.received_ms
        for key, (entry, batch) in fresh.items():
            self.window.add(key, Seen(entry.digest, _last(entry, numbers[batch]), received_ms))
        return [self._told(found, numbers, fresh) for found in pending]

    def close(self) -> None:
        """Let go of the log."""
        self.log.close()

    def _resolve(
        self, items: Sequence[Item], now_ms: int, fresh: dict[bytes, tuple[Entry, int]], batches: list[Batch]
    ) -> Union[_Pending, ConflictError]:
        receipts: list[Union[Receipt, Entry]] = []
        lines: list[bytes] = []
        entries: dict[bytes, Entry] = {}
        count = 0
        for number, item in enumerate(items):
            if item.key is None:
                receipts.append(Entry(b"", b"", count, item.records))
            else:
                key = hash_of(item.key.encode())
                digest = hash_of(item.lines if item.content is None else item.content)
                here = entries.get(key) or (fresh[key][0] if key in fresh else None)
                known = self.window.find(key, now_ms) if here is None else None
                used = here or known
                if used is not None and used.digest != digest and not self._first_counts:
                    return ConflictError(number, item.key, None if known is None else known.position)
                if known is not None:
                    receipts.append(Receipt(known.position, duplicate=True))
                    continue
                if here is not None:
                    receipts.append(here)
                    continue
                entry = entries[key] = Entry(key, digest, count, item.records)
                receipts.append(entry)
            lines.append(item.lines)
            count += item.records
        if not lines:
            return _Pending(receipts, None)
        fresh.update({key: (entry, len(batches)) for key, entry in entries.items()})
        batches.append(Batch(b"".join(lines), count, list(entries.values())))
        return _Pending(receipts, len(batches) - 1)

    def _told(
        self, found: Union[_Pending, ConflictError], numbers: Sequence[int], fresh: dict[bytes, tuple[Entry, int]]
    ) -> Outcome:
        if isinstance(found, ConflictError):
            return found
        told = set()
        receipts = []
        for receipt in found.receipts:
            if isinstance(receipt, Receipt):
                receipts.append(receipt)
            elif not receipt.key:
                assert found.batch is not None
                receipts.append(Receipt(_last(receipt, numbers[found.batch]), duplicate=False))
            else:
                batch = fresh[receipt.key][1]
                is_repeat = batch != found.batch or receipt.key in told
                told.add(receipt.key)
                receipts.append(Receipt(_last(receipt, numbers[batch]), is_repeat))
        return receipts


def _waits(found: Union[_Pending, ConflictError]) -> bool:
    """Whether a batch needs the group's append, its own or that of an equal key."""
    return isinstance(found, _Pending) and any(isinstance(receipt, Entry) for receipt in found.receipts)


def _last(entry: Entry, first: int) -> int:
    """The number of the last record of an entry, whose batch begins at a number."""
    return first + entry.first + entry.count - 1


def total_bytes(items: Iterable[Item]) -> int:
    """How many bytes a batch has."""
    return sum(len(item.lines) for item in items)
