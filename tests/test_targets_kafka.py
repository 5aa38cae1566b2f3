"""Triggers into Kafka: the contract of targets, exact over lost answers and new runs, and what is refused."""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import Any

import pytest
from msgspec.structs import replace
from tests.kafka_harness import Consumed, topic_of
from tests.servers import KafkaServer, kafka_server
from tests.targets_harness import deliver, delivery_of, outcomes, with_target

import headway as hw
from headway.errors import OutputError, UsageError
from headway.targets.base import Guarantee, Outcome
from headway.targets.kafka import Kafka
from headway.testing import check_target


@pytest.fixture
def kafka() -> KafkaServer:
    return kafka_server()


def ids_of(messages: list[Any]) -> list[str]:
    return [dict(message.headers())["ce_id"].decode() for message in messages]


@pytest.mark.parametrize("is_exact", [True, False], ids=["exact", "by id"])
def test_the_contract(kafka: KafkaServer, is_exact: bool) -> None:
    topic = topic_of(kafka, 2)
    reading = Consumed(kafka, topic)
    check_target(
        lambda: hw.to_kafka(kafka.address, topic, transactions=is_exact, options={"sasl.password": "swordfish"}),
        received=lambda: ids_of(reading()),
        make_unreachable=lambda: hw.to_kafka("127.0.0.1:1", topic, transactions=is_exact, timeout="2s"),
        secrets=["swordfish"],
        cancelled_at=range(0, 12, 4),
    )
    found = ids_of(reading())
    reading.close()
    assert len(set(found)) > 30
    assert is_exact is (len(found) == len(set(found)))


