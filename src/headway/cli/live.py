"""The live panel: the state of a run on a terminal, four times a second."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Optional

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from headway.cli.deliveries import Alerts, delivery_text, ending_text
from headway.cli.escapes import printable, printable_line, printable_lines
from headway.cli.function_texts import FunctionAlerts, figures_in, function_parts
from headway.cli.meter import Meter
from headway.cli.news import News
from headway.cli.questions import Questions
from headway.cli.texts import behind_text, bytes_text, count_text, lag_text, left_text, seconds_text, time_text
from headway.runtime.stats import RunStats

__all__ = ["LivePanel"]

REFRESH_PER_S = 4


class LivePanel:
    """Shows a panel while a flow runs, and clears it at the end."""

    def __init__(
        self,
        name: str,
        console: Console,
        stopping: Callable[[], bool] = lambda: False,
        clock_s: Callable[[], float] = time.monotonic,
        questions: Optional[Questions] = None,
    ) -> None:
        self._name = name
        self._questions = questions
        self._stopping = stopping
        self._clock_s = clock_s
        self._started_s = clock_s()
        self._meter = Meter()
        self._news = News()
        self._alerts = Alerts()
        self._function_alerts = FunctionAlerts()
        self._stats: Optional[RunStats] = None
        # The flow's own output on stdout goes where it went without the panel.
        self._live = Live(
            console=console,
            refresh_per_second=REFRESH_PER_S,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
            get_renderable=self.render,
        )

    def observe(self, stats: RunStats) -> None:
        """Take what the next refresh shows; what workers want to be told is printed above the panel at once."""
        self._meter.observe(stats)
        if self._meter.is_whole:
            self._stats = stats
        for notice in (*self._news.of(stats), *self._alerts.of(stats), *self._function_alerts.of(stats)):
            self.tell(f"note: {printable_line(notice)}")

    def tell(self, text: str) -> None:
        """Print it above the panel."""
        self._live.console.print(printable_lines(text), markup=False)

    def start(self) -> None:
        """Show the panel; a thread refreshes it."""
        self._started_s = self._clock_s()
        self._live.start(refresh=True)

    def stop(self) -> None:
        """Clear the panel."""
        self._live.stop()

    def render(self) -> RenderableType:
        """The panel as of now."""
        elapsed = seconds_text(self._clock_s() - self._started_s)
        stats = self._stats
        content: RenderableType = Text("starting") if stats is None else self._content(stats)
        keys = "stopping; Ctrl-C again ends it at once" if self._stopping() else "Ctrl-C stops"
        return Panel(content, title=self._name, title_align="left", subtitle=f"{elapsed}  {keys}", width=80)

    def _content(self, stats: RunStats) -> RenderableType:
        grid = Table.grid(padding=(0, 2))
        rate = (f"{self._meter.events_per_s:,.0f}/s", "bold")
        grid.add_row("events", Text.assemble(f"{stats.events:,}   ", rate))
        share = self._meter.share
        if share is not None:
            bar = Table.grid(padding=(0, 2))
            bar.add_row(ProgressBar(total=1.0, completed=share, width=30), left_text(share, self._meter.left_s))
            grid.add_row("input", bar)
        if behind := behind_text(stats):
            grid.add_row("input", Text(printable(behind)))
        grid.add_row("watermark", "   ".join(filter(None, (time_text(stats.watermark), lag_text(stats)))))
        held = (count_text(stats.keys, "key"), count_text(stats.timers, "timer"), f"{stats.waiting:,} waiting")
        grid.add_row("state", "   ".join(held))
        gone = (
            count_text(stats.triggers, "trigger"),
            f"{stats.late:,} late",
            count_text(stats.dead_letters, "dead letter"),
        )
        grid.add_row("out", "   ".join(gone))
        figures = figures_in(stats)
        if figures:
            parts = [(text, "bold red") if is_wrong else text for text, is_wrong in function_parts(figures)]
            grid.add_row("functions", Text("   ").join(Text.assemble(part) for part in parts))
        for name, delivery in stats.deliveries.items():
            # As text: in a name nothing may count as markup.
            grid.add_row(Text(printable(name)), Text(delivery_text(delivery)))
        answered = None if self._questions is None else self._questions.text()
        if answered is not None:
            grid.add_row("views", answered)
        if ending := ending_text(stats):
            grid.add_row("end", Text(printable(ending), style="bold"))
        memory = bytes_text(sum(worker.rss_bytes for worker in stats.workers))
        grid.add_row("cost", f"{memory} of memory   {self._meter.commit_ms_per_s:,.0f} ms of each second for commits")
        return grid if len(stats.workers) < 2 else Group(grid, Text(), self._workers(stats))

    def _workers(self, stats: RunStats) -> Table:
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
        for name in ("worker", "events/s", "keys", "timers", "waiting", "memory", "process"):
            table.add_column(name, justify="right")
        for worker in stats.workers:
            table.add_row(
                str(worker.worker),
                f"{self._meter.worker_events_per_s(worker.worker):,.0f}",
                f"{worker.keys:,}",
                f"{worker.timers:,}",
                f"{worker.waiting:,}",
                bytes_text(worker.rss_bytes),
                str(worker.pid),
            )
        return table
