"""Kafka as an input: the contract, transactions, what brokers lose, groups, and what a person reads."""

from __future__ import annotations

import itertools
import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.kafka_harness import eventually, produce, producer, topic_of
from tests.readers import read_out, taking
from tests.servers import KafkaServer, kafka_server

import headway as hw
from headway.errors import InputError, UsageError
from headway.testing import check_transport


class Order(hw.Event):
    n: int
    at: hw.Time = 0
    user: str = ""


@pytest.fixture
def kafka() -> KafkaServer:
    return kafka_server()


def test_the_contract(kafka: KafkaServer) -> None:
    from confluent_kafka.admin import AdminClient
    from confluent_kafka.cimpl import NewPartitions

    topic = topic_of(kafka, 2)
    produce(kafka, topic, range(12), partitions=2)
    numbers = itertools.count(100)

    def append(name: str) -> Order:
        n = next(numbers)
        writer = producer(kafka)
        writer.produce(topic, json.dumps({"n": n}), partition=int(name[-1]))
        writer.flush()
        return Order(n)

    def new_partition() -> str:
        admin = AdminClient({"bootstrap.servers": kafka.address})
        [made] = admin.create_partitions([NewPartitions(topic, 3)]).values()
        made.result()
        return f"{topic}/2"

    check_transport(
        hw.kafka(kafka.address, topic),
        Order,
        {f"{topic}/{part}": [Order(n) for n in range(part, 12, 2)] for part in range(2)},
        append=append,
        new_partition=new_partition,
    )


def test_the_parts_of_records_are_the_fields_of_events(kafka: KafkaServer, tmp_path: Path) -> None:
    topic = topic_of(kafka)
    produce(kafka, topic, range(3))
    writer = producer(kafka)
    writer.produce(topic, None, key="user-0", timestamp=2_000)
    writer.flush()
    flow = hw.Flow("orders")
    orders = flow.source(
        "orders",
        Order,
        hw.kafka(kafka.address, topic),
        time=hw.record_time,
        fields={"user": hw.record_key, "at": hw.record_time},
    )
    found: list[Any] = []
    letters: list[Any] = []
    orders.to("found", hw.to_list(found))
    orders.dead_letters.to("letters", hw.to_list(letters))
    hw.run(flow, state=tmp_path, drain=True)
    assert found == [{"n": n, "at": 1_000 + n, "user": f"user-{n}"} for n in range(3)]
    [letter] = letters
    assert letter["position"] == "offset 3"
    assert letter["reason"] == "it has no value: a tombstone, which deletes its key"


def test_aborted_records_are_not_read_and_the_end_is_found_behind_marks(kafka: KafkaServer) -> None:
    topic = topic_of(kafka)
    writer = producer(kafka, transactional_id=topic)
    writer.init_transactions(30)
    for n, is_kept in enumerate([True, False, True, False]):
        writer.begin_transaction()
        writer.produce(topic, json.dumps({"n": n}))
        writer.flush()  # What was not sent leaves no mark when it is aborted.
        (writer.commit_transaction if is_kept else writer.abort_transaction)(30)
    source = hw.kafka(kafka.address, topic)
    with closing(source.session()) as session:
        reader = session.open(f"{topic}/0", None, follow=False)
        assert read_out(reader, Order) == [0, 2]
        position = reader.position()
        assert position["offset"] == 8  # Four records, and a mark behind each.
        reader.close()
        assert read_out(session.open(f"{topic}/0", position, follow=False), Order) == []
    with closing(hw.kafka(kafka.address, topic, isolation="read_uncommitted").session()) as session:
        assert read_out(session.open(f"{topic}/0", None, follow=False), Order) == [0, 1, 2, 3]


def test_a_bounded_run_ends_before_what_comes_later_and_before_an_open_transaction(kafka: KafkaServer) -> None:
    topic = topic_of(kafka)
    produce(kafka, topic, range(1_000))
    writer = producer(kafka, transactional_id=topic)
    writer.init_transactions(30)
    writer.begin_transaction()
    writer.produce(topic, json.dumps({"n": 5_000}))
    writer.flush()
    with closing(hw.kafka(kafka.address, topic).session()) as session:
        reader = session.open(f"{topic}/0", None, follow=False)
        assert read_out(reader, Order) == list(range(1_000))
        position = reader.position()
    writer.commit_transaction(30)
    with closing(hw.kafka(kafka.address, topic).session()) as session:
        assert read_out(session.open(f"{topic}/0", position, follow=False), Order) == [5_000]


def test_reading_begins_where_it_is_told_to(kafka: KafkaServer) -> None:
    topic = topic_of(kafka)
    produce(kafka, topic, range(10))
    for start, first in (("earliest", 0), ("latest", 10), (1_004, 4), ("1970-01-01T00:00:01.007Z", 7), (9_999, 10)):
        with closing(hw.kafka(kafka.address, topic, start=start).session()) as session:
            assert read_out(session.open(f"{topic}/0", None, follow=False), Order) == list(range(first, 10)), start


def delete_before(server: KafkaServer, topic: str, offset: int) -> None:
    from confluent_kafka import TopicPartition
    from confluent_kafka.admin import AdminClient

    admin = AdminClient({"bootstrap.servers": server.address})
    [done] = admin.delete_records([TopicPartition(topic, 0, offset)]).values()
    done.result()


