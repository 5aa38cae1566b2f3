"""`headway state export` as CSV and Parquet: every row and every field, whatever states there are."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.cli.state_export import export_rows
from headway.state.reader import StateReader

FLOATS = st.floats(allow_nan=False, allow_infinity=False)
SCALARS = st.none() | st.booleans() | st.integers(-(1 << 70), 1 << 70) | FLOATS | st.text('aé,\r\n"')
STATES = (
    st.dictionaries(st.sampled_from(["a", "b", "key", "Timers"]), SCALARS | st.lists(SCALARS, max_size=2)) | SCALARS
)


class Stored:
    """Stands for a reader of a state directory."""

    def __init__(self, states: list[Any]) -> None:
        self.states = states

    def rows(self, operator: str) -> Iterator[Any]:
        for number, state in enumerate(self.states):
            yield SimpleNamespace(key=f"k{number}", state=state, timers={"left": 7}, touched_ms=number)


def exported(states: list[Any], form: str, monkeypatch: pytest.MonkeyPatch, *, is_terminal: bool = False) -> bytes:
    out = io.BytesIO()
    stream = io.TextIOWrapper(out, encoding="utf-8", newline="", write_through=True)
    monkeypatch.setattr(stream, "isatty", lambda: is_terminal, raising=False)
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", stream)
        export_rows(cast(StateReader, Stored(states)), "op", form)
    return out.getvalue()


def columns_of(state: Any) -> dict[str, Any]:
    if not isinstance(state, dict):
        return {"value": state}
    return {
        ("state_" if name.lower() in ("key", "timers", "touched_ms") else "") + name: v for name, v in state.items()
    }


@given(st.lists(STATES, max_size=6))
def test_parquet_has_every_value(states: list[Any]) -> None:
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed: pip install 'headway[parquet]'")
    from pyarrow import parquet

    with pytest.MonkeyPatch.context() as monkeypatch:
        written = exported(states, "parquet", monkeypatch)
    table = parquet.read_table(pa.BufferReader(written))
    wanted = [columns_of(state) for state in states]
    assert set(table.column_names) == {"key", "timers", "touched_ms"}.union(*wanted)
    found = table.to_pylist()
    assert [(row["key"], json.loads(row["timers"]), row["touched_ms"]) for row in found] == [
        (f"k{number}", {"left": 7}, number) for number in range(len(states))
    ]
    for row, fields in zip(found, wanted):
        for name in set(row) - {"key", "timers", "touched_ms"}:
            value, got = fields.get(name), row[name]
            if isinstance(got, str) and got != value:
                got = json.loads(got)
            assert got == (float(cast(Any, value)) if isinstance(got, float) else value)


@given(st.lists(STATES, max_size=6))
def test_csv_has_every_value(states: list[Any]) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        written = exported(states, "csv", monkeypatch).decode()
    found = list(csv.DictReader(io.StringIO(written, newline="")))
    assert [row["key"] for row in found] == [f"k{number}" for number in range(len(states))]
    for row, state in zip(found, states):
        for name, value in columns_of(state).items():
            plain = isinstance(value, str) or value is None
            assert (row[name] if plain else json.loads(row[name])) == (value or "" if plain else value)


def test_parquet_is_not_written_to_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed: pip install 'headway[parquet]'")
    with pytest.raises(click.UsageError, match="send it to a file"):
        exported([{"a": 1}], "parquet", monkeypatch, is_terminal=True)
