"""The input `kafka`: a topic, partition by partition, by positions that are kept with the flow's state."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Optional, Union

from headway.basics.times import parse_time
from headway.connectors.base import Input, Position, Session
from headway.connectors.kafka.settings import KafkaSettings
from headway.connectors.remote import RemoteInput, format_without_header, one_of
from headway.errors import UsageError
from headway.formats.base import Format
from headway.formats.named import JSON, FormatLike

__all__ = ["KafkaInput", "kafka"]

_TOPIC: Final = re.compile(r"[A-Za-z0-9._-]{1,249}")


def kafka(
    servers: str,
    topic: str,
    *,
    format: FormatLike = JSON,  # noqa: A002 - the word of the field
    start: Union[str, int] = "earliest",
    expired: str = "stop",
    isolation: str = "read_committed",
    group: Optional[str] = None,
    options: Optional[Mapping[str, Any]] = None,
) -> Input:
    """Read a topic of Kafka: its partitions are the source's, each with its own watermark.

    No consumer group assigns partitions: Headway does, and keeps the offsets with its state, so that adding a worker
    replays nothing. With `group` they are also committed to that group, after each epoch is durable: for tools that
    watch the lag, and for nothing else. New partitions are found while following. Records that were aborted are not
    read, unless `isolation` is `"read_uncommitted"`.

    `start` is where a flow without state begins: `"earliest"`, `"latest"`, or a time (epoch milliseconds or RFC 3339
    text) from which on records are read. A run without `--follow` reads up to the end that each partition had when it
    was opened. When the broker has deleted records that were not read yet, `expired="stop"` ends the run with what is
    missing, and `"earliest"` goes on at the oldest record and says so. A topic that was made anew is refused.

    The time, the key, the headers, the offset and the partition of records can be used (`hw.record_time` and others).
    A record without a value is a dead letter: a topic that is compacted is read as a log of changes, in which older
    changes may be missing. `options` are settings of librdkafka, such as `{"security.protocol": "SASL_SSL",
    "sasl.mechanism": "SCRAM-SHA-512", "sasl.username": "env:KAFKA_USER", "sasl.password": "env:KAFKA_PASSWORD"}`.

    Needs the extra `kafka`. Raises `UsageError` for an option that cannot be.

    >>> kafka("localhost:9092", "carts").describe()
    'kafka topic carts at localhost:9092'
    """
    settings = KafkaSettings(servers, options)
    if not isinstance(topic, str) or not _TOPIC.fullmatch(topic) or topic in (".", ".."):
        msg = f"kafka(..., {topic!r}): expected the name of a topic: letters, digits, '.', '_' and '-'"
        raise UsageError(msg)
    one_of("kafka", "expired", expired, "stop", "earliest")
    one_of("kafka", "isolation", isolation, "read_committed", "read_uncommitted")
    begin: Union[str, int] = start
    if start not in ("earliest", "latest"):
        try:
            begin = parse_time(start)
        except ValueError as error:
            msg = f"kafka(..., start={start!r}): expected 'earliest', 'latest' or a time: {error}"
            raise UsageError(msg) from None
    form = format_without_header(format, "kafka")
    return KafkaInput(settings, topic, begin, expired == "earliest", isolation, group, form)


@dataclass(frozen=True)
class KafkaInput(RemoteInput):
    """What `kafka` returns."""

    settings: KafkaSettings = field(compare=False)
    topic: str
    start: Union[str, int]
    skips_expired: bool
    isolation: str
    group: Optional[str]
    format: Format = JSON

    def session(self) -> Session:
        """One client for the process."""
        from headway.connectors.kafka.session import KafkaSession

        return KafkaSession(self)

    def describe(self) -> str:
        """The topic and the brokers."""
        return f"kafka topic {self.topic} at {self.settings.servers}"

    def records_before(self, position: Position) -> Optional[int]:
        """The offset: what was compacted away is counted too."""
        return position.get("offset")
