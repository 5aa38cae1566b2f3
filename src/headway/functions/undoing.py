"""Taking back what a function has done, when it cannot be finished: the last thing first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from headway.functions.failures import StepError
from headway.functions.history import Failure

if TYPE_CHECKING:
    from headway.functions.core import Core

__all__ = ["undo_all"]


async def undo_all(core: Core) -> list[Failure]:
    """Call the compensations backwards, each after the one before; gives the failures of those that failed.

    They are calls like others, with their retries, so this is as durable as the rest.
    """
    failures = []
    while core.undos:
        undo = core.undos.pop()
        try:
            await core.call(undo.kind, undo.name, undo.arguments, msgspec.json.decode, to=undo.to, options=undo.options)
        except StepError as error:
            told = msgspec.structs.replace(error.failure, message=f"{undo.name}: {error.failure.message}")
            failures.append(told)
    return failures
