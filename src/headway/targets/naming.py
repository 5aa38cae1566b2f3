"""How a trigger is named in another system: a text with `{id}`, `{key}` and `{type}` in it."""

from __future__ import annotations

import re
from typing import Final

from headway.errors import UsageError
from headway.targets.base import Answer, Delivery, Outcome

__all__ = ["Naming", "NoKeyError"]

_PART: Final = re.compile(r"\{([^{}]*)\}")
_KNOWN: Final = ("id", "key", "type")


class NoKeyError(Exception):
    """A trigger without a key is to be named by its key."""

    @property
    def answer(self) -> Answer:
        """What becomes of it: no attempt will give it a key."""
        return Answer(Outcome.NEVER, str(self))


class Naming:
    """Names triggers by a template. `option` is what the user calls it.

    Raises `UsageError` for a template with anything else in braces, or where it `must_have` a part and has it not.

    >>> Naming("cart/{key}", "workflow_id").template
    'cart/{key}'
    >>> Naming("cart/{sku}", "workflow_id")
    Traceback (most recent call last):
    headway.errors.UsageError: workflow_id='cart/{sku}': {sku} is not known: expected {id}, {key} or {type}
    """

    def __init__(self, template: str, option: str, *, must_have: str = "", because: str = "") -> None:
        if not isinstance(template, str) or not template or not template.isprintable():
            msg = f"{option}={template!r}: expected a text such as '{{key}}'"
            raise UsageError(msg)
        for part in _PART.findall(template):
            if part not in _KNOWN:
                msg = f"{option}={template!r}: {{{part}}} is not known: expected {{id}}, {{key}} or {{type}}"
                raise UsageError(msg)
        if must_have and f"{{{must_have}}}" not in template:
            msg = f"{option}={template!r} has no {{{must_have}}} in it: {because}"
            raise UsageError(msg)
        self.template = template
        self._option = option

    def of(self, delivery: Delivery) -> str:
        """The name of a trigger. Raises `NoKeyError`."""
        if "{key}" in self.template and not delivery.subject:
            msg = f"the trigger has no key, and {self._option}={self.template!r} names it by its key"
            raise NoKeyError(msg)
        known = {"id": delivery.id, "key": delivery.subject or "", "type": delivery.type}
        return _PART.sub(lambda found: known[found[1]], self.template)
