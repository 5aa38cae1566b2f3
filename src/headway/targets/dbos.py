"""Triggers into DBOS, exact: workflows that are enqueued, or messages to workflows, with our position beside them.

DBOS keeps its workflows in a database. A trigger is written there with the position of the outbox in one transaction
(`headway.targets.dbos_database`), so it is there once, for ever, also after DBOS has forgotten the workflow. The
workflow's id has the trigger's id in it besides: when a state directory was lost and the log is read anew, DBOS takes
the repeat for what it has, as long as it keeps the workflow.

Rejected: DBOS's `deduplication_id`. It is free again once the workflow that has it runs no more.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Optional

from headway.basics.times import Duration
from headway.targets.base import Answer, Delivery, Guarantee, Limits, Target
from headway.targets.dbos_database import DbosDatabase
from headway.targets.dbos_hands import Hand, hand_of
from headway.targets.limits import limits_of
from headway.targets.positions import answers_placed, by_place
from headway.targets.threads import Threads

__all__ = ["Dbos", "to_dbos"]


def to_dbos(
    url: str,
    *,
    workflow: Optional[str] = None,
    queue: Optional[str] = None,
    workflow_id: Optional[str] = None,
    send_to: Optional[str] = None,
    topic: Optional[str] = None,
    partition: Optional[str] = None,
    mode: Optional[str] = None,
    portable: bool = False,
    application: Optional[str] = None,
    schema: str = "dbos",
    concurrency: int = 4,
    batch: int = 100,
    rate: Optional[float] = None,
    timeout: Duration = "20s",
    name: Optional[str] = None,
) -> Dbos:
    """Enqueue a workflow of DBOS with each trigger, or send each trigger to a workflow as a message; exactly once.

    `url` is DBOS's system database, `postgresql://...` or `sqlite:///path`, best as `env:NAME` or `file:/path`. Either
    `workflow`, the name it is registered under, and `queue` are given, or `send_to`, the id of the workflow that gets a
    message, with a `topic` if it waits for one. `workflow_id`, `send_to` and `partition`, the queue's partition key,
    are texts that may have `{id}`, `{key}`, `{type}` and `{value.field}` of the trigger in them. A workflow's id is by
    default `"{id}"`, and has to have it.

    The workflow's argument, or the message, is the trigger's value (`mode="binary"`, the default of workflows; the
    attributes of the CloudEvent are attributes `ce-*` of the workflow) or the whole event (`"structured"`, the default
    of messages). `portable` writes JSON that DBOS reads in every language. `application` is the DBOS application that
    the workflow belongs to, where several share a database of the `schema`. `batch` triggers are one transaction, with
    our position in the table `headway_positions`. Needs the extra `dbos`. Raises `UsageError` for what cannot be.

    >>> to_dbos("postgresql://app:swordfish@db.example/shop", workflow="reorder", queue="triggers")
    <Dbos dbos db.example/shop reorder>
    """
    limits = limits_of(
        concurrency=concurrency,
        rate=rate,
        timeout=timeout,
        batch=batch,
        concurrency_most=100,
    )
    hand = hand_of(
        workflow=workflow,
        queue=queue,
        workflow_id=workflow_id,
        partition=partition,
        application=application,
        send_to=send_to,
        topic=topic,
        mode=mode,
        portable=portable,
    )
    return Dbos(DbosDatabase(url, schema, pool=limits.concurrency, timeout_s=limits.timeout_s), hand, limits, name)


class Dbos(Target):
    """Workflows of DBOS that take triggers; made by `hw.to_dbos`."""

    guarantee = Guarantee.EXACT
    in_order = True

    def __init__(self, database: DbosDatabase, hand: Hand, limits: Limits, name: Optional[str] = None) -> None:
        self.limits = limits
        self._database = database
        self._hand = hand
        self._name = name or f"dbos {database.shown} {hand.shown}"
        self._threads: Optional[Threads] = None

    @property
    def name(self) -> str:
        """`dbos`, the database, and the workflow or whom messages go to."""
        return self._name

    def check(self) -> None:
        """Look whether the library and the URL are there."""
        self._database.check()

    async def open(self) -> None:
        """Make the client; connections are made when they are needed."""
        self.check()
        self._database.open()
        self._threads = Threads(self.limits.concurrency, self._name)

    async def deliver(self, batch: Sequence[Delivery]) -> Sequence[Answer]:
        """Hand the batch over, one transaction for each place in it."""
        assert self._threads is not None, "open() comes before deliver()"
        answers: dict[str, Sequence[Answer]] = {}
        for place, deliveries in by_place(batch).items():
            write = partial(self._database.write, f"dbos {self._hand.shown}", place, deliveries, self._hand)
            answers[place] = await self._threads.run(write)
        return answers_placed(batch, answers)

    async def look(self) -> str:
        """Look for the tables of DBOS."""
        assert self._threads is not None, "open() comes before look()"
        return str(await self._threads.run(self._database.look))

    async def close(self) -> None:
        """Close the connections; a transaction that is under way in a thread comes to its end."""
        if self._threads is not None:
            self._threads.close()
            self._database.close()
