"""How positions are read back from Kafka, past transactions of others that are open, and errors."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import confluent_kafka
import pytest

from headway.connectors.kafka.settings import KafkaSettings
from headway.errors import UsageError
from headway.targets.kafka_positions import Held, KafkaPositions
from headway.targets.positions import Position

JOIN_S = 20.0


class Record:
    """A record of the topic, or an error in its place."""

    def __init__(self, offset: int, error: Any = None) -> None:
        self._offset = offset
        self._error = error

    def error(self) -> Any:
        return self._error

    def offset(self) -> int:
        return self._offset

    def key(self) -> bytes:
        return b'["shop","place-%d"]' % self._offset

    def value(self) -> bytes:
        return b'[%d,"an id",{}]' % self._offset


class Broker:
    """Stands for the broker: what is in the topic, how far it is committed, and what its clients do."""

    def __init__(self) -> None:
        self.end = 0
        self.given: list[Sequence[Record]] = []
        self.polled = threading.Event()
        self.closed: list[str] = []
        self.open_polls = 0

    def consumer(self, config: dict[str, Any]) -> Any:
        broker = self

        class Consumer:
            def assign(self, places: Sequence[Any]) -> None:
                pass

            def consume(self, most: int, timeout_s: float) -> Sequence[Record]:
                broker.open_polls += 1
                broker.polled.set()
                found = broker.given.pop(0) if broker.given else []
                if not found:
                    threading.Event().wait(timeout_s)
                broker.open_polls -= 1
                return found

            def get_watermark_offsets(self, place: Any, timeout: float) -> tuple[int, int]:
                return 0, broker.end

            def close(self) -> None:
                assert not broker.open_polls, "a client is closed while it is asked"
                broker.closed.append(config["isolation.level"])

        return Consumer()


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Broker:
    made = Broker()
    monkeypatch.setattr(confluent_kafka, "Consumer", made.consumer)
    return made


def positions(timeout_s: float) -> KafkaPositions:
    return KafkaPositions(KafkaSettings("broker:9092", None), timeout_s)


def in_thread(function: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    """A thread that runs it, and where what it returns or raises comes."""
    came: list[Any] = []

    def run() -> None:
        try:
            came.append(function())
        except UsageError as error:
            came.append(str(error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, came


def test_the_end_of_the_run_ends_who_waits_for_an_open_transaction(broker: Broker) -> None:
    ours = positions(timeout_s=600.0)
    broker.end = 1
    stuck, came = in_thread(ours.read)
    assert broker.polled.wait(JOIN_S)
    ours.close()
    stuck.join(JOIN_S)
    assert came == ["the run ends"]
    assert sorted(broker.closed) == ["read_committed", "read_uncommitted"]


def test_a_transaction_of_another_that_ends_is_waited_for(broker: Broker) -> None:
    """Whoever waits is asked meanwhile, and reads on from where it stands."""
    ours = positions(timeout_s=JOIN_S)
    broker.end = 40
    broker.given = [[Record(2 * n), Record(2 * n + 1)] for n in range(19)]

    def waiting(known: Any) -> None:
        assert len(known) == 38
        broker.given.append([Record(38), Record(39)])

    assert ours.read(waiting) == {("shop", f"place-{n}"): Held(Position(n, "an id", {}), "") for n in range(40)}


def test_what_comes_behind_an_error_is_noted_as_well(broker: Broker) -> None:
    ours = positions(timeout_s=JOIN_S)
    broker.end = 2
    gone = confluent_kafka.KafkaError(confluent_kafka.KafkaError._TRANSPORT)
    broker.given = [[Record(0), Record(0, gone), Record(1)]]
    with pytest.raises(confluent_kafka.KafkaException):
        ours.read()
    assert len(ours.read()) == 2


def test_a_transaction_of_another_that_stays_open_is_told(broker: Broker) -> None:
    broker.end = 7
    broker.given = [[Record(n) for n in range(5)]]
    with pytest.raises(UsageError, match=r"beyond offset 5: a transaction of another is open there.*find-hanging"):
        positions(timeout_s=0.01).read()
