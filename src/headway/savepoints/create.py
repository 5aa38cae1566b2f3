"""Making a savepoint: of a stopped flow by whoever has the lock of its directory, of a running one by its processes.

Both give the same form. What differs is who links the key groups: a stopped flow's are opened here and settled; those
of a running one are linked by the processes that have them open (`headway.runtime.marking`), and the copies are settled
here, beside the run. Then follow the small files, the logs that cannot be read again, the checksums, and last
`savepoint.json` and the name. A kill at any point leaves no savepoint of that name, and the flow as it was.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, Optional

from headway.errors import IncompatibleStateError, LockedStateError, StateError
from headway.plan.planner import DEAD_LETTER_SINK
from headway.runtime.directory import StateDirectory
from headway.runtime.job_options import slot_names
from headway.runtime.marking import REFUSED_FILE, Part, read_part
from headway.runtime.opening import settled_manifest
from headway.runtime.settle import Committed, committed
from headway.savepoints.inboxes import keep_inboxes
from headway.savepoints.shelf import Shelf, check_name, name_for
from headway.state.copies import copy_tree
from headway.state.database import Database, group_path
from headway.state.files import check_room, state_files
from headway.state.groups import worker_of
from headway.state.lock import DirectoryLock
from headway.state.manifest import MANIFEST_NAME, Manifest
from headway.state.positions import Positions
from headway.state.private import make_private, read_private, write_private
from headway.state.redo import Control, decode_meta
from headway.state.savepoint import Known, SavepointInfo, SumsAhead, list_files
from headway.state.tasks import Generation

__all__ = [
    "WAIT_S",
    "copy_folders",
    "copy_manifest",
    "create_savepoint",
    "finish",
    "held_alone",
    "settle",
]

WAIT_S: Final = 600.0
"""How long the processes of a run may take by default: until the end of two epochs."""
_POLL_S: Final = 0.01
_NUDGE_S: Final = 0.5
_FOLDERS: Final = ("dead-letters", "redrive", "histories")
"""What lies in a state directory besides the groups, and can be made of nothing else."""
_LEFT: Final = ("LOCK", "LOG")
"""What RocksDB writes anew whenever it opens a database."""


_About = dict[str, Any]
"""Fields of a `SavepointInfo`."""


def _never() -> bool:
    return False


def create_savepoint(
    directory: StateDirectory,
    name: Optional[str] = None,
    *,
    prefix: str = "",
    wait_s: float = WAIT_S,
    stopping: Callable[[], bool] = _never,
    is_held: bool = False,
    wall_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
) -> SavepointInfo:
    """Make a savepoint of a flow that runs or is stopped; returns what it says of itself.

    Without `name` it is named after the time, behind `prefix`: such a one is automatic. Takes the time to read once
    what no other savepoint has, which begins at once, and some 0.1 s for each key group once the epoch has ended; hard
    links take no room until the flow has rewritten what they hold. `is_held` says that the caller is within a block of
    `held_alone`.

    Raises `IncompatibleStateError` where there is no state, or what one host of a cluster has, `UsageError` for a name
    that cannot be, `LockedStateError` where another savepoint is being made, and `StateError` when the run does not
    answer within `wait_s`, is `stopping`, or when the disk or the rights do not let it.
    """
    made_ms = wall_ms()
    automatic = name is None and bool(prefix)
    name = name_for(made_ms, prefix) if name is None else name
    check_name(name)
    directory.check_whole()
    if directory.manifest() is None:
        msg = f"{directory} holds no state: run the flow first, or check the path"
        raise IncompatibleStateError(msg)
    shelf = Shelf(directory.path)
    shelf.check_free(name)
    until_s = time.monotonic() + wait_s
    held = nullcontext() if is_held else shelf.held(until_s, stopping)
    with held, shelf.draft() as draft, SumsAhead(directory.path, shelf.known_files()) as sums:
        check_room(directory.path)
        keep_inboxes(directory.path, draft)
        taken = _held(directory, draft) if is_held else _taken(directory, shelf, draft, until_s, stopping)
        with taken as (manifest, known, about):
            keep_inboxes(directory.path, draft)
            began_with = directory.positions(manifest.generation)
            positions = known.positions(manifest, began_with)
            copy_manifest(directory.path, draft)
            copy_folders(directory.path, draft)
        running = about is None
        about = about or settle(draft, manifest, known)
        about |= {"name": name, "made_ms": made_ms, "automatic": automatic, "running": running}
        return finish(shelf, draft, directory, manifest, about, positions, sums.known)


@contextmanager
def held_alone(directory: StateDirectory) -> Iterator[None]:
    """Inside this block no run and no other command changes a directory, nor makes a savepoint of it.

    Raises `LockedStateError` while a run has it.
    """
    with directory.locked():
        pass  # A run would keep us waiting until it has made a savepoint that somebody else asks for.
    # In this order: who makes a savepoint waits for the lock of the directory, with the one of the shelf in his hands.
    with Shelf(directory.path).held(time.monotonic() + WAIT_S), directory.locked():
        yield


_Taken = tuple[Manifest, Committed, Optional[_About]]


@contextmanager
def _held(directory: StateDirectory, draft: Path) -> Iterator[_Taken]:
    """As `_taken`, for whoever holds the lock of the directory."""
    yield _stopped(directory, draft)


@contextmanager
def _taken(
    directory: StateDirectory, shelf: Shelf, draft: Path, until_s: float, stopping: Callable[[], bool]
) -> Iterator[_Taken]:
    """Get all key groups into a draft, by whoever has the directory; the lock is held if nobody else has it.

    Says what is in the groups of a stopped flow; those of a running one are still to be settled.
    """
    with shelf.draft(asks=True) as asked:
        nudged_s = time.monotonic()
        while True:
            with suppress(LockedStateError):
                lock = DirectoryLock.acquire(directory.path)
                break
            _check_refused(asked)
            found = _parts_in(asked, directory)
            if found is not None:
                yield (*_gathered(directory, *found, draft), None)
                return
            now_s = time.monotonic()
            if stopping() or now_s > until_s:
                why = "the run is being stopped" if stopping() else "no epoch of the run has ended in time"
                msg = f"no savepoint of {directory} was made: {why}; try again, with a longer --wait for long epochs"
                raise StateError(msg)
            if now_s - nudged_s > _NUDGE_S:
                nudged_s = now_s
                os.utime(shelf.folder)  # Two changes within one tick of the clock look like one.
            time.sleep(_POLL_S)
    with lock:
        yield _stopped(directory, draft)


def _stopped(directory: StateDirectory, draft: Path) -> tuple[Manifest, Committed, _About]:
    """Settle and link the groups of a flow that does not run; with the lock held."""
    manifest = settled_manifest(directory)
    assert manifest is not None
    log = directory.engine_log(manifest.generation)
    known = Committed()
    if log.is_prepared():
        with log.summed():
            known = committed(directory, manifest)
    make_private(draft / "groups")

    def link(database: Database, group: int) -> None:
        database.checkpoint(group_path(draft, group))

    return manifest, known, settle(directory.path, manifest, known, link)


def _check_refused(asked: Path) -> None:
    with state_files(asked, "read"), suppress(FileNotFoundError):
        raise StateError(read_private(asked / REFUSED_FILE).decode())


def _parts_in(asked: Path, directory: StateDirectory) -> Optional[tuple[Path, Manifest, list[Part]]]:
    """The parts of all processes of a run, once all are there; None before."""
    with state_files(asked, "read"):
        folders = sorted(entry.path for entry in os.scandir(asked) if entry.is_dir(follow_symlinks=False))
    for folder in map(Path, folders):
        with state_files(folder, "read"):
            files = sorted(path for path in folder.iterdir() if path.name.startswith("worker-") and path.suffix == "")
            parts = [read_part(path, read_private(path)) for path in files]
        manifest = directory.manifest()
        if not parts or manifest is None or any(part.generation != manifest.generation for part in parts):
            continue
        if _is_whole(parts, manifest):
            return folder, manifest, parts
    return None


def _is_whole(parts: list[Part], manifest: Manifest) -> bool:
    """Whether these are the parts of all processes that have a reader slot, or key groups with tasks.

    Others take no part: the engine never calls them. Which groups there are does not tell who is missing: those of a
    new flow are made while parts are taken.
    """
    slots = {(source, name) for part in parts for source, name, _ in part.slots}
    wanted = {(name, slot) for name, entry in manifest.sources.items() for slot in slot_names(name, entry.slots)}
    holders = {worker_of(group, parts[0].workers) for group in manifest.task_groups}
    return slots >= wanted and {part.worker for part in parts} >= holders


def _gathered(
    directory: StateDirectory, folder: Path, manifest: Manifest, parts: list[Part], draft: Path
) -> tuple[Manifest, Committed]:
    """Put what processes have linked into the draft."""
    if manifest.drain is not None:
        msg = f"the books of {directory} are being closed: try again when the run has ended"
        raise StateError(msg)
    with state_files(draft, "write"):
        (folder / "groups").rename(draft / "groups")
    known = Committed()
    for part in parts:
        known.versions.update({(task, group): version for task, group, version in part.versions})
        for source, slot, kept in part.slots:
            known.slots.setdefault(source, {})[slot] = kept
    return manifest, known


def copy_manifest(directory: Path, draft: Path) -> None:
    """Copy what the directory belongs to."""
    with state_files(draft, "write"):
        write_private(draft / MANIFEST_NAME, read_private(directory / MANIFEST_NAME))


def copy_folders(directory: Path, draft: Path) -> None:
    """Copy what is only appended to; what is added meanwhile is cut off again by the state's positions."""
    with state_files(draft, "write"):
        for name in _FOLDERS:
            if (directory / name).is_dir():
                copy_tree(directory / name, draft / name)


