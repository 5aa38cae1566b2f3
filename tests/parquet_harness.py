"""Files of Parquet that tests write and read."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import headway as hw

pa = pytest.importorskip("pyarrow")
from pyarrow import parquet  # noqa: E402 - it is there only where the test runs.


class Order(hw.Event):
    n: int
    user: str = "nobody"


def put(path: Path, rows: list[dict[str, Any]], schema: Any = None, groups: int = 3) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pa.Table.from_pylist(rows, schema=schema), path, row_group_size=groups)
    return path


def orders(numbers: range) -> list[dict[str, Any]]:
    return [{"n": n, "user": f"u{n % 3}", "unread": [n]} for n in numbers]


def read(given: Any, event_type: Any, size: int = 1 << 16) -> tuple[list[Any], list[Any]]:
    """Events and dead letters of all partitions."""
    decoder = given.format.decoder(event_type)
    events: list[Any] = []
    bad: list[Any] = []
    for name in given.partitions():
        with closing(given.open(name, None, follow=False)) as reader:
            while (chunk := reader.read(size)) is not None:
                decoded = chunk.decode(decoder)
                events += decoded.events
                bad += decoded.bad
    return events, bad


def put_arrow(path: Path, rows: list[dict[str, Any]]) -> Path:
    table = pa.Table.from_pylist(rows)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    return path
