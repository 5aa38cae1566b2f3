"""Triggers into a topic of Kafka in transactions that carry our positions: each is there once.

**Records and positions together.** A transaction holds the records of all batches that waited when it began, and for
each of their places a record in the topic `headway-positions`, which is compacted: the number and the id of the last
trigger that is in. So they are there together or not at all. A commit of Kafka and one of our state are not one: what
decides is the position, which is read back before a producer writes to a place for the first time.

**One writer for a place.** A writer is a producer with a transactional id that no other one has ever had. Before its
first record of a place it *claims* the place: it writes the place's position once more, with its own id beside it. From
then on it alone may write there, as long as its producer lives. Claims of one place are made one after the other: the
transaction of a claim has a transactional id that is made of the place's name.

1. `init_transactions` with the id of the place. It ends whoever else is about to claim the place.
2. Read which writer has the place, and `init_transactions` with that one's id. It ends what the writer has under way,
   and fences it: the writer can commit nothing more.
3. Read the position. Nobody can change it now.
4. Commit the position with the own id, by the producer of step 1. It fails where another one has begun a claim since.

So of two runs that live at once, say on copies of a state directory, the one that claims later goes on where the other
one has been ended. A producer that is made anew has a new id, and claims all of its places again: in between another
one may have claimed them.

Rejected: a producer and a transaction for each place, whose id fences by itself. With twelve key groups and ten epochs
in a second that is 120 transactions in a second, each as expensive as one for all. Rejected: an id for each process,
made of its number. After a run with other numbers of processes, nobody would know which ids have to be fenced.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from itertools import chain
from typing import Any, Final

from headway.errors import UsageError
from headway.targets.base import Answer, Delivery
from headway.targets.kafka_positions import POSITIONS_TOPIC, Held, KafkaPositions
from headway.targets.kafka_records import Failed, Records, is_of_a_record, known_error
from headway.targets.positions import NOTHING_YET, Position, Refusals, all_retried, answers_of, by_place, refusal

__all__ = ["ExactWriter"]

_TRANSACTION_MS: Final = 10_000
"""After so long the broker ends a transaction whose producer is gone, and what waits for it goes on."""
_CLAIMS: Final = 16
"""Places that are claimed at the same time."""
_GIVEN_UP: Final = "the attempt before was given up"

_Name = tuple[str, int]
"""Of a trigger: its place and its number there."""


class ExactWriter:
    """One producer, and the places that it has claimed. One thread at a time calls `write`; `close` is called by any.

    `positions` are those of all writers of the target.
    """

    def __init__(self, records: Records, positions: KafkaPositions, timeout_s: float) -> None:
        self.is_broken = False
        """Whether nobody knows what of it is in, or it was fenced or given up: another one has to be made."""
        self._records = records
        self._positions = positions
        self._timeout_s = timeout_s
        self._id = ""
        self._producer: Any = None
        self._claimed: dict[str, Position] = {}

    def write(self, batches: Sequence[Sequence[Delivery]]) -> list[list[Answer]]:
        """Write batches of deliveries, all of them in one transaction; answers for each, in their order."""
        import confluent_kafka

        try:
            return self._write(batches)
        except (confluent_kafka.KafkaException, SystemError) as error:
            reason = self._records.words(known_error(error).args[0])
        except UsageError as error:
            reason = str(error)
        self.is_broken = True
        self.close()
        return [all_retried(batch, reason) for batch in batches]

    def close(self) -> None:
        """End the producer; what was not committed is aborted by the broker, or by who claims the places next."""
        producer, self._producer = self._producer, None
        if producer is not None:
            _give_up(producer)

    def _write(self, batches: Sequence[Sequence[Delivery]]) -> list[list[Answer]]:
        together = by_place(list(chain.from_iterable(batches)))
        self._claim({place: own[0].former_places for place, own in together.items() if place not in self._claimed})
        contradicted = {place: self._claimed[place].contradiction(own) for place, own in together.items()}
        wanted = {place: own for place, own in together.items() if contradicted[place] is None}
        self._commit(wanted)
        answers: dict[str, Any] = {
            place: iter(all_retried(own, why) if why else answers_of(own, self._claimed[place].refused))
            for (place, own), why in zip(together.items(), contradicted.values())
        }
        return [[next(answers[delivery.place]) for delivery in batch] for batch in batches]

    def _commit(self, wanted: Mapping[str, Sequence[Delivery]]) -> None:
        """Write what is not in; what the broker refuses for ever is noted in the positions."""
        refused: dict[str, Refusals] = {}
        suspects: set[_Name] = set()
        while new := {place: left for place, own in wanted.items() if (left := self._above(place, own))}:
            failed = self._transaction(new, refused, suspects)
            if not failed:
                return
            for name, one in failed.items():
                if one.is_sure:
                    self._refuse(refused, name, one.error)
            suspects |= failed.keys()
            # The client goes on purging what was aborted, new records too.
            places = dict.fromkeys(self._claimed, ())
            self.close()
            self._claimed = {}
            self._claim(places)

    def _above(self, place: str, own: Sequence[Delivery]) -> list[Delivery]:
        position = self._claimed[place]
        return [delivery for delivery in own if delivery.number > position.number]

    def _transaction(
        self, new: Mapping[str, Sequence[Delivery]], refused: dict[str, Refusals], suspects: set[_Name]
    ) -> dict[_Name, Failed]:
        """One transaction; where the broker refuses records it is aborted, and their errors are returned by name.

        What the client refuses is added to what is `refused`, and the transaction goes on without it.
        """
        import confluent_kafka

        producer = self._producer
        producer.begin_transaction()
        wanted = [one for place, own in new.items() for one in own if one.number not in refused.get(place, ())]
        failed = self._send(wanted, refused, suspects)
        if not failed:
            after = {place: self._claimed[place].after(own, refused.get(place, {})) for place, own in new.items()}
            for place, position in after.items():
                self._positions.send(producer, self._records.topic, place, Held(position, self._id))
            producer.commit_transaction(self._timeout_s)
            self._claimed.update(after)
            return {}
        producer.abort_transaction(self._timeout_s)
        for one in failed.values():
            if not is_of_a_record(one.error):
                raise confluent_kafka.KafkaException(one.error)
        return failed

    def _send(
        self, deliveries: Iterable[Delivery], refused: dict[str, Refusals], alone: set[_Name]
    ) -> dict[_Name, Failed]:
        """Send records, those whose name is in `alone` by themselves; returns which the broker has refused.

        A broker refuses all records that were sent to it together; one that was sent alone has failed for itself.
        Nothing more can be sent once one has failed.
        """
        import confluent_kafka

        producer = self._producer
        failed: dict[_Name, Failed] = {}

        def heard(name: _Name, error: Any, message: Any) -> None:  # Of those alone that have failed.
            failed[name] = Failed(error, name in alone)

        for delivery in deliveries:
            name = delivery.place, delivery.number
            if name in alone:
                producer.flush(self._timeout_s)
            if failed:
                break
            try:
                self._records.produce(producer, delivery, partial(heard, name))
            except confluent_kafka.KafkaException as error:
                if is_of_a_record(error.args[0]):
                    self._refuse(refused, name, error.args[0])
                elif not failed:
                    raise
        if not failed and producer.flush(self._timeout_s) and not failed:
            raise confluent_kafka.KafkaException(confluent_kafka.KafkaError(confluent_kafka.KafkaError._TIMED_OUT))
        return dict(failed)  # A copy: what is still under way is purged with the transaction.

    def _refuse(self, refused: dict[str, Refusals], name: _Name, error: Any) -> None:
        place, number = name
        refused.setdefault(place, {})[number] = refusal(self._records.words(error))

    def _claim(self, places: Mapping[str, Sequence[str]]) -> None:
        """Become the only writer of places, given with those that they had before, and learn how far each is."""
        if places:
            # A writer that was given up while it claims must not fence the one that was made in its stead.
            with self._positions.claiming:
                if self.is_broken:
                    raise UsageError(_GIVEN_UP)
                self._claim_all(places)

    def _claim_all(self, places: Mapping[str, Sequence[str]]) -> None:
        self._positions.ensure()
        topic = self._records.topic
        if self._producer is None:
            self._id = f"headway-{topic}-{uuid.uuid4().hex}"
            self._producer = self._begun(self._id)
        claiming: dict[str, Any] = {}

        def begin(place: str) -> None:
            claiming[place] = self._begun(f"headway-{topic}-{place}")

        def commit(place: str) -> None:
            producer, position = claiming[place], self._found(known, place, places[place])
            producer.begin_transaction()
            self._positions.send(producer, topic, place, Held(position, self._id))
            producer.commit_transaction(self._timeout_s)
            self._claimed[place] = position

        try:
            _each(begin, places)
            known = self._alone({(topic, place) for place in chain(places, *places.values())})
            _each(commit, places)
        finally:
            for producer in claiming.values():
                _give_up(producer)

    def _found(self, known: Mapping[tuple[str, str], Held], place: str, former_places: Sequence[str]) -> Position:
        """How far a place is, going on from those that it had before where it has no position of its own."""
        named = [(self._records.topic, one) for one in (place, *former_places)]
        own, *former = [known[name].position if name in known else NOTHING_YET for name in named]
        return own if own.number != NOTHING_YET.number or not former else own.going_on_from(former)

    def _alone(self, names: set[tuple[str, str]]) -> Mapping[tuple[str, str], Held]:
        """What is known of positions, once nobody who had one of these can write any more."""
        fenced = {self._id, ""}

        def fence(known: Mapping[tuple[str, str], Held]) -> None:
            if self.is_broken:  # It was given up, and another writer waits for its turn.
                raise UsageError(_GIVEN_UP)
            for writer in {known[name].writer for name in names if name in known} - fenced:
                fenced.add(writer)
                _give_up(self._begun(writer))

        while True:
            before = len(fenced)
            # Who is fenced while it is waited has its transaction ended, which may be the one that is waited for.
            known = self._positions.read(fence)
            fence(known)
            if len(fenced) == before:
                return known

    def _begun(self, transactional_id: str) -> Any:
        """A producer with this id, which has ended all others with it."""
        import confluent_kafka

        timeout_ms = min(_TRANSACTION_MS, int(self._timeout_s * 1_000))
        ours: dict[str, Any] = {
            "enable.idempotence": True,
            "transactional.id": transactional_id,
            "transaction.timeout.ms": timeout_ms,
            "message.timeout.ms": timeout_ms,
            "delivery.report.only.error": True,
            "error_cb": lambda error: None,
        }
        config = self._records.settings.config(ours)
        config.setdefault("linger.ms", 2)
        producer = confluent_kafka.Producer(config)
        # Without a connection the client puts the initialization off for half a second.
        producer.list_topics(POSITIONS_TOPIC, self._timeout_s)
        producer.init_transactions(self._timeout_s)
        return producer


def _each(function: Callable[[str], None], places: Iterable[str]) -> None:
    """Call a function for places side by side: most of it waits for the broker. Raises what one of them raises."""
    with ThreadPoolExecutor(_CLAIMS, "headway-kafka-claims") as threads:
        for _ in threads.map(function, places):
            pass


def _give_up(producer: Any) -> None:
    with suppress(Exception):  # It is given up, whatever it says.
        producer.purge(blocking=False)
