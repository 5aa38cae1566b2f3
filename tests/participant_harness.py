"""Participants of each kind behind one face, and engines that a test plays: for the contract of epochs."""

from __future__ import annotations

import json
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Optional

import msgspec
from typing_extensions import override

import headway as hw
from headway.connectors.base import Input, PartitionReader, Position, Tell, unheard
from headway.connectors.letters import dead_letters_of
from headway.connectors.memory import ItemsInput
from headway.formats.named import JSON
from headway.plan.planner import compile_plan
from headway.plan.stages import Plan
from headway.runtime.batch import Batch, register_codecs
from headway.runtime.board import Board
from headway.runtime.channels import Channels
from headway.runtime.participant import Participant
from headway.runtime.sink import SinkTask
from headway.runtime.slot import Slot
from headway.runtime.slot_options import SlotOptions
from headway.runtime.stage import StageTask
from headway.state.database import ROWS, Database
from headway.state.group import GroupStore
from headway.state.inputs import InputCodec
from headway.state.keys import id_bytes
from headway.state.options import StoreOptions
from headway.state.rowvalues import HEAD_BYTES
from headway.state.stage import OperatorSpec

OPTIONS = StoreOptions(sync=False, waiting_bound=3, timer_window=2, cache_bytes=2_000)
Token = Any


class Heard:
    """A participant that notes what it is told, and passes it on."""

    def __init__(self, inner: Participant) -> None:
        self.inner = inner
        self.versions: list[int] = []

    def resume(self, version: Optional[int]) -> None:
        self.inner.resume(version)

    def prepare(self) -> int:
        return self.inner.prepare()

    def committed(self, version: int) -> None:
        self.versions.append(version)
        self.inner.committed(version)

    def statistics(self) -> Any:
        return self.inner.statistics()


class AcknowledgedInput(Input):
    """Lists of events that may grow, whose readers note up to where they are acknowledged."""

    def __init__(self, logs: dict[str, list[Any]]) -> None:
        self.inner = ItemsInput(logs, batch=2, form=JSON)
        self.acknowledged: list[tuple[str, int]] = []

    @override
    def partitions(self, tell: Tell = unheard) -> list[str]:
        return self.inner.partitions(tell)

    @override
    def open(self, partition: str, position: Optional[Position], *, follow: bool) -> PartitionReader:
        reader = self.inner.open(partition, position, follow=follow)
        return _AcknowledgingReader(reader, lambda item: self.acknowledged.append((partition, item)))

    @override
    def describe(self) -> str:
        return "acknowledged items"


class _AcknowledgingReader(PartitionReader):
    def __init__(self, inner: PartitionReader, acknowledge: Callable[[int], None]) -> None:
        self._inner = inner
        self._acknowledge = acknowledge
        self._closed = False

    @override
    def read(self, max_bytes: int) -> Any:
        return self._inner.read(max_bytes)

    @property
    @override
    def at_end(self) -> bool:
        return self._inner.at_end

    @override
    def position(self) -> Position:
        return self._inner.position()

    @override
    def committed(self, position: Position) -> None:
        assert not self._closed, "who is closed hears nothing more"
        self._acknowledge(position["item"])

    @override
    def close(self) -> None:
        assert not self._closed, "a reader is closed once"
        self._closed = True


class Count(hw.Operator[hw.Json, hw.Json]):
    """Tells of each event how many its key has had."""

    def on_event(self, state: Any, event: Any, ctx: hw.Context) -> None:
        state["n"] = state.get("n", 0) + 1
        ctx.emit({"at": event["at"], "key": event["key"], "n": state["n"]})


def plan_of(log: Input, directory: Path, found: list[Any]) -> Plan:
    """One source, one keyed stage, two outputs of the kinds there are, and the dead letters."""
    flow = hw.Flow("whole")
    counted = flow.source("s", hw.Json, log, time="at").key_by("key").process("count", Count())
    counted.to("file", hw.to_jsonl(directory / "out.jsonl"))
    counted.to("list", hw.to_list(found))
    plan = compile_plan(flow.graph, dead_letters=dead_letters_of(directory / "state"))
    register_codecs(plan)
    return plan


