"""Of several runs that write to the same places, with answers lost and processes killed, each trigger is there once.

The runs are on copies of one state directory, so all of them have the same triggers. They go step by step in any order,
against a model of a broker (`tests.kafka_model`).
"""

from __future__ import annotations

from itertools import count
from random import Random

import pytest
from tests.kafka_model import Broker, Killed, Positions, broker_of
from tests.targets_harness import delivery_of

from headway.connectors.kafka.settings import KafkaSettings
from headway.targets import kafka_exact
from headway.targets.base import Delivery, Outcome
from headway.targets.kafka_exact import ExactWriter
from headway.targets.kafka_records import Records

PLACES = 3
EACH = 6
RUNS = 3
TRIES = 60


def of_place(place: str, number: int) -> Delivery:
    return delivery_of(number, place=place)


class Texts(Records):
    """Records that say place and number, for the model to read."""

    def _parts(self, delivery: Delivery) -> tuple[bytes, list[tuple[str, bytes]]]:
        return f"{delivery.place}:{delivery.number}".encode(), []


class Run:
    """A process with all places or some, which delivers what it does not know to be in."""

    def __init__(self, broker: Broker, random: Random, places: list[str]) -> None:
        self._broker = broker
        self._random = random
        self._done = dict.fromkeys(places, 0)
        self._writer: ExactWriter | None = None
        self._positions = Positions(broker)

    def __call__(self) -> None:
        tries = count()
        while (left := [place for place, done in self._done.items() if done < EACH]) and next(tries) < TRIES:
            try:
                self._write(self._random.sample(left, self._random.randint(1, len(left))))
            except Killed:
                self._writer = None
                self._positions = Positions(self._broker)

    def _write(self, places: list[str]) -> None:
        if self._writer is None or self._writer.is_broken:
            self._writer = self._made()
        batches = []
        for place in places:
            done = self._done[place]
            most = self._random.randint(1, EACH - done)
            batches.append([of_place(place, done + n) for n in range(most)])
        for place, batch, answers in zip(places, batches, self._writer.write(batches)):
            assert [answer.outcome for answer in answers] in ([Outcome.DONE] * len(batch), [Outcome.RETRY] * len(batch))
            if answers[0].outcome is Outcome.DONE:
                self._done[place] += len(batch)

    def _made(self) -> ExactWriter:
        records = Texts(KafkaSettings("broker:9092", None), "shop", "binary")
        return ExactWriter(records, self._positions, 30.0)  # type: ignore[arg-type]

    @property
    def is_done(self) -> bool:
        return all(done == EACH for done in self._done.values())


@pytest.mark.parametrize("seeds", [range(at, at + 60) for at in range(0, 240, 60)], ids=str)
def test_each_trigger_is_there_once_and_in_its_order(seeds: range, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_exact, "_each", lambda function, places: [function(place) for place in places])
    for seed in seeds:
        with broker_of(monkeypatch, seed) as broker:
            random = Random(seed)
            places = [f"place-{n}" for n in range(PLACES)]
            broker.chance_lost, broker.chance_killed = random.choice([(0.0, 0.0), (0.05, 0.0), (0.02, 0.02)])
            # Other runs may divide the places otherwise among their processes.
            runs = [Run(broker, random, places) for _ in range(RUNS - 1)]
            runs += [Run(broker, random, own) for own in (places[:1], places[1:])]
            broker.turns.run([run.__call__ for run in runs])
            broker.chance_lost = broker.chance_killed = 0.0
            last = Run(broker, random, places)
            last()
            assert last.is_done, f"seed {seed}"
            found = broker.committed()
            for place in places:
                numbers = [number for one, number in found if one == place]
                assert numbers == list(range(EACH)), f"seed {seed}, {place}: {numbers}"
