"""`headway demo`: the whole story, with real processes; and its flow, whose processes are killed at any moment."""

from __future__ import annotations

import base64
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tests.cluster_harness import PATIENCE_S, children

from headway.demo.services import HOOKS, Heard, Services
from headway.demo.shop import Shop
from headway.state.reader import StateReader

for needed in ("httptools", "uvicorn", "starlette"):
    pytest.importorskip(needed, reason=f"{needed} is not installed: pip install 'headway[http,serve]'")


def test_the_demo_tells_a_story_that_is_true() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "headway", "demo"], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert not done.stderr
    told = done.stdout
    assert max(len(line) for line in told.splitlines() if not line.startswith("  $")) <= 140
    assert "200 steps/0@0, duplicate" in told
    assert len(re.findall(r"GET /v1/views/carts/ann +-> lamp for 49.00", told)) == 2
    assert re.search(r"GET /v1/views/carts/ben +-> no cart", told)
    hooks = re.findall(r"cart.abandoned (\w+) +.*, id (\w+)\.\.\., (.*)", told)
    assert {user for user, _, _ in hooks} == {"ann", "cleo", "dan"}
    assert len({hook for _, hook, _ in hooks}) == 3, "the one that was refused came again with another id"
    assert all("its signature is right" in said for _, _, said in hooks)
    assert sum("503" in said for _, _, said in hooks) == 1
    assert told.count("kill -9") == 2 and len(re.findall(r"it goes on after \d+\.\d s", told)) == 2
    calls = re.findall(r"^   ([a-z]+_[a-z]+) +(\w+) +key (\S+?)(:.*)?$", told, re.MULTILINE)
    first = Counter((step, user) for step, user, _, again in calls if not again)
    expected = {(step, user) for step in ("reserve_coupon", "send_mail") for user in ("ann", "cleo", "dan")}
    expected |= {(step, user) for step in ("release_coupon", "ask_person") for user in ("cleo", "dan")}
    assert first == dict.fromkeys(expected, 1), "each has been done once"
    assert ("send_mail", "cleo") in {(step, user) for step, user, _, again in calls if again}
    assert re.search(r'recover_cart/ann-\d+ -> completed: "bought with SAVE-490"', told)
    assert len(re.findall(r'recover_cart/(?:cleo|dan)-\d+ -> completed: "a person was asked"', told)) == 2
    assert f"{len(calls)} calls of services with 10 keys" in told


USERS = 12
SECRET = "whsec_" + base64.b64encode(bytes(32)).decode()


def steps_of(number: int) -> list[dict[str, Any]]:
    """What a visitor does, in one request: every fourth one pays."""
    user = f"u{number}"
    added = [
        {"user": user, "kind": "add", "sku": f"sku-{part}", "cents": 100 * number} for part in range(1 + number % 3)
    ]
    return [*added, *([{"user": user, "kind": "checkout"}] if number % 4 == 0 else [])]


def expected_end() -> tuple[dict[str, list[str]], dict[str, str], set[tuple[str, str]]]:
    """The webhooks, the results of functions, and the effects of steps, by user."""
    hooks: dict[str, list[str]] = {}
    results: dict[str, str] = {}
    effects: set[tuple[str, str]] = set()
    for number in range(USERS):
        steps = steps_of(number)
        if number % 4:
            user = f"u{number}"
            hooks[user] = [step["sku"] for step in steps]
            comes_back = number % 3 == 0
            off = sum(step["cents"] for step in steps) // 10
            results[user] = f"bought with SAVE-{off}" if comes_back else "a person was asked"
            names = ["reserve_coupon", "send_mail", *([] if comes_back else ["release_coupon", "ask_person"])]
            effects |= {(name, user) for name in names}
    return hooks, results, effects


