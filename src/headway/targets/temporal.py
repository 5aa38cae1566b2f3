"""Triggers into Temporal: each starts a workflow, or is a signal or an update of the workflow of its key.

What Temporal knows a repeat by, and for how long:

* A *start*: by the workflow's id, which has the trigger's id in it. A workflow that runs takes the repeat for its own
  start; one that is over refuses it as long as the namespace keeps it, its retention. After that it would start again.
* A *signal*: by the id of the request, which is the trigger's id, as long as the run goes on that has got it. Once that
  run is over, or has continued as new, it would be there again: after a crash, say, between the end of that run and our
  note of the answer. The signal's argument therefore has the trigger's id.
* An *update*: by the update's id, within the run likewise.

Rejected: the client's own methods. They make a new id for the request of each signal, by which a repeat is another one.
And a query before each signal: between the two anything may happen.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any, Final, Optional

from headway.basics.times import Duration, format_duration
from headway.errors import OutputError, UsageError
from headway.targets.answers import REASON_MAX
from headway.targets.base import DONE, Answer, Delivery, Guarantee, Limits, Outcome, Target
from headway.targets.cloudevents import checked_mode
from headway.targets.grpc_answers import answer_for_code
from headway.targets.limits import SPARE_S, limits_of
from headway.targets.naming import NamelessError, Naming
from headway.targets.temporal_requests import ACTIONS, TemporalRequests
from headway.targets.temporal_server import TemporalServer
from headway.targets.tls import TlsFiles

__all__ = ["Temporal", "to_temporal"]

_NAME_MAX: Final = 1_000
_ONCE: Final = "a trigger that comes again is known by the workflow's id"


def to_temporal(
    address: str,
    *,
    workflow: Optional[str] = None,
    task_queue: Optional[str] = None,
    action: str = "start",
    signal: Optional[str] = None,
    update: Optional[str] = None,
    workflow_id: Optional[str] = None,
    mode: Optional[str] = None,
    namespace: str = "default",
    api_key: Optional[str] = None,
    tls: Optional[bool] = None,
    ca: Optional[str] = None,
    cert: Optional[str] = None,
    key: Optional[str] = None,
    codec: Any = None,
    concurrency: int = 64,
    rate: Optional[float] = None,
    timeout: Duration = "20s",
    name: Optional[str] = None,
) -> Temporal:
    """Start a workflow of Temporal with each trigger, or send each trigger to the workflow of its key.

    `action` is `"start"`; `"signal"` of a workflow that runs; or `"signal_with_start"` and `"update_with_start"`, which
    start it where it does not run. `workflow` is the workflow's type and `task_queue` where its workers listen.
    `signal` and `update` name the handler. `workflow_id` is a text with `{id}`, `{key}` or `{type}` of the trigger in
    it: by default `"{id}"` for a start, which has to have it, and `"{key}"` otherwise.

    The argument of the workflow, signal or update is the trigger's value (`mode="binary"`, the default of `start`; the
    attributes of the CloudEvent are in the memo `cloudevent`) or the whole event with its id (`"structured"`, the
    default of the others, so that a handler can know a repeat). `codec` is a `temporalio.converter.PayloadCodec`.

    `api_key` (best as `env:NAME` or `file:/path`), `ca`, `cert` or `key` turn TLS on, `tls=True` does with the system's
    authorities. `concurrency`, `rate`, `timeout` and `name` are as for `webhook`. Needs the extra `temporal`. Raises
    `UsageError` for an option that cannot be.

    >>> to_temporal("localhost:7233", workflow="Remind", task_queue="carts")
    <Temporal temporal localhost:7233 default Remind>
    """
    handler = _checked_action(action, workflow, task_queue, signal, update)
    return Temporal(
        TemporalServer(address, tls=tls, files=TlsFiles(ca=ca, cert=cert, key=key), api_key=api_key),
        _checked_name("namespace", namespace),
        workflow or "",
        task_queue or "",
        action=action,
        handler=handler,
        naming=Naming("{id}" if workflow_id is None else workflow_id, "workflow_id", must_have="id", because=_ONCE)
        if action == "start"
        else Naming("{key}" if workflow_id is None else workflow_id, "workflow_id"),
        mode=("binary" if action == "start" else "structured") if mode is None else mode,
        codec=codec,
        limits=limits_of(
            concurrency=concurrency,
            rate=rate,
            timeout=timeout,
            spare_s=SPARE_S,
        ),
        name=name,
    )


class Temporal(Target):
    """Workflows of Temporal that take triggers; made by `hw.to_temporal`."""

    guarantee = Guarantee.BY_ID

    def __init__(
        self,
        server: TemporalServer,
        namespace: str,
        workflow: str,
        task_queue: str,
        *,
        action: str,
        handler: str,
        naming: Naming,
        mode: str,
        codec: Any,
        limits: Limits,
        name: Optional[str] = None,
    ) -> None:
        self.limits = limits
        self._server = server
        self._namespace = namespace
        self._action = action
        self._naming = naming
        self._requests = TemporalRequests(
            namespace, workflow, task_queue, handler, is_structured=checked_mode(mode) == "structured", codec=codec
        )
        what = " ".join(part for part in (workflow, handler) if part)
        self._name = name or f"temporal {server.address} {namespace} {what}"
        self._timeout = timedelta(seconds=limits.timeout_s)

    @property
    def name(self) -> str:
        """`temporal`, the server, the namespace, the workflow, and the signal or update."""
        return self._name

    def check(self) -> None:
        """Look whether the library, the certificates and the key are there."""
        self._server.check()

    async def open(self) -> None:
        """Look whether the library is there; a connection is made when it is needed."""
        self.check()

    async def deliver(self, batch: Sequence[Delivery]) -> Sequence[Answer]:
        """Hand one trigger over, in one call, and say what the server has made of it."""
        from temporalio.service import RPCError

        [delivery] = batch
        try:
            workflow_id = self._naming.of(delivery)
            call, request = await self._prepared(delivery, workflow_id)
            response = await call(request, timeout=self._timeout)
            return [await self._answer_to_update(response) if self._action == "update_with_start" else DONE]
        except NamelessError as error:
            return [error.answer]
        except RPCError as error:
            return [self._answer(error)]
        # What cannot be connected to is a RuntimeError of the library, and has no class of its own.
        except (UsageError, OSError, RuntimeError) as error:
            return [Answer(Outcome.RETRY, self._server.words(error)[:REASON_MAX])]

    async def look(self) -> str:
        """Ask for the namespace, and how long it keeps workflows that are over."""
        from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
        from temporalio.service import RPCError

        try:
            service = await self._server.service()
            found = await service.describe_namespace(
                DescribeNamespaceRequest(namespace=self._namespace), timeout=self._timeout
            )
        except RPCError as error:
            raise OutputError(self._answer(error).reason) from error
        except (UsageError, OSError, RuntimeError) as error:
            raise OutputError(self._server.words(error)) from error
        kept_ms = int(found.config.workflow_execution_retention_ttl.ToMilliseconds())
        return f"the namespace {self._namespace} keeps workflows that are over for {format_duration(kept_ms)}"

    async def close(self) -> None:
        """Let go of the connection."""
        self._server.close()

    async def _prepared(self, delivery: Delivery, workflow_id: str) -> tuple[Callable[..., Awaitable[Any]], Any]:
        service = await self._server.service()
        if self._action == "start":
            return service.start_workflow_execution, await self._requests.start(delivery, workflow_id)
        if self._action == "signal":
            return service.signal_workflow_execution, await self._requests.signal(delivery, workflow_id)
        if self._action == "signal_with_start":
            request = await self._requests.signal_with_start(delivery, workflow_id)
            return service.signal_with_start_workflow_execution, request
        return service.execute_multi_operation, await self._requests.update_with_start(delivery, workflow_id)

    async def _answer_to_update(self, response: Any) -> Answer:
        """It is in once a worker has accepted it: from then on it is in the workflow's history."""
        from temporalio.api.enums.v1 import UpdateWorkflowExecutionLifecycleStage

        update = response.responses[1].update_workflow
        if update.HasField("outcome") and update.outcome.HasField("failure"):
            # One that was refused and one that was accepted and has failed since look the same.
            if await self._is_in_history(update.update_ref):
                return DONE
            return Answer(Outcome.NEVER, f"the update was refused: {update.outcome.failure.message}"[:REASON_MAX])
        stage = UpdateWorkflowExecutionLifecycleStage.UPDATE_WORKFLOW_EXECUTION_LIFECYCLE_STAGE_ACCEPTED
        return DONE if update.stage >= stage else Answer(Outcome.RETRY, _NO_WORKER)

    async def _is_in_history(self, update_ref: Any) -> bool:
        """Whether the server still knows an update: it forgets those that a worker has refused."""
        from temporalio.api.workflowservice.v1 import PollWorkflowExecutionUpdateRequest
        from temporalio.service import RPCError, RPCStatusCode

        service = await self._server.service()
        request = PollWorkflowExecutionUpdateRequest(namespace=self._namespace, update_ref=update_ref)
        try:
            await service.poll_workflow_execution_update(request, timeout=self._timeout)
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return False
            raise
        return True

    def _answer(self, error: Any) -> Answer:
        """What an error of the server means."""
        code, said = error.status.name, self._server.words(error)
        if code == "ALREADY_EXISTS" and self._action == "start":
            return DONE  # It is over, and its id says that it was started by this trigger.
        if self._action == "update_with_start":
            code, said = _failed_part(error) or (code, said)
        is_namespace = any(each.type_url.endswith("NamespaceNotFoundFailure") for each in error.grpc_status.details)
        if code == "NOT_FOUND" and self._action == "signal" and not is_namespace:
            return Answer(Outcome.NEVER, f"no such workflow runs: {said}"[:REASON_MAX])
        if code == "DEADLINE_EXCEEDED" or (code, said) == ("CANCELLED", _OWN_TIMEOUT):
            late = f"no answer within {self._timeout.total_seconds():g} s"
            return Answer(Outcome.RETRY, _NO_WORKER if self._action == "update_with_start" else late)
        return answer_for_code(code, said)


