"""How a trigger is named in another system: a text with `{id}`, `{key}`, `{type}` or `{value.field}` in it."""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from headway.errors import UsageError
from headway.targets.base import Answer, Delivery, Outcome

__all__ = ["NamelessError", "Naming"]

_PART: Final = re.compile(r"\{([^{}]*)\}")
_KNOWN: Final = ("id", "key", "type")
_FIELD: Final = re.compile(r"value(\.[^.{}]+)+")


class NamelessError(Exception):
    """A trigger lacks what its name is made of."""

    @property
    def answer(self) -> Answer:
        """What becomes of it: no attempt will give it a name."""
        return Answer(Outcome.NEVER, str(self))


class Naming:
    """Names triggers by a template. `option` is what the user calls it.

    Raises `UsageError` for a template with anything else in braces, or where it `must_have` a part and has it not.
    Costs a microsecond, and decodes the value where a field of it is asked for.

    >>> Naming("cart/{key}", "workflow_id").template
    'cart/{key}'
    >>> Naming("cart/{sku}", "workflow_id")
    Traceback (most recent call last):
    headway.errors.UsageError: workflow_id='cart/{sku}': {sku} is not known: expected {id}, {key}, {type} or {value.sku}
    """

    def __init__(self, template: str, option: str, *, must_have: str = "", because: str = "") -> None:
        if not isinstance(template, str) or not template or not template.isprintable():
            msg = f"{option}={template!r}: expected a text such as '{{key}}'"
            raise UsageError(msg)
        for part in _PART.findall(template):
            if part not in _KNOWN and not _FIELD.fullmatch(part):
                field = part if part.isidentifier() else "field"
                expected = f"{{id}}, {{key}}, {{type}} or {{value.{field}}}"
                msg = f"{option}={template!r}: {{{part}}} is not known: expected {expected}"
                raise UsageError(msg)
        if must_have and f"{{{must_have}}}" not in template:
            msg = f"{option}={template!r} has no {{{must_have}}} in it: {because}"
            raise UsageError(msg)
        self.template = template
        self._option = option

    def of(self, delivery: Delivery) -> str:
        """The name of a trigger. Raises `NamelessError`."""
        return _PART.sub(lambda found: self._part(found[1], delivery), self.template)

    def _part(self, part: str, delivery: Delivery) -> str:
        if part == "id":
            return delivery.id
        if part == "type":
            return delivery.type
        if part == "key":
            if not delivery.subject:
                msg = f"the trigger has no key, and {self._option}={self.template!r} names it by its key"
                raise NamelessError(msg)
            return delivery.subject
        found: Any = msgspec.json.decode(delivery.data)
        for field in part.split(".")[1:]:
            found = found.get(field) if isinstance(found, dict) else None
        if isinstance(found, bool) or not isinstance(found, (str, int)) or found == "":
            needs = f"{self._option}={self.template!r} needs a text or an integer"
            msg = f"the trigger's {part} is {found!r:.100}, and {needs}"
            raise NamelessError(msg)
        return str(found)
