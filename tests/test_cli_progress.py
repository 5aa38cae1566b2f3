from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from rich.console import Console

from headway.cli.live import LivePanel
from headway.cli.meter import Meter
from headway.cli.news import News
from headway.cli.progress import Lines, Quiet, progress_for, shown
from headway.cli.questions import questions_in
from headway.cli.texts import lag_text
from headway.metrics.snapshots import ViewsSnapshot, leave, now_ms
from headway.runtime.stats import RunStats, SourceStats, WorkerStats, total


def worker(index: int = 0, *, at_ms: int = 0, events: int = 0, commit_ms: float = 0.0) -> WorkerStats:
    return WorkerStats(
        worker=index,
        pid=100 + index,
        at_ms=at_ms,
        beat_ms=at_ms,
        events=events,
        late=2,
        dead_letters=1,
        outputs={"cart.abandoned": 7, "dead-letters": 1},
        watermark=1_767_225_600_000,
        newest=1_767_225_602_500,
        keys=1_234,
        rows=2_000,
        timers=55,
        waiting=3,
        commit_ms=commit_ms,
        rss_bytes=64 << 20,
    )


def stats(**changes: int) -> RunStats:
    return total([worker(**changes)])


def test_the_rate_is_that_of_the_last_seconds() -> None:
    meter = Meter()
    for second in range(30):
        # A slow start, then 1,000 events each second.
        meter.observe(stats(at_ms=second * 1_000, events=max(0, second - 10) * 1_000))
    assert meter.events_per_s == pytest.approx(1_000)


def test_the_rate_is_the_sum_over_workers() -> None:
    meter = Meter()
    for step in range(5):
        # They tell at different times.
        meter.observe(
            total(
                [worker(0, at_ms=step * 500, events=step * 100), worker(1, at_ms=step * 500 + 250, events=step * 300)]
            )
        )
    assert meter.worker_events_per_s(0) == pytest.approx(200)
    assert meter.worker_events_per_s(1) == pytest.approx(600)
    assert meter.events_per_s == pytest.approx(800)
    assert meter.worker_events_per_s(7) == 0


def test_a_record_that_is_read_twice_counts_once() -> None:
    meter = Meter()
    for at_ms in (0, 1_000, 1_000, 2_000):
        meter.observe(total([worker(at_ms=at_ms, events=at_ms, commit_ms=30.0)]))
    assert meter.events_per_s == pytest.approx(1_000)
    assert meter.commit_ms_per_s == pytest.approx(30)


def test_after_a_restart_the_rate_is_never_negative() -> None:
    meter = Meter()
    meter.observe(stats(at_ms=0, events=0))
    meter.observe(stats(at_ms=1_000, events=5_000))
    meter.observe(stats(at_ms=2_000, events=4_000))
    assert meter.events_per_s == 0
    meter.observe(stats(at_ms=3_000, events=6_000))
    assert meter.events_per_s == pytest.approx(2_000)


def test_one_observation_is_no_rate() -> None:
    meter = Meter()
    assert (meter.events_per_s, meter.commit_ms_per_s) == (0, 0)
    meter.observe(stats(events=10))
    assert (meter.events_per_s, meter.commit_ms_per_s) == (0, 0)


def test_the_lag_is_told_when_it_is_known() -> None:
    assert lag_text(stats()) == "2.5 s behind the newest event"
    assert lag_text(total([])) == ""


def test_lines_come_every_five_seconds() -> None:
    written: list[str] = []
    now_s = 0.0
    lines = Lines("shop", written.append, lambda: now_s)
    for step in range(26):
        now_s = step / 2
        lines.observe(stats(at_ms=step * 500, events=step * 1_000))
    assert len(written) == 2
    assert written[0] == (
        "shop: 10,000 events (2,000/s), watermark 2026-01-01T00:00:00.000Z (2.5 s behind the newest event), "
        "1,234 keys, 55 timers, 3 waiting, 7 triggers, 2 late, 1 dead letter, 64 MiB\n"
    )


def test_what_only_some_parts_have_said_is_not_shown() -> None:
    written: list[str] = []
    now_s = 0.0
    lines = Lines("shop", written.append, lambda: now_s)
    panel = LivePanel("shop", Console(file=io.StringIO()))
    for step in range(64):
        now_s = step / 2
        seen = total([]) if step < 20 else stats(events=step)
        if 30 <= step < 50:  # Workers begin anew, and an output is not open yet.
            seen = total([structs.replace(worker(), outputs={"dead-letters": 1})])
        for shows in (lines, panel):
            shows.observe(seen)
        expected = "starting" if step < 20 else "7 triggers"
        assert expected in panel_text(panel)
    assert [line.partition(" events")[0] for line in written] == ["shop: 20", "shop: 50", "shop: 60"]


