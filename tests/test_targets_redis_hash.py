"""Hashes of Redis: the newest value of each key, in whatever order triggers come, and however often."""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.servers import redis_server
from tests.targets_harness import deliver, deliver_with_kills, delivery_of, outcomes, run, with_target

import headway as hw
from headway.errors import UsageError
from headway.targets.base import Answer, Delivery, Guarantee, Outcome, Target
from headway.targets.redis_hash import VERSION_FIELD
from headway.testing import check_target

NAMES = itertools.count()
DONE, NEVER = Outcome.DONE, Outcome.NEVER


def fresh() -> str:
    return f"h{next(NAMES)}"


def client() -> Any:
    import redis

    return redis.Redis.from_url(redis_server().url, decode_responses=True)


def hashes(prefix: str) -> dict[str, dict[str, str]]:
    with client() as asked:
        return {key.partition(":")[2]: asked.hgetall(key) for key in asked.scan_iter(f"{prefix}:*")}


def without_version(prefix: str) -> dict[str, dict[str, str]]:
    return {key: {f: v for f, v in row.items() if f != VERSION_FIELD} for key, row in hashes(prefix).items()}


def test_it_keeps_the_contract() -> None:
    server, prefix = redis_server(), fresh()
    check_target(
        lambda: hw.to_redis_hash(server.url, prefix, key="number"),
        value=lambda number: {"number": number},
        make_unreachable=lambda: hw.to_redis_hash("redis://:swordfish@127.0.0.1:1", prefix),
        secrets=["swordfish"],
    )
    assert len(hashes(prefix)) > 20


def test_a_hash_has_the_fields_of_the_value() -> None:
    prefix = fresh()
    value = {"cart": "a:ü", "cents": 7, "share": 0.5, "fine": True, "no": None, "parts": [1, "x"], "text": 'q"\n\u0000'}
    [answer] = deliver(hw.to_redis_hash(redis_server().url, prefix, key="cart"), [delivery_of(3, value)])
    assert answer.outcome is DONE
    expected = {"cart": "a:ü", "cents": "7", "share": "0.5", "fine": "true", "parts": '[1,"x"]', "text": 'q"\n\u0000'}
    assert without_version(prefix) == {"a:ü": expected}
    assert hashes(prefix)["a:ü"][VERSION_FIELD] == f"{3:020} {delivery_of(3).id}"


def test_what_a_newer_value_does_not_have_is_gone() -> None:
    prefix = fresh()
    deliver(
        hw.to_redis_hash(redis_server().url, prefix),
        [delivery_of(1, {"a": 1, "b": 2}, key="k")],
        [delivery_of(2, {"b": 3}, key="k")],
    )
    assert without_version(prefix) == {"k": {"b": "3"}}


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Delivery], list[list[Delivery]]]:
    """Deliveries of some keys, and batches of them in any order, with repeats, that hold each at least once."""
    count = draw(st.integers(1, 25))
    log = [
        delivery_of(n, {"n": n, "gone": draw(st.booleans())}, key=f"k{draw(st.integers(0, 3))}") for n in range(count)
    ]
    order = draw(st.permutations(log + draw(st.lists(st.sampled_from(log), max_size=15))))
    size = draw(st.integers(1, 8))
    return log, [list(order[at : at + size]) for at in range(0, len(order), size)]