def _unlinked(database: Database, group: int) -> None:
    """Does nothing with a group: it is linked already."""


def settle(
    directory: Path, manifest: Manifest, known: Committed, link: Callable[[Database, int], None] = _unlinked
) -> _About:
    """Promote or discard what is pending in all groups, and `link` them; tells where they stand and what is there."""
    before = Generation(directory, manifest, known.versions)

    def settled(group: int, database: Database) -> tuple[int, dict[int, Control]]:
        controls = before.settle(database, group)
        link(database, group)
        return group, controls

    versions: list[tuple[int, int, int]] = []
    rows = timers = waiting = 0
    written: set[str] = set()
    for group, controls in before.of_each_group(settled):
        for task, control in controls.items():
            versions.append((task, group, control.version))
            rows, timers = rows + control.rows, timers + control.timers
            waiting += control.spilled
            name = before.outputs.get(task)
            if name not in {None, DEAD_LETTER_SINK} and _position_of(decode_meta(control.meta)):
                written.add(str(name))
    return {"versions": versions, "rows": rows, "timers": timers, "waiting": waiting, "written": sorted(written)}


def _position_of(meta: Optional[Mapping[str, Any]]) -> Any:
    return (meta or {}).get("position")


def finish(
    shelf: Shelf,
    draft: Path,
    directory: StateDirectory,
    manifest: Manifest,
    about: _About,
    positions: Optional[Positions],
    known_files: Callable[[], Known],
) -> SavepointInfo:
    """Put a draft on the shelf that has all but `positions`; returns what it says of itself.

    `about` are those fields that neither the manifest nor the draft tells. A part of a cluster's has no positions.
    `known_files` is asked once the files are as they will be.
    """
    if positions is not None:
        positions.store(draft, manifest.generation)
        about = {"events": sum(source.counts[0] for source in positions.sources.values()), **about}
    _remove_logs(draft)
    info = SavepointInfo(
        flow=manifest.flow,
        origin=os.path.abspath(directory.path),
        by=version("headway"),
        generation=manifest.generation,
        key_groups=manifest.key_groups,
        files=list_files(draft, known_files()),
        **about,
    )
    shelf.place(draft, info)
    return info


def _remove_logs(draft: Path) -> None:
    """Remove what RocksDB writes about itself: it would be in the list of files, and change when it is looked at."""
    with state_files(draft, "write"):
        for path in (draft / "groups").glob("*/*"):
            if path.name.startswith(_LEFT):
                path.unlink()
