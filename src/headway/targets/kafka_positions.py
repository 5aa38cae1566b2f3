"""The topic in which the exact target of Kafka keeps its positions, and how they are read back."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

import msgspec

from headway.connectors.kafka.settings import KafkaSettings
from headway.errors import UsageError
from headway.targets.positions import Position, Refusals

__all__ = ["POSITIONS_TOPIC", "KafkaPositions"]

POSITIONS_TOPIC: Final = "headway-positions"


class _Kept(msgspec.Struct, array_like=True, frozen=True):
    """What a record of the topic holds; its key is the topic and the place."""

    number: int
    id: str
    refused: Refusals


class KafkaPositions:
    """Positions by topic and place. `read` may be called by several threads, one after the other has its turn."""

    def __init__(self, settings: KafkaSettings, timeout_s: float) -> None:
        self._settings = settings
        self._timeout_s = timeout_s
        self._known: dict[tuple[str, str], Position] = {}
        self._consumer: Any = None
        self._asking: Any = None
        """What asks where the topic ends: it sees what is not committed."""
        self._is_there = False
        self._lock = threading.Lock()

    def ensure(self) -> None:
        """Make the topic where it is not there: compacted, one partition. Raises `KafkaException`."""
        from confluent_kafka.admin import AdminClient
        from confluent_kafka.cimpl import KafkaException, NewTopic

        with self._lock:
            if self._is_there:
                return
            admin = AdminClient(self._settings.config({"error_cb": lambda error: None}))
            topic = NewTopic(POSITIONS_TOPIC, 1, config={"cleanup.policy": "compact", "retention.ms": "-1"})
            [made] = admin.create_topics([topic], request_timeout=self._timeout_s).values()
            try:
                made.result(self._timeout_s)
            except KafkaException as error:
                if error.args[0].name() != "TOPIC_ALREADY_EXISTS":
                    raise
            self._is_there = True

    def send(self, producer: Any, topic: str, place: str, position: Position) -> None:
        """Hand the position to a producer, as part of its transaction."""
        key = msgspec.json.encode([topic, place])
        producer.produce(POSITIONS_TOPIC, msgspec.json.encode(_Kept(*position)), key=key, partition=0)

    def read(self) -> Mapping[tuple[str, str], Position]:
        """All positions that were committed before the call. Raises `KafkaException`, or `UsageError` after a while.

        Transactions of others that are open hold back what is behind them: it is waited for their end.
        """
        from confluent_kafka import Consumer, TopicPartition
        from confluent_kafka.cimpl import KafkaException

        with self._lock:
            if self._consumer is None:
                self._consumer = Consumer(
                    self._settings.config(
                        {
                            "group.id": f"headway-{uuid.uuid4()}",
                            "enable.auto.commit": False,
                            "enable.partition.eof": True,
                            "auto.offset.reset": "earliest",
                            "isolation.level": "read_committed",
                            "error_cb": lambda error: None,
                        }
                    )
                )
                self._consumer.assign([TopicPartition(POSITIONS_TOPIC, 0, 0)])
                self._at = 0
            end = self._end()
            until_s = time.monotonic() + self._timeout_s
            while self._at < end:
                if time.monotonic() > until_s:
                    msg = f"the topic {POSITIONS_TOPIC} cannot be read to its end: a transaction of another is open"
                    raise UsageError(msg)
                message = self._consumer.poll(0.2)
                if message is None:
                    continue
                error = message.error()
                if error is None:
                    topic, name = msgspec.json.decode(message.key(), type=tuple[str, str])
                    kept = msgspec.json.decode(message.value(), type=_Kept)
                    self._known[topic, name] = Position(kept.number, kept.id, kept.refused)
                    self._at = message.offset() + 1
                elif error.name() == "_PARTITION_EOF":
                    self._at = max(self._at, message.offset())
                else:
                    raise KafkaException(error)
            return dict(self._known)

    def close(self) -> None:
        """End the client."""
        with self._lock:
            for client in filter(None, (self._consumer, self._asking)):
                with suppress(Exception):  # It is the end of it, whatever it says.
                    client.close()
            self._consumer = self._asking = None

    def _end(self) -> int:
        """Where the topic ends, with what is not committed yet."""
        from confluent_kafka import Consumer, TopicPartition

        if self._asking is None:
            ours = {"group.id": f"headway-{uuid.uuid4()}", "isolation.level": "read_uncommitted"}
            self._asking = Consumer(self._settings.config({**ours, "error_cb": lambda error: None}))
        place = TopicPartition(POSITIONS_TOPIC, 0)
        _, end = self._asking.get_watermark_offsets(place, timeout=self._timeout_s)
        return int(end)
