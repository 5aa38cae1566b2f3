"""The topic in which the exact target of Kafka keeps its positions, and how they are read back.

Its last segment, which is never compacted, is kept small: all of the topic is read when a run starts.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import suppress
from typing import Any, Final, NamedTuple, Optional

import msgspec

from headway.connectors.kafka.settings import KafkaSettings
from headway.errors import UsageError
from headway.targets.positions import Position, Refusals

__all__ = ["POSITIONS_TOPIC", "Held", "KafkaPositions"]

POSITIONS_TOPIC: Final = "headway-positions"
_POLL_S: Final = 0.2
_POLL_RECORDS: Final = 500
_FETCH_MS: Final = 10
"""How long the broker waits for new records before it says that there are none: the end is found so much later."""
_THE_END: Final = "the run ends"
_SETTINGS: Final = {
    "cleanup.policy": "compact",
    "retention.ms": "-1",
    "segment.bytes": str(16 * 1024 * 1024),
    "min.cleanable.dirty.ratio": "0.1",
}


class _Kept(msgspec.Struct, array_like=True, frozen=True):
    """What a record of the topic holds; its key is the topic and the place."""

    number: int
    id: str
    refused: Refusals
    writer: str = ""


class Held(NamedTuple):
    """A position, and who may write it."""

    position: Position
    writer: str
    """The transactional id of the one producer that may write to the place; empty where none has claimed it."""


class KafkaPositions:
    """Positions by topic and place, for several threads.

    The topic is read once for all of them, some records at a time, by whoever has its turn; no thread waits longer
    than `timeout_s`, in seconds, whatever another one waits for.
    """

    def __init__(self, settings: KafkaSettings, timeout_s: float) -> None:
        self._settings = settings
        self._timeout_s = timeout_s
        self._known: dict[tuple[str, str], Held] = {}
        self._at = 0
        """How far the topic has been read."""
        self._consumer: Any = None
        self._asking: Any = None
        """What asks where the topic ends: it sees what is not committed."""
        self._is_there = False
        self.claiming = threading.Lock()
        """Held by whoever claims places."""
        self._turn = threading.Condition()
        """Guards what is above; never held while the broker is waited for."""
        self._is_polling = False
        self._readers = 0
        self._is_closed = False

    def ensure(self) -> None:
        """Make the topic where it is not there: compacted, one partition. Raises `KafkaException`."""
        from confluent_kafka.admin import AdminClient
        from confluent_kafka.cimpl import KafkaError, KafkaException, NewTopic

        if self._is_there:
            return
        admin = AdminClient(self._settings.config({"error_cb": lambda error: None}))
        topic = NewTopic(POSITIONS_TOPIC, 1, config=_SETTINGS)
        [made] = admin.create_topics([topic], request_timeout=self._timeout_s).values()
        try:
            made.result(self._timeout_s)
        except KafkaException as error:
            if error.args[0].name() != "TOPIC_ALREADY_EXISTS":
                raise
        except FutureTimeoutError as error:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT)) from error
        self._is_there = True

    def send(self, producer: Any, topic: str, place: str, held: Held) -> None:
        """Hand the position to a producer, as part of its transaction."""
        key = msgspec.json.encode([topic, place])
        producer.produce(POSITIONS_TOPIC, msgspec.json.encode(_Kept(*held.position, held.writer)), key=key, partition=0)

    def read(
        self, waiting: Callable[[Mapping[tuple[str, str], Held]], None] = lambda known: None
    ) -> Mapping[tuple[str, str], Held]:
        """All positions that were committed before the call. Raises `KafkaException`, or `UsageError` after a while.

        Transactions of others that are open hold back what is behind them: it is waited for their end. `waiting` is
        called meanwhile, with what is known so far.
        """
        until_s = time.monotonic() + self._timeout_s
        self._begin()
        try:
            end = self._end()
            while True:
                with self._turn:
                    while self._is_polling and self._at < end and time.monotonic() <= until_s:
                        self._turn.wait(_POLL_S)
                    if self._at >= end:
                        return dict(self._known)
                    if self._is_closed:
                        raise UsageError(_THE_END)
                    if time.monotonic() > until_s:
                        msg = f"the topic {POSITIONS_TOPIC} cannot be read to its end: a transaction of another is open"
                        raise UsageError(msg)
                    self._is_polling = True
                if not self._poll():
                    with self._turn:
                        known = dict(self._known)
                    waiting(known)
        finally:
            self._finish()

    def close(self) -> None:
        """End the clients: at once, or when the last thread that reads has come to its end."""
        with self._turn:
            self._is_closed = True

    def _begin(self) -> None:
        from confluent_kafka import Consumer, TopicPartition

        with self._turn:
            if self._is_closed:
                raise UsageError(_THE_END)
            if self._consumer is None:
                ours = {"enable.partition.eof": True, "enable.auto.commit": False, "auto.offset.reset": "earliest"}
                ours["fetch.wait.max.ms"] = _FETCH_MS
                self._consumer = Consumer(self._config(isolation="read_committed", **ours))
                self._consumer.assign([TopicPartition(POSITIONS_TOPIC, 0, self._at)])
                self._asking = Consumer(self._config(isolation="read_uncommitted"))
            self._readers += 1

    def _finish(self) -> None:
        with self._turn:
            self._readers -= 1
            if not self._readers:  # A client that nobody needs would go on asking.
                self._dispose()

    def _dispose(self) -> None:
        for client in filter(None, (self._consumer, self._asking)):
            with suppress(Exception):  # It is the end of it, whatever it says.
                client.close()
        self._consumer = self._asking = None

    def _config(self, *, isolation: str, **options: Any) -> dict[str, Any]:
        ours = {"group.id": f"headway-{uuid.uuid4()}", "isolation.level": isolation, "error_cb": lambda error: None}
        return self._settings.config({**ours, **options})

    def _poll(self) -> bool:
        """Read some records, for a moment at most; returns whether there were any. One thread at a time."""
        found: Sequence[Any] = ()
        try:
            found = self._consumer.consume(1, _POLL_S)
            if found:  # It waits for as many as it is asked for, so the others are those that are there.
                found += self._consumer.consume(_POLL_RECORDS, 0)
        finally:
            with self._turn:
                self._is_polling = False
                self._turn.notify_all()
                errors = [error for error in map(self._noted, found) if error is not None]
        if errors:
            raise errors[0]
        return bool(found)

    def _noted(self, message: Any) -> Optional[Exception]:
        """Note what a record says; an error is returned, so that what comes behind it is noted as well."""
        from confluent_kafka.cimpl import KafkaException

        error = message.error()
        if error is None:
            try:
                topic, name = msgspec.json.decode(message.key(), type=tuple[str, str])
                kept = msgspec.json.decode(message.value(), type=_Kept)
            except (msgspec.DecodeError, TypeError) as wrong:
                return UsageError(
                    f"record {message.offset()} of the topic {POSITIONS_TOPIC} is no position of Headway's ({wrong}): "
                    "let nobody else write to it"
                )
            self._known[topic, name] = Held(Position(kept.number, kept.id, kept.refused), kept.writer)
            self._at = message.offset() + 1
        elif error.name() == "_PARTITION_EOF":
            self._at = max(self._at, message.offset())
        else:
            return KafkaException(error)
        return None

    def _end(self) -> int:
        """Where the topic ends, with what is not committed yet."""
        from confluent_kafka import TopicPartition

        _, end = self._asking.get_watermark_offsets(TopicPartition(POSITIONS_TOPIC, 0), timeout=self._timeout_s)
        return int(end)
