"""What is asked of Temporal for a trigger, as messages of its gRPC service, with the ids by which it knows repeats.

Temporal knows a start by its workflow id, and by the id of the request. It knows a signal by the id of the request
too, as long as the run goes on that has got it: the client libraries make a new one for each call, and so a signal
sent again by them is there twice. Here it is the trigger's id. An update has an id of its own.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from headway.targets.base import Delivery
from headway.targets.cloudevents import attributes, event_of

__all__ = ["ACTIONS", "ATTRIBUTES", "TemporalRequests"]

ACTIONS: Final = ("start", "signal", "signal_with_start", "update_with_start")
ATTRIBUTES: Final = "cloudevent"
"""The field of a memo, or of a header, that has the attributes of the event."""
_IDENTITY: Final = "headway"


class TemporalRequests:
    """Makes requests for one workflow. `handler` is the name of a signal or update; `codec` encodes payloads."""

    def __init__(
        self, namespace: str, workflow: str, task_queue: str, handler: str, *, is_structured: bool, codec: Any
    ) -> None:
        self._namespace = namespace
        self._workflow = workflow
        self._task_queue = task_queue
        self._handler = handler
        self._is_structured = is_structured
        self._codec = codec

    async def start(self, delivery: Delivery, workflow_id: str) -> Any:
        """Start a workflow with the trigger as its argument, once for ever."""
        from temporalio.api.enums.v1 import WorkflowIdReusePolicy

        again = WorkflowIdReusePolicy.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE
        return await self._start(delivery, workflow_id, again)

    async def signal(self, delivery: Delivery, workflow_id: str) -> Any:
        """Signal a workflow that runs."""
        from temporalio.api.common.v1 import Header, WorkflowExecution
        from temporalio.api.workflowservice.v1 import SignalWorkflowExecutionRequest

        return SignalWorkflowExecutionRequest(
            namespace=self._namespace,
            workflow_execution=WorkflowExecution(workflow_id=workflow_id),
            signal_name=self._handler,
            input=await self._argument(delivery),
            header=Header(fields=await self._attributes(delivery)),
            request_id=delivery.id,
            identity=_IDENTITY,
        )

    async def signal_with_start(self, delivery: Delivery, workflow_id: str) -> Any:
        """Signal a workflow, and start it where it does not run."""
        from temporalio.api.common.v1 import Header, WorkflowType
        from temporalio.api.enums.v1 import WorkflowIdConflictPolicy, WorkflowIdReusePolicy
        from temporalio.api.taskqueue.v1 import TaskQueue
        from temporalio.api.workflowservice.v1 import SignalWithStartWorkflowExecutionRequest

        argument = await self._argument(delivery)
        return SignalWithStartWorkflowExecutionRequest(
            namespace=self._namespace,
            workflow_id=workflow_id,
            workflow_type=WorkflowType(name=self._workflow),
            task_queue=TaskQueue(name=self._task_queue),
            input=argument,
            signal_name=self._handler,
            signal_input=argument,
            header=Header(fields=await self._attributes(delivery)),
            request_id=delivery.id,
            identity=_IDENTITY,
            workflow_id_reuse_policy=WorkflowIdReusePolicy.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE,
            workflow_id_conflict_policy=WorkflowIdConflictPolicy.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING,
        )

    async def update_with_start(self, delivery: Delivery, workflow_id: str) -> Any:
        """Update a workflow, and start it where it does not run; answered when a worker has accepted the update."""
        from temporalio.api.common.v1 import Header, WorkflowExecution
        from temporalio.api.enums.v1 import UpdateWorkflowExecutionLifecycleStage, WorkflowIdReusePolicy
        from temporalio.api.update.v1 import Input, Meta, Request, WaitPolicy
        from temporalio.api.workflowservice.v1 import ExecuteMultiOperationRequest, UpdateWorkflowExecutionRequest

        again = WorkflowIdReusePolicy.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE
        stage = UpdateWorkflowExecutionLifecycleStage.UPDATE_WORKFLOW_EXECUTION_LIFECYCLE_STAGE_ACCEPTED
        update = UpdateWorkflowExecutionRequest(
            namespace=self._namespace,
            workflow_execution=WorkflowExecution(workflow_id=workflow_id),
            wait_policy=WaitPolicy(lifecycle_stage=stage),
            request=Request(
                meta=Meta(update_id=delivery.id, identity=_IDENTITY),
                input=Input(
                    name=self._handler,
                    args=await self._argument(delivery),
                    header=Header(fields=await self._attributes(delivery)),
                ),
            ),
        )
        operation = ExecuteMultiOperationRequest.Operation
        return ExecuteMultiOperationRequest(
            namespace=self._namespace,
            operations=[
                operation(start_workflow=await self._start(delivery, workflow_id, again)),
                operation(update_workflow=update),
            ],
        )

    async def _start(self, delivery: Delivery, workflow_id: str, again: Any) -> Any:
        from temporalio.api.common.v1 import Memo, WorkflowType
        from temporalio.api.enums.v1 import WorkflowIdConflictPolicy
        from temporalio.api.taskqueue.v1 import TaskQueue
        from temporalio.api.workflowservice.v1 import StartWorkflowExecutionRequest

        return StartWorkflowExecutionRequest(
            namespace=self._namespace,
            workflow_id=workflow_id,
            workflow_type=WorkflowType(name=self._workflow),
            task_queue=TaskQueue(name=self._task_queue),
            input=await self._argument(delivery),
            memo=Memo(fields=await self._attributes(delivery)),
            request_id=delivery.id,
            identity=_IDENTITY,
            workflow_id_reuse_policy=again,
            workflow_id_conflict_policy=WorkflowIdConflictPolicy.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING,
        )

    async def _argument(self, delivery: Delivery) -> Any:
        from temporalio.api.common.v1 import Payloads

        text = event_of(delivery) if self._is_structured else delivery.data
        return Payloads(payloads=[await self._payload(text)])

    async def _attributes(self, delivery: Delivery) -> dict[str, Any]:
        """The attributes of the CloudEvent, where the argument does not have them."""
        if self._is_structured:
            return {}
        return {ATTRIBUTES: await self._payload(msgspec.json.encode(attributes(delivery)))}

    async def _payload(self, text: bytes) -> Any:
        from temporalio.api.common.v1 import Payload

        payload = Payload(metadata={"encoding": b"json/plain"}, data=text)
        if self._codec is not None:
            [payload] = await self._codec.encode([payload])
        return payload
