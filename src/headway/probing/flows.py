"""Looking at everything that a flow is connected to, before it runs: its inputs are read a little, its targets asked.

Nothing is written, sent or acknowledged, and no state directory is touched.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing
from typing import Any, Final, NamedTuple

from headway.connectors.absence import absence, has_a_name
from headway.declare.flow import Flow
from headway.errors import HeadwayError
from headway.graph import SinkNode, SourceNode
from headway.probing.records import RECORDS_SHOWN, chunks
from headway.targets.base import Target

__all__ = ["EdgeLook", "look_at"]

_CLIPPED: Final = 160
_TARGET_S: Final = 30.0


class EdgeLook(NamedTuple):
    """What was found at one end of a flow."""

    name: str
    """Of the source or the output."""
    described: str
    is_good: bool
    found: str
    """In words: what is there, or what is wrong."""
    records: tuple[str, ...] = ()
    """The first events of a source."""


def look_at(flow: Flow) -> Iterator[EdgeLook]:
    """Look at the inputs and the outputs of a flow, one after the other."""
    for node in flow.graph.nodes.values():
        if isinstance(node, SourceNode):
            yield _of_source(node)
    for node in flow.graph.nodes.values():
        if isinstance(node, SinkNode):
            yield _of_output(node)


def _of_source(node: SourceNode) -> EdgeLook:
    described = node.input.describe()
    if node.input.own_log is not None:
        try:
            found_there = node.input.look()
        except HeadwayError as error:
            return EdgeLook(node.name, described, False, str(error))
        return EdgeLook(node.name, described, True, found_there or "is filled while the flow runs with --listen")
    if node.input.ends:
        return EdgeLook(node.name, described, True, "is read while the flow runs")
    told: list[str] = []
    try:
        with closing(node.input.session()) as session:
            decoder = node.input.format.decoder(node.event_type)
            found, partitions = chunks(session, RECORDS_SHOWN, decoder, told.append)
    except HeadwayError as error:
        return EdgeLook(node.name, described, False, str(error))
    count = f"{partitions} partition{'' if partitions == 1 else 's'}"
    if not partitions:
        found_there = f"{absence(node.input)}, or run with --follow to wait for it"
        return EdgeLook(node.name, described, not has_a_name(node.input), found_there)
    if not found:
        return EdgeLook(node.name, described, True, "; ".join([f"{count}, no record yet", *told]))
    events, bad = _first(found)
    if bad:
        return EdgeLook(node.name, described, False, f"{count}; {bad}", events)
    read = f"the first {len(events)} records are events of the flow" if len(events) > 1 else "the first record is one"
    return EdgeLook(node.name, described, True, f"{count}; {read}", events)


def _first(found: list[tuple[str, Any, Any]]) -> tuple[tuple[str, ...], str]:
    """The first events as text, and what is wrong with the first bad record."""
    events: list[str] = []
    for partition, chunk, decoded in found:
        wrong = {one.ordinal: one for one in decoded.bad}
        good = dict(zip(decoded.ordinals, decoded.events))
        for ordinal in sorted({*wrong, *good}):
            if ordinal in wrong:
                one = wrong[ordinal]
                return tuple(events), f"{partition}, {one.position} is no event of the flow: {one.reason}"
            if len(events) == RECORDS_SHOWN:
                return tuple(events), ""
            text = repr(good[ordinal])
            shown = text if len(text) <= _CLIPPED else f"{text[:_CLIPPED]} …"
            events.append(f"{partition}, {chunk.record(ordinal)[0]}: {shown}")
    return tuple(events), ""


def _of_output(node: SinkNode) -> EdgeLook:
    if node.delivered is None:
        return EdgeLook(node.name, node.output.describe(), True, "is opened when the flow runs")
    target = node.delivered.target
    try:
        found = asyncio.run(_of_target(target))
    except HeadwayError as error:
        return EdgeLook(node.name, target.describe(), False, str(error))
    return EdgeLook(node.name, target.describe(), True, found or "only a trigger would tell")


async def _of_target(target: Target) -> str:
    target.check()
    await target.open()
    try:
        return await asyncio.wait_for(target.look(), _TARGET_S)
    finally:
        await target.close()
