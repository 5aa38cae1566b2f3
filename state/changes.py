"""What has changed between the flow that wrote a state directory and the one that is to go on with it."""

from __future__ import annotations

import msgspec

from headway.errors import IncompatibleStateError
from headway.state.manifest import Manifest
from headway.state.schemas import schema_changes

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
            changes += [
                Change(what=f"operator {name!r}", text=change.text, refused=change.refused, next_step=change.next_step)
                for change in schema_changes(was, entry, migrates=entry.migrates)
            ]
    return changes
