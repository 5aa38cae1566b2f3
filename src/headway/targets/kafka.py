"""Triggers into a topic of Kafka: in transactions that carry our position, and exact; or by id.

What waits is written together: while a thread writes, more batches come, and all of them are the next transaction.
`headway.targets.kafka_exact` says how each trigger is there once. With `transactions=False` records are sent as they
come by one idempotent producer; after a crash some come again, with the same id in their headers.

Records are CloudEvents as the Kafka protocol binding says: in *binary* mode the value is the trigger's value and the
attributes are headers `ce_*`; in *structured* mode the value is the whole event. The key is the trigger's subject, so
that those of one key are in one partition, in their order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final, Optional, Union

from headway.basics.needed import needed
from headway.basics.times import Duration
from headway.connectors.kafka.settings import KafkaSettings
from headway.connectors.kafka.words import told
from headway.errors import OutputError, UsageError
from headway.targets.base import Answer, Delivery, Guarantee, Limits, Target
from headway.targets.cloudevents import checked_mode
from headway.targets.kafka_by_id import ByIdWriter
from headway.targets.kafka_exact import ExactWriter
from headway.targets.kafka_positions import KafkaPositions
from headway.targets.kafka_records import Records
from headway.targets.limits import limits_of
from headway.targets.threads import Threads

__all__ = ["Kafka", "to_kafka"]

_LOOK_S: Final = 10.0
_THREADS: Final = 4
"""One writes. Others may still wait for an answer to what was given up."""

_Writer = Union[ExactWriter, ByIdWriter]


def to_kafka(
    servers: str,
    topic: str,
    *,
    mode: str = "binary",
    transactions: bool = True,
    batch: int = 500,
    concurrency: int = 32,
    rate: Optional[float] = None,
    timeout: Duration = "30s",
    options: Optional[Mapping[str, Any]] = None,
    name: Optional[str] = None,
) -> Kafka:
    """Write triggers to a topic of Kafka, each exactly once for readers of committed records.

    `mode` is how a trigger becomes a record: `"binary"`, its value with the attributes of the CloudEvent as headers, or
    `"structured"`, the whole event as JSON. Its key is the trigger's key, its timestamp the trigger's time. `batch`
    triggers of a key group are handed over at a time, and of `concurrency` groups at the same time; what waits while a
    transaction is under way is the next one. With `transactions=False` they are sent without, and after a crash some
    may be there twice, with the same id. A record that the broker refuses because of its size goes to the dead letters.
    `options` are settings of librdkafka, as for `hw.kafka`.

    The user needs the rights to write to the topic, and with transactions to write, read and make the topic
    `headway-positions`, and to the transactional ids that begin with `headway-`. Needs the extra `kafka`. Raises
    `UsageError` for an option that cannot be.

    >>> to_kafka("localhost:9092", "abandoned-carts")
    <Kafka kafka localhost:9092 abandoned-carts>
    """
    limits = limits_of(
        concurrency=concurrency,
        rate=rate,
        timeout=timeout,
        batch=batch,
        concurrency_most=100,
        timeout_least_ms=1_000,
    )
    return Kafka(KafkaSettings(servers, options), topic, mode, limits, is_exact=transactions, name=name)


class Kafka(Target):
    """A topic that takes triggers; made by `hw.to_kafka`."""

    def __init__(
        self,
        settings: KafkaSettings,
        topic: str,
        mode: str,
        limits: Limits,
        *,
        is_exact: bool,
        name: Optional[str] = None,
    ) -> None:
        if not isinstance(topic, str) or not topic:
            msg = f"to_kafka(..., {topic!r}): expected the name of a topic"
            raise UsageError(msg)
        self.limits = limits
        self.guarantee = Guarantee.EXACT if is_exact else Guarantee.BY_ID
        self.in_order = is_exact
        self._settings = settings
        self._records = Records(settings, topic, checked_mode(mode))
        self._name = name or f"kafka {settings.servers} {topic}"
        self._threads: Optional[Threads] = None
        self._positions: Optional[KafkaPositions] = None
        self._waiting: list[_Waiting] = []
        self._writer: Optional[_Writer] = None
        self._writing: Optional[asyncio.Task[None]] = None
        """Writes what waits, by the writer that there is; None where nothing waits."""
        self._given_up: set[asyncio.Task[None]] = set()

    @property
    def name(self) -> str:
        """`kafka`, the brokers and the topic."""
        return self._name

    def check(self) -> None:
        """Look whether the library and the secrets are there."""
        needed("confluent_kafka", "kafka", "hw.to_kafka(...)")
        self._settings.config({})

    async def open(self) -> None:
        """Make the threads, none of which is started yet; the brokers are asked when they are needed."""
        self.check()
        self._threads = Threads(_THREADS, "headway-kafka")
        if self.in_order:
            self._positions = KafkaPositions(self._settings, self.limits.timeout_s)

    async def deliver(self, batch: Sequence[Delivery]) -> Sequence[Answer]:
        """Write the batch with what else waits; what is cancelled on its way is fenced by the next attempt."""
        waiting = _Waiting(batch)
        self._waiting.append(waiting)
        self._begin()
        try:
            return await waiting.answers
        except asyncio.CancelledError:
            if waiting.writer is None:
                self._waiting.remove(waiting)
            elif waiting.writer is self._writer and waiting.answers.cancelled():
                self._give_up()
            raise

    async def look(self) -> str:
        """Ask for the topic."""
        assert self._threads is not None
        found: str = await self._threads.run(self._look)
        return found

    def _begin(self) -> None:
        if self._writing is None and self._waiting:
            self._writing = asyncio.ensure_future(self._write())

    async def _write(self) -> None:
        """Write what waits, until nothing does or the writer is given up."""
        assert self._threads is not None
        writer = self._writer = self._writer or self._made()
        while self._waiting and self._writer is writer:
            taken, self._waiting = self._waiting, []
            for one in taken:
                one.writer = writer
            try:
                found = await self._threads.run(partial(writer.write, [one.batch for one in taken]))
            except Exception as error:
                for one in taken:
                    one.fail(error)
                writer.is_broken = True
            else:
                for one, answers in zip(taken, found):
                    one.answer(answers)
            if writer.is_broken and self._writer is writer:
                self._writer = writer = self._made()
        if self._writer is writer:
            self._writing = None
        else:
            await self._threads.run(writer.close)

    def _made(self) -> _Writer:
        if self._positions is None:
            return ByIdWriter(self._records, self.limits.timeout_s)
        return ExactWriter(self._records, self._positions, self.limits.timeout_s)

    def _give_up(self) -> None:
        """Nobody waits for what is under way: what comes next goes by another writer, while this one comes to its end.

        Others may have batches under way with it: they get its answers.
        """
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.is_broken = True
        writing, self._writing = self._writing, None
        if writing is not None:
            self._given_up.add(writing)
            writing.add_done_callback(self._given_up.discard)
        self._begin()

    def _look(self) -> str:
        import confluent_kafka

        said: list[str] = []
        # Of the clients, consumers alone can ask for a topic without having it made.
        ours = {"group.id": "headway-connect-check", "allow.auto.create.topics": False}
        ours["error_cb"] = lambda error: said.append(told(error))
        client = confluent_kafka.Consumer(self._settings.config(ours))
        try:
            topic = client.list_topics(self._records.topic, timeout=_LOOK_S).topics[self._records.topic]
        except confluent_kafka.KafkaException as error:
            client.poll(0)
            raise OutputError(self._settings.without_secrets((said or [told(error.args[0])])[-1])) from error
        finally:
            client.close()
        if topic.error is not None:
            raise OutputError(self._settings.without_secrets(told(topic.error)))
        count = len(topic.partitions)
        return f"the topic has {count} partition{'' if count == 1 else 's'}"

    async def close(self) -> None:
        """End all clients."""
        tasks = [*self._given_up, *([] if self._writing is None else [self._writing])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        writer, self._writer, self._writing = self._writer, None, None
        if self._threads is not None:
            if writer is not None:
                await self._threads.run(writer.close)
            if self._positions is not None:
                await self._threads.run(self._positions.close)
            self._threads.close()


class _Waiting:
    """A batch that waits to be written, or for its answers."""

    def __init__(self, batch: Sequence[Delivery]) -> None:
        self.batch = batch
        self.writer: Optional[_Writer] = None
        """Who writes it; None where nobody does yet."""
        self.answers: asyncio.Future[Sequence[Answer]] = asyncio.get_running_loop().create_future()

    def answer(self, answers: Sequence[Answer]) -> None:
        if not self.answers.done():
            self.answers.set_result(answers)

    def fail(self, error: Exception) -> None:
        if not self.answers.done():
            self.answers.set_exception(error)
