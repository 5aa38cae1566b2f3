"""How often the partitions of an input are looked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Optional

import pytest

import headway as hw
from headway.connectors.base import PartitionReader, Position, Session, Tell, unheard
from headway.connectors.files import FilesInput
from headway.connectors.memory import items
from headway.runtime.discovery import Discovery


def listings(directory: Path, files: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """How often the files are listed in a run over as many of them, each of which has a slot of its own."""
    directory.mkdir()
    for number in range(files):
        (directory / f"{number}.jsonl").write_text(json.dumps({"at": number}) + "\n")
    looked: list[FilesInput] = []
    look = FilesInput.partitions

    def partitions(self: FilesInput, tell: Tell = unheard) -> list[str]:
        looked.append(self)
        return look(self, tell)

    flow = hw.Flow("listed")
    flow.source("s", hw.Json, hw.files(directory / "*.jsonl"), time="at").to("found", hw.to_list([]))
    with monkeypatch.context() as patch:
        patch.setattr(FilesInput, "partitions", partitions)
        assert hw.run(flow, state=directory / "state").events == files
    return len(looked)


def test_the_slots_of_a_process_look_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With thousands of files a look takes a tenth of a second, and there may be sixty slots."""
    one, many = (listings(tmp_path / str(files), files, monkeypatch) for files in (1, 20))
    assert many == one


def test_they_look_again_when_it_is_time(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").touch()
    discovery = Discovery(hw.files(tmp_path / "*.jsonl"), 1_000, unheard)
    before = discovery.look(5_000)
    assert discovery.look(7_000) is before
    (tmp_path / "b.jsonl").touch()
    assert discovery.look(7_500) is before
    assert discovery.look(8_000) == ["a.jsonl", "b.jsonl"]


class Noticing(Session):
    """Finds one partition, and something to tell of it now and then."""

    def __init__(self) -> None:
        self.noticed: list[str] = []
        self.is_closed = False

    def partitions(self, tell: Tell = unheard) -> list[str]:
        return ["one"]

    def open(self, partition: str, position: Optional[Position], *, follow: bool) -> PartitionReader:
        raise NotImplementedError

    def notices(self, tell: Tell) -> None:
        assert not self.is_closed
        while self.noticed:
            tell(self.noticed.pop())

    def close(self) -> None:
        self.is_closed = True


def test_what_a_session_notices_is_told_in_a_run_that_looks_once(monkeypatch: pytest.MonkeyPatch) -> None:
    session, told = Noticing(), list[str]()
    given = items([])
    monkeypatch.setattr(type(given), "session", lambda self: session)
    discovery = Discovery(given, None, told.append)
    discovery.look(0)
    session.noticed.append("the server is away")
    assert discovery.look(5) == ["one"] and told == ["the server is away"]
    session.noticed.append("7 records were deleted")
    discovery.close()
    assert told == ["the server is away", "7 records were deleted"] and session.is_closed