class Subject(ABC):
    """A participant, its surroundings, and what can be seen of it. Work is numbered from 1 and comes in order."""

    shows_at_once = False
    """Whether what it shows may be taken back by a crash."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.now_ms = 0
        self.logs: dict[str, list[Any]] = {"p": []}
        self.input = AcknowledgedInput(self.logs)
        self.found: list[Any] = []
        self.plan = plan_of(self.input, directory, self.found)
        self.participant: Any = None

    @abstractmethod
    def open(self, token: Token) -> Participant:
        """Make it anew, to be resumed at a token of the engine's log."""

    def version_of(self, token: Token) -> Optional[int]:
        """What is to be resumed."""
        version: Optional[int] = token
        return version

    def token(self, version: int) -> Token:
        """What the engine's log keeps of a version."""
        return version

    @abstractmethod
    def work(self, number: int) -> None:
        """Something comes that proves the epoch before, and changes something."""

    @abstractmethod
    def look_around(self) -> None:
        """Something comes that proves the epoch before, and changes nothing."""

    @abstractmethod
    def kept(self) -> int:
        """How many pieces of work it knows of."""

    @abstractmethod
    def shown(self) -> list[int]:
        """The work that others can see, in the order in which it appeared."""

    def settle(self) -> None:  # noqa: B027
        """The run has ended well, and everything was heard."""

    @abstractmethod
    def close(self) -> None:
        """Lose all that is in memory."""

    def remember(self) -> None:  # noqa: B027 (a slot lies in the engine's log)
        """Keep what a loss of power would leave of the state now."""

    def lose_power(self) -> None:  # noqa: B027
        """Go back to what was remembered."""


class SlotSubject(Subject):
    """A reader slot; what it shows is what its reader has acknowledged."""

    def open(self, token: Token) -> Participant:
        kept = {} if token is None else token[1]
        del self.logs["p"][kept.get("counts", [0])[0] :]  # What was lost comes again as new work.
        self.slot = Slot(
            self.plan,
            self.plan.sources[0],
            "s/00",
            lambda partition: True,
            kept,
            SlotOptions(groups=1, follow=True),
            Board({"s/00": 0}),
            lambda: self.now_ms,
            lambda: self.now_ms,
        )
        return self.slot

    def version_of(self, token: Token) -> Optional[int]:
        return None if token is None else token[0]

    def token(self, version: int) -> Token:
        return json.loads(json.dumps([version, self.slot.kept]))

    def work(self, number: int) -> None:
        log = self.logs["p"]
        log.extend({"at": at, "key": "k"} for at in range(len(log) + 1, number + 1))
        del log[number:]
        self.look_around()

    def look_around(self) -> None:
        self.now_ms += 1_000
        before = -1
        while before != self.slot.events:
            before = self.slot.events
            self.slot.poll()

    def kept(self) -> int:
        return self.slot.events

    def shown(self) -> list[int]:
        return list(range(1, self.input.acknowledged[-1][1] + 1)) if self.input.acknowledged else []

    def close(self) -> None:
        self.slot.close()


class StoredSubject(Subject):
    """One that has a store; the state lies in `<directory>/state`, and what a loss of power leaves beside it."""

    def open_store(self, name: str, operators: list[OperatorSpec], codecs: list[InputCodec]) -> Any:
        self.group = GroupStore.open(self.directory / "state", 0, OPTIONS)
        return self.group.stage(name, operators, codecs)

    task: Any

    def settle(self) -> None:
        self.task.store.settle(sync=True)

    def close(self) -> None:
        self.group.close()

    def remember(self) -> None:
        def copy(source: str, target: str) -> None:
            with suppress(FileNotFoundError):  # The database may be removing files that it does not need any more.
                shutil.copy2(source, target)

        def standing() -> dict[Path, int]:
            sizes = {}
            for path in (self.directory / "state").rglob("*"):
                with suppress(FileNotFoundError):
                    sizes[path] = path.stat().st_size
            return sizes

        before: dict[Path, int] = {}
        while before != (before := standing()):  # A copy made while files were replaced belongs to no moment.
            shutil.rmtree(self.directory / "safe", ignore_errors=True)
            shutil.copytree(self.directory / "state", self.directory / "safe", copy_function=copy)

    def lose_power(self) -> None:
        if (self.directory / "safe").exists():
            shutil.rmtree(self.directory / "state")
            shutil.copytree(self.directory / "safe", self.directory / "state")


