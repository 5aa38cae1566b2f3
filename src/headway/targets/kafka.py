"""Triggers into a topic of Kafka: in transactions that carry our position, and exact; or by id.

**Exact.** For each place of an outbox there is a producer with a transactional id of its own, made of the place's name.
A transaction holds the records of a batch, and one record in the topic `headway-positions`, which is compacted: the
number and the id of the last trigger that is in. So records and position are there together or not at all. A commit of
Kafka and one of our state are not one: what decides is the position, which is read back when a producer is made, once
its id has been initialized. That ends what a former producer of the id had under way, and fences the former one: of two
runs that live at once, say on a copy of a state directory, the older one is refused. `headway.targets.positions` says
the rest.

**By id.** With `transactions=False` records are sent as they come by one idempotent producer; after a crash some come
again, with the same id in their headers.

Records are CloudEvents as the Kafka protocol binding says: in *binary* mode the value is the trigger's value and the
attributes are headers `ce_*`; in *structured* mode the value is the whole event. The key is the trigger's subject, so
that those of one key are in one partition, in their order.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final, NamedTuple, Optional

from headway.basics.needed import needed
from headway.basics.times import Duration
from headway.connectors.kafka.settings import KafkaSettings
from headway.connectors.kafka.words import SILENT_MS, told
from headway.errors import OutputError, UsageError
from headway.targets.base import DONE, Answer, Delivery, Guarantee, Limits, Outcome, Target
from headway.targets.cloudevents import attributes, checked_mode, event_of
from headway.targets.kafka_positions import KafkaPositions
from headway.targets.limits import limits_of
from headway.targets.positions import (
    NOTHING_YET,
    Position,
    Refusals,
    all_retried,
    answers_of,
    answers_placed,
    by_place,
    refusal,
)
from headway.targets.threads import Threads

__all__ = ["Kafka", "to_kafka"]

_LOOK_S: Final = 10.0
_TRANSACTION_MS: Final = 10_000
"""After so long the broker ends a transaction whose producer is gone, and what waits for it goes on."""
_OF_A_RECORD: Final = ("MSG_SIZE_TOO_LARGE", "_MSG_SIZE_TOO_LARGE", "INVALID_RECORD", "INVALID_TIMESTAMP")
"""What is refused for what is in a record; all else concerns the topic or the broker, and is tried again."""


def to_kafka(
    servers: str,
    topic: str,
    *,
    mode: str = "binary",
    transactions: bool = True,
    batch: int = 500,
    concurrency: int = 8,
    rate: Optional[float] = None,
    timeout: Duration = "30s",
    options: Optional[Mapping[str, Any]] = None,
    name: Optional[str] = None,
) -> Kafka:
    """Write triggers to a topic of Kafka, each exactly once for readers of committed records.

    `mode` is how a trigger becomes a record: `"binary"`, its value with the attributes of the CloudEvent as headers, or
    `"structured"`, the whole event as JSON. Its key is the trigger's key, its timestamp the trigger's time. `batch`
    triggers are one transaction, `concurrency` transactions are under way. With `transactions=False` they are sent
    without, at once, and after a crash some may be there twice, with the same id. A record that the broker refuses
    because of its size goes to the dead letters. `options` are settings of librdkafka, as for `hw.kafka`.

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
        self._topic = topic
        self._mode = checked_mode(mode)
        self._name = name or f"kafka {settings.servers} {topic}"
        self._threads: Optional[Threads] = None
        self._writers: dict[str, _Writer] = {}
        """By place; for all places one where there are no transactions."""
        self._positions: Optional[KafkaPositions] = None

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
        self._threads = Threads(self.limits.concurrency, "headway-kafka")
        if self.in_order:
            self._positions = KafkaPositions(self._settings, self.limits.timeout_s)

    async def deliver(self, batch: Sequence[Delivery]) -> Sequence[Answer]:
        """Write the batch, one transaction for each place in it; what is cancelled is fenced by the next attempt."""
        # One after the other: side by side they hold each other up at the brokers, and each takes longer.
        if not self.in_order:
            return await self._write("", list(batch))
        return answers_placed(batch, {place: await self._write(place, own) for place, own in by_place(batch).items()})

    async def look(self) -> str:
        """Ask for the topic."""
        assert self._threads is not None
        found: str = await self._threads.run(self._look)
        return found

    async def _write(self, place: str, deliveries: list[Delivery]) -> Sequence[Answer]:
        assert self._threads is not None
        writer = self._writers.get(place)
        if writer is None:
            writer = self._writers[place] = _Writer(self, place)
        try:
            found: Sequence[Answer] = await self._threads.run(partial(writer.write, deliveries))
        except asyncio.CancelledError:
            self._give_up(place, writer)
            raise
        if writer.is_broken:
            self._give_up(place, writer)
        return found

    def _look(self) -> str:
        import confluent_kafka

        said: list[str] = []
        # Of the clients, consumers alone can ask for a topic without having it made.
        ours = {"group.id": "headway-connect-check", "allow.auto.create.topics": False}
        ours["error_cb"] = lambda error: said.append(told(error))
        client = confluent_kafka.Consumer(self._settings.config(ours))
        try:
            topic = client.list_topics(self._topic, timeout=_LOOK_S).topics[self._topic]
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
        writers, self._writers = self._writers, {}
        if self._threads is not None:
            for writer in writers.values():
                await self._threads.run(writer.close)
            if self._positions is not None:
                await self._threads.run(self._positions.close)
            self._threads.close()

    def _give_up(self, place: str, writer: _Writer) -> None:
        if self._writers.get(place) is writer:
            del self._writers[place]
        writer.is_broken = True


