"""A file that is not the flow's own survives, wherever a start fails or is killed."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from errno import EACCES
from pathlib import Path
from typing import Any, Optional

import pytest

import headway as hw
from headway.connectors.jsonl import to_jsonl
from headway.errors import CorruptStateError, OutputError, StateError
from headway.runtime.run import RunOptions, run_flow
from headway.state.database import CONTROL, Database
from headway.state.group import GroupStore
from headway.state.inputs import InputCodec
from headway.state.keys import task_prefix
from headway.state.options import StoreOptions
from headway.state.stage import MARK

MINE = b"the user's own\n"
OPTIONS = StoreOptions()
STEPS = ("rename", "replace", "open", "fsync", "ftruncate", "pwrite", "makedirs")


class Killed(BaseException):
    """The process is gone."""


def killing(monkeypatch: pytest.MonkeyPatch, at: int, error: BaseException) -> Callable[[], int]:
    """Let the process fail at the call or write of state with this number; returns how many there were."""
    calls = 0

    def wrapped(real: Any) -> Any:
        def call(*args: Any, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == at:
                raise error
            return real(*args, **options)

        return call

    for name in STEPS:
        monkeypatch.setattr(os, name, wrapped(getattr(os, name)))
    monkeypatch.setattr(Database, "write", wrapped(Database.write))
    return lambda: calls


def start(folder: Path, lines: list[bytes], path: Optional[Path] = None) -> Any:
    """What a run does with an output at its start, up to its first lines."""
    with GroupStore.open(folder / "state", 0, OPTIONS) as group:
        store = group.stage("sink:out", [], [InputCodec(bytes, from_stage=True)])
        store.resume(None)
        writer = to_jsonl(path or folder / "out.jsonl").open(None, mark=store.mark)
        store.hold(writer.mark)
        writer.write(lines)
        return writer


def kept(folder: Path) -> int:
    """How often the user's file is there, under whatever name."""
    return sum(path.read_bytes() == MINE for path in folder.iterdir() if path.is_file())


@pytest.mark.parametrize("error", [Killed(), OSError(EACCES, "Permission denied")], ids=["killed", "failed"])
@pytest.mark.parametrize("again", [1, 2])
def test_the_users_file_survives_every_crash_point(tmp_path: Path, error: BaseException, again: int) -> None:
    at, done = 0, False
    while not done:
        at += 1
        folder = tmp_path / str(at)
        folder.mkdir()
        (folder / "out.jsonl").write_bytes(MINE)
        for _ in range(again):
            with pytest.MonkeyPatch.context() as patch:
                calls = killing(patch, at, error)
                with suppress(Killed, OSError, OutputError, StateError):
                    start(folder, [b"1"]).close()
            assert kept(folder) == 1
        done = calls() < at
        start(folder, [b"1", b"2"]).close()
        assert (folder / "out.jsonl").read_bytes() == b"1\n2\n"
        assert kept(folder) == 1
        assert sorted(path.name for path in folder.iterdir()) == ["out.jsonl", "out.jsonl.1", "state"]
    assert at > 6, "there are many points at which a start can be killed"


def test_a_file_put_in_the_place_of_ours_is_not_cut(tmp_path: Path) -> None:
    start(tmp_path, [b"1"]).close()
    (tmp_path / "mine").write_bytes(MINE)
    (tmp_path / "mine").replace(tmp_path / "out.jsonl")
    writer = start(tmp_path, [b"1"])
    assert writer.notice == (
        f"{tmp_path / 'out.jsonl'} is not the file that this flow wrote: it was moved to {tmp_path / 'out.jsonl.1'}"
    )
    assert kept(tmp_path) == 1


def test_a_flow_that_has_written_nothing_yet_does_not_cut_either(tmp_path: Path) -> None:
    """Its position is durable and says 0 bytes, which fits any file."""
    (tmp_path / "in.jsonl").write_bytes(b'{"at": 1}\n')

    def run() -> Any:
        flow = hw.Flow("f")
        flow.source("s", hw.Json, hw.files(tmp_path / "in.jsonl"), time="at").filter(lambda event: event["at"] > 1).to(
            "out", hw.to_jsonl(tmp_path / "out.jsonl")
        )
        return run_flow(flow, RunOptions(tmp_path / "state", key_groups=1, epoch_ms=10, sync=False))

    run()
    (tmp_path / "mine").write_bytes(MINE)
    (tmp_path / "mine").replace(tmp_path / "out.jsonl")
    assert run().stats.workers[0].notices
    assert kept(tmp_path) == 1


def test_a_name_that_is_too_long_to_be_moved_aside(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 255)
    path.write_bytes(MINE)
    for _ in range(2):
        with pytest.raises(OutputError, match=r"is there already and cannot be moved to .*1 \(File name too long\)"):
            start(tmp_path, [b"1"], path)
        assert path.read_bytes() == MINE


@pytest.mark.parametrize(
    ("stored", "why"), [(b"\x09mark", "found version byte 09, expected 01"), (b"\x01\xff", "not a mark")]
)
def test_a_damaged_mark_is_refused(tmp_path: Path, stored: bytes, why: str) -> None:
    start(tmp_path, []).close()
    database = Database(tmp_path / "state", 0, OPTIONS)
    batch = database.batch()
    batch.put(CONTROL, task_prefix(1, 0) + MARK, stored)
    database.write(batch, sync=False)
    database.close()
    with pytest.raises(CorruptStateError, match=why):
        start(tmp_path, [])