def test_records_that_were_deleted_before_they_were_read_end_the_run_or_are_told(kafka: KafkaServer) -> None:
    topic = topic_of(kafka)
    produce(kafka, topic, range(10))
    delete_before(kafka, topic, 6)
    with closing(hw.kafka(kafka.address, topic).session()) as session:
        assert read_out(session.open(f"{topic}/0", None, follow=False), Order) == [6, 7, 8, 9], (
            "nothing was asked for yet"
        )
        with pytest.raises(InputError, match=r"begins at offset 6, and 2 .*deleted 4 records.*expired=\"earliest\""):
            read_out(session.open(f"{topic}/0", {"offset": 2}, follow=False), Order)
    with closing(hw.kafka(kafka.address, topic, expired="earliest").session()) as session:
        assert read_out(session.open(f"{topic}/0", {"offset": 2}, follow=False), Order) == [6, 7, 8, 9]
        told: list[str] = []
        session.partitions(told.append)
        assert [notice.partition(": ")[2] for notice in told] == [
            "4 records of partition 0, from offset 2 on, were deleted before they were read"
        ]


def test_a_topic_that_was_made_anew_is_refused(kafka: KafkaServer) -> None:
    from confluent_kafka.admin import AdminClient

    topic = topic_of(kafka)
    produce(kafka, topic, range(5))
    with closing(hw.kafka(kafka.address, topic).session()) as session:
        reader = session.open(f"{topic}/0", None, follow=False)
        read_out(reader, Order)
        position = reader.position()
    admin = AdminClient({"bootstrap.servers": kafka.address})
    told: list[str] = []
    with closing(hw.kafka(kafka.address, topic).session()) as session:
        session.partitions()
        [gone] = admin.delete_topics([topic]).values()
        gone.result()
        eventually(lambda: topic not in admin.list_topics(timeout=5).topics, "the topic stays")

        def is_told() -> bool:
            session.notices(told.append)
            return bool(told)

        eventually(is_told, "nobody is told of it")
    assert told[0].endswith(": it is there no more")
    kafka.make_topic(topic)
    produce(kafka, topic, range(7))
    with closing(hw.kafka(kafka.address, topic).session()) as session, pytest.raises(InputError, match="made anew"):
        session.partitions()
        read_out(session.open(f"{topic}/0", position, follow=False), Order)
    with (
        closing(hw.kafka(kafka.address, topic).session()) as session,
        pytest.raises(InputError, match="ends at offset 7"),
    ):
        read_out(session.open(f"{topic}/0", {"offset": 9}, follow=False), Order)


def test_offsets_are_committed_to_the_group_once_they_are_durable(kafka: KafkaServer, tmp_path: Path) -> None:
    from confluent_kafka import Consumer, TopicPartition

    topic = topic_of(kafka, 2)
    produce(kafka, topic, range(20), partitions=2)
    flow = hw.Flow("orders")
    group = f"watched-{topic}"
    orders = flow.source("orders", Order, hw.kafka(kafka.address, topic, group=group), time=hw.record_time)
    orders.to("found", hw.to_list([]))
    hw.run(flow, state=tmp_path)
    asked = Consumer({"bootstrap.servers": kafka.address, "group.id": group})
    committed = asked.committed([TopicPartition(topic, 0), TopicPartition(topic, 1)], timeout=20)
    asked.close()
    assert [place.offset for place in committed] == [10, 10]


def test_what_is_wrong_is_said_in_words(kafka: KafkaServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flow = hw.Flow("orders")
    flow.source("orders", Order, hw.kafka(kafka.address, "no-such-topic"), time=hw.record_time).to(
        "found", hw.to_list([])
    )
    with pytest.raises(InputError, match=r"kafka topic no-such-topic at .* is not there; make it, or check its name"):
        hw.run(flow, state=tmp_path / "a")
    monkeypatch.setattr("headway.connectors.kafka.session.FIRST_WAIT_S", 4.0)
    monkeypatch.setattr("headway.connectors.kafka.session._REQUEST_S", 1.0)
    flow = hw.Flow("orders")
    flow.source(
        "orders",
        Order,
        hw.kafka("127.0.0.1:1", "orders", options={"socket.connection.setup.timeout.ms": 1_000}),
        time=hw.record_time,
    ).to("found", hw.to_list([]))
    with pytest.raises(InputError, match=r"does not answer within 4 s: .*check address and port"):
        hw.run(flow, state=tmp_path / "b")
    with pytest.raises(UsageError, match=r"options=\{'group.id': ...\}\): use group="):
        hw.kafka("a", "b", options={"group.id": "x"})
    with pytest.raises(UsageError, match=r"with 'nonsense': No such configuration property"):
        hw.to_kafka("a", "b", options={"nonsense": 1}).check()
    with pytest.raises(UsageError, match="start='tomorrow'"):
        hw.kafka("a", "b", start="tomorrow")
    with pytest.raises(UsageError, match="expected the name of a topic"):
        hw.kafka("a", "b c")
    assert "swordfish" not in repr(hw.kafka("a", "b", options={"sasl.password": "swordfish"}))


def test_a_broker_that_was_killed_is_read_on_when_it_is_back(tmp_path: Path) -> None:
    kafka_server()
    server = KafkaServer()
    try:
        topic = topic_of(server)
        produce(server, topic, range(100))
        with closing(hw.kafka(server.address, topic).session()) as session:
            has, found = taking(session.open(f"{topic}/0", None, follow=True), Order)
            eventually(lambda: has(100), "the first hundred")
            server.kill()
            assert has(100)
            server.start()
            produce(server, topic, range(100, 200))
            eventually(lambda: has(200), f"{len(found)} of 200", 60)
            assert found == list(range(200))
    finally:
        server.remove()
