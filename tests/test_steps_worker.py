"""Workers in processes of their own: they come, are killed, stop, lose the flow; each call has one answer."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

import pytest
from tests import worker_flow
from tests.cluster_harness import Started, await_true, send

from headway.functions.history import Answered, Failed, decode
from headway.state.reader import StateReader


class Site:
    """A directory with a flow, its run, and workers."""

    def __init__(self, directory: Path, port: int, *, arguments: tuple[object, ...] = ()) -> None:
        self.directory = directory
        self.url = f"http://127.0.0.1:{port}"
        self.port = port
        self.arguments = arguments
        self.workers: list[subprocess.Popen[bytes]] = []
        self.run: Optional[Started] = None
        shutil.copy(worker_flow.__file__, directory / "flow.py")

    def start(self) -> Started:
        given = ("--follow", "--quiet", "--state", "state", "--epoch", "50ms", "--key-groups", 3)
        self.run = Started(self.directory, "flow.py", *given, "--listen", f"127.0.0.1:{self.port}", *self.arguments)
        return self.run

    def worker(self, *arguments: object, **env: str) -> subprocess.Popen[bytes]:
        log = (self.directory / f"worker-{len(self.workers)}.err").open("wb")
        command = [sys.executable, "-m", "headway", "worker", "flow.py", "--connect", self.url, *map(str, arguments)]
        with log:
            made = subprocess.Popen(command, cwd=self.directory, stderr=log, env={**os.environ, "WORKER": "1", **env})
        self.workers.append(made)
        return made

    def told(self, number: int) -> str:
        return (self.directory / f"worker-{number}.err").read_text()

    def ask(self, name: str, *arguments: Any, named: str = "") -> None:
        """Start a function, by HTTP, until the flow is there to take it."""

        def posted() -> bool:
            self.check()
            try:
                self._post(f"/v1/functions/call/{named or name}", [name, *arguments])
            except OSError:
                return False
            return True

        await_true(posted, "the server")

    def cancel(self, named: str) -> None:
        self._post(f"/v1/functions/call/{named}/cancel", "enough")

    def _post(self, path: str, body: Any) -> None:
        request = urllib.request.Request(
            self.url + path, json.dumps(body).encode(), {"content-type": "application/json"}
        )
        with urllib.request.urlopen(request) as answer:
            assert answer.status == 200

    def check(self) -> None:
        assert self.run is not None
        self.run.check_running()

    def ended(self) -> dict[str, Any]:
        path = self.directory / "ended.jsonl"
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        lines = [line for line in lines if line.endswith("\n")]  # The last one may be being written.
        return {one["id"]: one for one in map(json.loads, lines)}

    def await_ended(self, *ids: str) -> list[Any]:
        def have() -> bool:
            self.check()
            return set(ids) <= set(self.ended())

        await_true(have, f"the end of {', '.join(ids)}")
        found = self.ended()
        for one in ids:
            assert found[one]["status"] == "completed", found[one]
        return [json.loads(found[one]["result"]) for one in ids]

    def notes(self, word: str) -> list[list[str]]:
        path = self.directory / "notes.txt"
        lines = path.read_text().splitlines() if path.exists() else []
        return [line.split()[1:] for line in lines if line.split()[0] == word]

    def await_notes(self, word: str, count: int) -> list[list[str]]:
        def have() -> bool:
            self.check()
            return len(self.notes(word)) >= count

        await_true(have, f"{count} times {word!r}")
        return self.notes(word)

    def release(self, name: str) -> None:
        (self.directory / f"release-{name}").touch()

    def answers(self) -> Counter[str]:
        """How many answers to its call each instance has in its history."""
        with StateReader(self.directory / "state") as reader:
            return Counter(
                row.key
                for row in reader.rows("functions")
                for data in row.state["history"]
                if isinstance(decode(data), (Answered, Failed))
            )

    def await_answers(self, expected: dict[str, int]) -> None:
        """Readers see an epoch once it is durable."""
        await_true(lambda: self.answers() == expected, f"answers {expected}")

    def end(self) -> None:
        for one in self.workers:
            if one.poll() is None:
                one.kill()
            one.wait()
        if self.run is not None:
            self.run.end()


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Site]:
    options = dict(getattr(request, "param", {}))
    monkeypatch.setenv("LEASE", options.pop("lease", "30s"))
    monkeypatch.setenv("TOKEN", "correct-horse-battery")
    made = Site(tmp_path, free_port(), **options)
    try:
        yield made
    finally:
        made.end()


def test_steps_run_on_workers(site: Site) -> None:
    site.start()
    site.ask("greet", "Ann")
    site.worker("--name", "w")
    assert site.await_ended("greet") == ["Hello, Ann"]
    [[_, key, attempt, pid]] = site.notes("greet")
    assert (key, attempt) == ("call/greet#0.1", "1")
    assert int(pid) == site.workers[0].pid
    calls: dict[str, list[Any]] = {"crash": [], "large": [5_000_000], "wrong": [], "refuse": ["no"], "absent": []}
    for name, arguments in calls.items():
        site.ask(name, *arguments)
    crashed, text = site.await_ended("crash", "large")
    assert crashed == 3 and len(text) == 5_000_000
    await_true(lambda: {"wrong", "refuse"} <= set(site.ended()), "the end of those that fail")
    assert "the result of step 'wrong': Expected `int`, got `str`" in site.ended()["wrong"]["error"]
    assert "NeverDeliver: no" in site.ended()["refuse"]["error"]
    site.workers[0].terminate()
    assert site.workers[0].wait(30) == 0
    assert "w: works for" in site.told(0) and "steps done" in site.told(0)


@pytest.mark.parametrize("site", [{"lease": "1s"}], indirect=True)
def test_the_step_of_a_worker_that_is_killed_is_done_by_another(site: Site) -> None:
    site.start()
    first = site.worker("--name", "first")
    site.ask("hold", "a")
    site.await_notes("hold", 1)
    second = site.worker("--name", "second")
    first.kill()
    first.wait()
    (_, key, attempt, pid), (_, again, next_attempt, other) = site.await_notes("hold", 2)
    assert (int(pid), int(other)) == (first.pid, second.pid)
    assert key == again and (attempt, next_attempt) == ("1", "2")
    site.release("a")
    [[attempts, details, _]] = site.await_ended("hold")
    assert attempts == 2
    assert details in (None, {"waits for": "a"}), "it may have been killed before it was heard of"
    site.await_answers({"call/hold": 1})


@pytest.mark.parametrize("site", [{"lease": "1s"}], indirect=True)
def test_the_late_answer_of_a_worker_that_stood_still_does_not_count(site: Site) -> None:
    site.start()
    first = site.worker("--name", "first")
    site.ask("hold", "a")
    site.await_notes("hold", 1)
    send(first.pid, signal.SIGSTOP)
    second = site.worker("--name", "second")
    site.await_notes("hold", 2)
    site.release("a")
    [[attempts, _, pid]] = site.await_ended("hold")
    assert attempts >= 2, "the first one, whose connection stands, may have been given it once more"
    assert pid == second.pid
    send(first.pid, signal.SIGCONT)
    await_true(lambda: len(site.notes("held")) + len(site.notes("cancelled")) >= 2, "the first one to go on")
    site.ask("greet", "Bea")
    site.await_ended("greet")
    site.await_answers({"call/hold": 1, "call/greet": 1})


def test_a_worker_that_is_told_to_stop_finishes_and_takes_nothing_new(site: Site) -> None:
    site.start()
    first = site.worker("--name", "first", "--concurrency", 2)
    site.ask("hold", "a", named="a")
    site.await_notes("hold", 1)
    first.terminate()
    await_true(lambda: "finishing 1 steps" in site.told(0), "it to be told")
    site.ask("greet", "Ann")
    time.sleep(0.3)
    assert not site.notes("greet")
    site.release("a")
    assert first.wait(30) == 0
    assert site.await_ended("a")[0][0] == 1
    site.worker()
    site.await_ended("greet")


def test_a_worker_that_is_told_twice_gives_up_and_the_flow_need_not_wait(site: Site) -> None:
    site.start()
    first = site.worker("--name", "first")
    site.ask("hold", "a", named="a")
    site.await_notes("hold", 1)
    second = site.worker("--name", "second")
    first.terminate()
    await_true(lambda: "finishing 1 steps" in site.told(0), "it to be told")
    first.terminate()
    assert first.wait(30) == 0
    site.await_notes("hold", 2)
    site.release("a")
    assert site.await_ended("a")[0][2] == second.pid


def test_a_step_goes_on_while_the_flow_is_killed_and_started_again(site: Site) -> None:
    run = site.start()
    site.worker("--name", "w")
    site.ask("hold", "a", named="a")
    site.await_notes("hold", 1)
    # It may have come before the flow was there.
    before = site.told(0).count("cannot be reached")
    run.end()
    await_true(lambda: site.told(0).count("cannot be reached") > before, "the worker to notice")
    site.start()
    await_true(lambda: site.told(0).count("is there again") > before, "the worker to be back")
    site.release("a")
    [[attempt, details, pid]] = site.await_ended("a")
    assert (attempt, details, pid) == (1, None, site.workers[0].pid)
    assert len(site.notes("hold")) == 1, "it was not begun again"
    site.await_answers({"call/a": 1})
    assert site.told(0).count("cannot be reached") == before + 1, site.told(0)


@pytest.mark.parametrize("site", [{"lease": "1s"}], indirect=True)
def test_a_cancelled_function_reaches_its_step_by_the_next_heartbeat(site: Site) -> None:
    site.start()
    site.worker()
    site.ask("hold", "a", named="a")
    site.await_notes("hold", 1)
    site.cancel("a")
    site.await_notes("cancelled", 1)
    await_true(lambda: site.ended().get("a", {}).get("status") == "cancelled", "the end")
    site.ask("greet", "Ann")
    site.await_ended("greet")


def test_a_result_that_is_too_large_for_the_server_is_a_failure(site: Site) -> None:
    site.arguments = ("--max-body", "1MiB")
    site.start()
    site.worker()
    site.ask("large", 2_000_000)
    await_true(lambda: "large" in site.ended(), "the end")
    assert "is too large for the flow" in site.ended()["large"]["error"]


def test_a_step_that_some_workers_do_not_have_is_done_by_one_that_has_it(site: Site) -> None:
    site.start()
    site.worker("--name", "old")
    site.ask("newest")

    def tried() -> int:
        with StateReader(site.directory / "state") as reader:
            queues = reader.deliveries(reader.manifest.outputs["call-remote"].id)
            return sum(
                lane.attempts
                for queue in queues
                for row in queue.rows()
                if (lane := queue.lane(row.row.lane)) is not None and "old has no step 'newest': it has" in lane.reason
            )

    await_true(lambda: tried() > 0, "an attempt of the worker that does not have it")
    site.worker("--name", "new", NEWEST="1")
    assert site.await_ended("newest") == ["new"], "of which the flow itself knows nothing"


@pytest.mark.parametrize("site", [{"lease": "1s"}], indirect=True)
def test_killed_at_any_moment(site: Site) -> None:
    """Workers and the flow; each call has one answer, and all that was begun belongs to a call."""
    seed = int(os.environ.get("HEADWAY_SEED", "0")) or random.randrange(1 << 30)
    sys.stdout.write(f"HEADWAY_SEED={seed}\n")
    chance = random.Random(seed)
    site.start()
    for _ in range(2):
        site.worker("--concurrency", 3)
    for number in range(40):
        site.ask("greet", f"n{number}", named=f"g{number}")
    for round_ in range(3):
        before = len(site.notes("greet"))
        await_true(
            lambda before=before: len(site.notes("greet")) >= min(40, before + 1 + chance.randrange(8)),  # type: ignore[misc]
            "some steps",
        )
        victim = site.workers[chance.randrange(len(site.workers))]
        victim.kill()
        victim.wait()
        site.worker("--concurrency", 3)
        if round_ == 1 and site.run is not None:
            site.run.end()
            site.start()
    found = site.await_ended(*(f"g{number}" for number in range(40)))
    assert found == [f"Hello, n{number}" for number in range(40)]
    site.await_answers({f"call/g{number}": 1 for number in range(40)})
    keys = {key for _, key, *_ in site.notes("greet")}
    assert keys == {f"call/g{number}#0.1" for number in range(40)}


def test_a_worker_that_cannot_work(site: Site) -> None:
    site.arguments = ("--token", "env:TOKEN")
    site.start()
    await_true(lambda: "takes events" in site.run.log.read_text() if site.run else False, "the server")
    assert site.worker().wait(30) == 2
    assert "a bearer token is needed" in site.told(0) and "give --token env:NAME" in site.told(0)
    site.worker("--token", "env:TOKEN", "--queues", "nothing")
    await_true(lambda: "has no queue 'nothing' for workers" in site.told(1), "it to be told")
    (site.directory / "empty.py").write_text("import headway as hw\n")
    command = [sys.executable, "-m", "headway", "worker", "empty.py", "--connect", site.url]
    told = subprocess.run(command, cwd=site.directory, capture_output=True, text=True, check=False)
    assert told.returncode == 2 and "declares no steps to run" in told.stderr


@pytest.mark.parametrize("site", [{"arguments": ("--workers", 2)}], indirect=True)
def test_many_steps_from_two_processes_of_a_flow_on_three_workers(site: Site) -> None:
    site.start()
    for _ in range(3):
        site.worker("--concurrency", 5)
    for number in range(60):
        site.ask("greet", f"n{number}", named=f"g{number}")
    found = site.await_ended(*(f"g{number}" for number in range(60)))
    assert found == [f"Hello, n{number}" for number in range(60)]
    assert len(site.notes("greet")) == 60
    site.await_answers({f"call/g{number}": 1 for number in range(60)})
