"""A secret whose file is gone while the run goes on: triggers wait, nothing is shown of it, the run does not end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from tests.targets_harness import delivery_of

import headway as hw
from headway.basics.dsn import Dsn
from headway.basics.secret import Secret, hide
from headway.connectors.kafka.settings import KafkaSettings
from headway.connectors.nats_servers import NatsServers
from headway.connectors.server_url import REDIS, ServerUrl
from headway.errors import UsageError
from headway.targets.base import Answer, Outcome, Target
from headway.targets.headers import Headers
from headway.targets.signatures import Signer
from headway.targets.urls import Url

TARGETS: dict[str, tuple[str, Callable[[str], Target]]] = {
    "webhook": (
        "swordfish",
        lambda file: hw.webhook("http://127.0.0.1:1/", headers={"X-Token": file}, timeout="2s"),
    ),
    "webhook, its address": ("http://127.0.0.1:1/swordfish", lambda file: hw.webhook(file, timeout="2s")),
    "webhook, its signature": (
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        lambda file: hw.webhook("http://127.0.0.1:1/", secret=file, timeout="2s"),
    ),
    "restate": (
        "swordfish",
        lambda file: hw.to_restate(
            "http://127.0.0.1:1", service="s", handler="h", headers={"X-Token": file}, timeout="2s"
        ),
    ),
    "resonate": (
        "swordfish",
        lambda file: hw.to_resonate("http://127.0.0.1:1", function="f", token=file, timeout="2s"),
    ),
    "temporal": (
        "swordfish",
        lambda file: hw.to_temporal("127.0.0.1:1", workflow="W", task_queue="q", api_key=file, tls=False, timeout="2s"),
    ),
    "dbos": (
        "postgresql://app:swordfish@127.0.0.1:1/shop",
        lambda file: hw.to_dbos(file, workflow="w", queue="q", timeout="2s"),
    ),
    "postgres": (
        "postgresql://app:swordfish@127.0.0.1:1/shop",
        lambda file: hw.postgres(file, "triggers", timeout="2s"),
    ),
    "mysql": (
        "mysql://app:swordfish@127.0.0.1:1/shop",
        lambda file: hw.to_mysql(file, "triggers", timeout="2s"),
    ),
    "kafka": (
        "swordfish",
        lambda file: hw.to_kafka("127.0.0.1:1", "topic", options={"sasl.password": file}, timeout="1s"),
    ),
    "nats": ("swordfish", lambda file: hw.to_nats("nats://127.0.0.1:1", "carts", token=file, timeout="2s")),
    "redis": ("redis://app:swordfish@127.0.0.1:1", lambda file: hw.to_redis_stream(file, "carts", timeout="2s")),
    "rabbitmq": (
        "amqp://app:swordfish@127.0.0.1:1/",
        lambda file: hw.to_rabbitmq(file, routing_key="carts", timeout="2s"),
    ),
    "rabbitmq stream": (
        "rabbitmq-stream://app:swordfish@127.0.0.1:1",
        lambda file: hw.to_rabbitmq_stream(file, "carts", timeout="2s"),
    ),
    "mqtt": ("mqtt://app:swordfish@127.0.0.1:1", lambda file: hw.to_mqtt(file, "carts", timeout="2s")),
}


@pytest.mark.parametrize("called", TARGETS)
def test_a_file_that_is_gone_does_not_end_the_run(called: str, tmp_path: Path) -> None:
    secret, make = TARGETS[called]
    file = tmp_path / "secret"
    file.write_text(secret)
    target = make(f"file:{file}")
    target.takes("cart.abandoned", hw.Json)

    async def attempts() -> list[Answer]:
        target.check()
        await target.open()
        answers = [*await target.deliver([delivery_of(1)])]
        file.unlink()
        answers += await target.deliver([delivery_of(1)])
        await target.close()
        return answers

    answers = asyncio.run(attempts())
    assert [answer.outcome for answer in answers] == [Outcome.RETRY] * 2
    for answer in answers:
        assert answer.reason and "swordfish" not in answer.reason and "MfKQ9r8" not in answer.reason


def test_what_is_known_is_what_was_read_and_what_was_there_before_it_changed(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    secret = Secret(f"file:{file}", "token")
    assert secret.known() == []
    for text, known in (
        ("first", ["first"]),
        ("second", ["second", "first"]),
        ("third\nmore", ["third", "more", "second"]),
    ):
        file.write_text(text)
        secret.read()
        assert secret.known() == known
    file.unlink()
    assert secret.known() == ["third", "more", "second"]
    assert Secret("swordfish", "token").known() == ["swordfish"]


def test_no_text_can_keep_an_error_from_being_told(tmp_path: Path) -> None:
    """Whatever stands in the file, and whether or not it was read: what hides secrets does not raise."""
    file = tmp_path / "secret"
    for text in (None, "swordfish", "http://[swordfish", "postgresql://app:swordfish@db/shop"):
        where = f"file:{file}"
        url, dsn, server, headers, signer = (
            Url(where),
            Dsn(where),
            ServerUrl(where, "hw.redis_stream(...)", REDIS),
            Headers({"X-Token": where}),
            Signer([where], now_s=lambda: 0.0),
        )
        kafka = KafkaSettings("broker:9092", {"sasl.password": where})
        nats = NatsServers("hw.nats(...)", "nats://localhost", token=where)
        if text is not None:
            file.write_text(text)
            for read in (
                url.read,
                dsn.read,
                server.read,
                headers.read,
                signer.check,
                partial(kafka.config, {}),
                nats.check,
            ):
                try:
                    read()
                except UsageError as error:
                    assert "swordfish" not in str(error)
        told = f"no access with {text}"
        for hidden in (url, dsn, headers, signer):
            assert "swordfish" not in hide(told, hidden.secrets())
        assert "swordfish" not in kafka.without_secrets(told)
        assert "swordfish" not in nats.words(OSError(told))
        assert text is None or "@" not in text or "swordfish" not in server.without_secrets(told)
