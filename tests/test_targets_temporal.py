"""Triggers into Temporal: the contract of targets, what comes again, and what the server says."""

from __future__ import annotations

import asyncio
import itertools
import subprocess
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from tests.certificates import Authority
from tests.engines_harness import application, contract_ids
from tests.grpc_stub import GrpcStub
from tests.servers import temporal_server
from tests.targets_harness import deliver, delivery_of, outcomes, run, with_target

import headway as hw
from headway.errors import OutputError, UsageError
from headway.targets.base import Answer, Outcome
from headway.testing import check_target

pytest.importorskip("temporalio", reason="temporalio is not installed: pip install 'headway[temporal]'")

NAMES = itertools.count()
CART: dict[str, Any] = {"workflow": "Cart", "task_queue": "carts"}


def asked(question: Any) -> Any:
    """What a client of Temporal is told: `question` gets the client."""
    from temporalio.client import Client

    async def ask() -> Any:
        return await question(await Client.connect(temporal_server().address))

    return run(ask())


def result_of(workflow_id: str, *, end: bool = False) -> Any:
    async def ask(client: Any) -> Any:
        handle = client.get_workflow_handle(workflow_id)
        if end:
            await handle.signal("end")
        return await handle.result()

    return asked(ask)


def started(ids: list[str]) -> list[str]:
    """Which workflows there are."""
    from temporalio.service import RPCError

    async def is_there(client: Any, workflow_id: str) -> bool:
        try:
            await client.get_workflow_handle(workflow_id).describe()
        except RPCError:
            return False
        return True

    async def ask(client: Any) -> list[str]:
        found = await asyncio.gather(*(is_there(client, one) for one in ids))
        return [one for one, there in zip(ids, found) if there]

    found: list[str] = asked(ask)
    return found


def to_temporal(**options: Any) -> hw.Target:
    return hw.to_temporal(temporal_server().address, **{**CART, **options})


def test_the_contract() -> None:
    temporal_server()
    check_target(
        lambda: to_temporal(workflow="Nobody", task_queue="nobody", api_key="swordfish", tls=False),
        received=lambda: started(contract_ids(200)),
        make_unreachable=lambda: hw.to_temporal("127.0.0.1:1", **CART, api_key="swordfish"),
        secrets=["swordfish"],
    )


def test_a_trigger_starts_one_workflow_while_it_runs_when_it_is_over_and_when_the_server_was_killed() -> None:
    server, one = temporal_server(), delivery_of(next(NAMES), {"cents": 7}, place="once")
    target = to_temporal(workflow="Told", workflow_id="told-{key}-{id}")
    assert outcomes(deliver(target, [one], [one])) == [Outcome.DONE] * 2
    server.kill()
    server.start()
    assert outcomes(deliver(target, [one])) == [Outcome.DONE]
    with application("tests.temporal_worker", server.address):
        argument, event = result_of(f"told-{one.subject}-{one.id}")
        assert argument == {"cents": 7}
        assert (event["id"], event["type"], event["subject"]) == (one.id, "cart.abandoned", one.subject)
        assert outcomes(deliver(target, [replace(one, attempt=2)])) == [Outcome.DONE]

    async def runs(client: Any) -> int:
        handle = client.get_workflow_handle(f"told-{one.subject}-{one.id}")
        history = await handle.fetch_history()
        return sum(event.HasField("workflow_execution_started_event_attributes") for event in history.events)

    assert asked(runs) == 1


def test_an_update_that_was_accepted_and_fails_is_taken() -> None:
    """It is in the history of the workflow, and what becomes of it there is the workflow's affair."""
    server, key = temporal_server(), f"ann-{next(NAMES)}"
    update = to_temporal(action="update_with_start", update="put", workflow_id="cart-{key}", timeout="10s")
    fails = [delivery_of(number, {"fails": True}, place=f"fails-{key}", key=key) for number in range(3)]
    with application("tests.temporal_worker", server.address):
        # Answers of the server come once with the acceptance and once with the failure, as it happens.
        assert outcomes(deliver(update, *([one] for one in (*fails, *fails)))) == [Outcome.DONE] * 6
        refused = delivery_of(9, {"number": -1}, place=f"fails-{key}", key=key)
        [answer] = deliver(update, [refused])
        assert answer.outcome is Outcome.NEVER and answer.reason == "the update was refused: no number below zero"
        got = result_of(f"cart-{key}", end=True)
        assert [event["id"] for event in got] == [one.id for one in fails]