def test_an_idle_run_says_so_once() -> None:
    written: list[str] = []
    now_s = 0.0
    lines = Lines("shop", written.append, lambda: now_s)
    for step in range(200):
        now_s = step / 2
        lines.observe(stats(at_ms=step * 500, events=1_000 if step < 100 else 2_000))
    assert [line.partition(" (")[0].strip() for line in written] == [
        "shop: 1,000 events",
        "shop: nothing new; the next line comes with the next change",
        "shop: 2,000 events",
        "shop: nothing new; the next line comes with the next change",
    ]


def test_a_notice_is_told_once_and_before_the_end() -> None:
    written: list[str] = []
    now_s = 0.0
    lines = Lines("shop", written.append, lambda: now_s)
    for step in range(40):
        now_s = step / 2
        lines.observe(total([msgspec.structs.replace(worker(), notices=["a link is not read"])]))
    assert written.count("headway: note: a link is not read\n") == 1


def test_the_panel_tells_a_notice_once_and_before_the_end() -> None:
    file = io.StringIO()
    panel = LivePanel("shop", Console(file=file, force_terminal=True, highlight=False, width=80))
    with shown(panel):
        for _ in range(3):
            panel.observe(total([msgspec.structs.replace(worker(), notices=["a link \x9b is not read"])]))
    assert file.getvalue().count("note: a link \\x9b is not read") == 1


def test_the_panel_tells_how_many_questions_were_answered(tmp_path: Path) -> None:
    questions = questions_in(tmp_path)
    panel = LivePanel("shop", Console(file=io.StringIO()), questions=questions)
    panel.observe(total([worker()]))
    assert "answered" not in panel_text(panel)
    at_ms = now_ms()
    for process, passed_ms, answers in (("7-1", 0, 1_000), ("7-1", 2_000, 5_000), ("8-1", 4_000, 10)):
        said = ViewsSnapshot(
            process=process,
            at_ms=at_ms + passed_ms,
            responses={"200": answers},
            under_way=0,
            watching=1,
            cut_at_ms=None,
        )
        leave(tmp_path, said)
        text = panel_text(panel)
        assert text == panel_text(panel)
        if passed_ms == 2_000:
            assert "5,000 questions answered   2,000/s   1 client waits" in text
    assert "5,010 questions answered   0/s" in text
    leave(tmp_path, msgspec.structs.replace(said, at_ms=at_ms - 60_000))
    old = LivePanel("shop", Console(file=io.StringIO()), questions=questions_in(tmp_path))
    old.observe(total([worker()]))
    assert "answered" not in panel_text(old)


@given(st.lists(st.lists(st.lists(st.sampled_from("abc"), max_size=3), max_size=3), max_size=5))
def test_each_notice_is_given_once_in_the_order_of_its_first_sight(observed: list[list[list[str]]]) -> None:
    news = News()
    given_now = [
        text
        for workers in observed
        for text in news.of(total([msgspec.structs.replace(worker(), notices=notices) for notices in workers]))
    ]
    assert given_now == list(dict.fromkeys(text for workers in observed for notices in workers for text in notices))


@pytest.mark.parametrize("kind", [Quiet, partial(Lines, "shop")])
def test_what_is_told_shows_and_is_not_obeyed(kind: Callable[[Callable[[str], object]], Quiet]) -> None:
    written: list[str] = []
    kind(written.append).tell("a\x1b[2J\u202e")
    assert written == ["headway: a\\x1b[2J\\u202e\n"]


def panel_text(panel: LivePanel) -> str:
    console = Console(file=io.StringIO(), width=80, color_system=None)
    console.print(panel.render())
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def test_the_panel_shows_everything() -> None:
    now_s = 0.0
    stopping = False
    panel = LivePanel("shop", Console(file=io.StringIO()), lambda: stopping, lambda: now_s)
    assert "starting" in panel_text(panel)
    panel.observe(stats(at_ms=0, events=0))
    panel.observe(stats(at_ms=2_000, events=5_000))
    now_s = 61.0
    text = panel_text(panel)
    for part in ("shop", "5,000   2,500/s", "2026-01-01T00:00:00.000Z   2.5 s behind", "1,234 keys   55 timers"):
        assert part in text
    for part in ("3 waiting", "7 triggers   2 late   1 dead letter", "64 MiB of memory", "1m1s  Ctrl-C stops"):
        assert part in text
    assert "worker" not in text
    stopping = True
    assert "stopping; Ctrl-C again ends it at once" in panel_text(panel)


