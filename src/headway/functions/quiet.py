"""Messages of a function's code: written once, however often the code is replayed."""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headway.functions.core import Core

    _Adapter = logging.LoggerAdapter[logging.Logger]
else:
    _Adapter = logging.LoggerAdapter

__all__ = ["QuietLog"]


class QuietLog(_Adapter):
    """The logger `headway.functions.<name>`; records carry the function's name, id and run."""

    def __init__(self, core: Core) -> None:
        who = core.identity
        super().__init__(
            logging.getLogger(f"headway.functions.{who.name}"),
            {"function": who.name, "function_id": who.id, "function_run": who.run},
        )
        self._core = core

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802 - the name of logging
        """Never in a replay, nor when the function was left."""
        return not self._core.is_silent() and super().isEnabledFor(level)

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """Adds who the function is to what the caller gives."""
        kwargs["extra"] = {**(self.extra or {}), **(kwargs.get("extra") or {})}
        return msg, kwargs
