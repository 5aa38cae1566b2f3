"""How many instances there are of each kind: counted as they change, and the same as looking at all of them."""

from __future__ import annotations

import io
import random
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rich.console import Console
from tests import durable_flow
from tests.cluster_harness import Started, await_true
from tests.durable_harness import Group, start
from tests.test_cli_progress import worker
from tests.test_durable_kills import ask, effects_of, ended

import headway as hw
from headway import durable_workflow
from headway.basics.function_figures import DURATION_BOUNDS_S, FunctionFigures, figures_of
from headway.cli.function_texts import FunctionAlerts, functions_text
from headway.cli.live import LivePanel
from headway.durable.messages import Cancel, Retry, Signal
from headway.metrics.families import Known, samples
from headway.metrics.ledger import Ledger
from headway.metrics.snapshots import RunSnapshot
from headway.runtime.directory import StateDirectory
from headway.runtime.last_run import load_stats
from headway.runtime.opening import rescale
from headway.runtime.stats import RunStats, total
from headway.state.reader import StateReader


@durable_workflow(retention="1h")
async def visit(context: Any, kind: str) -> str:
    if kind == "fails":
        raise ValueError(kind)
    if kind == "sleeps":
        await context.sleep("30d")
    if kind == "waits":
        await context.wait("go")
    if kind == "works":
        await context.call("hang")
    return kind


@durable_workflow(retention="1ms")
async def brief(context: Any) -> None: ...


def counted(state: Path) -> dict[str, Counter[str]]:
    """What there is, found by looking at all rows."""
    found: dict[str, Counter[str]] = {}
    with StateReader(state) as reader:
        for row in reader.rows("functions"):
            found.setdefault(row.key.partition("/")[0], Counter())[row.state["phase"]] += 1
    return found


def figures(group: Group) -> dict[str, FunctionFigures]:
    stats = load_stats(group.state)
    assert stats is not None
    return figures_of(stats.tallies.get("functions", {}))


def agree(group: Group) -> None:
    for name, phases in counted(group.state).items():
        assert {phase: count for phase, count in figures(group)[name].phases.items() if count} == phases


def test_counts_are_those_of_the_rows(tmp_path: Path) -> None:
    async def hang() -> None:
        raise OSError("down")

    def made(*functions: Any) -> Group:
        group = Group(tmp_path, *functions, brief)
        group.flow.step(retry=hw.RetryPolicy(initial="1h"))(hang)
        return group

    group = made(visit)
    kinds = ["fails", "sleeps", "sleeps", "waits", "works", "ends", "ends", "ends"]
    group.tell(
        *((f"visit/{n}", start(kind)) for n, kind in enumerate(kinds)), *((f"brief/{n}", start()) for n in range(9))
    )
    group.run_to_the_end()
    agree(group)
    found = figures(group)["visit"]
    assert {phase: count for phase, count in found.phases.items() if count} == {
        "failed": 1,
        "asleep": 3,
        "working": 1,
        "completed": 3,
    }
    assert (found.started, found.ended, sum(found.took)) == (8, {"completed": 3, "failed": 1}, 4)
    assert figures(group)["brief"].started == 9

    @durable_workflow(name="visit", retention="1h")
    async def changed(context: Any, kind: str) -> None:
        await context.call("hang")

    group = made(changed)
    group.tell(("visit/1", Cancel("")), ("visit/3", Signal("go")), ("visit/2", Cancel("", terminates=True)))
    group.run_to_the_end()
    agree(group)
    assert figures(group)["visit"].phases["blocked"] == 2
    assert sum(figures(group)["brief"].phases.values()) == 0, "what is forgotten counts no more"
    group = made(visit)
    group.tell(("visit/1", Retry()), ("visit/3", Retry()))
    group.run_to_the_end()
    agree(group)
    assert figures(group)["visit"].ended == {"completed": 4, "failed": 1, "cancelled": 1, "terminated": 1}


