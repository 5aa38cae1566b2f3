"""Rotated logs as programs leave them: counted back, dated, copied and cut, compressed, in the middle of reads."""

from __future__ import annotations

import gzip
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Optional

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from headway.connectors.base import PartitionReader, Position
from headway.connectors.files import files
from headway.connectors.rotation import oldest_first
from headway.errors import InputError
from headway.types.decoding import LineCodec
from headway.types.schema import Json

CODEC = LineCodec(Json)


@pytest.mark.parametrize(
    "oldest_to_newest",
    [
        ["app.log.12", "app.log.2", "app.log.1", "app.log"],
        ["app.log.2", "app.log.1", "app.log.0", "app.log"],
        ["app.log.3", "app.log.2"],
        ["app.log-20231231", "app.log-20240501", "app.log"],
        ["app.log.2024-04-30", "app.log.2024-05-01", "app.log"],
        ["app.log-2024050101", "app.log-2024050113", "app.log"],
        ["app.log-1714521600", "app.log-1714525200", "app.log"],
        ["app.log.2024-05-01_09-00-00", "app.log.2024-05-01_10-30-00", "app.log"],
        ["app-2024-04-30.log", "app-2024-05-01.log", "app.log"],
        ["app_2024-04-30.log", "app_2024-05-01.log", "app.log"],
        ["app.log.202312", "app.log.202401", "app.log"],
        ["2024-04-30.jsonl", "2024-05-01.jsonl"],
        ["log-1", "log-2", "log-10"],
        ["log-00", "log-01"],
        ["d/9/log", "d/10/log"],
        ["a.jsonl", "b.jsonl"],
        ["only"],
    ],
)
def test_the_order_is_that_of_age(oldest_to_newest: list[str]) -> None:
    assert oldest_first(oldest_to_newest) == oldest_to_newest
    assert oldest_first(oldest_to_newest[::-1]) == oldest_to_newest


@pytest.mark.parametrize(
    "names",
    [
        ["app.log", "app.1.log", "app.2.log"],  # Log4j counts up, Logback back.
        ["app.log", "app-1.log"],
        ["app.log", "app.log.old"],
        ["app.log", "app.log~"],
        ["app.log", "app.log.1", "app.log-20240501"],
        ["app.log", "app.log.1", "web.log"],
        ["app.log.1", "web.log.1"],
        ["app.log", "app.log.2024-05-01.1", "app.log.2024-05-01.2"],
        ["app.log", "app.log.2024-05-01", "app.log.2024-05-01_13"],
        ["app.log", "app.log.5000"],
    ],
)
def test_what_cannot_be_told_is_refused(names: list[str], tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"the order of the rotated files app.* cannot be told by their names; expected"
    ):
        oldest_first(names)
    for name in names:
        (tmp_path / name).write_bytes(b"{}\n")
    with pytest.raises(InputError, match="cannot be told"):
        files(tmp_path / "*", rotated=True).partitions()


def append(path: Path, content: bytes) -> None:
    with path.open("ab") as file:
        file.write(content)


