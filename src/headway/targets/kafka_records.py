"""Triggers as records of Kafka, and what the writers of both kinds share in sending them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from headway.connectors.kafka.settings import KafkaSettings
from headway.connectors.kafka.words import told
from headway.targets.base import Delivery
from headway.targets.cloudevents import attributes, event_of

__all__ = ["Failed", "Records", "is_of_a_record", "known_error"]

_OF_A_RECORD: Final = ("MSG_SIZE_TOO_LARGE", "_MSG_SIZE_TOO_LARGE", "INVALID_RECORD", "INVALID_TIMESTAMP")
"""What is refused for what is in a record; all else concerns the topic or the broker, and is tried again."""
_HEADERS: Final = {
    name: f"ce_{name}"
    for name in ("specversion", "id", "source", "type", "time", "sequence", "subject", "partitionkey", "traceparent")
}
_JSON: Final = ("content-type", b"application/json")
_FULL_S: Final = 0.05


class Failed(NamedTuple):
    """What came of a record that was not taken."""

    error: Any
    is_sure: bool
    """Whether it is this record that was refused, and not one that was sent together with it."""


class Records:
    """A topic, and how triggers become records of it."""

    def __init__(self, settings: KafkaSettings, topic: str, mode: str) -> None:
        self.settings = settings
        self.topic = topic
        self._mode = mode

    def produce(self, producer: Any, delivery: Delivery, heard: Callable[[Any, Any], None]) -> None:
        """Hand a trigger to a producer, waiting while its queue is full; `heard` takes what came of it.

        Raises `KafkaException` where the client refuses it.
        """
        key = None if delivery.subject is None else delivery.subject.encode()
        value, headers = self._parts(delivery)
        time_ms = max(delivery.time_ms, 1)  # Brokers take no time before 1970, nor none.
        while True:
            try:
                producer.produce(self.topic, value, key, on_delivery=heard, timestamp=time_ms, headers=headers)
                return
            except BufferError:
                producer.poll(_FULL_S)

    def words(self, error: Any) -> str:
        """An error of the client for people, without secrets."""
        return self.settings.without_secrets(told(error))

    def _parts(self, delivery: Delivery) -> tuple[bytes, list[tuple[str, bytes]]]:
        if self._mode != "binary":
            return event_of(delivery), [("content-type", b"application/cloudevents+json")]
        headers = [(_HEADERS[name], value.encode()) for name, value in attributes(delivery).items()]
        headers.append(_JSON)
        return delivery.data, headers


def is_of_a_record(error: Any) -> bool:
    """Whether an error of the client says that this record is never taken."""
    return error.name() in _OF_A_RECORD


def known_error(raised: BaseException) -> Any:
    """The `KafkaException` that was raised, or that is behind a `SystemError`; raises anything else again.

    The client raises a fatal error in the middle of its callbacks, which makes a `SystemError` of it.
    """
    import confluent_kafka

    found = raised if isinstance(raised, confluent_kafka.KafkaException) else raised.__cause__
    if not isinstance(found, confluent_kafka.KafkaException):
        raise raised
    return found
