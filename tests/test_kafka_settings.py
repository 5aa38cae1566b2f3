"""What clients of Kafka are made with: nothing that is wrong gets past, and nothing is written beside what we say."""

from __future__ import annotations

from typing import Any

import pytest
from tests.kafka_harness import topic_of
from tests.servers import kafka_server

from headway.connectors.kafka.settings import KafkaSettings
from headway.errors import UsageError

pytest.importorskip("confluent_kafka")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"nonsense": 1}, 'No such configuration property: "nonsense"'),
        ({"socket.timeout.ms": "soon"}, 'Invalid value for configuration property "socket.timeout.ms"'),
        ({"security.protocol": "SSL", "ssl.ca.location": "/no/such"}, "ssl.ca.location failed"),
        ({"security.protocol": "SSL", "ssl.key.pem": "swordfish"}, "ssl.key.pem"),
    ],
)
def test_what_the_library_does_not_take_is_refused_by_its_name(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        KafkaSettings("nowhere:9092", options).config({})
    assert said in str(caught.value)
    assert "swordfish" not in str(caught.value)


def test_what_is_fatal_is_not_written_by_the_library(capfd: pytest.CaptureFixture[str]) -> None:
    from confluent_kafka import KafkaException, Producer

    server = kafka_server()
    topic = topic_of(server)
    config = KafkaSettings(server.address, {}).config({"transactional.id": topic})
    older, newer = Producer(config), Producer(config)
    older.init_transactions(20)
    older.begin_transaction()
    newer.init_transactions(20)
    with pytest.raises(KafkaException, match="fenced"):
        older.produce(topic, b"late")
        older.commit_transaction(20)
    assert capfd.readouterr().err == ""
