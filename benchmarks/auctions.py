"""Case `nexmark`: queries of the auction house, each checked against SQL over the same events where DuckDB is there."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from hashlib import blake2b
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import orjson

from benchmarks.cache import cached, code, scratch
from benchmarks.case import Arm, Case, Finding, Row, Sizes, alone, alternate, run_engine
from benchmarks.engine import EngineSpec
from benchmarks.processes import BenchmarkError, Run
from headway.generate.nexmark import generate_nexmark
from headway.generate.nexmark_options import NexmarkOptions

__all__ = ["CASE", "QUERIES"]

FLOW: Final = "headway.flows.nexmark"
QUERIES: Final = ("q0", "q4", "q5", "q7", "q8", "q9", "q11", "q12", "q15", "q18", "q19")
_TARGETS: Final = {"q9": 14_000, "q11": 40_000}
_PARTITIONS: Final = 4


def _about(sizes: Sizes) -> str:
    return f"Nexmark, {sizes.nexmark:,} events in {_PARTITIONS} files, in order, 1 s epochs, one process, drained"


def _find(sizes: Sizes) -> Finding:
    stream = _stream(sizes)
    arms = {query: Arm(query, partial(_run, stream, query), sizes.nexmark) for query in QUERIES}
    alternate(list(arms.values()), sizes.hot_repeats)
    return Finding(
        [_row(query, arm) for query, arm in arms.items()],
        ["events per core are those per second of CPU time, of all threads of the process together"],
    )


def _row(query: str, arm: Arm) -> Row:
    least = _TARGETS.get(query)
    if least is None:
        return alone(arm)
    return Row(arm, None, arm.by_cpu, f"{arm.by_cpu:,.0f} a core", f">= {least:,} a core", arm.by_cpu >= least)


def _stream(sizes: Sizes) -> Path:
    """The directory of the stream, with what each query's table must be."""
    options = NexmarkOptions(events=sizes.nexmark, partitions=_PARTITIONS)

    def build(directory: Path) -> None:
        generate_nexmark(options, directory)
        (directory / "tables.json").write_bytes(orjson.dumps(_tables(directory)))

    recipe = (options, code("src/headway/generate", "tests/nexmark_sql.py", "tests/nexmark_tables.py"))
    return cached(f"nexmark-{sizes.name}", recipe, build)


def _tables(stream: Path) -> dict[str, str]:
    """A digest of each query's table by SQL; without DuckDB, nothing."""
    if find_spec("duckdb") is None:
        return {}
    from tests.nexmark_sql import SQL, database

    lines = {path.name: path.read_bytes().splitlines() for path in sorted(stream.glob("nexmark-*.jsonl"))}
    with database(lines) as connection:
        # What q12 finds depends on the clock: only how many bids there are does not.
        bids = connection.execute("SELECT count(*) FROM bid").fetchall()[0][0]
        tables = {query: _digest(connection.execute(SQL[query]).fetchall()) for query in QUERIES if query != "q12"}
    return {**tables, "q12": str(bids)}


def _run(stream: Path, query: str) -> Run:
    with scratch() as directory:
        out = directory / "table.jsonl"
        parameters = {
            "query": query,
            "input": str(stream / "nexmark-*.jsonl"),
            "output": str(out),
            "out_of_order": "0s",
        }
        run = run_engine(EngineSpec(flow=FLOW, parameters=parameters, state_dir=str(directory / "state"), drain=True))
        expected = orjson.loads((stream / "tables.json").read_bytes()).get(query)
        if expected is not None and _found(query, out) != expected:
            msg = f"{query}: the table is not what SQL gives over the same events"
            raise BenchmarkError(msg)
        return run


def _found(query: str, path: Path) -> str:
    from tests.nexmark_tables import table

    with path.open("rb") as lines:
        records: list[dict[str, Any]] = [orjson.loads(line) for line in lines]
    if query == "q12":
        return str(sum(record["bid_count"] for record in records))
    return _digest(table(query, records))


def _digest(rows: Iterable[tuple[Any, ...]]) -> str:
    return blake2b(repr(sorted(rows)).encode(), digest_size=8).hexdigest()


CASE = Case("nexmark", _about, _find)