def test_a_look_at_a_topic_that_is_not_there_does_not_make_it(
    kafka: KafkaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Brokers that make topics by themselves do so when they are asked for one; a consumer alone can say no to that."""
    import confluent_kafka

    asked: list[Any] = []

    class Asking(confluent_kafka.Consumer):
        def __init__(self, config: dict[str, Any]) -> None:
            asked.append(config["allow.auto.create.topics"])
            super().__init__(config)

    monkeypatch.setattr(confluent_kafka, "Consumer", Asking)
    with pytest.raises(OutputError, match=r"(?i)unknown topic"):
        with_target(hw.to_kafka(kafka.address, f"missing-{uuid.uuid4()}"), lambda target: target.look())
    assert asked == [False]


@pytest.mark.parametrize("mode", ["binary", "structured"])
def test_a_trigger_is_a_record_as_the_protocol_binding_says(kafka: KafkaServer, mode: str) -> None:
    topic = topic_of(kafka)
    one = delivery_of(7, {"cents": 1})
    assert outcomes(deliver(hw.to_kafka(kafka.address, topic, mode=mode), [one])) == [Outcome.DONE]
    reading = Consumed(kafka, topic)
    [message] = reading() or reading()
    reading.close()
    assert (message.key(), message.timestamp()[1]) == (b"cart-7", one.time_ms)
    headers = {name: value.decode() for name, value in message.headers()}
    event = {
        "specversion": "1.0",
        "id": one.id,
        "source": "/headway/shop",
        "type": "cart.abandoned",
        "time": "2023-11-14T22:13:20.007Z",
        "sequence": "00000000000000000007",
        "subject": "cart-7",
        "partitionkey": "cart-7",
    }
    if mode == "binary":
        assert json.loads(message.value()) == {"cents": 1}
        assert headers == {**{f"ce_{name}": value for name, value in event.items()}, "content-type": "application/json"}
    else:
        assert headers == {"content-type": "application/cloudevents+json"}
        assert json.loads(message.value()) == {**event, "datacontenttype": "application/json", "data": {"cents": 1}}


def test_what_is_too_large_is_refused_and_the_others_go_in(kafka: KafkaServer) -> None:
    topic = topic_of(kafka, max_message_bytes="20000")
    batch = [delivery_of(n, {"text": "x" * (1_000_000 if n == 1 else 30_000 if n == 2 else 10)}) for n in range(4)]
    answers = deliver(hw.to_kafka(kafka.address, topic), batch, batch)
    assert outcomes(answers) == 2 * [Outcome.DONE, Outcome.NEVER, Outcome.NEVER, Outcome.DONE]
    assert "larger than the topic takes" in answers[2].reason
    reading = Consumed(kafka, topic)
    assert ids_of(reading() or reading()) == [batch[0].id, batch[3].id]
    reading.close()


def test_many_that_the_client_finds_too_large_cost_one_transaction(
    kafka: KafkaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    import confluent_kafka

    made: list[str] = []

    class Counted(confluent_kafka.Producer):
        def __init__(self, config: dict[str, Any]) -> None:
            made.append(config["transactional.id"])
            super().__init__(config)

    monkeypatch.setattr(confluent_kafka, "Producer", Counted)
    topic = topic_of(kafka)
    batch = [delivery_of(n, {"text": "x" * (10 if n % 10 == 0 else 60_000)}) for n in range(40)]
    answers = deliver(hw.to_kafka(kafka.address, topic, options={"message.max.bytes": 50_000}), batch)
    assert outcomes(answers) == [Outcome.DONE if n % 10 == 0 else Outcome.NEVER for n in range(40)]
    assert len(made) == 2, "the writer, and the claim of its place"
    reading = Consumed(kafka, topic)
    assert ids_of(reading() or reading()) == [batch[n].id for n in range(0, 40, 10)]
    reading.close()


def test_of_two_runs_that_live_at_once_the_older_one_is_fenced(kafka: KafkaServer) -> None:
    """Both deliver the same place, as two runs on copies of one state directory do."""
    topic = topic_of(kafka)

    async def both() -> list[Any]:
        older, newer = (hw.to_kafka(kafka.address, topic) for _ in range(2))
        await older.open()
        await newer.open()
        try:
            return [
                *await older.deliver([delivery_of(0)]),
                *await newer.deliver([delivery_of(0), delivery_of(1)]),
                *await older.deliver([delivery_of(1), delivery_of(2)]),
                *await newer.deliver([delivery_of(2)]),
            ]
        finally:
            await older.close()
            await newer.close()

    answers = asyncio.run(both())
    assert outcomes(answers)[:3] == [Outcome.DONE] * 3
    assert outcomes(answers)[3:5] == [Outcome.RETRY] * 2
    assert "another run writes under the same name" in answers[3].reason
    reading = Consumed(kafka, topic)
    assert ids_of(reading() or reading()) == [delivery_of(n).id for n in range(3)]
    reading.close()


def test_places_that_others_go_on_from(kafka: KafkaServer) -> None:
    topic = topic_of(kafka)
    deliver(hw.to_kafka(kafka.address, topic), [delivery_of(n, place="old") for n in range(4)])
    moved = [delivery_of(n, place="new<old") for n in range(2, 6)]
    moved = [replace(one, id=delivery_of(one.number, place="old").id, former_places=("old",)) for one in moved]
    assert outcomes(deliver(hw.to_kafka(kafka.address, topic), moved)) == [Outcome.DONE] * 4
    reading = Consumed(kafka, topic)
    assert ids_of(reading() or reading()) == [delivery_of(n, place="old").id for n in range(6)]
    reading.close()


def test_options() -> None:
    with pytest.raises(UsageError, match="mode='xml' is none: write one of 'binary', 'structured'"):
        hw.to_kafka("a", "b", mode="xml")
    with pytest.raises(UsageError, match=r"'transactional.id': ...\}\): Headway chooses it"):
        hw.to_kafka("a", "b", options={"transactional.id": "x"})
    target = hw.to_kafka("a:1", "b", transactions=False)
    assert isinstance(target, Kafka)
    assert (target.guarantee, target.in_order) == (Guarantee.BY_ID, False)
    assert hw.to_kafka("a:1", "b").guarantee is Guarantee.EXACT