@settings(max_examples=50, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(history=histories())
def test_an_older_value_never_replaces_a_newer_one(history: tuple[list[Delivery], list[list[Delivery]]]) -> None:
    log, batches = history
    prefix = fresh()
    answers = deliver(hw.to_redis_hash(redis_server().url, prefix, delete="gone"), *batches)
    assert set(outcomes(answers)) == {DONE}
    newest = {delivery.subject: msgspec.json.decode(delivery.data) for delivery in log}
    expected = {key: {} if value["gone"] else {"n": str(value["n"]), "gone": "false"} for key, value in newest.items()}
    assert without_version(prefix) == expected


def test_of_two_at_one_time_the_same_one_stays() -> None:
    one, other = (replace(delivery_of(n, {"n": n}, key="k"), sequence="0" * 20) for n in (1, 2))
    found = []
    for order in ([one, other], [other, one]):
        prefix = fresh()
        deliver(hw.to_redis_hash(redis_server().url, prefix), order)
        found.append(hashes(prefix))
    assert found[0] == found[1]


def test_a_hash_expires_behind_its_last_write() -> None:
    prefix = fresh()
    value = {"a": "x", "b": 1, "gone": True}
    target = hw.to_redis_hash(redis_server().url, prefix, key=("a", "b"), delete="gone", ttl="1h")
    deliver(target, [delivery_of(1, value)])
    with client() as asked:
        assert 3_500_000 < asked.pttl(f"{prefix}:x:1") <= 3_600_000
        assert list(asked.hgetall(f"{prefix}:x:1")) == [VERSION_FIELD]


def test_what_others_have_written_is_left_as_it_is() -> None:
    prefix = fresh()
    with client() as asked:
        asked.set(f"{prefix}:text", "theirs")
        asked.hset(f"{prefix}:hash", "theirs", "1")
    batch = [delivery_of(n, {"n": n}, key=key) for n, key in enumerate(["text", "good", "hash"])]
    answers = deliver(hw.to_redis_hash(redis_server().url, prefix), batch)
    assert outcomes(answers) == [NEVER, DONE, NEVER]
    assert "is a string, which this flow did not write" in answers[0].reason
    assert f"is a hash without {VERSION_FIELD}" in answers[2].reason
    with client() as asked:
        assert asked.get(f"{prefix}:text") == "theirs" and asked.hgetall(f"{prefix}:hash") == {"theirs": "1"}


def test_triggers_without_a_key_have_one_hash() -> None:
    prefix = fresh()
    deliver(hw.to_redis_hash(redis_server().url, prefix), [replace(delivery_of(1, {"n": 1}), subject=None)])
    with client() as asked:
        assert asked.hget(prefix, "n") == "1"


def test_a_value_without_a_key_costs_itself_alone() -> None:
    batch = [delivery_of(0, [1]), delivery_of(1, {"cart": None}), delivery_of(2, {"cart": "a"})]
    answers = deliver(hw.to_redis_hash(redis_server().url, fresh(), key="cart"), batch)
    assert outcomes(answers) == [NEVER, NEVER, DONE]
    assert "no object with fields" in answers[0].reason and "the value has no 'cart'" in answers[1].reason


@pytest.mark.parametrize("total", [1_200, pytest.param(20_000, marks=pytest.mark.soak)])
def test_a_client_that_is_killed_at_any_moment(tmp_path: Path, total: int) -> None:
    with client() as asked:
        for key in asked.scan_iter("audited:*"):
            asked.delete(key)
    deliver_with_kills("redis-hash", redis_server().url, tmp_path / "acknowledged", total)
    assert without_version("audited") == {f"cart-{number}": {"number": str(number)} for number in range(total)}


def test_a_flow_keeps_a_view(tmp_path: Path) -> None:
    """The hashes are the last row of each user, also when the flow begins anew and sends all of it again."""
    chance, prefix = Random(3), fresh()
    log = [{"at": n * 1_000, "user": f"u{chance.randrange(5)}", "n": n} for n in range(300)]
    for attempt in range(2):
        flow = hw.Flow("views")
        clicks = flow.source("clicks", hw.Json, hw.items(log), time="at").key_by("user")
        target = hw.to_redis_hash(redis_server().url, prefix)
        clicks.aggregate("seen", count=hw.count(), last=hw.last("n")).trigger("user.seen", target)
        hw.run(flow, state=tmp_path / str(attempt), drain=True)
        rows = without_version(prefix)
        assert {user: json.loads(row["last"]) for user, row in rows.items()} == {row["user"]: row["n"] for row in log}


def test_options() -> None:
    class Cart(msgspec.Struct):
        cart: str

    target = hw.to_redis_hash("redis://ann:swordfish@a:1", "b", key="user")
    assert target.guarantee is Guarantee.EXACT
    assert "swordfish" not in repr(target) + target.name
    with pytest.raises(UsageError, match="has no field 'user', its fields are cart"):
        target.takes("cart.seen", Cart)
    with pytest.raises(UsageError, match="expected what the keys of the hashes begin with"):
        hw.to_redis_hash("redis://a", "")
    with pytest.raises(UsageError, match="expected a second or more"):
        hw.to_redis_hash("redis://a", "b", ttl="1ms")
    with pytest.raises(UsageError, match="the name of a field that is true"):
        hw.to_redis_hash("redis://a", "b", delete="")


def test_it_is_looked_at() -> None:
    async def looked() -> str:
        target = hw.to_redis_hash(redis_server().url, "cart")
        await target.open()
        try:
            return await target.look()
        finally:
            await target.close()

    assert run(looked()) == "the server is there; hashes are cart:..."


@pytest.mark.parametrize("make", [hw.to_redis_hash, hw.to_redis_stream])
def test_the_timeout_is_how_long_an_answer_may_take(make: Callable[..., Target]) -> None:
    """A server accepts, and says nothing."""
    pytest.importorskip("redis", reason="redis is not installed: pip install 'headway[redis]'")

    async def soon(opened: Target) -> Sequence[Answer]:
        return await asyncio.wait_for(opened.deliver([delivery_of(0)]), 5)

    with socket.create_server(("127.0.0.1", 0)) as silent:
        [answer] = with_target(make(f"redis://127.0.0.1:{silent.getsockname()[1]}", "x", timeout="100ms"), soon)
    assert answer.outcome is Outcome.RETRY and "Timeout" in answer.reason


@pytest.mark.parametrize("kind", ["hash", "stream"])
def test_a_url_that_has_changed_counts_for_what_comes_next(kind: str, tmp_path: Path) -> None:
    """As when a password is changed while a flow runs."""
    file = tmp_path / "url"
    file.write_text("redis://127.0.0.1:1")
    make = hw.to_redis_hash if kind == "hash" else hw.to_redis_stream

    async def change(target: Target) -> list[Outcome]:
        before = await target.deliver([delivery_of(0)])
        file.write_text(redis_server().url)
        after = await target.deliver([delivery_of(0)])
        file.unlink()
        return outcomes([*before, *after, *await target.deliver([delivery_of(1)])])

    found = with_target(make(f"file:{file}", f"changed-{kind}"), change)
    assert found == [Outcome.RETRY, Outcome.DONE, Outcome.DONE]
