"""Bytes that come from elsewhere: they are never executed, wherever they come in, and the run says what happened."""

from __future__ import annotations

import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from benchmarks.places import free_ports
from tests.cluster_harness import Started, await_true

EVIL = b"cos\nsystem\n(S'>x'\ntR."
"""A pickle that makes a file named x in the current directory."""
BATCH = b"\xf5hw\x01B"
ENGINE_MAGIC = 0xC2F1FB770118ADD9
FLOW = """
import headway as hw
import multiprocessing
import pickle


class Click(hw.Event):
    user: str
    at: hw.Time


class Seen(hw.State):
    clicks: int = 0


class Count(hw.Operator[Click, Seen]):
    def on_event(self, state, event, ctx):
        state.clicks += 1
        ctx.emit({"user": event.user, "clicks": state.clicks, "others": others(event)})


def others(event):
    # What the engine does not know: a set, by the same functions and by a process of somebody else.
    known = pickle.loads(pickle.dumps({event.user}))
    if event.at < 2:
        pool = multiprocessing.get_context("spawn").Pool(1)
        known |= pool.apply(set, ([event.user],))
        pool.close()
        pool.join()
    return sorted(known)


flow = hw.Flow("clicks")
clicks = flow.source("clicks", Click, hw.files(flow.param("log", "clicks-*.jsonl")), time="at")
clicks.key_by("user").process("count", Count()).to("counted", hw.to_jsonl(flow.param("to", "counted.jsonl")))
"""
EVENTS = 400
OPTIONS = ("--epoch", "20ms", "--key-groups", 4)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("clicks.py").write_text(FLOW)
    for part in range(2):
        lines = [f'{{"user":"user{at % 40}","at":{at}}}\n' for at in range(part, EVENTS, 2)]
        Path(f"clicks-{part}.jsonl").write_text("".join(lines))
    return tmp_path


@pytest.mark.parametrize("workers", [1, 2])
def test_other_users_of_pickle_in_the_process_are_left_alone(here: Path, workers: int) -> None:
    told = Started(here, "clicks.py", "--state", "state", *OPTIONS, "--workers", workers, "--drain", "--json").summary()
    assert (told["triggers"], told["restarts"]) == (EVENTS, 0)
    assert Path("counted.jsonl").read_text().count('"others":["user') == EVENTS


@pytest.mark.parametrize(("workers", "code"), [(1, 3), (2, 5)])
def test_a_recovery_log_that_was_changed_runs_nothing(here: Path, workers: int, code: int) -> None:
    Started(here, "clicks.py", "--state", "state", *OPTIONS, "--json").summary()
    for path in Path("state/engine-1").glob("*.sqlite3"):
        with sqlite3.connect(path) as database:
            database.execute("update snaps set ser_change = ? where ser_change is not null", (EVIL,))
    Path("state/engine-1.sum").unlink()  # As after a crash; who changes the log can do that too.
    options = ("--workers", workers, "--max-restarts", 0, "--quiet")
    got, told = Started(here, "clicks.py", "--state", "state", *OPTIONS, *options).outcome()
    assert got == code, told
    assert re.search(r"the recovery log in \S*state/engine-1 (holds|was changed)", told)
    assert "othing of it was executed" in told
    assert not Path("x").exists()


def handshake(index: int) -> bytes:
    return ENGINE_MAGIC.to_bytes(8, "little") + index.to_bytes(8, "little")


def listening_port(worker: int) -> int:
    """The port that a worker was told to listen on; its supervisor gives them in order."""
    argument = Path(f"/proc/{worker}/cmdline").read_bytes().split(b"\0")[3]
    addresses = re.search(rb'"addresses":\["127.0.0.1:(\d+)"', argument)
    assert addresses is not None
    return int(addresses[1])


def intrude(started: Started) -> socket.socket:
    """A connection to the first worker's port, from the moment that it can be had."""
    first, _ = started.await_workers(2)
    await_true(lambda: b"addresses" in Path(f"/proc/{first}/cmdline").read_bytes(), "the worker's arguments")
    port = listening_port(first)
    while True:
        started.check_running()
        with suppress(ConnectionRefusedError):
            return socket.create_connection(("127.0.0.1", port))


