"""What has changed between the flow that wrote a state directory and the one that is to go on with it."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from headway.errors import IncompatibleStateError
from headway.state.manifest import Manifest

__all__ = ["Change", "check_changes", "compare"]


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One difference."""

    what: str
    """What has changed, such as `operator 'cart'`."""
    text: str
    """What is different, and what becomes of what is stored."""
    refused: bool = False
    """Whether the flow cannot go on with it."""
    next_step: str = ""
    """What lets it go on, for one that is refused."""

    def __str__(self) -> str:
        return f"{self.what}: {self.text}" + (f"; {self.next_step}" if self.next_step else "")


def check_changes(found: Manifest, expected: Manifest, where: object) -> list[Change]:
    """All changes; raises `IncompatibleStateError` with those that are refused. `where` names the directory."""
    changes = compare(found, expected)
    refused = [change for change in changes if change.refused]
    if refused:
        listed = "".join(f"\n  {change}" for change in refused)
        msg = f"{where} does not fit the flow {expected.flow!r}:{listed}"
        raise IncompatibleStateError(msg)
    return changes


def compare(found: Manifest, expected: Manifest) -> list[Change]:
    """What is different in `expected`, in the order of the flow; what the flow has no more comes last."""
    if found.flow != expected.flow:
        text = f"it belongs to the flow {found.flow!r}"
        return [Change(what="the directory", text=text, refused=True, next_step="give the flow another directory")]
    changes: list[Change] = []
    if found.key_groups != expected.key_groups:
        text = f"it has {found.key_groups}, the run wants {expected.key_groups}"
        changes.append(
            Change(
                what="key groups",
                text=text,
                refused=True,
                next_step="leave --key-groups out, or change their number with headway state rescale",
            )
        )
    for kind in ("source", "operator", "output"):
        before, now = getattr(found, kind + "s"), getattr(expected, kind + "s")
        retired = getattr(found.retired, kind + "s")
        for name in now:
            if name not in before:
                text = "it is back, and goes on with what it kept" if name in retired else "it is new"
                changes.append(Change(what=f"{kind} {name!r}", text=text))
        for name in before:
            if name not in now:
                text = "the flow has it no more; what it kept stays until it is dropped"
                changes.append(Change(what=f"{kind} {name!r}", text=text))
    for name, entry in expected.operators.items():
        was = found.operators.get(name) or found.retired.operators.get(name)
        if was is not None:
            for text in _schema_differences(was.state, entry.state):
                next_step = "run the version of the flow that wrote it, or start with an empty state directory"
                changes.append(Change(what=f"operator {name!r}", text=text, refused=True, next_step=next_step))
    return changes


_PROSE: Final = {"title", "description", "examples", "default"}


def _schema_differences(found: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    """What keeps state stored under the schema `found` from being read under `expected`."""
    definitions, expected_definitions = found.get("$defs", {}), expected.get("$defs", {})
    differences = []
    if _shape(found) != _shape(expected):
        differences.append(f"its state was {_shape(found)}, now it is {_shape(expected)}")
    for name in [name for name in definitions if name not in expected_definitions]:
        differences.append(f"type {name} is gone")
    for name in [name for name in definitions if name in expected_definitions]:
        differences += _type_differences(name, definitions[name], expected_definitions[name])
    return differences


def _type_differences(where: str, found: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    fields, expected_fields = found.get("properties"), expected.get("properties")
    if fields is None or expected_fields is None:
        return [] if _shape(found) == _shape(expected) else [f"{where} was {_shape(found)}, now {_shape(expected)}"]
    differences = [f"{where}.{name} was removed" for name in fields if name not in expected_fields]
    required = expected.get("required", [])
    differences += [f"{where}.{name} is new and has no default" for name in required if name not in fields]
    for name in [name for name in fields if name in expected_fields]:
        was, now = _shape(fields[name]), _shape(expected_fields[name])
        if was != now:
            differences.append(f"{where}.{name} was {was}, now {now}")
    return differences


def _shape(schema: Any) -> Any:
    """A schema without what does not matter for reading: names for people, defaults, and the list of definitions."""
    if isinstance(schema, dict):
        return {name: _shape(part) for name, part in schema.items() if name not in _PROSE and name != "$defs"}
    if isinstance(schema, list):
        return [_shape(part) for part in schema]
    return schema
