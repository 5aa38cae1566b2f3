"""How files of Parquet and Arrow are opened, and what is read of them."""

from __future__ import annotations

import os
import threading
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from tests.parquet_harness import Order, orders, put, put_arrow, read

import headway as hw
from headway.connectors.columns import file as columns_file
from headway.connectors.columns.reader import LogReader
from headway.errors import InputError, UsageError
from headway.formats.columns import ColumnsDecoder

pa = pytest.importorskip("pyarrow")
from pyarrow import parquet  # noqa: E402 - it is there only where the test runs.


def test_what_is_no_complete_file_and_what_was_changed_is_refused(tmp_path: Path) -> None:
    path = put(tmp_path / "a.parquet", orders(range(10)))
    whole = path.read_bytes()
    given = hw.parquet(path)
    with closing(given.open("a.parquet", None, follow=False)) as reader:
        reader.read(1)
        position = reader.position()
    for damaged in (b"", b"hello", whole[:-10]):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=r"no file of Parquet or Arrow, or is damaged or not complete"):
            read(given, Order)
    put(path, orders(range(11)))
    with pytest.raises(InputError, match="is not the file that was read before"):
        given.open("a.parquet", position, follow=False)
    with pytest.raises(UsageError, match="expected a path"):
        hw.parquet("")


def test_a_log_of_files_takes_only_files_behind_the_last_one(tmp_path: Path) -> None:
    decoder, now = ColumnsDecoder(Order), [0.0]
    put(tmp_path / "b.parquet", orders(range(2)))
    find = lambda: {path.name: str(path) for path in sorted(tmp_path.iterdir())}  # noqa: E731
    reader = LogReader(find, "all", None, follow=True, clock_s=lambda: now[0])
    assert reader.read(1 << 16) is not None
    put(tmp_path / "c.parquet", orders(range(2, 4)))
    assert reader.read(1) is None, "it is not time to look"
    now[0] = 1.5
    chunk = reader.read(1 << 16)
    assert chunk is not None
    assert [event.n for event in chunk.decode(decoder).events] == [2, 3]
    position = reader.position()
    put(tmp_path / "a.parquet", orders(range(2)))
    now[0] = 3.0
    with pytest.raises(InputError, match=r"up to c\.parquet, and a\.parquet has come before it"):
        reader.read(1)
    reader.close()
    with pytest.raises(InputError, match=r"1 files of all were read before c\.parquet, and now 2 are there"):
        LogReader(find, "all", position, follow=False)
    (tmp_path / "c.parquet").unlink()
    with pytest.raises(InputError, match=r"c\.parquet of all is gone"):
        LogReader(find, "all", position, follow=False)


def test_of_a_file_of_arrow_only_the_columns_of_the_event_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[int]] = []
    opened = columns_file._Arrow._opened

    def noted(self: Any, indexes: list[int]) -> Any:
        asked.append(indexes)
        return opened(self, indexes)

    monkeypatch.setattr(columns_file._Arrow, "_opened", noted)
    put_arrow(tmp_path / "a.arrow", [{"text": "long" * 100, "flag": True, "n": n, "user": "u"} for n in range(9)])
    given = hw.parquet(tmp_path / "a.arrow")
    with closing(given.open("a.arrow", None, follow=False)) as reader:
        chunk = reader.read(1 << 20)
        assert chunk is not None
        assert [event.n for event in chunk.decode(given.format.decoder(Order)).events] == list(range(9))
    assert asked == [[1], [2, 3]]  # Rows are counted in the narrowest one.


def test_many_files_are_looked_at_once_each_and_take_no_threads_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 60
    for n in range(count):
        put(tmp_path / f"{n}.parquet", orders(range(5 * n, 5 * n + 5)))
    footers: list[Any] = []
    made = parquet.ParquetFile

    def noted(source: Any, metadata: Any = None, **options: Any) -> Any:
        footers.extend([source] if metadata is None else [])
        return made(source, metadata=metadata, **options)

    monkeypatch.setattr(parquet, "ParquetFile", noted)
    given = hw.parquet(tmp_path)
    decoder, before = given.format.decoder(Order), threading.active_count()
    with ExitStack() as stack:
        readers = [stack.enter_context(closing(given.open(name, None, follow=False))) for name in given.partitions()]
        for reader in readers:
            chunk = reader.read(1)
            assert chunk is not None and chunk.decode(decoder).events
        assert threading.active_count() - before <= max(2, os.cpu_count() or 1)
    assert len(footers) == count


def test_a_damaged_file_is_closed_while_its_error_is_told(tmp_path: Path) -> None:
    """The traceback holds what was being made: a file that is still open with it would stay so."""
    for name, data in (("a.parquet", b"PAR1" + b"no" * 99 + b"PAR1"), ("b.arrow", b"ARROW1" + b"no" * 99)):
        path = tmp_path / name
        path.write_bytes(data)
        with pytest.raises(InputError, match="no file of Parquet or Arrow") as raised:
            columns_file.ColumnFile(str(path))
        opened = [os.path.realpath(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd")]
        assert str(path) not in opened, raised.value


def test_rows_of_arrow_without_columns_are_counted(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    batch = pa.table({"n": range(10)}).to_batches()[0].select([])
    with pa.OSFile(str(tmp_path / "a.arrow"), "wb") as file, pa.ipc.new_file(file, batch.schema) as writer:
        writer.write_batch(batch)
    with closing(columns_file.ColumnFile(str(tmp_path / "a.arrow"))) as found:
        assert found.rows == 10


@pytest.mark.parametrize("width", [1, 3_000])
def test_rows_are_read_on_anywhere_in_a_large_row_group(tmp_path: Path, width: int) -> None:
    """Narrow rows are decoded many blocks at once, wide ones a block at once."""
    count = 150_000 if width == 1 else 20_000
    rows = {"n": pa.array(range(count)), "user": pa.array([str(n % 7) * width for n in range(count)])}
    path = tmp_path / "a.parquet"
    parquet.write_table(pa.table(rows), path, row_group_size=count)
    decoder = ColumnsDecoder(Order)
    given = hw.parquet(path)
    expected = [Order(n, str(n % 7) * width) for n in range(count)]
    for start in (0, 1, 8_191, 8_192, 19_999, *((65_535, 65_536, 149_999) if width == 1 else ())):
        with closing(given.open("a.parquet", None, follow=False)) as first:
            position = {**first.position(), "ordinal": start}
        with closing(given.open("a.parquet", position, follow=False)) as reader:
            found: list[Any] = []
            while len(found) < 9_000 and (chunk := reader.read(1 << 16)) is not None:
                found += chunk.decode(decoder).events
        assert found == expected[start : start + len(found)] != []
        assert len(found) >= min(9_000, count - start)