@pytest.mark.parametrize(
    "sent", [handshake(1) + EVIL * 100, handshake(1), handshake(7), b"", b"GET / HTTP/1.0\r\n\r\n"]
)
def test_who_comes_before_the_real_worker_gets_nothing_and_the_run_goes_on(here: Path, sent: bytes) -> None:
    started = Started(here, "clicks.py", "--state", "state", *OPTIONS, "--workers", 2, "--drain", "--json")
    with intrude(started) as intruder:
        intruder.sendall(sent)
        told = started.summary()
        intruder.setblocking(False)
        received = b""
        with suppress(OSError):
            received = intruder.recv(1 << 20)
    assert b"user" not in received
    assert told["restarts"] >= 1
    assert told["triggers"] == EVENTS
    assert "restarting all 2 workers" in started.log.read_text()
    assert not Path("x").exists()


def has_decided(started: Started) -> bool:
    """Whether a run has ended, or has written something."""
    output = started.directory / "counted.jsonl"
    return started.process.poll() is not None or (output.exists() and output.stat().st_size > 0)


def test_an_intruder_is_named(here: Path) -> None:
    options = ("--workers", 2, "--max-restarts", 0, "--quiet", "--follow")
    for attempt in range(10):
        started = Started(here, "clicks.py", "--state", f"state-{attempt}", *OPTIONS, *options)
        with intrude(started) as intruder:
            place = "{}:{}".format(*intruder.getsockname())
            with suppress(OSError):
                intruder.sendall(handshake(1))
            await_true(partial(has_decided, started), "an end or output")
        if started.process.poll() is None:  # The real peer was first, and who comes later is not let in.
            os.kill(started.pid, signal.SIGTERM)
            assert started.outcome()[0] == 0
            continue
        code, told = started.outcome()
        assert code == 5
        assert f"a process of user {os.getuid()} that is not of this run connected from {place} to worker 0" in told
        return
    pytest.fail("the intruder was never first")


def test_nobody_can_connect_to_a_run_that_has_begun(here: Path) -> None:
    started = Started(here, "clicks.py", "--state", "state", *OPTIONS, "--workers", 2, "--follow", "--json")
    try:
        first, _ = started.await_workers(2)
        await_true(lambda: Path("counted.jsonl").exists() and Path("counted.jsonl").stat().st_size > 0, "output")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", listening_port(first)))
        os.kill(started.pid, signal.SIGTERM)
        assert started.summary()["restarts"] == 0
    finally:
        started.end()


class Between:
    """Stands between process 1 of a cluster and process 0, and may change what the engine sends to process 0."""

    def __init__(self, target: int, change: Callable[[bytes], bytes]) -> None:
        self._target = target
        self._change = change
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.batches: list[bytes] = []
        self._gone = b""
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                inner, _ = self._listener.accept()
                threading.Thread(target=self._relay, args=(inner,), daemon=True).start()

    def _relay(self, inner: socket.socket) -> None:
        with suppress(OSError), inner:
            begin = inner.recv(16, socket.MSG_WAITALL)
            is_engine = begin == handshake(1)
            with self._dial(patient=is_engine) as outer:
                outer.sendall(begin)
                back = threading.Thread(target=self._copy, args=(outer, inner), daemon=True)
                back.start()
                self._copy(inner, outer, self._changed if is_engine else None)
                back.join()

    def _dial(self, *, patient: bool) -> socket.socket:
        while True:
            try:
                return socket.create_connection(("127.0.0.1", self._target))
            except ConnectionRefusedError:
                if not patient:
                    raise

    def _copy(self, source: socket.socket, target: socket.socket, change: Any = None) -> None:
        held = b""
        with suppress(OSError):
            while data := source.recv(1 << 20):
                held += data
                ready, held = change(held) if change else (held, b"")
                target.sendall(ready)
            target.shutdown(socket.SHUT_WR)

    def _changed(self, data: bytes) -> tuple[bytes, bytes]:
        """What may go on, and what waits for the rest of its batch. Nothing else may wait: the engine would."""
        done = b""
        while (place := data.find(BATCH)) >= 0:
            size = int.from_bytes((self._gone + done + data[:place])[-8:], "little")
            if len(data) < place + size:
                break
            batch = data[place : place + size]
            self.batches.append(batch)
            done += data[:place] + self._change(batch).ljust(size, b".")
            data = data[place + size :]
        begun = next((size for size in range(len(BATCH) - 1, 0, -1) if data.endswith(BATCH[:size])), 0)
        keep = place if place >= 0 else len(data) - begun
        done += data[:keep]
        self._gone = (self._gone + done)[-8:]
        return done, data[keep:]

    def close(self) -> None:
        self._listener.close()


