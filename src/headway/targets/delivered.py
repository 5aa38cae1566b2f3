"""An output whose triggers are delivered to a target, and how: what `stream.trigger(to=...)` declares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, NoReturn, Optional

from typing_extensions import override

from headway.connectors.base import Input, Output, Position
from headway.errors import InternalError
from headway.targets.base import Target

__all__ = ["ASKED_LONGEST_MS", "Delivered", "Delivering", "Edge", "OnFailure"]

Edge = Literal["direct", "indirect"]
"""Who waits for a receiver: on a direct edge the flow does, at a stated bound; on an indirect one nobody ever does."""

OnFailure = Literal["block", "skip"]
"""What becomes of a trigger that fails for long: it holds up those of its key, or it is given up and they go on."""


ASKED_LONGEST_MS: Final = 3_600_000
"""The longest pause that a receiver may usually ask for: one that asks for ten years has a fault."""


@dataclass(frozen=True)
class Delivering:
    """How the triggers of one output are delivered."""

    edge: Edge = "direct"
    on_failure: OnFailure = "block"
    give_up_after_ms: Optional[int] = None
    """For how long a trigger is tried, from its first attempt, before it is given up; of `on_failure="skip"`."""
    retry_first_ms: int = 1_000
    """The pause behind the first failure; each further one doubles it."""
    retry_longest_ms: int = 600_000
    """The longest pause between two attempts."""
    asked_longest_ms: int = ASKED_LONGEST_MS
    """The longest pause that an answer may ask for."""
    waiting_max: int = 1_000_000
    """How many triggers may wait in each process."""
    leaves_early: bool = False
    """Whether triggers are handed over before their epoch is durable; see `headway.state.deliveries`."""


class Delivered(Output):
    """Stands in a flow for the outbox of one output: nothing is written, the rows of the stage are delivered."""

    def __init__(self, target: Target, delivering: Delivering, *, has_keys: bool) -> None:
        self.target = target
        self.delivering = delivering
        self.has_keys = has_keys
        """Whether the stream has keys of its own; else triggers have no subject, and no order among each other."""
        self.reported: Optional[Input] = None
        """The log that outcomes are written to, where the flow reads them."""

    @override
    def open(self, position: Optional[Position], *, mark: Optional[str]) -> NoReturn:
        msg = f"{self.describe()} is delivered to and not written; please report this"
        raise InternalError(msg)

    @override
    def describe(self) -> str:
        return self.target.describe()