def test_signals_and_updates_come_once_to_the_run_of_their_key() -> None:
    server, key = temporal_server(), f"ann-{next(NAMES)}"
    signals = [delivery_of(number, place=f"signals-{key}", key=key) for number in range(3)]
    updates = [delivery_of(number, {"number": number}, place=f"updates-{key}", key=key) for number in (5, 6, -1)]
    signal = to_temporal(action="signal_with_start", signal="add", workflow_id="cart-{key}")
    later = hw.to_temporal(server.address, action="signal", signal="add", workflow_id="cart-{key}")
    update = to_temporal(action="update_with_start", update="put", workflow_id="cart-{key}", timeout="10s")
    [answer] = deliver(later, signals[:1])
    assert answer.outcome is Outcome.NEVER and "no such workflow runs" in answer.reason
    assert outcomes(deliver(signal, *([one] for one in (*signals[:2], *signals)))) == [Outcome.DONE] * 5
    server.kill()
    server.start()
    with application("tests.temporal_worker", server.address):
        more = delivery_of(9, place=f"signals-{key}", key=key)
        assert outcomes(deliver(later, [more], [more], [signals[0]])) == [Outcome.DONE] * 3
        answers = deliver(update, *([one] for one in (*updates, *updates)))
        assert outcomes(answers) == [Outcome.DONE, Outcome.DONE, Outcome.NEVER] * 2
        assert answers[2].reason == "the update was refused: no number below zero"
        got = result_of(f"cart-{key}", end=True)
        assert [event["id"] for event in got] == [one.id for one in (*signals, more, *updates[:2])]
        assert got[0]["data"] == {"number": 0}
        # The window ends with the run, as the documentation says: another one starts.
        assert outcomes(deliver(signal, [signals[0]])) == [Outcome.DONE]
        assert [event["id"] for event in result_of(f"cart-{key}", end=True)] == [signals[0].id]


def test_what_the_server_does_not_take_is_said() -> None:
    server, one = temporal_server(), delivery_of(next(NAMES), place="refused")
    [answer] = deliver(to_temporal(namespace="nowhere"), [one])
    assert answer.outcome is Outcome.RETRY and "Namespace nowhere is not found" in answer.reason
    later = hw.to_temporal(server.address, action="signal", signal="add", namespace="nowhere")
    assert outcomes(deliver(later, [one])) == [Outcome.RETRY]
    for size, said in ((3_000_000, "Blob data size exceeds limit"), (5_000_000, "larger than max")):
        [answer] = deliver(to_temporal(), [delivery_of(1, {"text": "x" * size})])
        assert answer.outcome is Outcome.NEVER and said in answer.reason
    [answer] = deliver(to_temporal(workflow_id="{key}-{id}"), [replace(one, subject=None)])
    assert answer.outcome is Outcome.NEVER
    assert answer.reason == "the trigger has no key, and workflow_id='{key}-{id}' names it by its key"
    nobody = to_temporal(task_queue="nobody", action="update_with_start", update="put", timeout="500ms")
    # In one of fifty calls the server breaks the stream instead of answering: that is tried again too.
    answers = [deliver(nobody, [delivery_of(1, key=f"nobody-{next(NAMES)}")])[0] for _ in range(3)]
    assert outcomes(answers) == [Outcome.RETRY] * 3
    reasons = [answer.reason for answer in answers if "h2 protocol error" not in answer.reason]
    assert reasons and all("no worker has accepted the update" in reason for reason in reasons)


def test_the_same_log_again_starts_nothing_again(tmp_path: Path) -> None:
    """Also where the state directory is lost."""
    server, name = temporal_server(), f"again-{next(NAMES)}-{tmp_path.name}"
    source = f"""
import headway as hw

flow = hw.Flow("{name}")
log = [{{"at": at, "cart": f"cart-{{at % 3}}"}} for at in range(10)]
carts = flow.source("carts", hw.Json, hw.items(log), time="at").key_by("cart")
carts.trigger("cart.seen", hw.to_temporal("{server.address}", workflow="Nobody", task_queue="nobody"))
"""
    (tmp_path / "flow.py").write_text(source)
    found = []
    for number in range(2):
        state = ["--state", str(tmp_path / f"state-{number}")]
        command = [sys.executable, "-m", "headway", "run", str(tmp_path / "flow.py"), *state, "--drain", "--quiet"]
        subprocess.run(command, check=True, timeout=60, cwd=tmp_path)
        found.append(asked(lambda client: runs_of(client, name)))
    assert len(found[0]) == 10 and found[0] == found[1]


async def runs_of(client: Any, flow: str) -> list[tuple[str, str]]:
    """Ids and runs of all workflows that a flow has started; lists lag behind, so it is asked until there are ten."""
    while True:
        told = [(one, await one.memo_value("cloudevent", {})) async for one in client.list_workflows("")]
        found = sorted((one.id, one.run_id) for one, event in told if event.get("source") == f"/headway/{flow}")
        if len(found) >= 10:
            return found
        await asyncio.sleep(0.05)


