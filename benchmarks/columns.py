"""Case `columns`: the same events from Parquet and from lines of JSON, through the same flow."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final, Optional

import orjson

from benchmarks.cache import cached, code
from benchmarks.case import Arm, Case, Finding, Sizes, against, alternate
from benchmarks.clicks import WHOLE, Clicks, run_job
from benchmarks.jobs import clicks_of

__all__ = ["CASE", "parquet_of"]

_RATIO: Final = 1.5
_GROUP_ROWS: Final = 100_000
_TIMES: Final = 4
"""How many times the usual events there are: the start of a run takes as long as reading a million of them."""


def parquet_of(clicks: Clicks) -> Path:
    """The stream of clicks as one file of Parquet."""

    def build(directory: Path) -> None:
        import pyarrow as pa
        from pyarrow import parquet

        with ExitStack() as stack:
            lines = stack.enter_context(clicks.log.open("rb"))
            writer: Optional[parquet.ParquetWriter] = None
            while rows := list(map(orjson.loads, islice(lines, _GROUP_ROWS))):
                table = pa.Table.from_pylist(rows)
                at = table.column_names.index("at")
                table = table.set_column(at, "at", table["at"].cast(pa.timestamp("ms")))
                writer = writer or stack.enter_context(
                    parquet.ParquetWriter(directory / "clicks.parquet", table.schema)
                )
                writer.write_table(table, row_group_size=_GROUP_ROWS)

    recipe = (clicks, code("benchmarks/clicks.py", "benchmarks/columns.py"))
    return cached(f"clicks-{clicks.name}-parquet", recipe, build) / "clicks.parquet"


def _clicks(sizes: Sizes) -> Clicks:
    return clicks_of(replace(sizes, name=f"{sizes.name}-history", clicks=_TIMES * sizes.clicks))


def _find(sizes: Sizes) -> Finding:
    clicks = _clicks(sizes)
    rows, notes = [], []
    for job, what, least in (("dear", "`where`, then a function", _RATIO), ("filter", "a function of each", None)):
        lines, columns = (
            Arm(f"{form}, {what}", partial(run_job, clicks, job, expected="filter", source=path), clicks.events)
            for form, path in (("JSON lines", WHOLE), ("Parquet", str(parquet_of(clicks))))
        )
        alternate([lines, columns], sizes.fine_repeats)
        rows.append(against(columns, lines, least))
        notes.append(f"{what}: counted in CPU time it is {columns.by_cpu / lines.by_cpu:.2f}")
    return Finding(rows, notes)


CASE: Final = Case(
    "columns",
    lambda sizes: f"{_TIMES * sizes.clicks:,} events of 5 fields, filtered, from Parquet and from JSON lines",
    _find,
)
