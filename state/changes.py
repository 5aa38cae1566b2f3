"""What has changed between the flow that wrote a state directory and the one that is to go on with it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec

from headway.errors import IncompatibleStateError
from headway.state.differences import Difference, drop, step_differences
from headway.state.manifest import Manifest, OutputEntry
from headway.state.names import former_name, former_names, owner
from headway.state.reads import Reads, stateless_pairs
from headway.state.schemas import schema_changes
from headway.state.views import view_changes

__all__ = ["Change", "check_changes", "compare", "renamed"]


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
    """What is different in `expected`, in the order of the flow; what the flow has no more comes last.

    Nothing for a flow that declares the same in another order. Never raises.
    """
    if found.flow != expected.flow:
        return [
            _refused(
                "the directory",
                f"it belongs to the flow {found.flow!r}, and this is {expected.flow!r}",
                "to go on: name the flow as it was, or give it a directory of its own with --state DIR",
            )
        ]
    return list(_Comparison(found, expected).changes())


def renamed(found: Manifest, expected: Manifest) -> dict[str, str]:
    """Today's name of each source, operator and output of `found` that goes on under another one."""
    comparison = _Comparison(found, expected)
    return {old: name for kind in _KINDS for name, old in comparison.former(kind).items() if old != name}


def _refused(what: str, text: str, next_step: str) -> Change:
    return Change(what=what, text=text, refused=True, next_step=next_step)


_KINDS: Final = ("source", "operator", "output")
_NEW: Final = {
    "source": "it is new, and is read from its start",
    "operator": "it is new, and starts empty",
    "output": "it is new, and gets what is sent to it from here on",
}
_BACK: Final = {
    "source": "it is back, and is read on from where it was",
    "operator": "it is back with what it kept; what came meanwhile it has not seen",
    "output": "it is back, and goes on at the position that it had",
}
_GONE: Final = {
    "source": "the flow has it no more; its position stays",
    "operator": "the flow has it no more; its rows and timers stay, and no timer fires",
    "output": "the flow has it no more; its position stays",
}
_RENAMED: Final = {
    "source": "it is read on from there",
    "operator": "it goes on with what that kept; new triggers have other ids",
    "output": "it goes on at the position of that; new triggers have other ids",
}


_OF_DELIVERY: Final = {
    "back": "it is back, and what waits is delivered",
    "gone": "the flow has it no more; what waits stays, and is delivered to nobody",
    "renamed": "it goes on with what waits for that; new triggers have other ids",
}
"""The same of outputs that are delivered."""


