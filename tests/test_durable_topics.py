"""Steps that are answered by messages: requests to a file, replies from another one, in runs and against a model."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Optional

import pytest
from tests.durable_harness import PATIENCE_S, start

import headway as hw
from headway import durable_workflow
from headway.durable.inputs import PATH
from headway.durable.messages import Body, Cancel, message
from headway.inbox.commits import Inbox, item_of
from headway.inbox.settings import InboxSettings
from headway.runtime.run import RunOptions, RunResult, run_flow
from headway.runtime.stopping import StopFlag
from headway.state.reader import StateReader
from headway.testing import FunctionTest, fails


class Offer(hw.Event):
    cents: int
    shop: str = ""


@durable_workflow
async def buy(context: Any, item: str) -> Any:
    try:
        offer = await context.call("quote", item=item, amount=2)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return [offer.cents, offer.shop]


@durable_workflow
async def ask_twice(context: Any) -> list[int]:
    offers = await context.gather(*(context.call("quote", item=item) for item in ("a", "b")))
    return [offer.cents for offer in offers]


@durable_workflow
async def ask_in(context: Any, queue: str) -> int:
    """Calls a step of a queue, and the topic step."""
    await context.call("abs" if queue == "processes" else "plain", -1)
    offer = await context.call("quote", item=queue)
    return int(offer.cents)


@durable_workflow
async def ask_both(context: Any, calls: int) -> list[int]:
    """Two steps that share a topic of replies."""
    quotes = await context.gather(*(context.call("quote", item=number) for number in range(calls)))
    rates = await context.gather(*(context.call("rate", item=number) for number in range(calls)))
    return [*(one.cents for one in quotes), *rates]


class World:
    """A flow whose requests go to a file, and whoever answers them."""

    def __init__(self, directory: Path, *more: Any, **options: Any) -> None:
        self.directory = directory
        directory.mkdir(exist_ok=True)
        (directory / "replies.jsonl").touch()
        self.ended: list[Any] = []
        self.unclaimed: list[Any] = []
        quote = hw.topic_step(
            "quote",
            options.pop("to", None) or hw.to_jsonl(directory / "requests.jsonl"),
            hw.files(directory / "replies.jsonl"),
            **{"returns": Offer, **options},
        )
        self.flow = hw.Functions("shop", [buy, ask_twice, ask_in, ask_both], steps=[quote, *more])
        self.flow.ended.to("ended", hw.to_list(self.ended))
        self.flow.unclaimed.to("unclaimed", hw.to_list(self.unclaimed))

    def tell(self, *messages: tuple[str, Body]) -> None:
        inbox = Inbox(self.directory / "state" / "inbox" / PATH[1:].replace("/", ".") / "0", InboxSettings())
        for to, body in messages:
            inbox.commit([[item_of(message(to, body))]])
        inbox.close()

    @property
    def requests(self) -> list[dict[str, Any]]:
        path = self.directory / "requests.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return [json.loads(line) for line in lines if line.endswith("}")]

    def reply(self, *replies: Any) -> None:
        with (self.directory / "replies.jsonl").open("a") as file:
            file.write("".join(json.dumps(reply) + "\n" for reply in replies))

    def run(self, until: Callable[[], bool], before: Optional[Callable[[], None]] = None) -> RunResult:
        """Run until something holds; `before` is called again and again meanwhile."""
        deadline = time.monotonic() + PATIENCE_S

        def stops() -> bool:
            assert time.monotonic() < deadline, "it takes too long"
            if before is not None:
                before()
            return until()

        options = RunOptions(self.directory / "state", key_groups=2, epoch_ms=20, follow=True)
        return run_flow(self.flow, options, stop=StopFlag(stops))

    def answering(self, answer: Callable[[dict[str, Any], int], Any]) -> Callable[[], None]:
        """Answers each request that was not answered before; `answer` gets its data and how many came before."""
        answered = 0

        def look() -> None:
            nonlocal answered
            for request in self.requests[answered:]:
                found = answer(request["data"], answered)
                answered += 1
                if found is not None:
                    self.reply(found)

        return look

    def rows(self) -> dict[str, Any]:
        with StateReader(self.directory / "state") as reader:
            return {row.key: row for row in reader.rows("functions")}


def test_a_request_and_its_reply(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.tell(("buy/o/1", start("lamp")), ("ask_twice/x", start()))
    answer = world.answering(lambda data, _: {"key": data["key"], "cents": len(data["item"]), "shop": "north"})
    world.run(lambda: len(world.ended) == 2, answer)
    assert {one["id"]: json.loads(one["result"]) for one in world.ended} == {"o/1": [4, "north"], "x": [1, 1]}
    by_key = {request["data"]["key"]: request for request in world.requests}
    assert set(by_key) == {"buy/o/1#0.1.quote", "ask_twice/x#0.1.quote", "ask_twice/x#0.2.quote"}
    lamp = by_key["buy/o/1#0.1.quote"]
    assert lamp["data"] == {"key": "buy/o/1#0.1.quote", "item": "lamp", "amount": 2}
    assert lamp["type"] == "quote.requested"
    assert all(not row.state["topics"] and set(row.timers) == {"retention"} for row in world.rows().values())
    assert world.unclaimed == []


def test_a_call_waits_from_run_to_run(tmp_path: Path) -> None:
    """Nothing is in memory: each run does something, and leaves what waits alone; the last one reads its reply."""

    def world() -> World:
        return World(tmp_path, timeout="30d")

    def asked(of: World) -> list[str]:
        return sorted(request["data"]["key"] for request in of.requests)

    expected = []
    for number in range(3):
        run = world()
        run.tell((f"buy/{number}", start("lamp")))
        expected.append(f"buy/{number}#0.1.quote")
        run.run(lambda run=run: asked(run) == expected)  # type: ignore[misc]
        rows = run.rows()
        assert {key: list(row.timers) for key, row in rows.items()} == {
            f"buy/{one}": ["call 1"] for one in range(number + 1)
        }
        assert rows["buy/0"].state["waits"] == ["step quote"]
    last = world()
    last.reply({"key": "buy/0#0.1.quote", "cents": 7})
    last.run(lambda: len(last.ended) == 1)
    assert json.loads(last.ended[0]["result"]) == [7, ""]
    assert asked(last) == expected, "a call that waits is not published again"


def test_replies_for_nobody_are_told(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.tell(("buy/1", start("lamp")), ("buy/gone", start("lamp")))

    def answer(data: dict[str, Any], _: int) -> Any:
        if data["key"] == "buy/gone#0.1.quote":
            return None
        world.reply({"key": data["key"], "cents": 1}, {"key": data["key"], "cents": 2})
        world.reply(
            {"key": "buy/nobody#0.1.quote", "cents": 3}, {"key": "sell/1#0.1.quote"}, {"key": "lamp"}, {"cents": 4}, [5]
        )
        return None

    world.run(lambda: len(world.ended) == 1 and len(world.unclaimed) == 2, world.answering(answer))
    assert json.loads(world.ended[0]["result"]) == [1, ""], "the first one counts"
    told = sorted((one["to"], one["reason"]) for one in world.unclaimed)
    assert told == [("buy/1", "it is completed"), ("buy/nobody", "there is no such instance")]
    world.tell(("buy/gone", Cancel("enough")))
    world.run(lambda: len(world.ended) == 2)
    world.reply({"key": "buy/gone#0.1.quote", "cents": 3})
    result = world.run(lambda: len(world.unclaimed) == 3)
    assert result.stats.tallies["functions"]["buy/stray"] == 3
    assert result.stats.dead_letters == 4
    folder = tmp_path / "state" / "dead-letters"
    letters = [
        json.loads(line) for path in folder.rglob("*") if path.is_file() for line in path.read_text().splitlines()
    ]
    assert len(letters) == 4
    reasons = " ".join(letter["reason"] for letter in letters)
    for said in ("there is no such function", "key='lamp', which is the key of no call", "key=None"):
        assert said in reasons


@pytest.mark.parametrize(
    ("reply", "result"),
    [
        (
            {"error": {"type": "SoldOut", "message": "none left", "non_retryable": True}},
            "quote' has failed: SoldOut: none",
        ),
        ({"error": None, "shop": "north"}, "has failed: ResultError: the result of topic step 'quote': Object missing"),
        ({"cents": "much"}, "has failed: ResultError: the result of topic step 'quote': Expected `int`, got `str`"),
    ],
)
def test_replies_that_are_failures(tmp_path: Path, reply: dict[str, Any], result: str) -> None:
    world = World(tmp_path)
    world.tell(("buy/1", start("lamp")))
    world.run(lambda: len(world.ended) == 1, world.answering(lambda data, _: {"key": data["key"], **reply}))
    assert result in json.loads(world.ended[0]["result"])
    assert len(world.requests) == 1


def test_what_fails_or_is_silent_is_published_again(tmp_path: Path) -> None:
    world = World(tmp_path, retry=hw.RetryPolicy(initial="50ms", coefficient=1.0), attempt_timeout="1s")
    world.tell(("buy/1", start("lamp")))

    def answer(data: dict[str, Any], before: int) -> Any:
        return [{"key": data["key"], "error": "busy"}, None, {"key": data["key"], "cents": 5}][min(before, 2)]

    world.run(lambda: len(world.ended) == 1, world.answering(answer))
    assert json.loads(world.ended[0]["result"]) == [5, ""]
    # On a busy machine an answer may come too late for its attempt, and then there are more.
    assert {request["data"]["key"] for request in world.requests} == {"buy/1#0.1.quote"} and len(world.requests) >= 3
    assert len({request["id"] for request in world.requests}) == len(world.requests), "each is published on its own"


def test_what_is_published_again_passes_a_target_that_keeps_ids(tmp_path: Path) -> None:
    """Such a target takes what comes twice for one trigger: a second request has to be another one."""
    table = tmp_path / "requests.db"
    retry = hw.RetryPolicy(initial="10ms", maximum_attempts=3)
    to = hw.sqlite(table, "requests")
    world = World(tmp_path, to=to, retry=retry, attempt_timeout="50ms")
    world.tell(("buy/1", start("lamp")))

    def keys() -> list[str]:
        with closing(sqlite3.connect(table)) as database:
            if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'requests'").fetchall():
                return []
            return [json.loads(data)["key"] for (data,) in database.execute("SELECT data FROM requests")]

    world.run(lambda: len(world.ended) == 1 and len(keys()) == 3)
    assert keys() == 3 * ["buy/1#0.1.quote"]


def test_queues_that_are_added_later_take_none_of_its_calls(tmp_path: Path) -> None:
    """A queue is added with the first step that names it, behind the topic step and before it."""
    world = World(tmp_path)
    world.flow.step(runs_in="process", name="abs")(absolute)
    world.flow.step(name="plain")(absolute)
    world.tell(("ask_in/p", start("processes")), ("ask_in/d", start("default")))
    answer = world.answering(lambda data, _: {"key": data["key"], "cents": 7})
    world.run(lambda: len(world.ended) == 2, answer)
    assert [one["result"] for one in world.ended] == ["7", "7"]
    assert len(world.requests) == 2


def absolute(value: int) -> int:
    return abs(value)


def test_two_steps_share_a_topic_of_replies(tmp_path: Path) -> None:
    """A reply is for the step that its key names, before the call is answered and after that."""
    replies = hw.files(tmp_path / "replies.jsonl")
    rate = hw.topic_step("rate", hw.to_jsonl(tmp_path / "rates.jsonl"), replies, value="percent", returns=int)
    world = World(tmp_path, rate)
    world.tell(("ask_both/1", start(3)))
    quotes = world.answering(lambda data, _: {"key": data["key"], "cents": 10 + data["item"]})
    rates_told = 0

    def answer() -> None:
        nonlocal rates_told
        quotes()
        path = tmp_path / "rates.jsonl"
        lines = [line for line in path.read_text().splitlines() if line.endswith("}")] if path.exists() else []
        for data in [json.loads(line)["data"] for line in lines[rates_told:]]:
            world.reply({"key": data["key"], "percent": data["item"]})
            rates_told += 1

    result = world.run(lambda: len(world.ended) == 1, answer)
    assert json.loads(world.ended[0]["result"]) == [10, 11, 12, 0, 1, 2]
    assert {request["data"]["key"] for request in world.requests} == {
        f"ask_both/1#0.{call}.quote" for call in (1, 2, 3)
    }
    world.reply({"key": "ask_both/1#0.1.rate", "percent": 5}, {"key": "ask_both/1#0.1.price", "cents": 5})
    result = world.run(lambda: len(world.unclaimed) == 1)
    assert world.unclaimed[0]["reason"] == "it is completed"
    assert "ask_both/stray" in result.stats.tallies["functions"]
    assert result.stats.tallies["functions"]["ask_both/stray"] == 1
    assert result.stats.dead_letters == 2, "nobody's reply is refused by each of the steps that read it"


def test_names_of_steps_and_of_queues_do_not_clash(tmp_path: Path) -> None:
    for name in ("call", "aside", "message", "call-default", "functions"):
        step = hw.topic_step(name, hw.to_jsonl(tmp_path / f"{name}.jsonl"), hw.files(tmp_path / f"{name}.in.jsonl"))
        flow = hw.Functions("shop", steps=[step], queues=[hw.Queue("other")])
        assert flow.callees[name] is step


@pytest.mark.parametrize(
    ("options", "said", "published"),
    [
        ({"timeout": "100ms"}, "TimeoutError: not done in 100ms", 1),
        (
            {"attempt_timeout": "50ms", "retry": hw.RetryPolicy(initial="10ms", maximum_attempts=3)},
            "TimeoutError: no reply in 50ms (attempt_timeout)",
            3,
        ),
        (
            {"attempt_timeout": "30ms", "timeout": "100ms", "retry": hw.RetryPolicy(initial="1h")},
            "not done in 100ms",
            1,
        ),
    ],
)
def test_nobody_answers(tmp_path: Path, options: dict[str, Any], said: str, published: int) -> None:
    world = World(tmp_path, **options)
    world.tell(("buy/1", start("lamp")))
    world.run(lambda: len(world.ended) == 1)
    assert said in json.loads(world.ended[0]["result"])
    world.run(lambda: len(world.requests) == published)


def test_fakes_stand_in_for_it(tmp_path: Path) -> None:
    world = World(tmp_path)
    fakes: dict[str, Any] = {"quote": lambda item, amount: Offer(cents=10 * amount)}
    assert FunctionTest(buy, world.flow, steps=fakes).run("lamp").result == [20, ""]
    failed = FunctionTest(buy, world.flow, steps={"quote": fails(OSError("down"))}).run("lamp")
    assert failed.result == "StepError: step 'quote' has failed: OSError: down"