def test_a_look() -> None:
    found = with_target(to_temporal(), lambda target: target.look())
    assert found == "the namespace default keeps workflows that are over for 1d"
    with pytest.raises(OutputError, match="Namespace nowhere is not found"):
        with_target(to_temporal(namespace="nowhere"), lambda target: target.look())
    with pytest.raises(OutputError, match="connect"):
        with_target(hw.to_temporal("127.0.0.1:1", **CART), lambda target: target.look())


def answers_to(stub: GrpcStub, target: hw.Target, said: list[tuple[int, str]]) -> Coroutine[Any, Any, list[Answer]]:
    async def exchange() -> list[Answer]:
        async with stub:
            found: list[Any] = []
            target._server.address = stub.address  # type: ignore[attr-defined]
            await target.open()
            for stub.status, stub.message in said:
                found += await target.deliver([delivery_of(1)])
            await target.close()
            return found

    return exchange()


def test_codes_of_the_server() -> None:
    said = [
        (0, ""),
        (6, "already started"),
        (3, "wrong"),
        (7, "request for swordfish unauthorized"),
        (8, "rate limit exceeded"),
        (14, "shutting down"),
    ]
    target = hw.to_temporal("127.0.0.1:1", **CART, api_key="swordfish", tls=False)
    found = run(answers_to(GrpcStub(), target, said))
    done, retry = Outcome.DONE, Outcome.RETRY
    assert outcomes(found) == [done, done, Outcome.NEVER, retry, retry, retry]
    assert found[3].reason == "PERMISSION_DENIED: request for *** unauthorized"
    assert [answer.is_busy for answer in found] == [False] * 4 + [True, False]


def test_tls_and_an_api_key_that_changes(tmp_path: Path) -> None:
    authority, other = Authority(tmp_path, "engines"), Authority(tmp_path, "other")
    (tmp_path / "api-key").write_text("first-key\n")
    options = {**CART, "ca": str(authority.ca), "api_key": f"file:{tmp_path / 'api-key'}"}
    certificate, key = authority.signed("client")
    target = hw.to_temporal("127.0.0.1:1", **options, cert=str(certificate), key=str(key))
    stub = GrpcStub(authority.server(authority.signed("server"), asks=True))

    async def exchange(opened: hw.Target) -> list[Answer]:
        async with stub:
            opened._server.address = stub.address  # type: ignore[attr-defined]
            found = [*await opened.deliver([delivery_of(1)])]
            (tmp_path / "api-key").write_text("another-key\n")
            found += await opened.deliver([delivery_of(2)])
            authority.ca.write_bytes(other.ca.read_bytes())
            return [*found, *await opened.deliver([delivery_of(3)])]

    found = with_target(target, exchange)
    assert outcomes(found) == [Outcome.DONE, Outcome.DONE, Outcome.RETRY]
    calls = [asked for asked in stub.asked if asked[":path"].endswith("/StartWorkflowExecution")]
    assert [asked["authorization"] for asked in calls] == ["Bearer first-key", "Bearer another-key"]


def test_a_codec_has_what_it_says() -> None:
    from temporalio.converter import PayloadCodec

    class Backwards(PayloadCodec):
        async def encode(self, payloads: Any) -> list[Any]:
            return [type(one)(metadata={"encoding": b"backwards"}, data=one.data[::-1]) for one in payloads]

        async def decode(self, payloads: Any) -> list[Any]:
            raise NotImplementedError

    target = hw.to_temporal("127.0.0.1:1", **CART, codec=Backwards())
    [payload] = run(target._requests.start(delivery_of(1, {"a": 1}), "x")).input.payloads
    assert (payload.metadata["encoding"], payload.data) == (b"backwards", b'}1:"a"{')


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "action='start' needs workflow=..."),
        ({**CART, "action": "begin"}, "action='begin' is none"),
        ({**CART, "signal": "add"}, "signal='add' is nothing for action='start'"),
        ({**CART, "action": "signal", "signal": "add"}, "workflow='Cart' is nothing for action='signal'"),
        ({**CART, "action": "update_with_start"}, "needs update=..."),
        ({**CART, "workflow_id": "{key}"}, "has no {id} in it: a trigger that comes again is known by"),
        ({**CART, "workflow_id": "{sku}{id}"}, "{sku} is not known"),
        ({**CART, "mode": "batched"}, "mode='batched' is none"),
        ({**CART, "tls": False, "ca": "x.pem"}, "leave one of them out"),
        ({**CART, "namespace": " "}, "namespace=' ': expected a name"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as raised:
        hw.to_temporal("localhost:7233", **options)
    assert said in str(raised.value)


def test_an_address_that_cannot_be() -> None:
    for address in ("https://localhost:7233", "localhost", "ann:swordfish@localhost:7233"):
        with pytest.raises(UsageError, match="expected a host and a port"):
            hw.to_temporal(address, **CART)
