"""SIGKILL of the server and of whole runs: what was acknowledged is in the flow once, and in order."""

from __future__ import annotations

import json
import random
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest
from tests.cluster_harness import Started, await_true, children, is_alive, run, send
from tests.ingest_harness import lines_of
from tests.kills_harness import chance_of
from tests.web_harness import ask

from headway.inbox.commits import Inbox
from headway.inbox.settings import InboxSettings
from headway.proving.crashes import Crashes, Kill
from headway.web.addresses import Address

POINTS = ("inbox.before", "inbox.after", "inbox-sync.after", "inbox-answer.before")

FLOW = """
import headway as hw

class Post(hw.Event):
    client: str
    number: int

flow = hw.Flow("posts")
posts = flow.source("posts", Post, hw.http_source("/posts", partitions=PARTITIONS), time=hw.INGESTION_TIME)
checked = posts.key_by("client").sequence_check("order", number="number", start=0)
checked.to("out", hw.to_jsonl("out.jsonl"))
for side in ("gaps", "repeats", "reordered"):
    checked.side(side).to(f"{side}_out", hw.to_jsonl(f"{side}.jsonl"))
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


class Client:
    """Posts numbers, each again until it is acknowledged, and only then the next."""

    def __init__(self, at: Address, path: str, name: str) -> None:
        self.at, self.path, self.name = at, path, name
        self.acknowledged: list[int] = []
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._post, daemon=True)

    def _post(self) -> None:
        while not self.stop.is_set():
            number = len(self.acknowledged)
            body = json.dumps({"client": self.name, "number": number, "id": self.name, "at": number}).encode()
            headers = {
                "content-type": "application/json",
                "idempotency-key": f"{self.name}-{number}",
                "partition-key": self.name,
            }
            try:
                found = ask(self.at, "POST", self.path, body, headers)
            except OSError:
                continue
            if found.status == 200:
                self.acknowledged.append(number)
            else:
                assert found.status in (0, 503), found


@pytest.mark.parametrize("point", POINTS)
def test_killed_at_a_point(tmp_path: Path, point: str) -> None:
    """What was written and not synced is lost in part: so the last write is torn."""
    port, chance = free_port(), chance_of("ingest")
    crashes = Crashes(tmp_path / "crashes")
    clients = [Client(Address("127.0.0.1", port), "/orders", f"c{number}") for number in range(4)]
    for attempt in range(3):
        crashes.arm(Kill(point, 5 + 10 * attempt))
        command = [sys.executable, "-m", "tests.ingest_child", str(tmp_path), str(port)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=crashes.environment) as process:
            assert process.stdout is not None
            assert int(process.stdout.readline()) == port
            if attempt == 0:
                for client in clients:
                    client.thread.start()
            assert process.wait(60) == -signal.SIGKILL
        assert bool(crashes.lose_power(chance)) == (point == "inbox.after")
    for client in clients:
        client.stop.set()
    for client in clients:
        client.thread.join()
    directory = tmp_path / "inbox" / "orders" / "0"
    Inbox(directory, InboxSettings(), room_bytes=0).close()
    lines = [json.loads(line) for line in lines_of(tmp_path, "orders/0")]
    for client in clients:
        found = [line["number"] for line in lines if line["client"] == client.name]
        assert found[: len(client.acknowledged)] == client.acknowledged
        assert found == list(range(len(found))), "once, and in order"
        assert len(found) - len(client.acknowledged) <= 1
    assert sum(len(client.acknowledged) for client in clients) > 10


def server_of(started: Started) -> list[int]:
    """The process of the server of a run."""
    found = []
    for pid in children(started.pid):
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if b"headway.ingest.server" in command and is_alive(pid):
            found.append(pid)
    return found


@pytest.mark.parametrize(("workers", "partitions", "rounds"), [(1, 1, 4), (2, 3, 3)])
def test_killed_at_random(tmp_path: Path, workers: int, partitions: int, rounds: int) -> None:
    """The server, or the whole run, is killed again and again while clients post."""
    chance = random.Random(workers)
    (tmp_path / "flow.py").write_text(FLOW.replace("PARTITIONS", str(partitions)))
    port = free_port()
    arguments = ["flow.py", "--state", "state", "--workers", workers, "--epoch", "50ms"]
    clients = [Client(Address("127.0.0.1", port), "/posts", f"c{number}") for number in range(4)]

    def done() -> int:
        return sum(len(client.acknowledged) for client in clients)

    def await_more(events: int, started: Started) -> None:
        # A server that is about to end still takes some.
        await_true(lambda: "takes events" in started.log.read_text() or not is_alive(started.pid), "a server")
        wanted = done() + events
        await_true(lambda: done() > wanted or not is_alive(started.pid), "events")
        started.check_running()

    for client in clients:
        client.thread.start()
    started = Started(tmp_path, *arguments, "--listen", f"127.0.0.1:{port}")
    try:
        for number in range(rounds):
            await_more(chance.randrange(5, 100), started)
            if number % 2 == 0:
                started.kill(server_of(started))
            else:
                started.kill([started.pid])
                started.process.wait()
                started = Started(tmp_path, *arguments, "--listen", f"127.0.0.1:{port}")
        await_more(20, started)
        for client in clients:
            client.stop.set()
        for client in clients:
            client.thread.join()
        send(started.pid, signal.SIGTERM)
        code, err = started.outcome()
        assert code == 0, err
    finally:
        for client in clients:
            client.stop.set()
        started.end()
    told = run(tmp_path, *arguments, "--drain")
    posts = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    counted = Counter((post["client"], post["number"]) for post in posts)
    assert set(counted.values()) == {1}
    for client in clients:
        numbers = sorted(number for name, number in counted if name == client.name)
        assert numbers == list(range(len(numbers)))
        assert len(client.acknowledged) <= len(numbers) <= len(client.acknowledged) + 1
    assert told["late"] == 0, "with ingestion time nothing comes too late"
    for side in ("gaps", "repeats", "reordered"):
        assert (tmp_path / f"{side}.jsonl").read_text() == "", "the order of acknowledgements is that of the flow"
