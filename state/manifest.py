"""`flow.json`: what a state directory belongs to, so that it is not used for anything else."""

from pathlib import Path
from typing import Any, Final

import msgspec

from headway.errors import CorruptStateError, DrainedStateError, FlowError, IncompatibleStateError
from headway.state.files import state_files
from headway.state.lock import LOCK_NAME
from headway.state.private import make_private, read_private, secure, write_private
from headway.state.seal import checksum

__all__ = ["MANIFEST_NAME", "Drain", "Manifest", "OperatorEntry", "SourceEntry", "StageEntry", "state_schema"]

MANIFEST_NAME: Final = "flow.json"
FORMAT: Final = 2

_START_EMPTY: Final = "run the version of the flow that wrote it, or start with an empty state directory"


class OperatorEntry(msgspec.Struct, frozen=True, kw_only=True):
    """An operator: its rank in its stage and the JSON schema of its state (from `state_schema`)."""

    name: str
    rank: int
    state: dict[str, Any]


class SourceEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A source: the number of its reader slots, and the slot of each partition that was there at the first start."""

    slots: int
    partitions: dict[str, int] = {}
    reading: str = ""
    """How the input is cut into partitions: positions are kept for those."""


class StageEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A stage and its operators in the order of their ranks."""

    name: str
    operators: list[OperatorEntry]


