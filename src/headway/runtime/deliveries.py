"""The outputs of a plan that are delivered, and the dispatcher of a process that runs it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Optional

from headway.plan.stages import Plan
from headway.runtime.board import Board
from headway.runtime.job_options import JobOptions
from headway.state.manifest import Manifest
from headway.targets.base import Target

if TYPE_CHECKING:
    from headway.delivery.dispatcher import Dispatcher
    from headway.delivery.spans import AttemptSpans

__all__ = ["delivered_numbers", "make_dispatcher", "pressure"]


def delivered_numbers(plan: Plan, manifest: Manifest) -> dict[str, int]:
    """The numbers of the outputs that are delivered, by name."""
    return {sink.name: manifest.outputs[sink.name].id for sink in plan.sinks if sink.delivered is not None}


def make_dispatcher(
    plan: Plan,
    manifest: Manifest,
    options: JobOptions,
    wall_ms: Callable[[], int],
    failed: Callable[[BaseException], None],
    tell: Callable[[str], None],
) -> Optional[Dispatcher]:
    """The dispatcher for a plan; None where nothing is delivered."""
    outputs = {
        manifest.outputs[sink.name].id: (sink.name, sink.delivered) for sink in plan.sinks if sink.delivered is not None
    }
    if not outputs:
        return None
    # Its event loop is a long import for who delivers nothing.
    from headway.delivery.dispatcher import Dispatcher
    from headway.delivery.reports import Reports
    from headway.delivery.requests import Requests

    reports = {
        number: Reports(output.reported, options.state_dir, options.worker)
        for number, (_, output) in outputs.items()
        if output.reported is not None
    }
    spans = _spans(plan.flow, options.traces)

    def place(target: Target) -> Target:
        return target.within(options.state_dir, options.worker, options.workers)

    return Dispatcher(
        outputs, wall_ms, failed, tell, Requests(options.state_dir), spans, reports, place, options.workers
    )


def _spans(flow: str, traces: Optional[str]) -> Optional[AttemptSpans]:
    """What traces attempts in this process; None where nobody asks for it."""
    if traces is None:
        return None
    from headway.tracing.spans import DeliverySpans
    from headway.tracing.start import tracer_for

    tracer, end = tracer_for(traces, flow)
    return DeliverySpans(tracer, flow, end)


def pressure(dispatcher: Optional[Dispatcher], board: Board, worker: int) -> Callable[[], bool]:
    """What says whether so many triggers wait in any worker that nothing more should be read."""
    if dispatcher is None:
        return lambda: False

    def is_pressed() -> bool:
        board.report_pressing(worker, is_pressing=dispatcher.is_pressing)
        return board.is_pressed()

    return is_pressed
