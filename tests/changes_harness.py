"""Manifests of flows, for the tests of changes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Optional

import headway as hw
from headway.plan.layout import lay_out
from headway.plan.planner import compile_plan
from headway.state.changes import Change, compare
from headway.state.manifest import Manifest


def manifest(flow: hw.Flow, found: Optional[Manifest] = None, key_groups: int = 2) -> Manifest:
    return lay_out(compile_plan(flow.graph), key_groups, found)


def changes(before: hw.Flow, *after: hw.Flow) -> list[Change]:
    """The changes from the flow before the last to the last, each having gone on with what those before it kept."""
    found = manifest(before)
    for flow in after[:-1]:
        found = manifest(flow, found)
    return compare(found, manifest(after[-1], found))


def told(found: list[Change]) -> list[str]:
    """Each change as a line: an exclamation mark stands before what is refused."""
    return [f"{'! ' if change.refused else ''}{change}" for change in found]


def numbers(found: Manifest) -> Iterator[int]:
    """All numbers that stand for something."""
    for part in (found, found.retired):
        for entries in (part.sources, part.operators, part.outputs):
            yield from (entry.id for entry in entries.values())


def entry_of(found: Manifest, name: str) -> Any:
    return found.operators.get(name) or found.outputs.get(name) or found.sources[name]
