"""Steps that are answered over a real broker while the flow's processes are killed: each call is answered once."""

from __future__ import annotations

import json
import os
import random
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.cluster_harness import PATIENCE_S, Started
from tests.servers import RedisServer, redis_server

from headway.durable.inputs import PATH
from headway.durable.messages import Start, message
from headway.inbox.commits import Inbox, item_of
from headway.inbox.settings import InboxSettings

BUYS = 30

FLOW = """
import os
import headway as hw
from headway import durable_workflow

@durable_workflow
async def buy(context, number: int) -> int:
    first = await context.call("quote", item=f"i{number}", part=0)
    others = await context.gather(*(context.call("quote", item=f"i{number}", part=part) for part in (1, 2)))
    return first + sum(others)

url = os.environ["REDIS"]
quote = hw.topic_step(
    "quote", hw.to_redis_stream(url, "requests"), hw.redis_stream(url, "replies"), value="cents", returns=int
)
flow = hw.Functions("shop", [buy], steps=[quote], live_most=5)
flow.ended.to("ended", hw.to_jsonl("ended.jsonl"))
"""


class Shop:
    """Answers requests, some of them twice; forgets nothing while the flow is down."""

    def __init__(self, server: RedisServer, chance: random.Random) -> None:
        import redis

        self.keys: list[str] = []
        self._client: Any = redis.Redis.from_url(server.url)
        self._chance = chance
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._answer, daemon=True)
        self._thread.start()

    def _answer(self) -> None:
        last: Any = "0"
        while not self._stop.is_set():
            for _, entries in self._client.xread({"requests": last}, count=10, block=100):
                for entry, fields in entries:
                    last = entry
                    asked = json.loads(fields[b"data"])
                    self.keys.append(asked["key"])
                    reply = {"key": asked["key"], "cents": 10 * int(asked["item"][1:]) + asked["part"]}
                    for _ in range(self._chance.choice((1, 1, 2))):
                        self._client.xadd("replies", {"value": json.dumps(reply)})

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self._client.close()


def ended(directory: Path) -> list[dict[str, Any]]:
    path = directory / "ended.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")] if path.exists() else []


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.soak), 2])
def test_killed_between_requests_and_replies(tmp_path: Path, workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    seed = int(os.environ.get("HEADWAY_SEED", "0")) or random.randrange(1 << 30)
    sys.stdout.write(f"HEADWAY_SEED={seed}\n")
    chance = random.Random(seed)
    server = redis_server()
    import redis

    with redis.Redis.from_url(server.url) as client:
        client.delete("requests", "replies", "{requests}:headway")
    monkeypatch.setenv("REDIS", server.url)
    (tmp_path / "flow.py").write_text(FLOW)
    inbox = Inbox(tmp_path / "state" / "inbox" / PATH[1:].replace("/", ".") / "0", InboxSettings())
    for number in range(BUYS):
        inbox.commit([[item_of(message(f"buy/{number}", Start(msgspec.Raw(b"[%d]" % number))))]])
    inbox.close()
    shop = Shop(server, chance)
    arguments = ("flow.py", "--follow", "--quiet", "--state", "state", "--epoch", "50ms", "--workers", workers)
    started = None
    try:
        for kill_at in sorted(chance.sample(range(1, 3 * BUYS), 2)):
            started = Started(tmp_path, *arguments, "--key-groups", 4)
            until = time.monotonic() + PATIENCE_S
            while len(shop.keys) < kill_at and time.monotonic() < until:
                started.check_running()
                time.sleep(0.002)
            started.end()
        started = Started(tmp_path, *arguments, "--key-groups", 4)
        until = time.monotonic() + PATIENCE_S
        while len(ended(tmp_path)) < BUYS and time.monotonic() < until:
            started.check_running()
            time.sleep(0.02)
        started.process.terminate()
        code, told = started.outcome()
        assert code == 0, told
    finally:
        if started is not None:
            started.end()
        shop.close()
    assert {int(one["id"]): int(one["result"]) for one in ended(tmp_path)} == {n: 30 * n + 3 for n in range(BUYS)}
    assert len(ended(tmp_path)) == BUYS
    expected = {f"buy/{number}#0.{call}.quote" for number in range(BUYS) for call in (1, 2, 3)}
    assert Counter(shop.keys) == Counter(expected), "each request is in the stream once"
