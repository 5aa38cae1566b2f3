"""Bytes that come from elsewhere: they are never executed, wherever they come in, and the run says what happened."""

from __future__ import annotations

import os
import re
import signal
import socket
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from benchmarks.places import free_ports
from tests.cluster_harness import Started, await_true

from headway.cluster.duties import Duties
from headway.cluster.hosts import load_hosts
from headway.cluster.messages import Answer, Join, Start, What
from headway.cluster.run import run_host
from headway.declare.loading import FlowSpec
from headway.errors import ClusterError
from headway.runtime.run import RunOptions, RunResult

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


def connected(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    return socket.create_connection((host, int(port)))


class Between:
    """Stands between a worker of one host and one of another, and may change what the engine sends to `target`."""

    def __init__(self, change: Callable[[bytes], bytes]) -> None:
        self.target = ""
        """The address of the worker that the other one wants to dial."""
        self.batches: list[bytes] = []
        self._change = change
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._gone = b""
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                inner, _ = self._listener.accept()
                threading.Thread(target=self._relay, args=(inner,), daemon=True).start()

    def _relay(self, inner: socket.socket) -> None:
        with suppress(OSError), inner, connected(self.target) as outer:
            back = threading.Thread(target=self._copy, args=(outer, inner), daemon=True)
            back.start()
            self._copy(inner, outer, self._changed)
            back.join()

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


class Two:
    """Two hosts of a cluster in this process, each with one worker in a process of its own."""

    def __init__(self, place: Path, **options: Any) -> None:
        [port] = free_ports(1)
        ips = {"a": "127.0.0.1", "b": "127.0.0.2"}
        tables = "".join(f'[[hosts]]\nname = "{name}"\naddress = "{ip}:{port}"\n' for name, ip in ips.items())
        (place / "secret").write_text("only for tests, and long enough")
        (place / "hosts.toml").write_text(f'secret = "file:{place / "secret"}"\n{tables}')
        self._hosts = load_hosts(place / "hosts.toml")
        self._place = place
        self._options = {"epoch_ms": 20, "key_groups": 4, **options}

    def run(self) -> list[RunResult | BaseException]:
        """Run until both have ended; returns how."""
        with ThreadPoolExecutor(2) as pool:
            ended = [pool.submit(self._host, name) for name in "ab"]
            return [one.exception() or one.result() for one in ended]

    def log(self, name: str, worker: int) -> str:
        """What a worker has said at its end."""
        return (self._place / f"state-{name}/run/worker-{worker}.log").read_text()

    def _host(self, name: str) -> RunResult:
        options = RunOptions(state_dir=self._place / f"state-{name}", **self._options)
        return run_host(FlowSpec("clicks.py", {}), options, self._hosts, self._hosts[name])


@contextmanager
def between(change: Callable[[bytes], bytes]) -> Iterator[Between]:
    """Inside this block what host b dials leads to somebody between, as a router on the way could have it."""
    man = Between(change)
    start = Duties._start

    def led(duties: Duties, order: Start) -> None:
        if duties.indices[0] == 1:
            man.target = order.addresses[0]
            order = msgspec.structs.replace(order, addresses=[man.address, *order.addresses[1:]])
        start(duties, order)

    with closing(man), pytest.MonkeyPatch.context() as patch:
        patch.setattr(Duties, "_start", led)
        yield man


def test_a_batch_that_was_changed_between_hosts_is_not_executed_and_ends_the_run(here: Path) -> None:
    two = Two(here, max_restarts=0)
    with between(lambda batch: EVIL):
        assert [type(ended) for ended in two.run()] == [ClusterError, ClusterError]
    told = two.log("a", 0)
    assert re.search(rf"process 0 of 2 got \d+ bytes that begin with {re.escape(repr(EVIL[:16]))}", told)
    assert "another program speaks to its port 127.0.0.1:" in told
    assert not Path("x").exists()


def test_the_recorded_batches_of_another_run_are_refused_although_the_secret_is_the_same(here: Path) -> None:
    two = Two(here, max_restarts=0)
    with between(lambda batch: batch) as man:
        assert events_of(two.run()) == [EVENTS, EVENTS]
    recorded = man.batches
    assert recorded
    for part in range(2):
        with Path(f"clicks-{part}.jsonl").open("a") as log:
            log.writelines(f'{{"user":"user{at % 40}","at":{at}}}\n' for at in range(EVENTS + part, 2 * EVENTS, 2))
    with between(lambda batch: next((old for old in recorded if len(old) <= len(batch)), batch)):
        assert [type(ended) for ended in two.run()] == [ClusterError, ClusterError]
    assert "which no process of this run has made" in two.log("a", 0)


def events_of(ended: list[RunResult | BaseException]) -> list[int]:
    """How many events hosts tell of that have ended well."""
    return [one.stats.events for one in ended if isinstance(one, RunResult)]


@pytest.mark.parametrize("sent", [handshake(1) + EVIL * 100, b"GET / HTTP/1.0\r\n\r\n"])
def test_who_takes_the_place_of_a_hosts_worker_makes_all_start_again(
    here: Path, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    carry_out = Duties.carry_out
    with ExitStack() as held:
        intruders: list[socket.socket] = []

        def intruded(duties: Duties, what: What) -> Answer:
            if isinstance(what, Join) and duties.indices[0] == 1 and not intruders:  # The worker of host a listens.
                intruders.append(held.enter_context(connected(duties._addresses[0])))
                intruders[0].sendall(sent)
            return carry_out(duties, what)

        monkeypatch.setattr(Duties, "carry_out", intruded)
        ended = Two(here, hang_after_ms=4_000).run()
    assert events_of(ended) == [EVENTS, EVENTS], ended
    assert all(isinstance(one, RunResult) and one.restarts for one in ended)
    assert len(Path("counted.jsonl").read_text().splitlines()) == EVENTS - 2  # The last ones wait for time to go on.
    assert not Path("x").exists()
