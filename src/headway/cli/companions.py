"""The servers that `headway run` is asked for: one that takes posts, one that answers questions, an exporter."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Optional

from headway.cli.listening import Listening
from headway.cli.measuring import Measuring
from headway.cli.questions import Questions, questions_in
from headway.cli.serve import views_beside

if TYPE_CHECKING:
    from headway.declare.flow import Flow
    from headway.declare.loading import FlowSpec
    from headway.runtime.run import Beside, RunOptions

__all__ = ["Asked", "Companions"]


@dataclass(frozen=True)
class Asked:
    """What the command line says of servers."""

    listen: Optional[str]
    max_body: int
    serve_at: Optional[str]
    metrics_at: Optional[str]
    tokens: tuple[str, ...]
    host_names: tuple[str, ...]

    @classmethod
    def taken_from(cls, options: dict[str, Any]) -> Asked:
        """Take them out of all options."""
        return cls(**{field.name: options.pop(field.name) for field in fields(cls)})


class Companions(NamedTuple):
    """Servers that may be started: their options are checked, and nothing is."""

    beside: Beside
    listening: Optional[Listening]
    measuring: Optional[Measuring]
    questions: Optional[Questions]

    @classmethod
    def checked(cls, flow: Flow, spec: FlowSpec, options: RunOptions, asked: Asked, *, show: bool) -> Companions:
        """Those that are asked for beside a run. Raises `UsageError` for what cannot be."""
        tokens, host_names = asked.tokens, asked.host_names
        measuring = None
        if asked.metrics_at is not None:
            measuring = _measuring(flow.name, asked, asked.metrics_at, options.state_dir)
        metrics_dir = None if measuring is None else measuring.directory
        listening = None
        if asked.listen is not None:
            listening = Listening.checked(
                flow,
                spec,
                options.state_dir,
                asked.listen,
                tokens=tokens,
                host_names=host_names,
                max_body=asked.max_body,
                metrics_dir=metrics_dir,
                traces=options.traces,
            )
        beside: Beside = nullcontext
        questions = None
        if asked.serve_at is not None:
            place = options.state_dir
            from headway.metrics.snapshots import snapshot_directory

            left_in = metrics_dir or snapshot_directory(place)
            questions = questions_in(left_in)
            beside = views_beside(spec, place, asked.serve_at, tokens, host_names, show=show, metrics_dir=left_in)
        return cls(beside, listening, measuring, questions)


def _measuring(flow: str, asked: Asked, given: str, state_dir: Path) -> Measuring:
    """The exporter of a run."""
    from headway.metrics.snapshots import snapshot_directory

    directory = snapshot_directory(state_dir)
    return Measuring.checked(
        flow,
        given,
        directory,
        directory.with_name(f"{directory.name}.log"),
        state_dir=state_dir,
        tokens=asked.tokens,
        host_names=asked.host_names,
    )
