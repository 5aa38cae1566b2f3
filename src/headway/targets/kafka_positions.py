"""The topic in which the exact target of Kafka keeps its positions, and how they are read back.

Its last segment, which is never compacted, is kept small: all of the topic is read when a run starts.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import closing
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
_OF_THE_TIMEOUT: Final = 0.8
"""The part of the time for an attempt in which a transaction of another must end: who waits longer cannot say why."""
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
    """Positions by topic and place, for all writers of a target. They claim places, and read, one after the other."""

    def __init__(self, settings: KafkaSettings, timeout_s: float) -> None:
        self.claiming = threading.Lock()
        """Held by whoever claims places; but for `close`, everything is called by who holds it."""
        self._settings = settings
        self._timeout_s = timeout_s
        self._known: dict[tuple[str, str], Held] = {}
        self._at = 0
        """How far the topic has been read."""
        self._is_there = False
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

        The while is most of the time for an attempt, so that it is told what was waited for.

        Transactions of others that are open hold back what is behind them: it is waited for their end. `waiting` is
        called meanwhile, with what is known so far.
        """
        from confluent_kafka import Consumer, TopicPartition

        until_s = time.monotonic() + _OF_THE_TIMEOUT * self._timeout_s
        topic = TopicPartition(POSITIONS_TOPIC, 0)
        ours = {"enable.partition.eof": True, "auto.offset.reset": "earliest", "fetch.wait.max.ms": _FETCH_MS}
        # Clients that nobody needs would go on asking: they live as long as this takes.
        with (
            closing(Consumer(self._config(isolation="read_uncommitted"))) as asking,
            closing(Consumer(self._config(isolation="read_committed", **ours))) as consumer,
        ):
            # Where the topic ends with what is not committed yet, which the other client does not see.
            _, end = asking.get_watermark_offsets(topic, timeout=self._timeout_s)
            consumer.assign([TopicPartition(POSITIONS_TOPIC, 0, self._at)])
            while self._at < end:
                if self._is_closed:
                    raise UsageError(_THE_END)
                if time.monotonic() > until_s:
                    raise UsageError(_still_open(self._at))
                if not self._poll(consumer):
                    waiting(self._known)
        return self._known

    def close(self) -> None:
        """The run ends: who reads raises soon. Called by any thread."""
        self._is_closed = True

    def _config(self, *, isolation: str, **options: Any) -> dict[str, Any]:
        ours = {
            "group.id": f"headway-{uuid.uuid4()}",
            "enable.auto.commit": False,
            "isolation.level": isolation,
            "error_cb": lambda error: None,
        }
        return self._settings.config({**ours, **options})

    def _poll(self, consumer: Any) -> bool:
        """Read some records, for a moment at most; returns whether there were any."""
        found = consumer.consume(1, _POLL_S)
        if found:  # It waits for as many as it is asked for, so the others are those that are there.
            found += consumer.consume(_POLL_RECORDS, 0)
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


def _still_open(offset: int) -> str:
    """What to say of a transaction that holds back all that is behind an offset."""
    return (
        f"the topic {POSITIONS_TOPIC} cannot be read beyond offset {offset}: a transaction of another is open there; "
        "one that is still there after a minute was lost by a broker, and kafka-transactions.sh find-hanging names it"
    )
