"""The flow of the cases about many keys and hot keys: a profile of about 150 bytes for each user."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Literal, Optional

import headway as hw
from headway.connectors.base import Output, OutputWriter, Position

_YEAR_MS = hw.duration_ms("365d")


class Visit(hw.Event):
    """A user does something."""

    user: str
    kind: Literal["join", "step", "seen"]
    at: hw.Time


class Profile(hw.State):
    """What is known of one user: 150 bytes as it is stored, once the user has joined."""

    note: str = ""
    visits: int = 0
    last_ms: int = 0


class Seen(hw.Event):
    """What is told about a user: how often they came, and whether their profile is whole."""

    visits: int
    joined: bool


def note_of(user: str) -> str:
    """A text that belongs to the user and cannot be compressed well."""
    return blake2b(user.encode(), digest_size=58).hexdigest()


class Remember(hw.Operator[Visit, Profile, Seen]):
    """Keeps the profile; tells about it when it is asked for, with the event `seen`."""

    def on_event(self, profile: Profile, event: Visit, ctx: hw.Context[Seen]) -> None:
        """Count the visit."""
        profile.visits += 1
        profile.last_ms = event.at
        if event.kind == "join":
            profile.note = note_of(event.user)
        elif event.kind == "seen":
            ctx.emit(Seen(visits=profile.visits, joined=profile.note == note_of(event.user)))


class RememberAndWait(Remember):
    """Also waits a year for each user that has joined."""

    def on_event(self, profile: Profile, event: Visit, ctx: hw.Context[Seen]) -> None:
        """Count the visit, and arm a timer for one that has joined."""
        super().on_event(profile, event, ctx)
        if event.kind == "join":
            ctx.timer("away", event.at + _YEAR_MS)

    def on_timer(self, profile: Profile, timer: hw.Timer, ctx: hw.Context[Seen]) -> None:
        """Never comes within a benchmark."""
        ctx.forget()


@dataclass(frozen=True)
class Marked(Output):
    """An output that notes, in the file `mark`, when it wrote for the first time: on the monotonic clock."""

    inner: Output
    mark: Path

    def open(self, position: Optional[Position], *, mark: Optional[str]) -> OutputWriter:
        """Open the output itself."""
        return _MarkedWriter(self.inner.open(position, mark=mark), self.mark)

    def describe(self) -> str:
        """The output itself."""
        return self.inner.describe()


class _MarkedWriter(OutputWriter):
    def __init__(self, inner: OutputWriter, mark: Path) -> None:
        self.transactional = inner.transactional
        self.notice = inner.notice
        self.mark = inner.mark
        self._inner = inner
        self._mark = mark
        self._marked = False

    def write(self, records: Sequence[bytes]) -> None:
        self._inner.write(records)
        if records and not self._marked:
            self._marked = True
            self._mark.write_text(str(time.monotonic()))

    def position(self) -> Position:
        return self._inner.position()

    def close(self) -> None:
        self._inner.close()


flow = hw.Flow("profiles")
events = flow.param("input", "visits.jsonl", help="files of visits")
output = flow.param("output", "seen.jsonl", help="file for what is told")
waits = flow.param("waits", "", help="anything for a timer with each profile")

visits = flow.source("visits", Visit, hw.files(events), time="at").key_by("user")
seen = visits.process("remember", RememberAndWait() if waits else Remember())
seen.trigger("user.seen", Marked(hw.to_jsonl(output), Path(f"{output}.first")))