class Ordeal:
    """One run of the shop with fixed work, whose processes are killed at `moments`: counts of calls that were heard."""

    def __init__(self, place: Path, chance: random.Random, moments: list[int]) -> None:
        self.services = Services(SECRET, self._hear)
        self.shop = Shop(place, self.services.url, SECRET, after="2s", patience="2s")
        self._chance = chance
        self._moments = moments
        self._heard = 0
        self._hooks: list[Heard] = []
        self._failed: list[BaseException] = []

    def _hear(self, heard: Heard) -> None:
        self._heard += 1
        if heard.service == HOOKS:
            self._hooks.append(heard)
        elif heard.service == "send_mail" and int(heard.data["user"][1:]) % 3 == 0:
            # The answer to the mail comes once the signal is durable: so the function finds it, whoever is killed.
            cart = heard.key.rpartition("/")[0]
            self.shop.post(f"/v1/functions/recover_cart/{cart}/signals/bought", f"b-{cart}", None)

    def _post_all(self) -> None:
        try:
            for number in range(USERS):
                self.shop.post("/steps", f"s{number}", steps_of(number))
        except BaseException as error:
            self._failed.append(error)
            raise

    def _kill_one(self) -> str:
        """The run, or one of its servers, or all of them at once."""
        assert self.shop.process is not None
        run = self.shop.process.pid
        servers = children(run)
        what = self._chance.choice(["run", "run", "server", "all"])
        victims = [self._chance.choice(servers)] if what == "server" and servers else []
        victims += servers if what == "all" else []
        for victim in victims:
            os.kill(victim, signal.SIGKILL)
        if what != "server":
            self.shop.kill()
            self.shop.start()
        return what

    def go_through(self) -> dict[str, str]:
        """Do all the work; returns the results of the functions, by user."""
        self.shop.start()
        posting = threading.Thread(target=self._post_all)
        posting.start()
        for moment in self._moments:
            self._await(lambda at=moment: self._heard >= at, f"{moment} calls")
            time.sleep(self._chance.random() / 5)  # No wait for anything: it chooses the moment.
            sys.stdout.write(f"{moment} calls: killed {self._kill_one()}\n")
        posting.join()
        hooks, results, effects = expected_end()
        self._await(lambda: len(self.services.effects) >= len(hooks) + len(effects), "all calls")
        found = {}
        for user in results:
            [cart] = {hook.data["id"] for hook in self._hooks if hook.data["user"] == user}
            self._await(lambda name=f"recover_cart/{cart}": self._has_ended(name), f"the end of {user}")
            value, _ = self.shop.ask("functions", f"recover_cart/{cart}")
            found[user] = json.loads(value["result"]) if value["status"] == "completed" else value
        for number in range(USERS):
            assert self.shop.ask("carts", f"u{number}")[0] is None
        return found

    def _has_ended(self, name: str) -> bool:
        value, _ = self.shop.ask("functions", name)
        return value is not None and value["status"] != "running"

    def _await(self, condition: Any, what: str) -> None:
        until_s = time.monotonic() + 2 * PATIENCE_S
        while not condition():
            assert not self._failed, self._failed
            assert time.monotonic() < until_s, f"waited in vain for {what}; {self._heard} calls came"
            time.sleep(0.01)

    def check(self, results: dict[str, str]) -> None:
        """The end is that of the work, whoever was killed."""
        expected_hooks, expected_results, expected_effects = expected_end()
        assert results == expected_results
        assert all(hook.is_signed for hook in self._hooks)
        done = list(self.services.effects.values())
        hooks = [one for one in done if one.service == HOOKS]
        assert Counter(hook.data["user"] for hook in hooks) == dict.fromkeys(expected_hooks, 1)
        assert {hook.data["user"]: hook.data["items"] for hook in hooks} == expected_hooks
        steps = Counter((one.service, one.data["user"]) for one in done if one.service != HOOKS)
        assert steps == dict.fromkeys(expected_effects, 1)
        with StateReader(self.shop.state_dir) as reader:
            waiting = {
                name: sum(q.waiting for q in reader.deliveries(one.id)) for name, one in reader.manifest.outputs.items()
            }
        assert set(waiting.values()) == {0}, waiting


@pytest.mark.parametrize("kills", [0, 5])
def test_killing_anything_at_any_time_changes_nothing_in_the_end(tmp_path: Path, kills: int) -> None:
    seed = int(os.environ.get("HEADWAY_SEED", "0")) or random.randrange(1 << 30)
    sys.stdout.write(f"HEADWAY_SEED={seed}\n")
    chance = random.Random(seed)
    hooks, _, effects = expected_end()
    moments = sorted(chance.randrange(len(hooks) + len(effects)) for _ in range(kills))
    ordeal = Ordeal(tmp_path, chance, moments)
    try:
        results = ordeal.go_through()
        ordeal.shop.stop()
        ordeal.check(results)
    finally:
        ordeal.shop.stop()
        ordeal.services.close()
