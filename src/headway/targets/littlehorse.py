"""Triggers into LittleHorse: each runs a workflow, or is an external event of one.

A run is known by its id, which has the trigger's id in it, and an external event by its `guid`, which is the trigger's
id: the server refuses a second one (ALREADY_EXISTS) as long as it keeps the first. The client's own retries are off,
because ours outlive the process.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, Optional

import msgspec

from headway.basics.needed import needed
from headway.basics.secret import Secret, hide
from headway.basics.times import Duration
from headway.errors import OutputError, UsageError
from headway.targets.answers import REASON_MAX
from headway.targets.base import DONE, Answer, Delivery, Guarantee, Limits, Outcome, Target
from headway.targets.cloudevents import checked_mode, event_of
from headway.targets.grpc_answers import answer_for_code
from headway.targets.limits import SPARE_S, limits_of
from headway.targets.naming import NamelessError, Naming
from headway.targets.urls import host_and_port

__all__ = ["LittleHorse", "to_littlehorse"]

_OURS: Final = ("LHC_API_HOST", "LHC_API_PORT", "LHC_GRPC_RESOURCE_EXHAUSTED_RETRY")
_SETTING: Final = re.compile(r"LHC_[A-Z_]+")
_OF_ALL: Final = (
    "No ExternalEventDef named",
    "requires a parent WfRun ID",
    "Must provide required input variable",
    "provided but not needed",
    "is an inherited var",
)
"""What the server says with INVALID_ARGUMENT of all triggers: the workflow or the event is not there yet, or another
than is meant. They are taken once it is deployed."""


def to_littlehorse(
    address: str,
    *,
    workflow: Optional[str] = None,
    variable: Optional[str] = "event",
    event: Optional[str] = None,
    run_id: Optional[str] = None,
    mode: str = "binary",
    options: Optional[Mapping[str, str]] = None,
    concurrency: int = 64,
    rate: Optional[float] = None,
    timeout: Duration = "20s",
    name: Optional[str] = None,
) -> LittleHorse:
    """Run a workflow of LittleHorse with each trigger, or post each as an external event of a workflow that runs.

    `workflow` is the name of a WfSpec, and `variable` its variable that gets the trigger (None: none does); or `event`
    is the name of an ExternalEventDef. `run_id` may have `{id}`, `{key}`, `{type}` and `{value.field}` of the trigger
    in it: by default `"{id}"` for a run, which has to have it, and `"{key}"` for an event. What is given is the
    trigger's value (`mode="binary"`) or the whole event (`"structured"`).

    `options` are settings of LittleHorse's client under their own names, such as `LHC_TENANT_ID`, `LHC_API_PROTOCOL`
    or `LHC_OAUTH_CLIENT_SECRET`, which may be `env:NAME` and `file:/path`; variables of the environment that have these
    names win, as always with this client. `concurrency`, `rate`, `timeout` and `name`
    are as for `webhook`. Needs the extra `littlehorse`. Raises `UsageError` for an option that cannot be.

    >>> to_littlehorse("localhost:2023", workflow="win-back")
    <LittleHorse littlehorse localhost:2023 win-back>
    """
    if (workflow is None) == (event is None):
        msg = "to_littlehorse(...) needs workflow=... or event=..."
        raise UsageError(msg)
    for option, value in (("workflow", workflow), ("event", event), ("variable", variable)):
        if value is not None and (not isinstance(value, str) or not value.strip()):
            msg = f"{option}={value!r}: expected a name"
            raise UsageError(msg)
    once = "each trigger is a run of its own"
    if event is None:
        naming = Naming("{id}" if run_id is None else run_id, "run_id", must_have="id", because=once)
    else:
        naming = Naming("{key}" if run_id is None else run_id, "run_id")
    return LittleHorse(
        host_and_port(address, "to_littlehorse", "localhost:2023"),
        workflow or "",
        event or "",
        naming,
        variable=variable,
        is_structured=checked_mode(mode) == "structured",
        options=_checked_options(options),
        limits=limits_of(
            concurrency=concurrency,
            rate=rate,
            timeout=timeout,
            spare_s=SPARE_S,
        ),
        name=name,
    )


class LittleHorse(Target):
    """Workflows of LittleHorse that take triggers; made by `hw.to_littlehorse`."""

    guarantee = Guarantee.BY_ID

    def __init__(
        self,
        address: str,
        workflow: str,
        event: str,
        naming: Naming,
        *,
        variable: Optional[str],
        is_structured: bool,
        options: Mapping[str, Secret],
        limits: Limits,
        name: Optional[str] = None,
    ) -> None:
        self.limits = limits
        self._address = address
        self._workflow = workflow
        self._event = event
        self._naming = naming
        self._variable = variable
        self._is_structured = is_structured
        self._options = options
        self._name = name or f"littlehorse {address} {workflow or event}"
        self._channel: Any = None
        self._stub: Any = None

    @property
    def name(self) -> str:
        """`littlehorse`, the server, and the workflow or event."""
        return self._name

    def check(self) -> None:
        """Look whether the library is there, and the options can be used."""
        needed("littlehorse", "littlehorse", "hw.to_littlehorse(...)")
        self._config()

    async def open(self) -> None:
        """Make the channel, which connects when it is needed and again when it is lost."""
        self.check()
        from littlehorse.model import LittleHorseStub

        self._channel = self._config().establish_channel(self._address, async_channel=True)
        self._stub = LittleHorseStub(self._channel)

    async def deliver(self, batch: Sequence[Delivery]) -> Sequence[Answer]:
        """Hand one trigger over, in one call."""
        import grpc

        [delivery] = batch
        timeout_s = self.limits.timeout_s
        try:
            if self._event:
                await self._stub.PutExternalEvent(self._posted(delivery), timeout=timeout_s)
            else:
                await self._stub.RunWf(self._run(delivery), timeout=timeout_s)
        except NamelessError as error:
            return [error.answer]
        except grpc.aio.AioRpcError as error:
            return [self._answer(error.code().name, error.details() or "")]
        except (UsageError, OSError) as error:
            return [Answer(Outcome.RETRY, self._words(str(error))[:REASON_MAX])]
        return [DONE]

    async def look(self) -> str:
        """Ask for the server's version."""
        import grpc
        from google.protobuf.empty_pb2 import Empty

        try:
            found = await self._stub.GetServerVersion(Empty(), timeout=self.limits.timeout_s)
        except grpc.aio.AioRpcError as error:
            raise OutputError(self._answer(error.code().name, error.details() or "").reason) from error
        return f"LittleHorse {found.major_version}.{found.minor_version}"

    async def close(self) -> None:
        """Close the channel."""
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close()

    def _config(self) -> Any:
        """The client's settings. Raises `UsageError` for those that it cannot use."""
        from littlehorse.config import LHConfig

        config = LHConfig()
        given = {option: secret.one() for option, secret in self._options.items()}
        config.load({**given, "LHC_GRPC_RESOURCE_EXHAUSTED_RETRY": "false"})
        try:
            # The client looks at these when it makes a channel, and raises what it meets.
            _ = config.grpc_keepalive_time_ms, config.grpc_keepalive_timeout_ms
            _ = config.is_secure() and (config.ca_cert, config.client_cert, config.client_key)
        except (ValueError, OSError) as error:
            msg = (
                f"to_littlehorse(..., options={{...}}): LittleHorse's client cannot use them: {self._words(str(error))}"
            )
            raise UsageError(msg) from error
        return config

    def _run(self, delivery: Delivery) -> Any:
        from littlehorse.model import RunWfRequest

        variables = {} if self._variable is None else {self._variable: self._value(delivery)}
        return RunWfRequest(wf_spec_name=self._workflow, id=self._naming.of(delivery), variables=variables)

    def _posted(self, delivery: Delivery) -> Any:
        from littlehorse.model import ExternalEventDefId, PutExternalEventRequest, WfRunId

        return PutExternalEventRequest(
            wf_run_id=WfRunId(id=self._naming.of(delivery)),
            external_event_def_id=ExternalEventDefId(name=self._event),
            guid=delivery.id,
            content=self._value(delivery),
        )

    def _value(self, delivery: Delivery) -> Any:
        """What it gives, as LittleHorse has it: an object and a list are JSON, and what is simple is itself."""
        from littlehorse.model import VariableValue

        data = event_of(delivery) if self._is_structured else delivery.data
        if data[:1] == b"{":
            return VariableValue(json_obj=data.decode())
        if data[:1] == b"[":
            return VariableValue(json_arr=data.decode())
        value = msgspec.json.decode(data)
        kinds: dict[type, str] = {bool: "bool", str: "str", float: "double", int: "int"}
        if value is None:
            return VariableValue()
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            return VariableValue(json_obj=json.dumps(value))
        return VariableValue(**{kinds[type(value)]: value})

    def _answer(self, code: str, details: str) -> Answer:
        if code == "ALREADY_EXISTS":
            return DONE  # By its id it is this very trigger.
        if code == "DEADLINE_EXCEEDED":
            return Answer(Outcome.RETRY, f"no answer within {self.limits.timeout_s:g} s")
        if code == "INVALID_ARGUMENT" and any(text in details for text in _OF_ALL):
            return Answer(Outcome.RETRY, self._words(f"{code}: {details}")[:REASON_MAX])
        return answer_for_code(code, self._words(details))

    def _words(self, text: str) -> str:
        secrets = [text for option, secret in self._options.items() if "SECRET" in option for text in secret.known()]
        return hide(" ".join(text.split()), secrets)


def _checked_options(options: Optional[Mapping[str, str]]) -> dict[str, Secret]:
    if options is not None and not isinstance(options, Mapping):
        msg = f'options is {type(options).__name__}: expected settings by name, such as {{"LHC_TENANT_ID": "shop"}}'
        raise UsageError(msg)
    found = {}
    for option, value in (options or {}).items():
        if not isinstance(option, str) or not _SETTING.fullmatch(option) or option in _OURS:
            msg = f"options: {option!r} is none that can be set here: write one such as LHC_TENANT_ID"
            raise UsageError(msg)
        found[option] = Secret(value, option)
    return found