def test_the_panel_has_a_row_for_each_worker() -> None:
    panel = LivePanel("shop", Console(file=io.StringIO()))
    for step in (0, 1):
        panel.observe(
            total([worker(0, at_ms=step * 1_000, events=step * 250), worker(1, at_ms=step * 1_000, events=step * 750)])
        )
    rows = [line.strip("│ \n").split() for line in panel_text(panel).splitlines()]
    assert ["worker", "events/s", "keys", "timers", "waiting", "memory", "process"] in rows
    assert ["0", "250", "1,234", "55", "3", "64", "MiB", "100"] in rows
    assert ["1", "750", "1,234", "55", "3", "64", "MiB", "101"] in rows


@pytest.fixture
def log() -> Iterator[logging.Logger]:
    logger = logging.getLogger("headway")
    before = list(logger.handlers)
    yield logger
    assert logger.handlers == before


def test_warnings_of_the_engine_are_told(log: logging.Logger) -> None:
    written: list[str] = []
    with shown(Quiet(written.append)):
        log.warning("worker %d died", 3)
    assert written == ["headway: worker 3 died\n"]


def test_warnings_stand_above_the_panel(log: logging.Logger) -> None:
    file = io.StringIO()
    panel = LivePanel("shop", Console(file=file, force_terminal=True, highlight=False, width=80))
    with shown(panel):
        panel.observe(stats(events=5))
        log.warning("worker [1] died")
    assert "worker [1] died" in file.getvalue()
    assert "[bold]" not in file.getvalue()


def test_the_panel_is_for_terminals_only(monkeypatch: pytest.MonkeyPatch) -> None:
    def kind(*, terminal: bool, quiet: bool = False, stdout_is_shown: bool = False) -> type:
        stream = io.StringIO()
        monkeypatch.setattr(stream, "isatty", lambda: terminal, raising=False)
        monkeypatch.setattr("sys.stderr", stream)
        return type(progress_for("shop", quiet=quiet, stdout_is_shown=stdout_is_shown, stopping=lambda: False))

    assert kind(terminal=True) is LivePanel
    assert kind(terminal=False) is Lines
    assert kind(terminal=True, stdout_is_shown=True) is Lines
    assert kind(terminal=True, quiet=True) is Quiet


def read_of(done: int, size: int, *, at_ms: int) -> RunStats:
    half = {"a": SourceStats(bytes_read=done, bytes_total=size)}
    return total([structs.replace(worker(index, at_ms=at_ms), sources=half) for index in (0, 1)])


def test_the_share_of_the_input_and_the_time_left_are_told() -> None:
    meter = Meter()
    for second in range(11):
        meter.observe(read_of(100 + second * 10, 1_000, at_ms=second * 1_000))
    assert meter.share == pytest.approx(0.2)
    assert meter.left_s == pytest.approx(80)


def test_after_a_restart_the_time_left_is_measured_anew() -> None:
    meter = Meter()
    meter.observe(read_of(500, 1_000, at_ms=0))
    meter.observe(read_of(100, 1_000, at_ms=10_000))
    assert meter.left_s is None
    meter.observe(read_of(200, 1_000, at_ms=20_000))
    assert meter.left_s == pytest.approx(80)


def test_no_share_is_told_where_the_size_of_an_input_is_not_known() -> None:
    meter = Meter()
    known, unknown = SourceStats(bytes_read=1, bytes_total=2), SourceStats()
    meter.observe(total([structs.replace(worker(), sources={"a": known, "b": unknown})]))
    assert (meter.share, meter.left_s) == (None, None)


def test_the_share_is_shown_in_lines_and_on_the_panel() -> None:
    written: list[str] = []
    ticks = iter([0.0, 10.0])
    lines = Lines("f", written.append, lambda: next(ticks))
    console = Console(file=io.StringIO(), width=80, color_system=None)
    panel = LivePanel("f", console)
    for at_ms, done in ((0, 0), (10_000, 425)):
        lines.observe(read_of(done, 1_000, at_ms=at_ms))
        panel.observe(read_of(done, 1_000, at_ms=at_ms))
    assert written[0].startswith("f: 42 % read, 14s left, ")
    console.print(panel.render())
    assert "42 % read, 14s left" in console.file.getvalue()  # type: ignore[attr-defined]