class _Comparison:
    def __init__(self, found: Manifest, expected: Manifest) -> None:
        self._found = found
        self._expected = expected
        self._steps = {**found.retired.steps, **found.steps}
        self._reads = Reads(expected.steps)

    def changes(self) -> Iterator[Change]:
        found, expected = self._found, self._expected
        if found.key_groups != expected.key_groups:
            text = f"there are {found.key_groups}, and the run wants {expected.key_groups}"
            next_step = "to go on: leave --key-groups out, or change the number with headway state rescale"
            yield _refused("the key groups", text, next_step)
        before = Reads(found.steps, renamed(found, expected))
        for kind in _KINDS:
            for name, old in self.former(kind).items():
                yield from self._of_one(kind, name, old, before)
        for name, old in stateless_pairs(Reads(found.steps), self._reads):
            differences = step_differences(name, found.steps[old], expected.steps[name])
            yield from _changes(f"step {name!r}", differences)
        for kind in _KINDS:
            yield from self._gone(kind)
        yield from (Change(what=what, text=text) for what, text in view_changes(found, expected))

    def former(self, kind: str) -> dict[str, str]:
        """The name before of each of today's, in the order of the flow; its own where it had none."""
        known, present = self._known(kind), getattr(self._expected, f"{kind}s")
        return {name: former_name(name, self._was(name), known, present) for name in present}

    def _known(self, kind: str) -> dict[str, Any]:
        return {**getattr(self._found.retired, f"{kind}s"), **getattr(self._found, f"{kind}s")}

    def _was(self, name: str) -> list[str]:
        step = self._expected.steps.get(owner(name))
        return [] if step is None else step.was

    def _of_one(self, kind: str, name: str, old: str, reads: Reads) -> Iterator[Change]:
        before = getattr(self._found, f"{kind}s")
        what = f"{kind} {name!r}" if name == owner(name) else f"what broadcasts tell operator {owner(name)!r}"
        yield from self._conflict(kind, what, name)
        if old not in self._known(kind):
            yield Change(what=what, text=_NEW[kind])
            return
        if old not in before:
            yield Change(what=what, text=self._told("back", kind, old, _BACK))
        if old != name:
            text = self._told("renamed", kind, old, _RENAMED)
            yield Change(what=what, text=f"it was called {owner(old)!r}: {text}")
        was, now = self._steps.get(old), self._expected.steps.get(name)
        # Shared rows belong to a step of another name.
        differences = [] if was is None or now is None else list(step_differences(old, was, now))
        yield from _changes(what, differences)
        yield from self._of_entries(kind, what, name, old, is_refused=any(part.next_step for part in differences))
        if was is not None and now is not None and old in before:
            yield from self._of_reads(what, name, reads.of(old), reads.sides(old))

    def _conflict(self, kind: str, what: str, name: str) -> Iterator[Change]:
        known, present = self._known(kind), getattr(self._expected, f"{kind}s")
        others = former_names(name, self._was(name), known, present)
        one = name if name in known else next(iter(others), name)
        for other in others:
            if other != one:
                text = f"it says was={other!r}, and there is what {one!r} and what {other!r} kept"
                before = getattr(self._found, f"{kind}s")
                useless = one if other in before and one not in before else other
                next_step = f"to go on: leave was={other!r} out"
                if useless not in before:
                    next_step += f", or drop the one: headway state drop FLOW {useless}"
                yield _refused(what, text, next_step)

    def _of_entries(self, kind: str, what: str, name: str, old: str, *, is_refused: bool) -> Iterator[Change]:
        was, now = self._known(kind)[old], getattr(self._expected, f"{kind}s")[name]
        if kind == "source" and was.reading != now.reading:
            text = (
                f"it was read {was.reading or 'whole'}, now {now.reading or 'whole'}: its positions mean something else"
            )
            yield _refused(what, text, "to go on: give the source another name, and it is read from its start")
        if kind == "source" and was.slots < now.slots:
            text = f"it has {len(now.partitions)} partitions: {now.slots} readers share them, before {was.slots}"
            yield Change(what=what, text=text)
        if kind == "operator" and was.state and not is_refused:  # Else this is what that refusal is about.
            for change in schema_changes(was, now, migrates=now.migrates):
                next_step = f"{change.next_step}, or {drop(owner(old))}" if change.refused else ""
                yield Change(what=what, text=change.text, refused=change.refused, next_step=next_step)

    def _of_reads(self, what: str, name: str, before: str, sides: list[str]) -> Iterator[Change]:
        after, now = self._reads.of(name), self._reads.sides(name)
        if before != after:
            yield Change(what=what, text=f"it reads {after}, before {before}; this holds for what comes from here on")
        for side in [side for side in now if side not in sides]:
            yield Change(what=what, text=f"its side {side!r} is read from here on")
        for side in [side for side in sides if side not in now]:
            yield Change(what=what, text=f"its side {side!r} is not read any more")

    def _told(self, what: str, kind: str, old: str, texts: Mapping[str, str]) -> str:
        """What becomes of what `old` has, of one of these kinds."""
        entry = self._known(kind)[old]
        return _OF_DELIVERY[what] if isinstance(entry, OutputEntry) and entry.delivered else texts[kind]

    def _gone(self, kind: str) -> Iterator[Change]:
        used = set(self.former(kind).values())
        for name in getattr(self._found, f"{kind}s"):
            if name not in used and name == owner(name):
                they = "they are" if kind == "operator" else "it is"
                text = f"{self._told('gone', kind, name, _GONE)} until {they} dropped"
                yield Change(what=f"{kind} {name!r}", text=f"{text}: headway state drop FLOW {name}")


def _changes(what: str, differences: Iterable[Difference]) -> Iterator[Change]:
    for text, next_step in differences:
        yield Change(what=what, text=text, refused=bool(next_step), next_step=next_step)
