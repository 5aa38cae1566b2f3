"""Keeps what a flow reads apart from what it writes: else it would destroy its input, or take its output for events."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from headway.connectors.base import Input, Output
from headway.connectors.ownfiles import OwnFiles
from headway.errors import UsageError
from headway.plan.stages import Plan, SinkStage
from headway.state.manifest import MANIFEST_NAME

__all__ = ["keep_apart"]

_HOW = "give the output another path, or the input a pattern that does not match it"


def keep_apart(plan: Plan, state_dir: Path) -> None:
    """Raise `UsageError` where outputs, inputs and the state directory meet, by real paths and inodes.

    What cannot be seen before the start, such as a link that is made later, is passed over by the inputs, and told:
    they are replaced in the plan.
    """
    outputs = [(sink, path) for sink in plan.sinks if (path := sink.node.output.writes) is not None]
    _check_outputs(outputs, state_dir)
    _check_own_logs(plan)
    folders = [path for sink, path in outputs if sink.node.output.is_folder]
    own = OwnFiles({path: f"the output {sink.name!r}" for sink, path in outputs}, str(state_dir), folders)
    for source in plan.sources:
        name, found = source.name, source.node.input
        for sink, path in outputs:
            if any(map(found.may_read, _examples(sink.node.output, path))):
                msg = (
                    f"source {name!r} reads {found.describe()}, and the output {sink.name!r} writes {path}: the flow "
                    f"would read what it writes; {_HOW}"
                )
                raise UsageError(msg)
        _check_paths(name, found, own, state_dir)
        source.node = replace(source.node, input=found.apart_from(own).within(state_dir))


def _examples(output: Output, path: str) -> list[str]:
    """Paths of files such as an output writes."""
    if output.is_folder:
        return [os.path.join(path, "2024-05-01T10.parquet"), os.path.join(path, "x", "2024-05-01T10.parquet")]
    return [path, f"{path}.1"]


def _check_outputs(outputs: list[tuple[SinkStage, str]], state_dir: Path) -> None:
    directory = os.path.realpath(state_dir) + os.sep
    for number, (sink, path) in enumerate(outputs):
        if f"{os.path.realpath(path)}{os.sep}".startswith(directory):
            msg = (
                f"the output {sink.name!r} writes {path}, which is in the state directory {state_dir}: that belongs to "
                "Headway alone; give the output another path"
            )
            raise UsageError(msg)
        for other, other_path in outputs[:number]:
            if sink.node.output.clashes(other.node.output):
                msg = (
                    f"the outputs {other.name!r} and {sink.name!r} write the same file, {other_path} and {path}: give "
                    "each a file of its own, or merge the streams"
                )
                raise UsageError(msg)


def _check_own_logs(plan: Plan) -> None:
    known: dict[str, str] = {}
    for source in plan.sources:
        own_log = source.node.input.own_log
        if own_log is None:
            continue
        if own_log in known:
            msg = (
                f"the sources {known[own_log]!r} and {source.name!r} both keep {own_log} in the state directory: give "
                "one of them another path, or for a queue another log=, or use the stream of one of them twice"
            )
            raise UsageError(msg)
        known[own_log] = source.name


def _check_paths(name: str, found: Input, own: OwnFiles, state_dir: Path) -> None:
    ours = [(path, owner) for path in found.paths() if (owner := own.owner(path)) is not None]
    inside = str(state_dir / MANIFEST_NAME)
    if found.may_read(inside):
        ours.append((inside, f"the state directory {state_dir}"))
    if ours:
        path, owner = ours[0]
        msg = f"source {name!r} reads {found.describe()}, which matches {path}, and {owner} writes that; {_HOW}"
        raise UsageError(msg)
