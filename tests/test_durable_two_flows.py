"""Two flows that talk, by HTTP, each a run of its own: a pattern starts a function in the other one, which answers, and
a pattern on the answer signals the function. Whichever process is killed, whenever: the end is that of the work.
"""

from __future__ import annotations

import json
import shutil
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("uvicorn", reason="the extra `serve` is not installed")
pytest.importorskip("httptools", reason="the extra `http` is not installed")

from benchmarks.places import free_ports
from tests import two_flows_checks, two_flows_orders
from tests.cluster_harness import PATIENCE_S
from tests.kills_harness import Chaos, chance_of
from tests.web_harness import ask

from headway.state.reader import StateReader
from headway.web.addresses import Address


def work(orders: int) -> list[list[dict[str, Any]]]:
    """What is posted, a request for each order: a third of them is doubted, and a third paid before the doubt."""
    posted: list[list[dict[str, Any]]] = []
    for number in range(orders):
        order = f"o{number}"
        placed: dict[str, Any] = {"order": order, "kind": "placed", "cents": number}
        paid, doubted = {"order": order, "kind": "paid"}, {"order": order, "kind": "doubted"}
        posted.append([placed, doubted] if number % 3 else [placed, paid, doubted])
    return posted


def verdicts(orders: int) -> dict[str, str]:
    """The verdict on each order that is to be checked."""
    return {
        f"o{number}": "good" if (3 * len(f"o{number}") + number) % 2 else "bad"
        for number in range(orders)
        if number % 3
    }


class Pair:
    """Both flows, and what has become of their work."""

    def __init__(self, place: Path, test: str, *, workers_max: int) -> None:
        chance = chance_of(test)
        self.chance = chance
        ports = free_ports(2)
        self.orders_at = Address("127.0.0.1", ports[0])
        self.runs: list[Chaos] = []
        for name, module, port, setting in (
            ("orders", two_flows_orders, ports[0], f"checks=http://127.0.0.1:{ports[1]}"),
            ("checks", two_flows_checks, ports[1], f"orders=http://127.0.0.1:{ports[0]}"),
        ):
            directory = place / name
            directory.mkdir()
            shutil.copy(str(module.__file__), directory / "flow.py")
            options = ("--listen", f"127.0.0.1:{port}", "--set", setting, "--quiet")
            self.runs.append(Chaos(directory, chance, options, workers_max=workers_max))
        self.failure: BaseException | None = None

    def post(self, requests: list[list[dict[str, Any]]]) -> None:
        """Post them all, each until it is taken."""
        try:
            for number, request in enumerate(requests):
                until_s = time.monotonic() + 2 * PATIENCE_S
                while not self._is_taken(f"k{number}", request):
                    assert time.monotonic() < until_s, f"request {number} is not taken"
                    time.sleep(0.02)
        except BaseException as error:
            self.failure = error

    def _is_taken(self, key: str, request: list[dict[str, Any]]) -> bool:
        headers = {"content-type": "application/json", "idempotency-key": key}
        try:
            found = ask(self.orders_at, "POST", "/events", json.dumps(request).encode(), headers)
        except OSError:
            return False
        assert found.status in (0, 200, 503), found
        return found.status == 200

    @property
    def settled(self) -> list[dict[str, Any]]:
        return lines_of(self.runs[0].directory / "settled.jsonl")

    @property
    def ended(self) -> list[dict[str, Any]]:
        return lines_of(self.runs[1].directory / "ended.jsonl")

    @property
    def effects(self) -> Counter[str]:
        path = self.runs[1].directory / "effects.txt"
        return Counter(path.read_text().splitlines() if path.exists() else [])

    def await_true(self, condition: Callable[[], bool], what: str) -> None:
        until_s = time.monotonic() + 2 * PATIENCE_S
        while not condition():
            if self.failure is not None:
                raise self.failure
            for run in self.runs:
                run.run.check_running()
            assert time.monotonic() < until_s, f"waited in vain for {what}: {len(self.settled)}, {len(self.ended)}"
            time.sleep(0.01)


def lines_of(path: Path) -> list[dict[str, Any]]:
    data = path.read_bytes() if path.exists() else b""
    return [json.loads(line) for line in data[: data.rfind(b"\n") + 1].splitlines()]


def talk(place: Path, name: str, *, orders: int, kills: int, workers_max: int = 1) -> None:
    pair = Pair(place, name, workers_max=workers_max)
    expected = verdicts(orders)
    posting = threading.Thread(target=pair.post, args=[work(orders)])
    moments = sorted(pair.chance.randrange(3 * len(expected)) for _ in range(kills))
    try:
        for run in pair.runs:
            run.start()
        posting.start()
        for moment in moments:
            pair.await_true(lambda at=moment: pair.effects.total() >= at, f"{moment} effects")  # type: ignore[misc]
            victim = pair.chance.randrange(2)
            sys.stdout.write(f"{moment} effects: kills in {pair.runs[victim].directory.name}\n")
            pair.runs[victim].kill()
        pair.await_true(lambda: len(pair.ended) >= len(expected), "the end of all functions")
        for run in pair.runs:
            run.stop()
        posting.join()
    finally:
        for run in pair.runs:
            run.end()
    check(pair, expected)


def check(pair: Pair, expected: dict[str, str]) -> None:
    """Each doubt was settled once and its function has ended once; nothing is under way."""
    assert Counter(one["order"] for one in pair.settled) == dict.fromkeys(expected, 1)
    assert {one["order"]: one["verdict"] for one in pair.settled} == expected
    assert Counter(one["id"] for one in pair.ended) == dict.fromkeys(expected, 1)
    results = {one["id"]: json.loads(one["result"]) for one in pair.ended}
    assert results == {order: f"{verdict}, and settled as {verdict}" for order, verdict in expected.items()}
    steps = {f"{order}/{step}" for order in expected for step in ("look-1", "look-2", "tell")}
    assert pair.effects.keys() == steps
    for run in pair.runs:
        [state] = (run.directory / ".headway").iterdir()
        with StateReader(state) as reader:
            waiting = [q.waiting for one in reader.manifest.outputs.values() for q in reader.deliveries(one.id)]
        assert sum(waiting) == 0, "something was not delivered, and all was waited for"


@pytest.mark.parametrize(("kills", "workers_max"), [(0, 1), (8, 1), (8, 2)])
def test_two_flows_that_talk_come_to_the_same_end(tmp_path: Path, kills: int, workers_max: int) -> None:
    talk(tmp_path, "two flows", orders=60, kills=kills, workers_max=workers_max)


@pytest.mark.soak
@pytest.mark.parametrize("number", range(10))
def test_two_flows_of_several_workers_come_to_the_same_end(tmp_path: Path, number: int) -> None:
    talk(tmp_path, f"two flows {number}", orders=200, kills=15, workers_max=3)
