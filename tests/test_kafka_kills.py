"""From Kafka to Kafka, while the run, its workers and the broker are killed: each effect once, in the order of its key.

Records are written in transactions of which some are aborted. The flow makes its values otherwise each time, so that a
trigger of an epoch that did not commit, or one that is written twice, gives itself away.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import random
from pathlib import Path
from typing import Any

import pytest
from tests.kafka_harness import Consumed, producer, topic_of
from tests.kills_harness import CLOCK, COUNTED, Chaos, chance_of, lines_of
from tests.servers import KafkaServer, kafka_server

PARTITIONS = 4
FROM_KAFKA = COUNTED.replace('hw.files("steps-*.jsonl")', 'hw.kafka("BROKER", "SOURCE")')
TO_KAFKA = """
counted.trigger("stored", hw.to_kafka("BROKER", "SINK", batch=20), retry_first="50ms", retry_longest="1s")
"""


class Steps:
    """A topic that steps are written to in transactions, of which each third is aborted."""

    def __init__(self, server: KafkaServer, topic: str, chance: random.Random) -> None:
        self.count = 0
        self._topic = topic
        self._chance = chance
        self._server = server

    def grow(self, count: int) -> None:
        """So many steps more, and behind them one in each partition that moves time on."""
        writer = producer(self._server, transactional_id=f"steps-{self._topic}")
        writer.init_transactions(60)
        until, self.count = self.count + count, self.count + count
        numbers = iter(range(until - count, until))
        while batch := list(itertools.islice(numbers, self._chance.randrange(1, 40))):
            if self._chance.randrange(3) == 0:
                writer.begin_transaction()
                self._write(writer, batch)
                writer.flush()
                writer.abort_transaction(60)
            writer.begin_transaction()
            self._write(writer, batch)
            writer.commit_transaction(60)
        writer.begin_transaction()
        for part in range(PARTITIONS):
            step = {"at": 10 * self.count - 1, "user": f"{CLOCK}{part}", "n": -1}
            writer.produce(self._topic, json.dumps(step), partition=part)
        writer.commit_transaction(60)

    def _write(self, writer: Any, batch: list[int]) -> None:
        for n in batch:
            step = {"at": 10 * n, "user": f"u{n * 7 % 20}", "n": n}
            writer.produce(self._topic, json.dumps(step), partition=n % PARTITIONS)


def kill_all(directory: Path, *, rounds: int, steps: int) -> None:
    kafka_server()
    server = KafkaServer()
    with contextlib.ExitStack() as at_the_end:
        at_the_end.callback(server.remove)
        chance = chance_of("kafka")
        source, sink = topic_of(server, PARTITIONS), topic_of(server, 3)
        flow = (FROM_KAFKA + TO_KAFKA).replace("BROKER", server.address).replace("SOURCE", source)
        (directory / "flow.py").write_text(flow.replace("SINK", sink))
        feed, chaos = Steps(server, source, chance), Chaos(directory, chance, ("--follow",))
        at_the_end.callback(chaos.end)
        reading = Consumed(server, sink)
        at_the_end.callback(reading.close)

        def stored() -> int:
            return sum(not message.key().startswith(CLOCK.encode()) for message in reading())

        def end_the_broker() -> None:
            server.kill()
            server.start()

        def arrived() -> dict[str, list[str]]:
            """What has arrived, by key."""
            found: dict[str, list[str]] = {}
            for message in reading():
                found.setdefault(message.key().decode(), []).append(json.loads(message.value())["nonce"])
            return found

        def await_stored(wanted: int) -> None:
            try:
                chaos.await_count(stored, wanted, "records")
            except AssertionError:
                if "a transaction of another is open" not in (directory / "run.err").read_text():
                    raise
                expected = nonces(directory / "written.jsonl")
                assert all(expected[key][: len(found)] == found for key, found in arrived().items())
                pytest.skip(f"the broker has lost the end of a transaction, after {stored()} records that were right")

        feed.grow(steps)
        chaos.start()
        for number in range(rounds):
            left = feed.count - stored()
            for moment in sorted(chance.randrange(max(1, left)) for _ in range(2)):
                await_stored(feed.count - left + moment)
                chance.choice([end_the_broker, chaos.kill, chaos.kill])()
            if number + 1 < rounds:
                feed.grow(steps)
        await_stored(feed.count)
        chaos.stop()
        chaos.finish()
        written = lines_of(directory / "written.jsonl")
        assert sorted(line["data"]["n"] for line in written if line["data"]["n"] >= 0) == list(range(feed.count))
        assert arrived() == nonces(directory / "written.jsonl")


def nonces(path: Path) -> dict[str, list[str]]:
    """What the exact file says is to arrive, by key."""
    found: dict[str, list[str]] = {}
    for line in lines_of(path):
        found.setdefault(line["subject"], []).append(line["data"]["nonce"])
    return found


@pytest.mark.soak
def test_each_effect_is_there_once(tmp_path: Path) -> None:
    """It takes both cores for half a minute or more, and waits in vain where they are busy with something else."""
    kill_all(tmp_path, rounds=2, steps=400)


@pytest.mark.soak
def test_each_effect_is_there_once_for_long(tmp_path: Path) -> None:
    kill_all(tmp_path, rounds=20, steps=2_500)
