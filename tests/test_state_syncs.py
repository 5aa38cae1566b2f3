"""Syncs beside the engine: no token before what it stands for is on the disk, and none where the disk fails."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from threading import Event, Lock, Thread, current_thread
from typing import Any, Optional

import pytest

import headway as hw
from headway.basics.crashpoints import syncing, watch
from headway.errors import StateError
from headway.proving.crashes import Crashes
from headway.runtime.run import RunOptions, run_flow
from headway.runtime.seal import Seal
from headway.state.database import CONTROL, Database
from headway.state.options import StoreOptions
from headway.state.redolog import RedoLog
from headway.state.syncs import Syncs

PATIENCE_S = 20
"""How long something is waited for that comes at once, or never."""
REFUSED = "cannot write to the disk"


def note(text: str, into: list[str]) -> Callable[[], None]:
    return lambda: into.append(text)


def refuse() -> None:
    raise StateError(REFUSED)


def test_no_token_is_made_before_all_syncs_have_ended() -> None:
    """The syncs go on only once they are waited for: whoever did not wait would have his token before."""
    syncs, is_waited_for, ended = Syncs(), Event(), []

    def sync() -> None:
        assert is_waited_for.wait(PATIENCE_S)
        ended.append(1)

    def wait() -> None:
        is_waited_for.set()
        syncs.wait()

    seal = Seal(None, 0, [], "engine", lambda error: None, wait)
    for _ in range(40):
        syncs.start(sync)
    assert not ended
    seal.dumps([0, 1])
    assert len(ended) == 40
    syncs.close()


def test_all_who_wait_wait_for_all() -> None:
    """Workers that are threads share the syncs of a process: nobody takes a sync of another one for done."""
    syncs, may_end = Syncs(), Event()
    done: list[str] = []
    syncs.start(lambda: note("synced", done)() if may_end.wait(PATIENCE_S) else refuse())

    def wait() -> None:
        syncs.wait()
        done.append("waited")

    waiting = [Thread(target=wait) for _ in range(3)]
    for thread in waiting:
        thread.start()
    may_end.set()
    for thread in waiting:
        thread.join(PATIENCE_S)
    assert done == ["synced", "waited", "waited", "waited"]
    syncs.close()


@pytest.mark.parametrize("failure", [StateError(REFUSED), KeyboardInterrupt(), SystemExit(3)], ids=repr)
def test_a_sync_that_fails_is_told_to_each_who_waits_and_no_token_is_made(failure: BaseException) -> None:
    syncs, ended, failures = Syncs(), list[str](), list[BaseException]()

    def fail() -> None:
        raise failure

    seal = Seal(None, 0, [], "engine", failures.append, syncs.wait)
    for sync in (note("a", ended), fail, note("b", ended)):
        syncs.start(sync)
    for _ in range(3):
        with pytest.raises(type(failure)) as caught:
            seal.dumps([0, 1])
        assert caught.value is failure
    assert sorted(ended) == ["a", "b"]
    assert all(told is failure for told in failures)
    assert len(failures) == (3 if isinstance(failure, Exception) else 0)
    syncs.start(note("c", ended))
    with pytest.raises(type(failure)):
        syncs.wait()
    syncs.close()


def test_closing_waits_for_what_is_under_way() -> None:
    syncs, ended = Syncs(), list[str]()
    for _ in range(40):
        syncs.start(note("synced", ended))
    syncs.close()
    assert len(ended) == 40
    syncs.close()


class Log:
    """The log of a database, which is written to by others while it is synced."""

    def __init__(self, database: Database) -> None:
        self.inner = database.family(CONTROL)
        self.syncs = 0
        self.meanwhile: Optional[Callable[[], None]] = None
        database._families[CONTROL] = self  # type: ignore[assignment]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def flush_wal(self, sync: bool) -> None:
        self.syncs += 1
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            meanwhile()
        self.inner.flush_wal(sync)


def test_what_is_written_during_a_sync_is_not_taken_for_synced(tmp_path: Path) -> None:
    database = Database(tmp_path, 0, StoreOptions())
    log = Log(database)

    def write() -> None:
        batch = database.batch()
        batch.put(CONTROL, b"k", b"v")
        database.write(batch, sync=False)

    def fail() -> None:
        raise OSError("IO error: No space left on device")

    write()
    log.meanwhile = write
    database.sync()
    assert log.syncs == 1
    database.sync()
    assert log.syncs == 2
    database.sync()
    assert log.syncs == 2, "nothing was written since"
    write()
    log.meanwhile = fail
    with pytest.raises(StateError, match="No space left"):
        database.sync()
    database.sync()
    assert log.syncs == 4, "a sync that has failed was none"
    log.meanwhile = None
    database._families[CONTROL] = log.inner
    del log
    database.close()


def test_what_is_written_during_a_sync_may_be_lost_with_the_power(tmp_path: Path) -> None:
    """Only the length at which a sync began is noted as durable, of each file, and nothing where it fails."""
    crashes = Crashes(tmp_path / "crashes")
    before, last = tmp_path / "000001.log", tmp_path / "000002.log"
    before.write_text("all of it")
    last.write_text("synced")
    watch(crashes.folder)
    try:
        with syncing(tmp_path, "*.log"), last.open("a") as file:
            file.write(", and not")
        last.write_text("synced, and not, nor this")
        with pytest.raises(OSError, match="the disk"), syncing(tmp_path, "*.log"):
            raise OSError("the disk")
    finally:
        watch(None)
    lines = (crashes.folder / "synced").read_text().splitlines()
    assert [line.split()[1:] for line in lines] == [["9", str(before)], ["6", str(last)]]


GROUPS = 5


def flow_over(events: Path, out: Path) -> hw.Flow:
    class Count(hw.Operator[hw.Json, hw.Json]):
        def on_event(self, state: Any, event: Any, ctx: hw.Context) -> None:
            state["n"] = state.get("n", 0) + 1
            ctx.emit({"key": event["key"], "n": state["n"]})

    flow = hw.Flow("counts")
    steps = flow.source("steps", hw.Json, hw.files(str(events)), time="at")
    steps.key_by("key").process("count", Count()).to("counted", hw.to_jsonl(str(out)))
    return flow


def feed(path: Path) -> Path:
    path.write_text("".join(json.dumps({"at": at, "key": f"k{at % 50}"}) + "\n" for at in range(20_000)))
    return path


class Watched:
    """How many deltas have been written and are not known to be on the disk, while the engine gets its tokens.

    A sync ends only once somebody waits for it: without that, a token that came too early could be late by chance.
    """

    def __init__(self, patch: pytest.MonkeyPatch, fails_at: int = 0) -> None:
        self.tokens = 0
        self.early: list[Any] = []
        self.unsynced: set[tuple[Database, int]] = set()
        syncs = deltas = 0
        lock, is_waited_for = Lock(), Event()
        write, sync, dumps, wait = RedoLog.write, Database.sync, Seal.dumps, Syncs.wait

        def written(redo: RedoLog, *delta: Any, **options: Any) -> None:
            nonlocal deltas
            write(redo, *delta, **options)
            with lock:
                deltas += 1
                self.unsynced.add((redo._database, deltas))

        def synced(database: Database) -> None:
            nonlocal syncs
            if not current_thread().name.startswith("headway-sync"):
                return sync(database)
            with lock:
                covered = {delta for delta in self.unsynced if delta[0] is database}
                syncs += 1
                fails = syncs == fails_at
            assert is_waited_for.wait(PATIENCE_S)
            if fails:
                refuse()
            sync(database)
            with lock:
                self.unsynced -= covered
            return None

        def waited(syncs: Syncs) -> None:
            is_waited_for.set()
            try:
                wait(syncs)
            finally:
                is_waited_for.clear()

        def dumped(seal: Seal, value: Any) -> bytes:
            data = dumps(seal, value)
            self.tokens += 1
            if self.unsynced:
                self.early.append(value)
            return data

        patch.setattr(RedoLog, "write", written)
        patch.setattr(Database, "sync", synced)
        patch.setattr(Syncs, "wait", waited)
        patch.setattr(Seal, "dumps", dumped)


def test_in_a_run_no_token_is_handed_out_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flow = flow_over(feed(tmp_path / "steps.jsonl"), tmp_path / "counted.jsonl")
    watched = Watched(monkeypatch)
    run_flow(flow, RunOptions(tmp_path / "state", key_groups=GROUPS, epoch_ms=1, chunk_bytes=1 << 15))
    assert watched.tokens > 3 * GROUPS, "of several epochs"
    assert watched.early == []
    assert not watched.unsynced, "a run that has ended well is durable"


@pytest.mark.parametrize("fails_at", [1, GROUPS + 3])
def test_a_failed_sync_ends_the_run_and_the_next_one_goes_on(tmp_path: Path, fails_at: int) -> None:
    events = feed(tmp_path / "steps.jsonl")
    options = RunOptions(tmp_path / "state", key_groups=GROUPS, epoch_ms=1, chunk_bytes=1 << 15)
    with pytest.MonkeyPatch.context() as patch:
        watched = Watched(patch, fails_at)
        with pytest.raises(StateError, match=REFUSED):
            run_flow(flow_over(events, tmp_path / "counted.jsonl"), options)
        assert watched.early == []
    run_flow(flow_over(events, tmp_path / "counted.jsonl"), options)
    run_flow(
        flow_over(events, tmp_path / "undisturbed.jsonl"),
        RunOptions(tmp_path / "other", key_groups=GROUPS, epoch_ms=1, chunk_bytes=1 << 15),
    )
    assert (tmp_path / "counted.jsonl").read_bytes() == (tmp_path / "undisturbed.jsonl").read_bytes()
