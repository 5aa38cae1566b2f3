"""How a trigger is given to DBOS: as a workflow that is enqueued, or as a message to one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Optional, Union

import msgspec

from headway.errors import UsageError
from headway.targets.base import Delivery
from headway.targets.cloudevents import attributes, checked_mode, event_of
from headway.targets.naming import Naming

if TYPE_CHECKING:
    import sqlalchemy as sa
    from dbos import DBOSClient, EnqueueOptions

__all__ = ["Enqueued", "Hand", "Sent", "hand_of"]

_ONCE: Final = "each trigger starts a workflow of its own"


@dataclass(frozen=True)
class Enqueued:
    """Enqueues a workflow."""

    workflow: str
    queue: str
    naming: Naming
    partition: Optional[Naming]
    application: Optional[str]
    is_structured: bool
    is_portable: bool

    @property
    def shown(self) -> str:
        """For people."""
        return self.workflow

    def give(self, client: DBOSClient, connection: sa.Connection, delivery: Delivery) -> None:
        """Give it a trigger, in a transaction. Raises what DBOS does, and `NamelessError`."""
        options: EnqueueOptions = {
            "workflow_name": self.workflow,
            "queue_name": self.queue,
            "workflow_id": self.naming.of(delivery),
            "serialization_type": _serialization(self.is_portable),
        }
        if self.partition is not None:
            options["queue_partition_key"] = self.partition.of(delivery)
        if self.application is not None:
            options["application_name"] = self.application
        if not self.is_structured:
            options["attributes"] = {f"ce-{name}": value for name, value in attributes(delivery).items()}
        client.enqueue_in_transaction(connection, options, _argument(delivery, self.is_structured))


@dataclass(frozen=True)
class Sent:
    """Sends a message to a workflow."""

    naming: Naming
    topic: Optional[str]
    is_structured: bool
    is_portable: bool

    @property
    def shown(self) -> str:
        """For people."""
        return f"to {self.naming.template}" + ("" if self.topic is None else f" {self.topic}")

    def give(self, client: DBOSClient, connection: sa.Connection, delivery: Delivery) -> None:
        """Give it a trigger, in a transaction. Raises what DBOS does, and `NamelessError`."""
        client.send_in_transaction(
            connection,
            self.naming.of(delivery),
            _argument(delivery, self.is_structured),
            self.topic,
            delivery.id,
            serialization_type=_serialization(self.is_portable),
        )


Hand = Union[Enqueued, Sent]


def hand_of(
    *,
    workflow: Optional[str],
    queue: Optional[str],
    workflow_id: Optional[str],
    partition: Optional[str],
    application: Optional[str],
    send_to: Optional[str],
    topic: Optional[str],
    mode: Optional[str],
    portable: bool,
) -> Hand:
    """What these options of `hw.to_dbos` mean. Raises `UsageError` for what is missing or too much."""
    if (workflow is None) != (queue is None) or (workflow is None) == (send_to is None):
        msg = "to_dbos(...) needs workflow=... with queue=..., or send_to=..."
        raise UsageError(msg)
    if mode is not None:
        checked_mode(mode)
    of_workflows = {"workflow_id": workflow_id, "partition": partition, "application": application}
    _check_absent({"topic": topic} if send_to is None else of_workflows, "messages" if send_to else "workflows")
    for option, value in (("workflow", workflow), ("queue", queue), ("topic", topic)):
        if value is not None and (not isinstance(value, str) or not value.strip()):
            msg = f"{option}={value!r}: expected a name"
            raise UsageError(msg)
    if send_to is not None:
        return Sent(Naming(send_to, "send_to"), topic, mode != "binary", portable)
    assert workflow is not None and queue is not None
    return Enqueued(
        workflow,
        queue,
        Naming("{id}" if workflow_id is None else workflow_id, "workflow_id", must_have="id", because=_ONCE),
        None if partition is None else Naming(partition, "partition"),
        application,
        mode == "structured",
        portable,
    )


def _check_absent(options: Mapping[str, Optional[str]], what: str) -> None:
    for option, value in options.items():
        if value is not None:
            msg = f"{option}={value!r} is nothing for {what}: leave it out"
            raise UsageError(msg)


def _argument(delivery: Delivery, is_structured: bool) -> Any:
    return msgspec.json.decode(event_of(delivery) if is_structured else delivery.data)


def _serialization(is_portable: bool) -> Any:
    from dbos import WorkflowSerializationFormat

    return WorkflowSerializationFormat.PORTABLE if is_portable else WorkflowSerializationFormat.DEFAULT