_OWN_TIMEOUT: Final = "Timeout expired"
"""What the library says of a call that has taken too long."""
_NO_WORKER: Final = "no worker has accepted the update: is one running for this task queue?"


def _failed_part(error: Any) -> Optional[tuple[str, str]]:
    """Which of two operations has failed, and why; None where the error is about both."""
    from temporalio.api.errordetails.v1 import MultiOperationExecutionFailure
    from temporalio.service import RPCStatusCode

    failure = MultiOperationExecutionFailure()
    for detail in error.grpc_status.details:
        if detail.Unpack(failure):
            for status in failure.statuses:
                is_aborted = any(each.type_url.endswith("MultiOperationExecutionAborted") for each in status.details)
                if status.code and not is_aborted:
                    return RPCStatusCode(status.code).name, status.message
    return None


def _checked_action(
    action: str, workflow: Optional[str], task_queue: Optional[str], signal: Optional[str], update: Optional[str]
) -> str:
    """The name of the signal or update; empty for a start. Raises `UsageError` for what is missing or too much."""
    if action not in ACTIONS:
        msg = f"action={action!r} is none: write one of {', '.join(map(repr, ACTIONS))}"
        raise UsageError(msg)
    starts = action != "signal"
    needs = {"workflow": starts, "task_queue": starts, "signal": "signal" in action, "update": "update" in action}
    given = {"workflow": workflow, "task_queue": task_queue, "signal": signal, "update": update}
    for what, is_needed in needs.items():
        value = given[what]
        if is_needed and value is None:
            msg = f"action={action!r} needs {what}=..."
            raise UsageError(msg)
        if not is_needed and value is not None:
            msg = f"{what}={value!r} is nothing for action={action!r}: leave it out"
            raise UsageError(msg)
        if value is not None:
            _checked_name(what, value)
    return signal or update or ""


def _checked_name(what: str, value: str) -> str:
    if not isinstance(value, str) or not value.strip() or not value.isprintable() or len(value.encode()) > _NAME_MAX:
        msg = f"{what}={value!r:.100}: expected a name of 1 to {_NAME_MAX:,} bytes"
        raise UsageError(msg)
    return value
