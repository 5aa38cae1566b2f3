"""From a post to a webhook and to a decision, with kills of the ingest server, the views, the run and the receiver.

Clients post numbers, each again until it is acknowledged. What must hold: each acknowledged event has led to one
trigger by its id, in the order in which its client was acknowledged; and whoever asks a view with a receipt sees its
event, and never less than before.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("uvicorn", reason="the extra `serve` is not installed")

from tests.hostile_receiver import SECRET
from tests.kills_harness import Chaos, Json, Receiver, chance_of, check_webhooks, lines_of, needs_http, server_of
from tests.test_views_cli import free_port
from tests.web_harness import ask

import headway as hw
from headway.client import Client as Views
from headway.client import ServiceError
from headway.web.addresses import Address

FLOW = """
import os

import headway as hw


class Post(hw.Event):
    client: str
    number: int


class Seen(hw.State):
    count: int = 0
    last: int = -1


class Count(hw.Operator[Post, Seen, hw.Json]):
    def on_event(self, state: Seen, event: Post, ctx: hw.Context[hw.Json]) -> None:
        state.count += 1
        state.last = event.number
        ctx.emit({"client": event.client, "number": event.number, "place": state.count, "nonce": os.urandom(8).hex()})


flow = hw.Flow("posts")
posts = flow.source("posts", Post, hw.http_source("/posts", partitions=3), time=hw.INGESTION_TIME)
counted = posts.key_by("client").process("count", Count())
counted.trigger("written", hw.to_jsonl("written.jsonl"))
counted.trigger("posted", hw.webhook("URL", secret="SECRET", timeout="1s"), retry_first="50ms", retry_longest="1s")
flow.serve("seen", hw.state_of(counted))
"""


class Seen(hw.State):
    count: int = 0
    last: int = -1


class Client:
    """Posts numbers in a thread, each until it is acknowledged, and in another reads what has become of them."""

    def __init__(self, ingest: Address, views: str, name: str) -> None:
        self.name = name
        self.acknowledged: list[Json] = []
        self.repeated = 0
        """Numbers that were posted more than once."""
        self.reads = 0
        self.seen = 0
        """Events in the newest answer that had to include what was acknowledged before it."""
        self.failure: BaseException | None = None
        self._ingest, self._views = ingest, views
        self._stop = threading.Event()
        self._allowed = threading.Semaphore(0)
        self._threads = [threading.Thread(target=self._safely, args=[work]) for work in (self._post, self._read)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def allow(self, posts: int) -> None:
        """So many posts more; behind them it is silent."""
        self._allowed.release(posts)

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def check(self) -> None:
        if self.failure is not None:
            raise self.failure

    def _safely(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            self.failure = error

    def _post(self) -> None:
        attempts = 0
        while not self._stop.is_set():
            if attempts == 0 and not self._allowed.acquire(timeout=0.05):
                continue
            number = len(self.acknowledged)
            body = json.dumps({"client": self.name, "number": number}).encode()
            headers = {
                "content-type": "application/json",
                "idempotency-key": f"{self.name}-{number}",
                "partition-key": self.name,
            }
            attempts += 1
            try:
                found = ask(self._ingest, "POST", "/posts", body, headers)
            except OSError:
                continue
            if found.status == 200:
                self.acknowledged.append(found.json)
                self.repeated += attempts > 1
                attempts = 0
            else:
                assert found.status in (0, 503), found

    def _read(self) -> None:
        with Views(self._views, timeout_s=20, monotone=True) as client:
            view = client.view("seen", Seen)
            before, epoch = Seen(), 0
            while not self._stop.is_set():
                acknowledged = len(self.acknowledged)
                receipt = self.acknowledged[-1] if acknowledged and self.reads % 2 == 0 else None
                try:
                    answer = view.read(self.name, at_least=receipt, wait="10s" if receipt else 0)
                except ServiceError as error:
                    assert error.status in (0, 412, 503), error
                    continue
                found = answer.value or Seen()
                assert found.count == found.last + 1, "once each, and in order"
                assert found.count >= before.count, f"{found} after {before}"
                assert answer.epoch >= epoch
                assert receipt is None or found.count >= acknowledged, f"{found} does not include {receipt}"
                before, epoch = found, answer.epoch
                self.reads += 1
                self.seen = found.count if receipt is not None else self.seen


@contextlib.contextmanager
def clients_of(count: int, ingest: int, views: int) -> Iterator[list[Client]]:
    clients = [Client(Address("127.0.0.1", ingest), f"http://127.0.0.1:{views}", f"c{n}") for n in range(count)]
    try:
        for client in clients:
            client.start()
        yield clients
    finally:
        for client in clients:
            client.stop()


def kill_and_post(directory: Path, *, rounds: int, posts: int, clients_count: int) -> None:
    needs_http()
    chance = chance_of("ingest")
    receiver = Receiver(directory, chance, 30)
    receiver.start()
    (directory / "flow.py").write_text(FLOW.replace("URL", receiver.url).replace("SECRET", SECRET))
    ingest, views = free_port(), free_port()
    listening = ("--listen", f"127.0.0.1:{ingest}", "--serve", f"127.0.0.1:{views}")
    chaos = Chaos(directory, chance, listening)

    def kill_a_server() -> None:
        module = chance.choice([b"headway.ingest.server", b"headway.serving.server"])
        chaos.run.kill(server_of(chaos.run, module))

    try:
        chaos.start()
        with clients_of(clients_count, ingest, views) as clients:

            def await_each(is_there: Callable[[Client], bool], what: str) -> None:
                def is_there_for_each() -> bool:
                    for client in clients:
                        client.check()
                    return all(map(is_there, clients))

                chaos.await_true(is_there_for_each, what)

            allowed = 0
            for number in range(rounds):
                allowed += posts
                for client in clients:
                    client.allow(posts)
                moment = allowed - chance.randrange(posts)
                await_each(lambda client: len(client.acknowledged) >= moment, f"{moment} posts")  # noqa: B023
                if number % 3 == 2:
                    await_each(lambda client: client.seen >= moment, f"a reader who sees {moment}")  # noqa: B023
                chance.choice([kill_a_server, chaos.kill, receiver.restart])()
            # Nothing more is posted behind the last ones: nothing of them may wait for more.
            await_each(lambda client: client.seen >= allowed, f"readers who see all {allowed}")
        for client in clients:
            client.check()
        chaos.await_count(lambda: len(receiver.taken()), allowed * clients_count, "triggers")
        chaos.stop()
        receiver.restart(evil_of=1 << 30)
        chaos.finish("--drain")
    finally:
        chaos.end()
        receiver.kill()
    written = lines_of(directory / "written.jsonl")
    # The file is in the order of time, and several events may have come in one millisecond.
    written.sort(key=lambda line: line["data"]["place"])
    for client in clients:
        numbers = [line["data"]["number"] for line in written if line["subject"] == client.name]
        assert numbers == list(range(len(client.acknowledged))), "once each, and in the order of the acknowledgements"
    check_webhooks(receiver.records(), written)


def test_each_acknowledged_event_leads_to_one_trigger(tmp_path: Path) -> None:
    kill_and_post(tmp_path, rounds=4, posts=20, clients_count=3)


@pytest.mark.soak
@pytest.mark.parametrize("clients_count", [1, 8])
def test_each_acknowledged_event_leads_to_one_trigger_for_long(tmp_path: Path, clients_count: int) -> None:
    kill_and_post(tmp_path, rounds=30, posts=60, clients_count=clients_count)