class _Failed(NamedTuple):
    """What came of a record that was not taken."""

    error: Any
    is_sure: bool
    """Whether it is this record that was refused, and not one that was sent together with it."""


class _Writer:
    """The producer of one place. One thread at a time calls `write`."""

    def __init__(self, target: Kafka, place: str) -> None:
        self.is_broken = False
        """Whether nobody knows what of it is in: another one has to be made."""
        self._target = target
        self._place = place
        self._producer: Any = None
        self._position: Position = NOTHING_YET
        self._lock = threading.Lock()

    def write(self, batch: list[Delivery]) -> list[Answer]:
        """Write deliveries of the place; answers in their order."""
        import confluent_kafka

        with self._lock:
            if self.is_broken:
                return all_retried(batch, "the attempt before was given up")
            try:
                if self._producer is None:
                    self._begin(batch[0].former_places)
                return self._write_exactly(batch) if self._target.in_order else self._write_at_once(batch)
            except (confluent_kafka.KafkaException, SystemError) as error:
                # The client raises a fatal error in the middle of its callbacks, which makes a SystemError of it.
                known = error if isinstance(error, confluent_kafka.KafkaException) else error.__cause__
                if not isinstance(known, confluent_kafka.KafkaException):
                    raise
                self.is_broken = True
                return all_retried(batch, self._words(known.args[0]))
            except UsageError as error:
                self.is_broken = True
                return all_retried(batch, str(error))
            finally:
                if self.is_broken:
                    self.close()

    def close(self) -> None:
        """End the producer; what was not committed is aborted by the broker, or by the next one."""
        producer, self._producer = self._producer, None
        if producer is not None:
            with suppress(Exception):  # It is given up, whatever it says.
                producer.purge(blocking=False)

    def _begin(self, former_places: Sequence[str]) -> None:
        """Make the producer, and learn what of the place is in."""
        import confluent_kafka

        timeout_s = self._target.limits.timeout_s
        ours: dict[str, Any] = {"enable.idempotence": True, "error_cb": lambda error: None}
        if self._target.in_order:
            ours["transactional.id"] = f"headway-{self._target._topic}-{self._place}"
            ours["transaction.timeout.ms"] = ours["message.timeout.ms"] = min(_TRANSACTION_MS, int(timeout_s * 1_000))
        config = self._target._settings.config(ours)
        config.setdefault("linger.ms", 2)
        if not self._target.in_order:  # With transactions it is their timeout.
            config.setdefault("socket.timeout.ms", SILENT_MS)
        config.setdefault("message.timeout.ms", int(timeout_s * 1_000))
        self._producer = confluent_kafka.Producer(config)
        if not self._target.in_order:
            return
        positions = self._target._positions
        assert positions is not None
        positions.ensure()
        self._producer.init_transactions(timeout_s)
        known = positions.read()
        topic = self._target._topic
        self._position = known.get((topic, self._place), NOTHING_YET)
        if self._position.number == NOTHING_YET.number and former_places:
            former = [known[topic, place] for place in former_places if (topic, place) in known]
            self._position = self._position.going_on_from(former)

    def _write_exactly(self, batch: list[Delivery]) -> list[Answer]:
        contradiction = self._position.contradiction(batch)
        if contradiction is not None:
            return all_retried(batch, contradiction)
        new = [delivery for delivery in batch if delivery.number > self._position.number]
        refused: Refusals = {}
        suspects: set[int] = set()
        while new:
            failed = self._transaction(new, refused, suspects)
            if not failed:
                break
            refused.update((number, refusal(self._words(one.error))) for number, one in failed.items() if one.is_sure)
            suspects |= set(failed)
            # The client goes on purging what was aborted, new records too.
            self.close()
            self._begin(batch[0].former_places)
        return answers_of(batch, self._position.refused)

    def _transaction(self, new: Sequence[Delivery], refused: Refusals, suspects: set[int]) -> dict[int, _Failed]:
        """One transaction; where records are refused it is aborted, and their errors are returned by their numbers."""
        import confluent_kafka

        positions, producer, timeout_s = self._target._positions, self._producer, self._target.limits.timeout_s
        assert positions is not None
        position = self._position.after(new, refused)
        producer.begin_transaction()
        failed = self._send({one.number: one for one in new if one.number not in refused}, suspects)
        if not failed:
            positions.send(producer, self._target._topic, self._place, position)
            producer.commit_transaction(timeout_s)
            self._position = position
            return {}
        producer.abort_transaction(timeout_s)
        for one in failed.values():
            if one.error.name() not in _OF_A_RECORD:
                raise confluent_kafka.KafkaException(one.error)
        return failed

    def _write_at_once(self, batch: list[Delivery]) -> list[Answer]:
        numbered = dict(enumerate(batch))
        failed = self._send(numbered, set())
        unsure = {n: numbered[n] for n, one in failed.items() if one.error.name() in _OF_A_RECORD and not one.is_sure}
        for number, delivery in unsure.items():
            del failed[number]
            failed.update(self._send({number: delivery}, {number}))
        self.is_broken = any(one.error.fatal() for one in failed.values())
        return [self._answer(failed.get(number)) for number in numbered]

    def _answer(self, failed: Optional[_Failed]) -> Answer:
        if failed is None:
            return DONE
        outcome = Outcome.NEVER if failed.error.name() in _OF_A_RECORD else Outcome.RETRY
        return Answer(outcome, self._words(failed.error))

    def _send(self, batch: Mapping[int, Delivery], alone: Collection[int]) -> dict[int, _Failed]:
        """Send records, those whose number is in `alone` by themselves; returns which have failed.

        A broker refuses all records that were sent to it together; one that was sent alone has failed for itself. In a
        transaction nothing more can be sent once one has failed.
        """
        import confluent_kafka

        failed: dict[int, _Failed] = {}
        left = set(batch)
        timeout_s = self._target.limits.timeout_s

        def told_of(number: int, error: Any, is_sure: bool) -> None:
            left.discard(number)
            if error is not None:
                failed[number] = _Failed(error, is_sure)

        for number, delivery in batch.items():
            if number in alone:
                self._producer.flush(timeout_s)
            if failed and self._target.in_order:
                break
            try:
                self._produce(delivery, partial(told_of, number, is_sure=number in alone))
            except confluent_kafka.KafkaException as error:
                if error.args[0].name() in _OF_A_RECORD:
                    told_of(number, error.args[0], is_sure=True)
                elif not failed:
                    raise
        if not (failed and self._target.in_order):
            self._producer.flush(timeout_s)
        if failed and self._target.in_order:
            return dict(failed)  # A copy: what is still under way is purged with the transaction.
        late = _Failed(confluent_kafka.KafkaError(confluent_kafka.KafkaError._TIMED_OUT), is_sure=False)
        return {**failed, **dict.fromkeys(left, late)}

    def _produce(self, delivery: Delivery, told_of: Callable[[Any], None]) -> None:
        record = self._record(delivery)
        while True:
            try:
                self._producer.produce(self._target._topic, on_delivery=lambda error, message: told_of(error), **record)
                self._producer.poll(0)
                return
            except BufferError:  # The client's queue is full: some of it has to leave.
                self._producer.poll(0.05)

    def _record(self, delivery: Delivery) -> dict[str, Any]:
        found = attributes(delivery)
        if self._target._mode == "binary":
            headers = [(f"ce_{name}", value.encode()) for name, value in found.items()]
            headers.append(("content-type", b"application/json"))
            value = delivery.data
        else:
            headers = [("content-type", b"application/cloudevents+json")]
            value = event_of(delivery)
        key = None if delivery.subject is None else delivery.subject.encode()
        # Brokers take no time before 1970, nor none.
        return {"value": value, "key": key, "headers": headers, "timestamp": max(delivery.time_ms, 1)}

    def _words(self, error: Any) -> str:
        return self._target._settings.without_secrets(told(error))
