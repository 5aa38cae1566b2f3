"""Kafka by TLS and SASL, on a real broker: who is let in, who is not, and what is never said."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from tests.certificates import Authority
from tests.kafka_harness import Consumed, produce, topic_of
from tests.kafka_secure import PASSWORD, SecureKafka
from tests.readers import read_out
from tests.servers import kafka_server
from tests.targets_harness import deliver, delivery_of, outcomes

import headway as hw
from headway.errors import InputError
from headway.targets.base import Outcome


class Order(hw.Event):
    n: int


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureKafka]:
    kafka_server()  # Skips where there is none.
    if shutil.which("openssl") is None:
        pytest.skip("there is no command openssl to make certificates with")
    server = SecureKafka(tmp_path_factory.mktemp("secure"))
    yield server
    server.remove()


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-512", "PLAIN"])
def test_records_come_and_triggers_leave(broker: SecureKafka, mechanism: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_PASSWORD", PASSWORD)
    options = broker.options(mechanism, sasl_password="env:KAFKA_PASSWORD")
    source, target = topic_of(broker), topic_of(broker)
    produce(broker, source, range(300))
    given = hw.kafka(broker.secure_address, source, options=options)
    with closing(given.session()) as session:
        [name] = session.partitions()
        with closing(session.open(name, None, follow=False)) as reader:
            assert read_out(reader, Order) == list(range(300))
    reading = Consumed(broker, target)
    batches = [[delivery_of(n) for n in range(at, at + 50)] for at in range(0, 200, 50)]
    answers = deliver(hw.to_kafka(broker.secure_address, target, options=options), *batches, *batches[2:])
    assert set(outcomes(answers)) == {Outcome.DONE}
    found = [dict(message.headers())["ce_id"].decode() for message in reading()]
    assert found == [delivery_of(n).id for n in range(200)]
    reading.close()


def refused(given: Any) -> str:
    with closing(given.session()) as session, pytest.raises(InputError) as raised:
        session.partitions()
    return str(raised.value)


def test_a_wrong_password_is_told_and_not_shown(broker: SecureKafka) -> None:
    topic = topic_of(broker)
    options = broker.options("SCRAM-SHA-512", sasl_password="another-sword-fish")
    said = refused(hw.kafka(broker.secure_address, topic, options=options))
    assert "refuses to let us in" in said
    [answer] = deliver(hw.to_kafka(broker.secure_address, topic, options=options, timeout="5s"), [delivery_of(1)])
    assert answer.outcome is Outcome.RETRY
    assert "sword-fish" not in said + answer.reason + repr(answer)


def test_an_authority_that_is_not_known_is_told(broker: SecureKafka, tmp_path: Any) -> None:
    other = Authority(tmp_path, "other")
    options = broker.options("PLAIN", ssl_ca_location=str(other.ca))
    assert "TLS fails" in refused(hw.kafka(broker.secure_address, topic_of(broker), options=options))