class Rotating:
    """A program that logs numbers, and another one that rotates the log under it."""

    def __init__(self, folder: Path, scheme: str, *, compress: bool) -> None:
        self.folder = folder
        self.count = 0
        self._scheme = scheme
        self._compress = compress
        self._rotations = 0
        self._active = folder / "app.log"
        self._writer = -1
        self._reopened = False
        self.reopen()

    def log(self, lines: int) -> None:
        for _ in range(lines):
            os.write(self._writer, b'{"n": %d}\n' % self.count)
            self.count += 1

    def close(self) -> None:
        if self._writer >= 0:
            os.close(self._writer)

    def rotate(self) -> None:
        if not self._reopened:
            self.reopen()
        self._rotations += 1
        if self._scheme == "dated":
            self._active.rename(self.folder / f"app.log-202405{self._rotations:02d}")
            self._pack(self.folder / f"app.log-202405{self._rotations - 1:02d}")
        else:
            self._shift()
            if self._scheme == "copied":
                (self.folder / "app.log.1").write_bytes(self._active.read_bytes())
                os.truncate(self._active, 0)
                return
            self._active.rename(self.folder / "app.log.1")
            self._pack(self.folder / "app.log.2")
        self._active.touch()
        self._reopened = False

    def reopen(self) -> None:
        """What `postrotate` tells the program to do."""
        self.close()
        self._writer = os.open(self._active, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._reopened = True

    def _shift(self) -> None:
        for number in range(self._rotations, 0, -1):
            for suffix in ("", ".gz"):
                old = self.folder / f"app.log.{number}{suffix}"
                if old.exists():
                    old.rename(self.folder / f"app.log.{number + 1}{suffix}")

    def _pack(self, path: Path) -> None:
        if self._compress and path.exists():
            path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
            path.unlink()


class Reading:
    """Reads a rotated log in any number of runs."""

    def __init__(self, folder: Path) -> None:
        self.numbers: list[int] = []
        self.ordinals: list[int] = []
        self.bad: list[Any] = []
        self._input = files(folder / "app.log*", rotated=True)
        self._position: Optional[Position] = None
        self._reader: PartitionReader = self._open(follow=True)

    def _open(self, *, follow: bool) -> PartitionReader:
        return self._input.open("app.log*", self._position, follow=follow)

    def read(self, max_bytes: int = 1 << 20) -> bool:
        chunk = self._reader.read(max_bytes)
        if chunk is None:
            return False
        decoded = chunk.decode(CODEC)
        self.numbers += [event["n"] for event in decoded.events]
        self.ordinals += [*decoded.ordinals, *(bad.ordinal for bad in decoded.bad)]
        self.bad += decoded.bad
        return True

    def read_all(self) -> None:
        while self.read():
            pass

    def resume(self, *, follow: bool = True) -> None:
        self._position = json.loads(json.dumps(self._reader.position()))
        self._reader.close()
        self._reader = self._open(follow=follow)


steps = st.one_of(
    st.tuples(st.just("log"), st.integers(1, 200)),
    st.tuples(st.just("log"), st.integers(1, 200)),
    st.tuples(st.just("read"), st.sampled_from([1, 30, 300, 100_000])),
    st.tuples(st.just("read"), st.sampled_from([1, 30, 300, 100_000])),
    st.tuples(st.sampled_from(["rotate", "reopen", "resume", "run to the end"]), st.just(0)),
)


@pytest.mark.parametrize("scheme", ["counted back", "dated", "copied"])
@settings(max_examples=100, deadline=None)
@given(script=st.lists(steps, max_size=30), compress=st.booleans())
@example(script=[("log", 1), ("resume", 0), ("rotate", 0), ("log", 1)], compress=False)
def test_every_line_once_and_in_order(scheme: str, script: list[tuple[str, int]], compress: bool) -> None:
    with tempfile.TemporaryDirectory() as name:
        log = Rotating(Path(name), scheme, compress=compress)
        reading = Reading(Path(name))
        for step, number in script:
            if step == "read":
                reading.read(number)
            elif step == "resume":
                reading.resume()
            elif step == "run to the end":
                reading.resume(follow=False)
                reading.read_all()
                reading.resume()
            elif step == "log":
                log.log(number)
            else:
                {"rotate": log.rotate, "reopen": log.reopen}[step]()
        reading.read_all()
        reading.resume(follow=False)
        reading.read_all()
        assert reading.bad == []
        assert reading.numbers == list(range(log.count))
        assert reading.ordinals == list(range(log.count))
        log.close()


@pytest.mark.parametrize("resume", [False, True])
def test_what_comes_too_late_becomes_a_dead_letter(tmp_path: Path, resume: bool) -> None:
    """The writer has turned to the new file, and one of its processes still writes to the old one."""
    log = Rotating(tmp_path, "counted back", compress=False)
    log.log(3)
    reading = Reading(tmp_path)
    reading.read_all()
    log.rotate()
    append(tmp_path / "app.log.1", b'{"n": 100}\n')
    reading.read_all()
    assert reading.numbers == [0, 1, 2, 100]
    log.reopen()
    log.log(1)
    reading.read_all()
    append(tmp_path / "app.log.1", b'{"n": 101}\n\n{"n": 102}\n')
    if resume:
        reading.resume()
    reading.read_all()
    log.log(1)
    reading.read_all()
    assert reading.numbers == [0, 1, 2, 100, 3, 4]
    assert [(bad.raw, bad.ordinal) for bad in reading.bad] == [(b'{"n": 101}', 5), (b'{"n": 102}', 7)]
    assert "appended to app.log" in reading.bad[0].reason
    assert len(set(reading.ordinals)) == len(reading.ordinals)
    reading.resume()
    reading.read_all()
    assert len(reading.numbers) + len(reading.bad) == 8


def counted_back(folder: Path) -> Rotating:
    log = Rotating(folder, "counted back", compress=False)
    log.log(300)
    return log


def remove_oldest(folder: Path) -> None:
    (folder / "app.log.2").unlink()


def overwrite_oldest(folder: Path) -> None:
    (folder / "app.log.2").write_bytes(b'{"n": 7}\n' * 1000)


@pytest.mark.parametrize("lose", [remove_oldest, overwrite_oldest])
@pytest.mark.parametrize("live", [False, True])
def test_a_file_that_is_gone_before_it_was_read_is_refused(
    tmp_path: Path, lose: Callable[[Path], None], live: bool
) -> None:
    log = counted_back(tmp_path)
    reading = Reading(tmp_path)
    reading.read(1000)
    for _ in range(2):
        log.rotate()
        log.reopen()
        log.log(300)
    lose(tmp_path)
    if live and lose is remove_oldest:
        # What is open can be read to its end; what follows it cannot be told.
        with pytest.raises(InputError, match=r"the log file app\.log is gone, in which the run stood at byte"):
            reading.read_all()
        assert reading.numbers == list(range(300))
        return
    if live:
        with pytest.raises(InputError, match="is not the log that was read before"):
            reading.read_all()
        return
    with pytest.raises(InputError, match=r"the log file app\.log is gone, in which the run stood at byte"):
        reading.resume()


def test_a_single_name_is_not_enough(tmp_path: Path) -> None:
    log = counted_back(tmp_path)
    source = files(tmp_path / "app.log", rotated=True)
    reader = source.open("app.log", None, follow=True)
    assert reader.read(1 << 20) is not None
    log.rotate()
    log.reopen()
    log.log(300)
    with pytest.raises(InputError, match="is not the log that was read before"):
        reader.read(1 << 20)


def test_an_older_file_that_was_not_there_is_refused(tmp_path: Path) -> None:
    counted_back(tmp_path)
    reading = Reading(tmp_path)
    reading.read_all()
    (tmp_path / "app.log.1").write_bytes(b'{"n": -1}\n')
    with pytest.raises(InputError, match=r"log files were added before app\.log, .* found app\.log\.1; name rotated"):
        reading.read_all()


def test_a_copy_in_the_making_is_no_older_file(tmp_path: Path) -> None:
    """Between the copy and the cut of `copytruncate` there are two files with the same lines."""
    log = counted_back(tmp_path)
    reading = Reading(tmp_path)
    reading.read_all()
    content = (tmp_path / "app.log").read_bytes()
    (tmp_path / "app.log.1").write_bytes(content[: len(content) // 2])
    reading.read_all()
    reading.resume()
    log.log(1)
    reading.read_all()
    assert reading.numbers == list(range(301))
