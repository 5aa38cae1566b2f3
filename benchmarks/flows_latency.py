"""The flow of the case `latency`: of every tenth event it tells when the event was written."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Optional

import headway as hw
from headway.connectors.base import Output, OutputWriter, Position


class Ping(hw.Event):
    """Something that was written at `sent_us`, on the clock of the machine."""

    user: str
    number: int
    sent_us: int


class Counted(hw.State):
    """How many events of a user there were."""

    count: int = 0


class Pong(hw.Event):
    """When the event was written."""

    sent_us: int


class EveryTenth(hw.Operator[Ping, Counted, Pong]):
    """Tells of every tenth event, and changes the state of a key with each."""

    def on_event(self, counted: Counted, event: Ping, ctx: hw.Context[Pong]) -> None:
        """Count, and tell."""
        counted.count += 1
        if not event.number % 10:
            ctx.emit(Pong(event.sent_us))


@dataclass(frozen=True)
class Final(Output):
    """A file from which nothing is taken back: a line is there once its epoch is durable."""

    path: Path

    def open(self, position: Optional[Position], *, mark: Optional[str]) -> OutputWriter:
        """Open it for more lines."""
        return _FinalWriter(self.path.open("ab", buffering=0))

    def describe(self) -> str:
        """Where it is."""
        return f"file {self.path}"


class _FinalWriter(OutputWriter):
    transactional = False

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, records: Sequence[bytes]) -> None:
        if records:
            self._file.write(b"\n".join(records) + b"\n")

    def position(self) -> Position:
        return {}

    def close(self) -> None:
        self._file.close()


flow = hw.Flow("pings")
path = flow.param("input", "pings.jsonl", help="the file that is followed")
output = flow.param("output", "pongs.jsonl", help="file for what is told")
durable = flow.param("durable", False, help="whether a line waits for its epoch to be durable")

pings = flow.source("pings", Ping, hw.files(path), time=hw.INGESTION_TIME).key_by("user")
pings.process("tenth", EveryTenth()).trigger("user.tenth", Final(Path(output)) if durable else hw.to_jsonl(output))
