"""Looking at brokers of Kafka: topics, and how many records are in them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from headway.connectors.base import Input
from headway.connectors.kafka.settings import KafkaSettings
from headway.connectors.kafka.source import kafka
from headway.connectors.kafka.words import is_final, told
from headway.errors import InputError, UsageError
from headway.probing.base import NAMES_SHOWN, Look, Named, Probe

__all__ = ["KafkaProbe"]

_ANSWER_S: Final = 10.0
_LOOK_S: Final = 2.0
_COUNTED_MOST: Final = 500
"""Of how many partitions, of all topics together, the ends are asked for."""


class KafkaProbe(Probe):
    """Brokers: `kafka://host:port`, several behind commas, and settings of librdkafka as options."""

    unit = "topic"
    extra = "kafka"

    def __init__(self, url: str, options: Mapping[str, str]) -> None:
        servers = url.partition("://")[2].rstrip("/")
        if "@" in servers or "/" in servers:
            msg = (
                "kafka://... has the addresses of brokers and no more: give the topic as the next argument, and user "
                "and password as --option sasl.username=env:NAME --option sasl.password=env:NAME"
            )
            raise UsageError(msg)
        self._options = dict(options)
        self._settings = KafkaSettings(servers, options)
        self.shown = f"kafka://{servers}"

    def look(self) -> Look:
        """The brokers, and the topics but for those of Kafka's own."""
        from confluent_kafka import Consumer, KafkaException

        said: list[str] = []
        finals: list[str] = []
        names_said: set[str] = set()

        def note(error: Any) -> None:
            words = self._settings.without_secrets(told(error))
            said.append(words)
            names_said.add(error.name())
            if is_final(error):
                finals.append(words)

        def is_over() -> bool:
            consumer.poll(0)
            return bool(finals) or "_ALL_BROKERS_DOWN" in names_said

        consumer = Consumer(self._settings.config({"group.id": "headway-connect-check", "error_cb": note}))
        try:
            metadata = _asked(consumer, is_over)
            names = sorted(name for name in metadata.topics if not name.startswith("__"))
            shown = [self._named(consumer, metadata.topics[name]) for name in names[:NAMES_SHOWN]]
        except KafkaException as error:
            consumer.poll(0)
            known = self._settings.without_secrets(told(error.args[0]))
            msg = f"{self.shown}: {(finals or said or [known])[-1]}"
            raise InputError(msg) from error
        finally:
            consumer.close()
        brokers = len(metadata.brokers)
        server = f"{brokers} broker{'' if brokers == 1 else 's'} of the cluster {metadata.cluster_id}"
        return Look(server, shown, len(names) - len(shown))

    def _named(self, consumer: Any, topic: Any) -> Named:
        from confluent_kafka import KafkaException, TopicPartition

        if topic.error is not None:
            return Named(topic.topic, told(topic.error))
        count = len(topic.partitions)
        size = f"{count} partition{'' if count == 1 else 's'}"
        try:
            ends = [
                consumer.get_watermark_offsets(TopicPartition(topic.topic, number), timeout=_ANSWER_S)
                for number in list(topic.partitions)[: _COUNTED_MOST // NAMES_SHOWN]
            ]
        except KafkaException as error:
            return Named(topic.topic, f"{size}, which cannot be read: {told(error.args[0])}")
        behind = "at least " if len(ends) < count else ""
        return Named(topic.topic, f"{size}, {behind}{sum(high - low for low, high in ends):,} records")

    def input(self, name: str) -> Input:
        """The topic from its start."""
        return kafka(self._settings.servers, name, options=self._options)

    def source(self, name: str) -> str:
        """With the options that were given, whose secrets are references or left to be filled in."""
        options = "".join(f', "{option}": "{_written(option, value)}"' for option, value in self._options.items())
        given = f", options={{{options[2:]}}}" if options else ""
        return f'hw.kafka("{self._settings.servers}", "{name}"{given})'


def _asked(consumer: Any, is_over: Callable[[], bool]) -> Any:
    """What there is, by the brokers. Raises `KafkaException` when they do not answer in time, or it is known before.

    The library waits for a broker that may come yet, and says what is wrong only in between.
    """
    from confluent_kafka import KafkaException

    until_s = time.monotonic() + _ANSWER_S
    while True:
        try:
            return consumer.list_topics(timeout=_LOOK_S)
        except KafkaException:
            if is_over() or time.monotonic() > until_s:
                raise


def _written(option: str, value: str) -> str:
    is_secret = any(part in option for part in ("password", "secret", "key.pem"))
    return "env:..." if is_secret and not value.startswith(("env:", "file:")) else value
