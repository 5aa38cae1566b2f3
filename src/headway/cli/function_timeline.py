"""The options of `headway functions history` that draw."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional, TypeVar

import click

from headway.cli.process import say
from headway.errors import OutputError

if TYPE_CHECKING:
    from headway.functions.history import Entry

__all__ = ["draw", "timeline_options"]

C = TypeVar("C", bound=Callable[..., Any])


def timeline_options(command: C) -> C:
    """Whether to draw, and where to."""
    svg = click.option(
        "--svg",
        type=click.Path(dir_okay=False, path_type=Path),
        metavar="FILE",
        help="Draw steps as bars over time into an SVG picture.",
    )
    timeline = click.option("--timeline", is_flag=True, help="Draw steps as bars over time.")
    return svg(timeline(command))


def draw(instance: str, entries: Sequence[Entry], svg: Optional[Path], *, shows: bool) -> None:
    """Draw a history, into a file or on the terminal. Raises `OutputError` where the file cannot be written."""
    from headway.cli.timelines import timeline_svg, timeline_text
    from headway.functions.timeline import bars_of

    bars = bars_of(instance.partition("/")[0], entries)
    now_ms = time.time_ns() // 1_000_000
    if shows:
        say(timeline_text(bars, now_ms, shutil.get_terminal_size((100, 24)).columns))
    if svg is not None:
        try:
            svg.write_text(timeline_svg(instance, bars, now_ms), encoding="utf-8")
        except OSError as error:
            msg = f"{svg}: the picture cannot be written: {error.strerror or error}"
            raise OutputError(msg) from None