class StageSubject(StoredSubject):
    """A keyed stage; what it shows is what a reader of its rows sees."""

    task: StageTask

    def open(self, token: Token) -> Participant:
        stage = self.plan.stages[0]
        self.edge = stage.inputs[0]
        store = self.open_store(stage.name, [OperatorSpec(*table) for table in stage.tables()], [InputCodec()])
        self.task = StageTask(
            self.plan, stage, 0, 1, store, Channels(stage.inputs, {self.edge.id: 1}), lambda: 0, lambda: 0, 1
        )
        return self.task

    def work(self, number: int) -> None:
        self._send(number, [(number, f"k{number}", {"at": number, "key": f"k{number}"})])

    def look_around(self) -> None:
        self._send(-1, [])

    def _send(self, watermark: int, records: list[Any]) -> None:
        self.task.on_batches([Batch(self.edge.id, "s/00", 0, watermark, "p", records)])
        while self.task.is_behind:
            self.task.on_clock()

    def kept(self) -> int:
        count = 0
        while self.task.store.tables[0].fetch(f"k{count + 1}").state:
            count += 1
        return count

    def shown(self) -> list[int]:
        scratch = self.directory / "scratch"
        shutil.rmtree(scratch, ignore_errors=True)
        reader = Database(self.directory / "state", 0, OPTIONS, secondary_path=scratch)
        values = [
            msgspec.msgpack.decode(value[HEAD_BYTES:]) for _, value in reader.scan(ROWS, id_bytes(0), id_bytes(1))
        ]
        reader.close()
        return sorted(touched for touched, *_ in values)


class SinkSubject(StoredSubject):
    """An output of the plan; what it shows are its lines."""

    output: str
    task: SinkTask

    def open(self, token: Token) -> Participant:
        sink = next(sink for sink in self.plan.sinks if sink.name == self.output)
        self.edge = sink.inputs[0]
        store = self.open_store(f"sink:{sink.name}", [], [InputCodec(bytes, from_stage=True)])
        channels = Channels(sink.inputs, {edge.id: 1 for edge in sink.inputs})
        self.task = SinkTask(sink, sink.node.output, store, channels, 1)
        return self.task

    def work(self, number: int) -> None:
        self._send(number, [(number, f"{number:08d}", b'{"at": %d}' % number, "k")])

    def look_around(self) -> None:
        self._send(-1, [])

    def _send(self, watermark: int, records: list[Any]) -> None:
        self.task.on_batches([Batch(self.edge.id, "000", 0, watermark, "p", records)])
        while self.task.is_behind:
            self.task.on_clock()

    def kept(self) -> int:
        return self.task.count

    def close(self) -> None:
        self.task.release()
        super().close()


class FileSubject(SinkSubject):
    """A file of lines, which is cut back."""

    output = "file"
    shows_at_once = True

    def shown(self) -> list[int]:
        path = self.directory / "out.jsonl"
        return [json.loads(line)["at"] for line in path.read_text().splitlines()] if path.exists() else []


class ListSubject(SinkSubject):
    """A list, which cannot take anything back."""

    output = "list"

    def shown(self) -> list[int]:
        return [one["at"] for one in self.found]


class LettersSubject(SinkSubject):
    """The files of dead letters, which are written as they come."""

    output = "dead-letters"
    shows_at_once = True

    def shown(self) -> list[int]:
        files = (self.directory / "state" / "dead-letters").glob("*/*.jsonl")
        return [json.loads(line)["at"] for path in files for line in path.read_text().splitlines()]

    def lose_power(self) -> None:
        """Its files are synced at the end of each epoch, and lie beside the state: nothing of the test's to undo."""


SUBJECTS = [SlotSubject, StageSubject, FileSubject, ListSubject, LettersSubject]
