"""Triggers into LittleHorse: its real client against a stub of its own service.

Run by `tests.test_targets_littlehorse`, in a process of its own: the client asks for other versions of libraries than
are used here, and is in `.services/`. A server of LittleHorse is in no registry of Python packages, npm or Debian.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from littlehorse.model import VariableValue, WfRun, WfRunId
from littlehorse.model.service_pb2_grpc import LittleHorseServicer, add_LittleHorseServicer_to_server
from msgspec.structs import replace
from tests.targets_harness import delivery_of, outcomes

import headway as hw
from headway.errors import OutputError, UsageError
from headway.targets.base import Outcome
from headway.testing import check_target


class Stub(LittleHorseServicer):  # type: ignore[misc]
    """Keeps runs and events by their ids, as the server does."""

    def __init__(self) -> None:
        self.runs: dict[str, Any] = {}
        self.events: dict[str, Any] = {}
        self.tenants: set[Any] = set()
        self.aborts: tuple[Any, str] | None = None

    async def RunWf(self, request: Any, context: Any) -> Any:  # noqa: N802 - as the service calls it.
        await self._keep(context, self.runs, request.id, request)
        return WfRun(id=WfRunId(id=request.id))

    async def PutExternalEvent(self, request: Any, context: Any) -> Any:  # noqa: N802
        from littlehorse.model import ExternalEvent

        await self._keep(context, self.events, request.guid, request)
        return ExternalEvent()

    async def GetServerVersion(self, request: Any, context: Any) -> Any:  # noqa: N802
        from littlehorse.model import LittleHorseVersion

        return LittleHorseVersion(major_version=1, minor_version=3)

    async def _keep(self, context: Any, there: dict[str, Any], key: str, request: Any) -> None:
        self.tenants.add(dict(context.invocation_metadata()).get("tenantid"))
        if self.aborts is not None:
            await context.abort(*self.aborts)
        if key in there:
            await context.abort(grpc.StatusCode.ALREADY_EXISTS, f"{key} already exists")
        there[key] = request


def with_stub(step: Callable[[Stub, str], Awaitable[None]]) -> None:
    async def served() -> None:
        stub, server = Stub(), grpc.aio.server()
        add_LittleHorseServicer_to_server(stub, server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            await step(stub, f"127.0.0.1:{port}")
        finally:
            await server.stop(0)

    asyncio.run(asyncio.wait_for(served(), 60))


async def given(target: hw.Target, *batch: Any) -> list[Any]:
    target.check()
    await target.open()
    try:
        return [(await target.deliver([one]))[0] for one in batch]
    finally:
        await target.close()


def test_the_contract() -> None:
    async def step(stub: Stub, address: str) -> None:
        # Which has an event loop of its own.
        await asyncio.to_thread(
            check_target,
            lambda: hw.to_littlehorse(address, workflow="told", options={"LHC_OAUTH_CLIENT_SECRET": "swordfish"}),
            received=lambda: list(stub.runs),
            make_unreachable=lambda: hw.to_littlehorse("127.0.0.1:1", workflow="told", timeout="2s"),
            secrets=["swordfish"],
        )

    with_stub(step)


def test_a_run_is_known_by_its_id() -> None:
    async def step(stub: Stub, address: str) -> None:
        one = delivery_of(1, {"cents": 7})
        target = hw.to_littlehorse(
            address, workflow="win-back", run_id="wb-{id}", variable="cart", options={"LHC_TENANT_ID": "shop"}
        )
        assert outcomes(await given(target, one, replace(one, attempt=2))) == [Outcome.DONE] * 2
        [(run_id, request)] = stub.runs.items()
        assert (run_id, request.wf_spec_name) == (f"wb-{one.id}", "win-back")
        assert dict(request.variables) == {"cart": VariableValue(json_obj='{"cents":7}')}
        assert stub.tenants == {"shop"}

    with_stub(step)


def test_an_external_event_is_known_by_its_guid() -> None:
    async def step(stub: Stub, address: str) -> None:
        one = delivery_of(1, "paid", key="order-1")
        target = hw.to_littlehorse(address, event="paid", mode="structured")
        assert outcomes(await given(target, one, one)) == [Outcome.DONE] * 2
        [(guid, request)] = stub.events.items()
        assert (guid, request.wf_run_id.id, request.external_event_def_id.name) == (one.id, "order-1", "paid")
        assert f'"id":"{one.id}"' in request.content.json_obj

    with_stub(step)


def test_a_look() -> None:
    async def step(stub: Stub, address: str) -> None:
        for port, said in ((address, "LittleHorse 1.3"), ("127.0.0.1:1", None)):
            target = hw.to_littlehorse(port, workflow="told", timeout="2s")
            await target.open()
            if said is not None:
                assert await target.look() == said
            else:
                with pytest.raises(OutputError, match="UNAVAILABLE"):
                    await target.look()
            await target.close()

    with_stub(step)


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ({"a": [1]}, {"json_obj": '{"a":[1]}'}),
        ([1, 2], {"json_arr": "[1,2]"}),
        ("x", {"str": "x"}),
        (7, {"int": 7}),
        (2**70, {"json_obj": str(2**70)}),
        (1.5, {"double": 1.5}),
        (True, {"bool": True}),
    ],
)
def test_values(value: Any, kept: dict[str, Any]) -> None:
    async def step(stub: Stub, address: str) -> None:
        await given(hw.to_littlehorse(address, workflow="told"), delivery_of(1, value))
        [request] = stub.runs.values()
        assert request.variables["event"] == VariableValue(**kept)

    with_stub(step)


def test_codes_of_the_server() -> None:
    async def step(stub: Stub, address: str) -> None:
        found = []
        for code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.RESOURCE_EXHAUSTED):
            stub.aborts = (code, "said with swordfish")
            options = {"LHC_OAUTH_CLIENT_SECRET": "swordfish"}
            found += await given(hw.to_littlehorse(address, workflow="told", options=options), delivery_of(1))
        assert outcomes(found) == [Outcome.NEVER, Outcome.RETRY, Outcome.RETRY]
        assert found[0].reason == "INVALID_ARGUMENT: said with ***" and found[2].is_busy

    with_stub(step)


@pytest.mark.parametrize(
    ("said", "outcome"),
    [
        # Texts of the server 1.3: what is not deployed, or is deployed otherwise, is said of every trigger.
        ("No ExternalEventDef named paid", Outcome.RETRY),
        ("WfSpec told requires a parent WfRun ID from WfSpec other", Outcome.RETRY),
        ("Thread entrypoint: Must provide required input variable event of type STR", Outcome.RETRY),
        (
            "Thread entrypoint: Var event provided but not needed for thread entrypoint Current variables[]",
            Outcome.RETRY,
        ),
        ("Variable event is an inherited var but it was provided as input", Outcome.RETRY),
        ("Optional argument 'id' must be a valid hostname", Outcome.NEVER),
        ("Invalid type of content for event. Check the return type of ExternalEventDef paid: no STR", Outcome.NEVER),
    ],
)
def test_what_is_said_of_all_triggers_is_retried(said: str, outcome: Outcome) -> None:
    async def step(stub: Stub, address: str) -> None:
        stub.aborts = (grpc.StatusCode.INVALID_ARGUMENT, said)
        for target in (hw.to_littlehorse(address, workflow="told"), hw.to_littlehorse(address, event="paid")):
            [answer] = await given(target, delivery_of(1))
            assert answer.outcome is outcome and said in answer.reason
        stub.aborts = (grpc.StatusCode.NOT_FOUND, "Couldn't find it")
        [answer] = await given(hw.to_littlehorse(address, event="paid"), delivery_of(1))
        assert answer.outcome is Outcome.RETRY

    with_stub(step)


def test_a_secret_whose_file_is_gone(tmp_path: Path) -> None:
    async def step(stub: Stub, address: str) -> None:
        file = tmp_path / "secret"
        file.write_text("swordfish")
        stub.aborts = (grpc.StatusCode.INTERNAL, "no access with swordfish")
        target = hw.to_littlehorse(address, workflow="told", options={"LHC_OAUTH_CLIENT_SECRET": f"file:{file}"})
        await target.open()
        file.unlink()
        [answer] = await target.deliver([delivery_of(1)])
        await target.close()
        assert answer.outcome is Outcome.RETRY and answer.reason == "INTERNAL: no access with ***"

    with_stub(step)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "needs workflow=... or event=..."),
        ({"workflow": "a", "event": "b"}, "needs workflow=... or event=..."),
        ({"workflow": "a", "run_id": "{key}"}, "run_id='{key}' has no {id} in it"),
        ({"workflow": "a", "options": {"LHC_API_HOST": "x"}}, "options: 'LHC_API_HOST' is none that can be set here"),
        ({"workflow": "a", "mode": "batched"}, "mode='batched' is none"),
        ({"workflow": "a", "options": ["LHC_TENANT_ID"]}, "options is list: expected settings by name"),
        ({"workflow": "a", "options": {5: "x"}}, "options: 5 is none that can be set here"),
        ({"workflow": "a", "options": {"LHC_TENANT_ID": 5}}, "LHC_TENANT_ID is empty or no text"),
        ({"workflow": 5}, "workflow=5: expected a name"),
        ({"workflow": "a", "variable": ""}, "variable='': expected a name"),
        ({"event": ["a"]}, "event=['a']: expected a name"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as raised:
        hw.to_littlehorse("localhost:2023", **options)
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("LHC_API_PROTOCOL", "HTTP", "Invalid protocol: HTTP"),
        ("LHC_GRPC_KEEPALIVE_TIME_MS", "soon", "'soon'"),
        ("LHC_GRPC_KEEPALIVE_TIMEOUT_MS", "1.5", "'1.5'"),
    ],
)
def test_options_that_the_client_cannot_use(option: str, value: str, said: str) -> None:
    with pytest.raises(UsageError, match="LittleHorse's client cannot use them") as raised:
        hw.to_littlehorse("localhost:2023", workflow="told", options={option: value}).check()
    assert said in str(raised.value)


def test_a_certificate_that_is_not_there(tmp_path: Path) -> None:
    options = {"LHC_API_PROTOCOL": "TLS", "LHC_CA_CERT": str(tmp_path / "none.pem")}
    with pytest.raises(UsageError, match=r"cannot use them: .*No such file or directory: .*none\.pem"):
        hw.to_littlehorse("localhost:2023", workflow="told", options=options).check()


@pytest.mark.parametrize("address", ["localhost", "localhost:0", "localhost:99999", "http://localhost:2023", 2023])
def test_addresses_that_cannot_be(address: Any) -> None:
    with pytest.raises(UsageError, match="expected a host and a port, such as 'localhost:2023'"):
        hw.to_littlehorse(address, workflow="told")