class Drain(msgspec.Struct, frozen=True, kw_only=True):
    """How far the closing of the books has come: time goes on in steps, each to the latest time that waits."""

    step: int
    """The step that is being taken, or was the last one, from 0."""
    to_ms: int
    """The time that it goes to, in epoch milliseconds."""
    done: bool = False


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a state directory belongs to.

    A run calls `Manifest.open` before it opens anything else in the directory, with the lock held.
    """

    flow: str
    key_groups: int
    sources: dict[str, SourceEntry]
    stages: list[StageEntry]
    outputs: list[str]
    drain: "Drain | None" = None
    """Set before time is moved for the first time, and never taken back: such a directory takes no more input."""
    format: int = FORMAT
    checksum: str = ""
    """In the file: of all the rest, so that a damaged one is refused instead of believed."""

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
        try:
            found_format = msgspec.json.decode(data, type=_Format).format
            if found_format == FORMAT:
                return msgspec.json.decode(data, type=Manifest)._checked(path)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            msg = f"{path} cannot be read ({error}): restore it from a backup, or {_START_EMPTY}"
            raise CorruptStateError(msg) from error
        msg = f"{path} has format {found_format}, expected {FORMAT}: use the version of Headway that wrote it"
        raise IncompatibleStateError(msg)

    def _sealed(self) -> "Manifest":
        bare = msgspec.structs.replace(self, checksum="")
        return msgspec.structs.replace(self, checksum=checksum(msgspec.json.encode(bare)))

    def _checked(self, path: Path) -> "Manifest":
        """Without its checksum, once that is known to be the right one."""
        right = self._sealed().checksum
        if self.checksum != right:
            msg = (
                f"{path} is damaged: its checksum is {self.checksum!r}, expected {right!r}; restore it from a backup, "
                f"or {_START_EMPTY}"
            )
            raise CorruptStateError(msg)
        return msgspec.structs.replace(self, checksum="")

    def create(self, directory: Path) -> None:
        """Write it to `directory` (made if needed), durably and atomically, also in the place of a former one."""
        with state_files(directory, "write"):
            self._write(directory)

    def _write(self, directory: Path) -> None:
        make_private(directory)
        text = msgspec.json.format(msgspec.json.encode(self._sealed()), indent=2) + b"\n"
        write_private(directory / MANIFEST_NAME, text, sync=True)

    def check(self, expected: "Manifest", where: object = "the state directory") -> "Manifest":
        """What to store from now on when the flow that `expected` describes goes on with this.

        Raises `IncompatibleStateError` with all differences when it cannot: `where` names the directory. A state that
        has only got new fields with defaults can go on.
        """
        differences = list(_differences(self, expected))
        if differences:
            listed = "".join(f"\n  {difference}" for difference in differences)
            msg = f"{where} does not fit the flow {expected.flow!r}:{listed}\n{_START_EMPTY}"
            raise IncompatibleStateError(msg)
        return msgspec.structs.replace(expected, drain=self.drain)

    @classmethod
    def open(cls, directory: Path, expected: "Manifest", *, draining: bool = False) -> "Manifest":
        """Load, check and (where it is new or extended) write the manifest of `directory`, and shut it to others.

        Raises `DrainedStateError` when the books of the directory are closed, or when their closing was interrupted and
        `draining` does not say that it is to go on. Raises what `load` and `check` raise.
        """
        found = cls.load(directory)
        # Not before it is known to be a state directory: others must keep their modes.
        with state_files(directory):
            make_private(directory)
            secure(directory)
        if found is None:
            expected.create(directory)
            return expected
        checked = found._usable(expected, directory, draining=draining)
        if checked != found:
            checked.create(directory)
        return checked

    @classmethod
    def join(cls, directory: Path, expected: "Manifest") -> "Manifest":
        """As `open`, for a process that has no lock and so changes nothing; raises the same."""
        found = cls.load(directory)
        if found is None:
            msg = (
                f"{directory} has no {MANIFEST_NAME}: the first process of the cluster makes it, with the same --state"
            )
            raise IncompatibleStateError(msg)
        return found._usable(expected, directory, draining=False)

    def _usable(self, expected: "Manifest", directory: Path, *, draining: bool) -> "Manifest":
        found = self
        checked = found.check(expected, directory)
        if found.drain is not None and found.drain.done:
            msg = f"{directory} was drained: it takes no more input; start with an empty state directory"
            raise DrainedStateError(msg)
        if found.drain is not None and not draining:
            msg = (
                f"{directory} is being drained: a run that closes its books was interrupted when time had moved, so "
                "it takes no more input; run it with --drain to finish, or start with an empty state directory"
            )
            raise DrainedStateError(msg)
        return checked

    @classmethod
    def note_drain(cls, directory: Path, drain: Drain) -> None:
        """Say how far the books of `directory` are closed, durably: from now on `open` refuses it for new input."""
        found = cls.load(directory)
        if found is None:
            msg = f"{directory} holds no {MANIFEST_NAME}: there is nothing to drain, check the path"
            raise IncompatibleStateError(msg)
        msgspec.structs.replace(found, drain=drain).create(directory)


class _Format(msgspec.Struct):
    format: int


def state_schema(state_type: type[Any]) -> dict[str, Any]:
    """The JSON schema of a state type; raises `FlowError` for one that has none.

    >>> class Cart(msgspec.Struct):
    ...     total: float = 0.0
    >>> state_schema(Cart)["$defs"]["Cart"]["properties"]
    {'total': {'type': 'number', 'default': 0.0}}
    """
    try:
        return msgspec.json.schema(state_type)
    except TypeError as error:
        msg = f"{state_type!r} cannot be a state ({error}): expected a msgspec struct of JSON-like fields, or dict"
        raise FlowError(msg) from error


def _check_empty(directory: Path) -> None:
    # A start that was killed between lock and manifest leaves these.
    ours = {LOCK_NAME, f"{MANIFEST_NAME}.tmp"}
    names = sorted(path.name for path in directory.iterdir() if path.name not in ours) if directory.exists() else []
    if names:
        listed = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
        msg = f"{directory} is not a state directory: it has no {MANIFEST_NAME} but holds {listed}; give an empty one"
        raise IncompatibleStateError(msg)


def _differences(found: Manifest, expected: Manifest) -> "list[str]":
    """Everything that keeps `expected` from going on with `found`, in words."""
    if found.flow != expected.flow:
        return [f"it belongs to the flow {found.flow!r}"]
    differences = []
    if found.key_groups != expected.key_groups:
        differences.append(f"key groups: it has {found.key_groups}, the flow wants {expected.key_groups}")
    differences += _named("source", _slots(found), _slots(expected))
    differences += _named("output", dict.fromkeys(found.outputs, ""), dict.fromkeys(expected.outputs, ""))
    stages, expected_stages = _operators(found), _operators(expected)
    differences += _named("stage", dict.fromkeys(stages, ""), dict.fromkeys(expected_stages, ""))
    for stage in [name for name in stages if name in expected_stages]:
        operators, expected_operators = stages[stage], expected_stages[stage]
        differences += _named(
            f"stage {stage!r}: operator",
            {name: f"rank {entry.rank}" for name, entry in operators.items()},
            {name: f"rank {entry.rank}" for name, entry in expected_operators.items()},
        )
        for name in [name for name in operators if name in expected_operators]:
            differences += _schema_differences(
                f"operator {name!r}", operators[name].state, expected_operators[name].state
            )
    return differences


def _slots(manifest: Manifest) -> dict[str, str]:
    return {name: f"{source.slots} slots{_read(source.reading)}" for name, source in manifest.sources.items()}


def _read(reading: str) -> str:
    return f", read {reading}" if reading else ""


def _operators(manifest: Manifest) -> dict[str, dict[str, OperatorEntry]]:
    return {stage.name: {entry.name: entry for entry in stage.operators} for stage in manifest.stages}


def _named(what: str, found: dict[str, str], expected: dict[str, str]) -> list[str]:
    differences = [f"{what} {name!r}: the flow has it no more" for name in found if name not in expected]
    differences += [f"{what} {name!r}: it is new" for name in expected if name not in found]
    differences += [
        f"{what} {name!r}: it has {found[name]}, the flow wants {expected[name]}"
        for name in found
        if name in expected and found[name] != expected[name]
    ]
    return differences


_PROSE: Final = {"title", "description", "examples", "default"}


def _schema_differences(where: str, found: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    """What keeps state stored under the schema `found` from being read under `expected`."""
    definitions, expected_definitions = found.get("$defs", {}), expected.get("$defs", {})
    differences = []
    if _shape(found) != _shape(expected):
        differences.append(f"{where}: its state was {_shape(found)}, now it is {_shape(expected)}")
    for name in [name for name in definitions if name not in expected_definitions]:
        differences.append(f"{where}: type {name} is gone")
    for name in [name for name in definitions if name in expected_definitions]:
        differences += _type_differences(f"{where}: {name}", definitions[name], expected_definitions[name])
    return differences


def _type_differences(where: str, found: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    fields, expected_fields = found.get("properties"), expected.get("properties")
    if fields is None or expected_fields is None:
        return [] if _shape(found) == _shape(expected) else [f"{where} was {_shape(found)}, now {_shape(expected)}"]
    differences = [f"{where}.{name} was removed" for name in fields if name not in expected_fields]
    required = expected.get("required", [])
    differences += [f"{where}.{name} is new and has no default" for name in required if name not in fields]
    for name in [name for name in fields if name in expected_fields]:
        was, now = _shape(fields[name]), _shape(expected_fields[name])
        if was != now:
            differences.append(f"{where}.{name} was {was}, now {now}")
    return differences


def _shape(schema: Any) -> Any:
    """A schema without what does not matter for reading: names for people, defaults, and the list of definitions."""
    if isinstance(schema, dict):
        return {name: _shape(part) for name, part in schema.items() if name not in _PROSE and name != "$defs"}
    if isinstance(schema, list):
        return [_shape(part) for part in schema]
    return schema