def test_counts_are_exact_over_kills_and_another_number_of_groups(tmp_path: Path) -> None:
    shutil.copy(durable_flow.__file__, tmp_path / "flow.py")
    ask(tmp_path / "state", range(40))
    arguments = ("flow.py", "--follow", "--quiet", "--state", "state", "--epoch", "50ms", "--key-groups", 3)
    chance = random.Random(5)
    for _ in range(3):
        started = Started(tmp_path, *arguments)
        enough = effects_of(tmp_path) + chance.randrange(1, 15)
        await_true(lambda least=enough: effects_of(tmp_path) >= least, "more effects")  # type: ignore[misc]
        started.end()
    started = Started(tmp_path, *arguments)
    await_true(lambda: sum(one["function"] == "order" for one in ended(tmp_path)) == 40, "all orders")
    started.process.terminate()
    assert started.outcome()[0] == 0
    expected = {"order": 40, "total": 40, "refund_order": 40}
    assert completed(tmp_path / "state") == expected
    rescale(StateDirectory(tmp_path / "state"), key_groups=5, slots=None)
    started = Started(tmp_path, "flow.py", "--quiet", "--state", "state", "--workers", 2)
    assert started.outcome()[0] == 0
    assert completed(tmp_path / "state") == expected


def completed(state: Path) -> dict[str, int]:
    """How many of each function have completed, by what the last run has counted."""
    stats = load_stats(state)
    assert stats is not None
    return {name: one.phases["completed"] for name, one in figures_of(stats.tallies["functions"]).items()}


def stats(**functions: dict[str, int]) -> RunStats:
    tallies = {f"{name}/{what}": count for name, counts in functions.items() for what, count in counts.items()}
    return msgspec.structs.replace(total([]), tallies={"functions": tallies})


def test_what_is_told_of_them() -> None:
    assert functions_text(total([])) == ""
    assert functions_text(stats(ship={"working": 1_200, "failed": 2}, pay={"working": 3, "completed": 1})) == (
        "1,203 working, 0 asleep, 2 failed, 1 completed"
    )
    alerts = FunctionAlerts()
    told = [
        list(alerts.of(stats(ship=counts)))
        for counts in (
            {"blocked": 1, "ended failed": 7},
            {"blocked": 1, "ended failed": 7},
            {"blocked": 3, "ended failed": 8},
            {"ended failed": 9},
            {"blocked": 1},
        )
    ]
    assert [len(texts) for texts in told] == [1, 0, 2, 0, 1]
    assert told[2][0].startswith("function 'ship': 3 instances blocked; `headway functions ls FLOW --name ship")
    assert told[2][1].startswith("function 'ship' fails;")


def test_the_panel_shows_them() -> None:
    console = Console(width=100, record=True, file=io.StringIO())
    panel = LivePanel("orders", console, clock_s=lambda: 0.0)
    panel.observe(msgspec.structs.replace(stats(ship={"asleep": 4, "blocked": 1}), workers=[worker()]))
    console.print(panel.render())
    assert "functions  0 working   4 asleep   1 blocked" in console.export_text()


def test_what_is_exported() -> None:
    counts = {"asleep": 4, "blocked": 1, "started": 9, "ended failed": 2, "took 0": 1, "took 15": 1, "took ms": 700_000}
    run = RunSnapshot(process="1", at_ms=0, workers=0, stats=stats(ship=counts))
    found = samples(Known(0, run), Ledger(), "1.0")
    assert found["headway_functions"][("ship", "blocked")] == 1
    assert found["headway_functions"][("ship", "completed")] == 0
    assert found["headway_functions_started_total"] == {("ship",): 9}
    assert found["headway_functions_ended_total"] == {("ship", "failed"): 2}
    [(buckets, took_s)] = found["headway_function_duration_seconds"].values()
    assert (len(buckets), sum(buckets), took_s) == (len(DURATION_BOUNDS_S) + 1, 2, 700.0)
    pytest.importorskip("prometheus_client", reason="the extra `metrics` is not installed")
    from headway.metrics.collector import families

    [family] = [one for one in families("shop", found) if one.name == "headway_function_duration_seconds"]
    values = {sample.labels.get("le"): sample.value for sample in family.samples if sample.name.endswith("_bucket")}
    assert (values["0.01"], values["604800.0"], values["+Inf"]) == (1, 1, 2)
