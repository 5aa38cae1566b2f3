"""A model of a broker with transactions, and several runs on it of which one goes at a time, in an order by chance.

Each call of a client is one step. It may be carried out and its answer lost, or be carried out some steps later, when
whoever made it has given up or is dead.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from random import Random
from typing import Any

import confluent_kafka

from headway.targets.kafka_positions import Held

JOIN_S = 30.0
_FENCED = confluent_kafka.KafkaError._FENCED
_TIMED_OUT = confluent_kafka.KafkaError._TIMED_OUT


class Killed(BaseException):
    """The process is gone, in the middle of whatever it did."""


def failure(code: int) -> confluent_kafka.KafkaException:
    return confluent_kafka.KafkaException(confluent_kafka.KafkaError(code))


class Turns:
    """Threads of which one runs at a time; who is next is drawn at each step."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._gates: dict[int, threading.Semaphore] = {}
        self._lock = threading.Lock()
        self.errors: list[BaseException] = []

    def run(self, functions: list[Callable[[], None]]) -> None:
        """Run functions side by side to their ends; raises the first error."""
        began = threading.Barrier(len(functions) + 1)

        def one(function: Callable[[], None]) -> None:
            gate = self._gates[threading.get_ident()] = threading.Semaphore(0)
            began.wait()
            gate.acquire()
            try:
                function()
            except BaseException as error:
                self.errors.append(error)
            finally:
                del self._gates[threading.get_ident()]
                self._next()

        threads = [threading.Thread(target=one, args=(function,), daemon=True) for function in functions]
        for thread in threads:
            thread.start()
        began.wait()
        self._next()
        for thread in threads:
            thread.join(JOIN_S)
            assert not thread.is_alive(), "a run hangs"
        if self.errors:
            raise self.errors[0]

    def step(self) -> None:
        """Let whoever is drawn go on."""
        gate = self._gates.get(threading.get_ident())
        if gate is not None:
            self._next()
            gate.acquire()

    def _next(self) -> None:
        with self._lock:
            if self._gates:
                self._random.choice(list(self._gates.values())).release()


class Transaction:
    """Records of one transaction."""

    def __init__(self) -> None:
        self.state = "open"
        self.is_empty = True


class Broker:
    """What is in its topics, and who may write."""

    def __init__(self, random: Random, turns: Turns) -> None:
        self.random = random
        self.turns = turns
        self.chance_lost = 0.0
        self.chance_killed = 0.0
        self.log: list[tuple[str, int, Transaction]] = []
        """Of the topic: place and number."""
        self.positions: list[tuple[tuple[str, str], Held, Transaction]] = []
        self._epochs: dict[str, int] = {}
        self._open: dict[str, Transaction] = {}
        self._late: list[Callable[[], None]] = []

    def committed(self) -> list[tuple[str, int]]:
        return [(place, number) for place, number, transaction in self.log if transaction.state == "committed"]

    def call(self, operation: Callable[[], Any]) -> Any:
        """One call of a client, which may be lost or late."""
        self.turns.step()
        if self._late and self.random.random() < 0.3:
            late = self._late.pop(self.random.randrange(len(self._late)))
            with suppress(confluent_kafka.KafkaException):  # Nobody hears it.
                late()
        drawn = self.random.random()
        if drawn < self.chance_killed + self.chance_lost:
            fate = self.random.choice(["never", "now", "late"])
            if fate == "now":
                operation()
            elif fate == "late":
                self._late.append(operation)
            raise Killed if drawn < self.chance_killed else failure(_TIMED_OUT)
        return operation()

    def begin(self, transactional_id: str) -> int:
        """Fence who had the id, and end its transaction."""
        transaction = self._open.pop(transactional_id, None)
        if transaction is not None:
            transaction.state = "aborted"
        self._epochs[transactional_id] = self._epochs.get(transactional_id, 0) + 1
        return self._epochs[transactional_id]

    def transaction(self, transactional_id: str, epoch: int) -> Transaction:
        """The one that is open; the first record opens it."""
        if self._epochs[transactional_id] != epoch:
            raise failure(_FENCED)
        return self._open.setdefault(transactional_id, Transaction())

    def end(self, transactional_id: str, epoch: int, transaction: Transaction, state: str) -> None:
        if self._epochs[transactional_id] != epoch or transaction.state not in ("open", state):
            raise failure(_FENCED)
        transaction.state = state
        if self._open.get(transactional_id) is transaction:
            del self._open[transactional_id]

    def time_passes(self) -> None:
        """A transaction that has been open for long is ended, and its producer fenced."""
        if self._open:
            self.begin(self.random.choice(list(self._open)))


class Producer:
    """Stands for the client's, with what the target uses of it."""

    def __init__(self, broker: Broker, config: Mapping[str, Any]) -> None:
        self._broker = broker
        self._id = config["transactional.id"]
        self._epoch = -1
        self._transaction: Transaction | None = None

    def list_topics(self, topic: str, timeout_s: float) -> None:
        pass

    def init_transactions(self, timeout_s: float) -> None:
        self._epoch = self._broker.call(lambda: self._broker.begin(self._id))

    def begin_transaction(self) -> None:
        self._transaction = None

    def produce(self, topic: str, value: bytes, key: bytes, headers: Any = None, **given: Any) -> None:
        def append() -> None:
            self._transaction = self._broker.transaction(self._id, self._epoch)
            place, number = value.decode().split(":")
            self._broker.log.append((place, int(number), self._transaction))

        self._broker.call(append)

    def send_position(self, name: tuple[str, str], held: Held) -> None:
        def append() -> None:
            self._transaction = self._broker.transaction(self._id, self._epoch)
            self._broker.positions.append((name, held, self._transaction))

        self._broker.call(append)

    def flush(self, timeout_s: float) -> int:
        return 0

    def commit_transaction(self, timeout_s: float) -> None:
        self._ended("committed")

    def abort_transaction(self, timeout_s: float) -> None:
        self._ended("aborted")

    def purge(self, *, blocking: bool) -> None:
        pass

    def _ended(self, state: str) -> None:
        transaction = self._transaction
        if transaction is not None:
            self._broker.call(lambda: self._broker.end(self._id, self._epoch, transaction, state))


class Positions:
    """Stands for the topic of positions as one process reads it."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self.claiming = threading.Lock()

    def ensure(self) -> None:
        pass

    def send(self, producer: Producer, topic: str, place: str, held: Held) -> None:
        producer.send_position((topic, place), held)

    def read(self, waiting: Callable[[Mapping[tuple[str, str], Held]], None]) -> Mapping[tuple[str, str], Held]:
        broker = self._broker
        end: int = broker.call(lambda: len(broker.positions))
        while True:
            known: dict[tuple[str, str], Held] = {}
            at = 0
            for at, (name, held, transaction) in enumerate(broker.positions):
                if at >= end or transaction.state == "open":
                    break
                if transaction.state == "committed":
                    known[name] = held
            else:
                at = len(broker.positions)
            if at >= end:
                return known
            waiting(known)
            broker.turns.step()
            if broker.random.random() < 0.1:
                broker.time_passes()


@contextmanager
def broker_of(monkeypatch: Any, seed: int) -> Iterator[Broker]:
    """A broker that stands for the real one of the client's library."""
    random = Random(seed)
    broker = Broker(random, Turns(random))
    with monkeypatch.context() as patched:
        patched.setattr(confluent_kafka, "Producer", lambda config: Producer(broker, config))
        yield broker
