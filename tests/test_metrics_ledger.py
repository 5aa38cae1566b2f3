"""Counters never go back, whatever dies, and count what was counted."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from hypothesis import given
from hypothesis import strategies as st

from headway.metrics.ledger import Ledger

NAMES: Final = st.sampled_from(["events", "late"])
STEPS: Final = st.lists(
    st.one_of(
        st.tuples(st.just("count"), NAMES, st.integers(0, 20)),
        st.tuples(st.just("commit"), NAMES, st.just(0)),
        st.tuples(st.sampled_from(["crash", "scrape", "exporter"]), st.just(""), st.just(0)),
    ),
    max_size=60,
)


@given(STEPS)
def test_counters_over_crashes_of_workers_and_of_exporters(steps: list[tuple[str, str, int]]) -> None:
    """`life` goes back to what was committed with each crash, and `process` to 0."""
    with TemporaryDirectory() as folder:
        ledger = Ledger()
        durable, life, process = {"events": 0, "late": 0}, {"events": 0, "late": 0}, {"events": 0, "late": 0}
        most = {"events": 0, "late": 0}
        before_this_process, generation = {"events": 0, "late": 0}, 0
        seen_of_process = {"events": 0, "late": 0}
        told: dict[tuple[str, str], float] = {}
        for step, name, number in steps:
            if step == "count":
                life[name] += number
                process[name] += number
            elif step == "commit":
                durable[name] = life[name]
            elif step == "crash":
                life, process = dict(durable), {"events": 0, "late": 0}
                before_this_process = {key: before_this_process[key] + seen_of_process[key] for key in process}
                seen_of_process = {"events": 0, "late": 0}
                generation += 1
            elif step == "exporter":
                ledger = Ledger.load(Path(folder))
            else:
                for key in life:
                    most[key] = max(most[key], life[key])
                    seen_of_process[key] = process[key]
                    now = {
                        ("life", key): ledger.of_life(key, ["flow"], life[key]),
                        ("process", key): ledger.of_process(f"own {key}", ["flow"], str(generation), process[key]),
                    }
                    assert now["life", key] == most[key]
                    assert now["process", key] == before_this_process[key] + process[key]
                    assert all(told.get(which, 0) <= value for which, value in now.items())
                    told |= now
                ledger.forget()
                ledger.store(Path(folder))


def test_several_processes_add_up_and_a_dead_one_stays_in_the_sum() -> None:
    ledger = Ledger()
    assert [ledger.of_process("n", ["a"], process, 5) for process in ("one", "two")] == [5, 10]
    for _ in range(300):
        ledger.forget()
        assert ledger.of_process("n", ["a"], "two", 6) == 11
    assert ledger.of_process("n", ["b"], "two", 6) == 6


def test_what_is_kept_of_processes_is_bounded() -> None:
    ledger = Ledger()
    for process in range(1_000):
        ledger.of_process("n", [], str(process), 1)
        ledger.forget()
    assert ledger.of_process("n", [], "last", 1) == 1_001
    assert len(ledger._seen) < 110


def test_a_ledger_that_cannot_be_read_begins_anew(tmp_path: Path) -> None:
    (tmp_path / "ledger.json").write_bytes(b"\xff{")
    assert Ledger.load(tmp_path).of_life("n", [], 3) == 3
    (tmp_path / "ledger.json").unlink()
    (tmp_path / "ledger.json").symlink_to(tmp_path / "elsewhere")
    assert Ledger.load(tmp_path).of_life("n", [], 3) == 3
