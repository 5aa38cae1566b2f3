"""Triggers into a topic of Kafka as they come, by one idempotent producer: known by their ids when they come again."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import chain, islice
from typing import Any, Optional

from headway.connectors.kafka.words import SILENT_MS
from headway.targets.base import DONE, Answer, Delivery, Outcome
from headway.targets.kafka_records import Failed, Records, is_of_a_record, known_error
from headway.targets.positions import all_retried

__all__ = ["ByIdWriter"]


class ByIdWriter:
    """One producer. One thread at a time calls `write`; `close` is called by any."""

    def __init__(self, records: Records, timeout_s: float) -> None:
        self.is_broken = False
        """Whether another one has to be made."""
        self._records = records
        self._timeout_s = timeout_s
        self._producer: Any = None

    def write(self, batches: Sequence[Sequence[Delivery]]) -> list[list[Answer]]:
        """Write batches of deliveries; answers for each, in their order."""
        import confluent_kafka

        try:
            if self._producer is None:
                self._begin()
            answers = iter(self._write(list(chain.from_iterable(batches))))
            return [list(islice(answers, len(batch))) for batch in batches]
        except (confluent_kafka.KafkaException, SystemError) as error:
            self.is_broken = True
            reason = self._records.words(known_error(error).args[0])
            return [all_retried(batch, reason) for batch in batches]
        finally:
            if self.is_broken:
                self.close()

    def close(self) -> None:
        """End the producer."""
        producer, self._producer = self._producer, None
        if producer is not None:
            with suppress(Exception):  # It is given up, whatever it says.
                producer.purge(blocking=False)

    def _begin(self) -> None:
        import confluent_kafka

        config = self._records.settings.config({"enable.idempotence": True, "error_cb": lambda error: None})
        config.setdefault("linger.ms", 2)
        config.setdefault("socket.timeout.ms", SILENT_MS)
        config.setdefault("message.timeout.ms", int(self._timeout_s * 1_000))
        self._producer = confluent_kafka.Producer(config)

    def _write(self, batch: Sequence[Delivery]) -> list[Answer]:
        numbered = dict(enumerate(batch))
        failed = self._send(numbered, set())
        unsure = {n: numbered[n] for n, one in failed.items() if is_of_a_record(one.error) and not one.is_sure}
        for number, delivery in unsure.items():
            del failed[number]
            failed.update(self._send({number: delivery}, {number}))
        self.is_broken = self.is_broken or any(one.error.fatal() for one in failed.values())
        return [self._answer(failed.get(number)) for number in numbered]

    def _answer(self, failed: Optional[Failed]) -> Answer:
        if failed is None:
            return DONE
        outcome = Outcome.NEVER if is_of_a_record(failed.error) else Outcome.RETRY
        return Answer(outcome, self._records.words(failed.error))

    def _send(self, batch: Mapping[int, Delivery], alone: Collection[int]) -> dict[int, Failed]:
        """Send records, those whose number is in `alone` by themselves; returns which have failed.

        A broker refuses all records that were sent to it together; one that was sent alone has failed for itself.
        """
        import confluent_kafka

        failed: dict[int, Failed] = {}
        left = set(batch)

        def heard(number: int, error: Any, message: Any) -> None:
            left.discard(number)
            if error is not None:
                failed[number] = Failed(error, number in alone)

        for number, delivery in batch.items():
            if number in alone:
                self._producer.flush(self._timeout_s)
            try:
                self._records.produce(self._producer, delivery, partial(heard, number))
            except confluent_kafka.KafkaException as error:
                if not is_of_a_record(error.args[0]) and not failed:
                    raise
                if is_of_a_record(error.args[0]):
                    left.discard(number)
                    failed[number] = Failed(error.args[0], is_sure=True)
        self._producer.flush(self._timeout_s)
        late = Failed(confluent_kafka.KafkaError(confluent_kafka.KafkaError._TIMED_OUT), is_sure=False)
        return {**failed, **dict.fromkeys(left, late)}
