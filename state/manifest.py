"""`flow.json`: what a state directory belongs to, so that it is not used for anything else."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import msgspec

from headway.basics.crashpoints import reached
from headway.errors import DrainedStateError, IncompatibleStateError
from headway.state.files import CLUSTER_NAME, INBOX_NAME, SAVEPOINTS_NAME, state_files
from headway.state.keys import FIRST_INPUT
from headway.state.lock import LOCK_NAME
from headway.state.private import make_private, read_private, secure, write_private
from headway.state.seal import seal_json, unseal_json

__all__ = [
    "MANIFEST_NAME",
    "Drain",
    "EdgeEntry",
    "Manifest",
    "OperatorEntry",
    "OutputEntry",
    "Retired",
    "SourceEntry",
    "StageEntry",
    "StepEntry",
    "ViewEntry",
]

MANIFEST_NAME: Final = "flow.json"
FORMAT: Final = 3

_START_EMPTY: Final = "run the version of the flow that wrote it, or start with an empty state directory"


class OperatorEntry(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator keeps: the number of its rows and timers, and what its state looks like."""

    id: int
    state: dict[str, Any]
    """The schema of its state (from `headway.state.typeschema`)."""
    version: int = 1
    """The version of that schema: each stored row says under which one it was written."""
    former: list[dict[str, Any]] = []
    """Schemas of before that have the same version: there may still be states that were written under them."""
    migrates: bool = False
    """Whether the flow has something that makes states of this version out of older ones."""
    shared: bool = False
    """Whether it is one row for all keys of a group, kept by an operator's broadcast inputs."""
    logs: dict[str, int] = {}
    """The numbers under which the entries of its state's logs are stored, by the fields' names in what is stored."""
    former_logs: list[int] = []
    """Those of logs that only states of older versions have: `migrate` may read them."""

    @property
    def log_numbers(self) -> list[int]:
        """Under which entries of logs may be stored."""
        return [*self.logs.values(), *self.former_logs]


class SourceEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A source: the number of its reader slots, and the slot of each partition that was there when they were made."""

    id: int
    slots: int
    partitions: dict[str, int] = {}
    reading: str = ""
    """How the input is cut into partitions: positions are kept for those."""

    def shared_out(self, partitions: Iterable[str], slots: int) -> "SourceEntry":
        """The same with these partitions dealt out to so many slots, or to one for each where there are fewer.

        No slot is left without a partition: one that reads nothing would hold time back.
        """
        names = sorted(set(partitions))
        slots = max(1, min(slots, len(names)))
        numbered = {name: index % slots for index, name in enumerate(names)}
        return msgspec.structs.replace(self, slots=slots, partitions=numbered)


class EdgeEntry(msgspec.Struct, frozen=True, kw_only=True):
    """An exchange that leads to a stage or an output."""

    producer: tuple[str, str]
    """The source or operator whose values come by it, and the port."""
    entries: list[tuple[str, str]] = []
    """The operators that take its values, each with the name of its input."""
    from_source: bool
    broadcast: bool = False
    has_places: bool = False
    """Whether its records say where in the log they stood."""
    values: str = ""
    """The type of its values, with a checksum of all that it is made of: under another one what waits is looked at."""


class OutputEntry(msgspec.Struct, frozen=True, kw_only=True):
    """An output: its number, and the ways that lead to it. One that is written has a task of that number."""

    id: int
    inputs: list[EdgeEntry] = []
    delivered: bool = False
    """Whether its triggers wait in the key groups that make them until a target has taken them."""


class StageEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A keyed stage of today's plan: its place in the list is the number of its task."""

    name: str
    operators: list[str]
    """What it keeps, by rank: names of `OperatorEntry`s."""
    inputs: list[EdgeEntry] = []
    carried: list[EdgeEntry] = []
    """Inputs of plans before at which records waited when the plan changed."""

    def edge(self, stored: int) -> EdgeEntry:
        """The input under a stored number: those that were carried are counted down from that of the first one."""
        index = stored - FIRST_INPUT
        return self.inputs[index] if index >= 0 else self.carried[index]


class StepEntry(msgspec.Struct, frozen=True, kw_only=True):
    """What the flow says of one of its steps, so that a change of it can be named."""

    kind: str
    """Such as `source`, `filter`, `key_by`, the class of an operator, `output`."""
    inputs: list[str] = []
    """The ports that it reads, such as `shop`, `shop:late`, and `rules=limits` for its further input `rules`."""
    parameters: dict[str, str] = {}
    """What it was given, by name, as a person would write it: `{"after": "30m"}`."""
    was: list[str] = []
    """Names that it had before, as the flow says."""


class ViewEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A view: whose rows it shows, and the index that is kept for it."""

    operator: str
    operator_id: int
    """The number of that operator: under another one the index is made anew."""
    of_stream: bool = False
    """Whether it shows the last value of each key of a stream, rather than a state."""
    fields: list[str] = []
    """What is shown; everything where there are none."""
    index: str = ""
    """The field by which the greatest are found; empty where there is no index."""
    index_default: int | float | str | None = None
    """What it is in values that leave it out."""
    index_id: int = 0
    """The number under which the index is stored."""
    was: list[str] = []
    """Names that it had before, as the flow says."""
    is_built: bool = True
    """Whether the index has all rows that there are; until it has, the flow does not run."""


class Retired(msgspec.Struct, frozen=True, kw_only=True):
    """What the flow no longer has, kept until it is dropped by name: with that name it comes back as it was."""

    sources: dict[str, SourceEntry] = {}
    operators: dict[str, OperatorEntry] = {}
    outputs: dict[str, OutputEntry] = {}
    steps: dict[str, StepEntry] = {}
    """What the flow said of them when it had them."""


class Drain(msgspec.Struct, frozen=True, kw_only=True):
    """How far the closing of the books has come: time goes on in steps, each to the latest time that waits."""

    step: int
    """The step that is being taken, or was the last one, from 0."""
    to_ms: int
    """The time that it goes to, in epoch milliseconds."""
    done: bool = False


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a state directory belongs to, and what the numbers in its keys mean.

    A run calls `Manifest.open` before it opens anything else in the directory, with the lock held.
    """

    flow: str
    key_groups: int
    generation: int = 1
    """The number of today's layout: control records, waiting records and the engine's log belong to one generation."""
    sources: dict[str, SourceEntry]
    operators: dict[str, OperatorEntry]
    outputs: dict[str, OutputEntry]
    stages: list[StageEntry]
    steps: dict[str, StepEntry] = {}
    """Each step of the flow, by name."""
    views: dict[str, ViewEntry] = {}
    """What other services may ask for, by name."""
    retired: Retired = Retired()
    next_id: int = 1
    """The number that the next source, operator or output gets; none is given twice."""
    dropped: list[int] = []
    """Numbers of operators whose rows and timers are still to be deleted."""
    moves: bool = False
    """Whether new key groups take the place of the old ones: that is finished before anything is opened."""
    drain: "Drain | None" = None
    """Set before time is moved for the first time, and never taken back: such a directory takes no more input."""
    format: int = FORMAT
    checksum: str = ""
    """In the file: of all the rest, so that a damaged one is refused instead of believed."""

    @property
    def layout(self) -> Any:
        """What makes a new generation when it changes: who keeps what where, and who sends to whom."""
        return (
            self.key_groups,
            {name: (source.id, source.slots, source.reading) for name, source in self.sources.items()},
            {name: (entry.id, entry.shared, entry.log_numbers) for name, entry in self.operators.items()},
            self.outputs,
            [(stage.name, stage.operators, stage.inputs) for stage in self.stages],
            {view.index_id: view.operator_id for view in self.views.values() if view.index},
        )

    def output_group(self, number: int) -> int:
        """The key group in which the task of an output lives, by the output's number."""
        return (self.key_groups - 1 - number) % self.key_groups

    @property
    def task_groups(self) -> set[int]:
        """The key groups in which a run has tasks: all of them, unless the plan has no keyed stage."""
        if self.stages:
            return set(range(self.key_groups))
        return {self.output_group(entry.id) for entry in self.outputs.values() if not entry.delivered}

    @classmethod
    def load(cls, directory: Path) -> "Manifest | None":
        """The manifest of `directory`; None when that does not exist or is empty (but for the lock).

        Raises `IncompatibleStateError` when the directory holds other things or was written in another format,
        `CorruptStateError` when the manifest cannot be read.
        """
        path = directory / MANIFEST_NAME
        with state_files(directory, "read"):
            try:
                data = read_private(path)
            except FileNotFoundError:
                _check_empty(directory)
                return None
        return unseal_json(data, cls, FORMAT, str(path), f"restore it from a backup, or {_START_EMPTY}")

    def create(self, directory: Path) -> None:
        """Write it to `directory` (made if needed), durably and atomically, also in the place of a former one."""
        with state_files(directory, "write"):
            self._write(directory)

    def _write(self, directory: Path) -> None:
        make_private(directory)
        text = msgspec.json.format(seal_json(self), indent=2) + b"\n"
        reached("manifest.before")
        write_private(directory / MANIFEST_NAME, text, sync=True)
        reached("manifest.after")

    @classmethod
    def open(cls, directory: Path) -> "Manifest | None":
        """As `load`, and shut the directory to others, making it where there is none; with the lock held."""
        found = cls.load(directory)
        # Not before it is known to be a state directory: others must keep their modes.
        with state_files(directory):
            make_private(directory)
            secure(directory)
        return found

    def check_undrained(self, directory: Path, *, draining: bool) -> None:
        """Raise `DrainedStateError` when the books of the directory are closed, or are being closed.

        With `draining` a closing that was interrupted may go on.
        """
        if self.drain is not None and self.drain.done:
            msg = f"{directory} was drained: it takes no more input; start with an empty state directory"
            raise DrainedStateError(msg)
        if self.drain is not None and not draining:
            msg = (
                f"{directory} is being drained: time has moved, so it takes no more input; run it with --drain to go "
                "on with what is left, or start with an empty state directory"
            )
            raise DrainedStateError(msg)

    @classmethod
    def note_drain(cls, directory: Path, drain: Drain) -> None:
        """Say how far the books of `directory` are closed, durably: from now on `open` refuses it for new input."""
        found = cls.load(directory)
        if found is None:
            msg = f"{directory} holds no {MANIFEST_NAME}: there is nothing to drain, check the path"
            raise IncompatibleStateError(msg)
        reached("drain.before")
        msgspec.structs.replace(found, drain=drain).create(directory)
        reached("drain.after")


def _check_empty(directory: Path) -> None:
    # A start that was killed between lock and manifest leaves the first two.
    ours = {LOCK_NAME, f"{MANIFEST_NAME}.tmp", INBOX_NAME, SAVEPOINTS_NAME, CLUSTER_NAME}
    names = sorted(path.name for path in directory.iterdir() if path.name not in ours) if directory.exists() else []
    if names:
        listed = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
        msg = f"{directory} is not a state directory: it has no {MANIFEST_NAME} but holds {listed}; give an empty one"
        if "rescaled" in names:
            msg += ", or restore it again: a restore that was cut off has left that"
        raise IncompatibleStateError(msg)