@contextmanager
def between(
    state: str, change: Callable[[bytes], bytes], *options: str
) -> Iterator[tuple[Between, list[subprocess.Popen[bytes]]]]:
    """Two processes that are started by hand, and somebody between them."""
    ports = free_ports(2)
    man = Between(ports[0], change)
    with ExitStack() as held:
        held.callback(man.close)
        members = []
        for index, first in enumerate((ports[0], man.port)):
            err = held.enter_context(Path(f"member-{index}.err").open("wb"))
            addresses = f"127.0.0.1:{first},127.0.0.1:{ports[1]}"
            place = ("--process", str(index), "--addresses", addresses, "--state", state)
            command = [sys.executable, "-m", "headway", "run", "clicks.py", *map(str, OPTIONS), *options, *place]
            members.append(held.enter_context(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=err)))
            held.callback(members[-1].kill)
        yield man, members


def relay(batch: bytes) -> bytes:
    return batch


def test_a_batch_that_was_changed_on_its_way_is_not_executed_and_ends_the_run(here: Path) -> None:
    with between("state", lambda batch: EVIL, "--follow", "--quiet") as (_, members):
        assert members[0].wait(60) == 5
    told = Path("member-0.err").read_text()
    assert re.search(rf"process 0 of 2 got \d+ bytes that begin with {re.escape(repr(EVIL[:16]))}", told)
    assert "another program speaks to its port 127.0.0.1:" in told
    assert not Path("x").exists()


def test_the_recorded_batches_of_another_run_are_refused_although_the_secret_is_the_same(here: Path) -> None:
    with between("state", relay, "--quiet") as (man, members):
        assert [member.wait(60) for member in members] == [0, 0], Path("member-0.err").read_text()
    recorded = man.batches
    assert recorded

    def played(batch: bytes) -> bytes:
        return next((old for old in recorded if len(old) <= len(batch)), batch)

    for part in range(2):
        with Path(f"clicks-{part}.jsonl").open("a") as log:
            log.writelines(f'{{"user":"user{at % 40}","at":{at}}}\n' for at in range(EVENTS + part, 2 * EVENTS, 2))
    with between("state", played, "--follow", "--quiet") as (_, members):
        assert members[0].wait(60) == 5
    assert "which no process of this run has made" in Path("member-0.err").read_text()


def test_processes_with_different_secrets_do_not_start(here: Path) -> None:
    with between("state", relay, "--follow", "--quiet") as (_, _):
        await_true(lambda: Path("counted.jsonl").exists(), "the start")
    Path("other").mkdir(mode=0o700)
    for name in ("state", "other"):
        assert Path(name).exists()
    ports = free_ports(2)
    addresses = f"127.0.0.1:{ports[0]},127.0.0.1:{ports[1]}"
    subprocess.run(["cp", "-r", "state/.", "other"], check=True)
    Path("other/cluster-secret").write_text("ab" * 32)
    with ExitStack() as held:
        members = []
        for index, state in enumerate(("state", "other")):
            err = held.enter_context(Path(f"member-{index}.err").open("wb"))
            place = ("--process", str(index), "--addresses", addresses, "--state", state, "--quiet")
            command = [sys.executable, "-m", "headway", "run", "clicks.py", *place]
            members.append(held.enter_context(subprocess.Popen(command, stderr=err)))
            held.callback(members[-1].kill)
        assert members[1].wait(60) == 5
    assert "does not know the secret of this state directory" in Path("member-1.err").read_text()
