"""What is kept of each instance of a durable function, and what may be asked about it."""

from __future__ import annotations

from typing import Any, ClassVar, Final

from headway.functions.history import Parent
from headway.types.logs import Log
from headway.types.schema import State

__all__ = ["BLOCKED", "RUNNING", "Answer", "FunctionState", "TopicCall"]

RUNNING: Final = "running"
BLOCKED: Final = "blocked"
"""Its code and its history disagree, or it made no progress: it waits for a person."""


class Answer(State):
    """The answer to an update."""

    value: str = ""
    """JSON; empty where it was refused or has failed."""
    error: str = ""


class TopicCall(State):
    """A call that waits for a message: how it stands with it."""

    attempt: int = 1
    at_ms: int = 0
    """When it was made."""
    is_pausing: bool = False
    """Whether the attempt has failed, and the next one is to come."""
    entry: int = 0
    """The number of its entry in the history, so that nothing is searched for when its reply comes."""


class FunctionState(State):
    """The row of one instance; its key is the function's name, a slash, and the id."""

    status: str = ""
    """`running`, `blocked`, `completed`, `failed`, `cancelled` or `terminated`; empty where there is none."""
    run: int = 0
    """Runs of one id are counted from 0."""
    phase: str = ""
    """As what it is counted: `working`, `asleep`, `blocked`, or as what it has ended; empty where it is not."""
    resets: int = 0
    """How many of the last runs have begun with the history of the one before, cut back: to its code it is that one."""
    started_ms: int = 0
    ended_ms: int = 0
    started_by: str = ""
    """The idempotency key of the request that has started it; empty where it was none."""
    arguments: str = ""
    """JSON."""
    result: str = ""
    """JSON; empty before it has completed."""
    error: str = ""
    """Why it has failed, or is blocked."""
    waits: list[str] = []
    """What it waits for, for people: the first 20 things."""
    variables: str = ""
    """Its durable variables, as a JSON object; empty where it has none."""
    search: str = ""
    """The fields by which it is found, as a JSON object; empty where it has none."""
    callers: list[Parent] = []
    """The calls that its end is the answer to: of who has started it, and of others that did meanwhile."""
    history: Log[bytes] = Log()
    """The entries of this run, each as `headway.functions.history` stores it."""
    held: Log[bytes] = Log()
    """What has happened while it was blocked, as such entries."""
    updates: dict[str, Answer] = {}
    """Answers to the last updates, by their ids."""
    topics: dict[str, TopicCall] = {}
    """Calls that wait for a message, by their numbers."""

    state_version: ClassVar[int] = 2

    @classmethod
    def migrate(cls, old: Any, version: int) -> Any:
        """Version 1 kept histories as lists, whose items are the entries of the logs."""
        return old

    @property
    def code_run(self) -> int:
        """The run that its code is told: ids, tokens and chance in its history follow from that one."""
        return self.run - self.resets
