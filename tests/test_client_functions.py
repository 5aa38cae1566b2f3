"""The typed clients of functions, sync and async, against the servers of a real run in a process of its own."""

from __future__ import annotations

import asyncio
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests import client_flow
from tests.client_flow import Quote
from tests.cluster_harness import Started, await_true

from headway.client import (
    AsyncFunctionClient,
    Client,
    FunctionClient,
    FunctionFailed,
    Instance,
    NotYetError,
    ServiceError,
)
from headway.errors import UsageError

pytest.importorskip("uvicorn", reason="the extra `serve` is not installed")

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TOKEN = "correct-horse-battery"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


class Shop:
    """The run of the flow, which can be killed and started again at the same addresses."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        shutil.copy(client_flow.__file__, directory / "flow.py")
        self.ports = free_port(), free_port()
        (directory / "token").write_text(TOKEN)
        self.start()

    def start(self) -> None:
        listen, serve = (f"127.0.0.1:{port}" for port in self.ports)
        servers = ("--listen", listen, "--serve", serve, "--token", f"file:{self.directory / 'token'}")
        state = ("--state", "state", "--epoch", "50ms", "--key-groups", 3)
        self.run = Started(self.directory, "flow.py", "--follow", "--quiet", *servers, *state)

    def kill(self) -> None:
        self.run.end()

    @property
    def urls(self) -> dict[str, Any]:
        listen, serve = (f"http://127.0.0.1:{port}" for port in self.ports)
        return {"listen": listen, "serve": serve}

    def client(self, **options: Any) -> FunctionClient:
        return FunctionClient(**self.urls, **{"token": TOKEN, **options})


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    shop = Shop(tmp_path_factory.mktemp("shop"))
    try:
        yield shop
    finally:
        shop.kill()


def test_from_the_start_to_the_result(shop: Shop) -> None:
    with shop.client() as client:
        buys = client.function(client_flow.buy)
        lamp = buys.start("b/1", "lamp", 3, gift=True)
        assert (lamp.id, lamp.posted is not None and lamp.posted.duplicate) == ("b/1", False)
        assert lamp.query("limit", returns=int) == 1_000
        assert lamp.query("quote", 7, returns=Quote) == Quote(item="lamp", cents=7)
        assert lamp.update("raise", 50, returns=int) == 1_050
        assert lamp.query("limit") == 1_050
        with pytest.raises(NotYetError, match=r"buy/b/1 has not ended within 50ms: it is running"):
            lamp.result("50ms")
        lamp.signal("confirm", True)
        result: Quote = lamp.result("30s")
        assert result == Quote(item="lamp", cents=3 * 40 + 100)
        found = buys.instance("b/1").describe()
        assert found is not None
        assert (found.function, found.id, found.status, found.has_ended) == ("buy", "b/1", "completed", True)
        assert (found.arguments, found.result) == (
            {"item": "lamp", "amount": 3, "gift": True},
            {"item": "lamp", "cents": 220},
        )
        assert found.search == {"item": "lamp"}
        with pytest.raises(FunctionFailed, match="update 'raise' of buy/b/1: it is completed"):
            lamp.update("raise", 1)


def test_a_function_by_its_name_is_plain_data(shop: Shop) -> None:
    with shop.client() as client:
        by_name = client.function("buy")
        pen = by_name.signal_with_start("b2", "confirm", True, "pen")
        assert pen.result("30s") == {"item": "pen", "cents": 30}
        typed = client.function("buy", Quote)
        assert typed.instance("b2").result("30s") == Quote(item="pen", cents=30)
        named = by_name.start("b3", item="ink", amount=2)
        named.signal("confirm", value=True)
        assert named.result("30s")["cents"] == 60
        assert client.function(client_flow.buy, dict).instance("b3").result() == {"item": "ink", "cents": 60}
        with pytest.raises(ServiceError, match="does not fit the type given by returns="):
            client.function("buy", int).instance("b2").result("30s")
        with pytest.raises(UsageError, match="all by position, or all by name"):
            by_name.start("b4", "ink", amount=2)


def test_ends(shop: Shop) -> None:
    with shop.client() as client:
        buys = client.function(client_flow.buy)
        ends: list[tuple[str, Callable[[Instance[Quote]], object], str]] = [
            ("failed", lambda one: one.signal("confirm", False), "PermissionError: nobody wants 1 cup"),
            ("cancelled", lambda one: one.cancel("too late"), "is cancelled: too late"),
            ("terminated", lambda one: one.terminate("at once"), "is terminated: at once"),
        ]
        for status, end, said in ends:
            one = buys.start(f"end-{status}", "cup")
            end(one)
            with pytest.raises(FunctionFailed, match=said) as failed:
                one.result("30s")
            assert failed.value.status == status
        found = {one.id: one.status for one in client.list("buy", where=["item=cup"], page=2)}
        assert found == {f"end-{status}": status for status, _, _ in ends}
        assert [one.id for one in client.list(status=["failed", "cancelled"], where="item=cup")] == [
            "end-cancelled",
            "end-failed",
        ]
        assert {one.id for one in client.list("buy", status="terminated", since="1h")} == {"end-terminated"}


def test_ids_that_are_used_again_and_keys(shop: Shop) -> None:
    with shop.client() as client:
        traces = client.function(client_flow.trace)
        assert traces.start("t").result("30s") == ["", "", ""]
        assert traces.start("t").result("30s") == ["", "", ""]
        kept = traces.start("t", id_reuse="return")
        run = kept.describe()
        assert run is not None and run.run == 1 and run.started_by
        assert (kept.is_ours(), traces.instance("t").is_ours()) == (False, False)
        first, second = (traces.start("mine", id_reuse="reject") for _ in range(2))
        assert (first.is_ours(), second.is_ours()) == (True, False)
        again = [traces.start("t", key="mine") for _ in range(2)]
        assert [one.posted is not None and one.posted.duplicate for one in again] == [False, True]
        assert [one.is_ours() for one in again] == [True, True]
        run = again[1].describe()
        assert run is not None and (run.run, run.started_by) == (2, "mine"), "one run of one key"
        with pytest.raises(ServiceError, match="id_reuse='always' is unknown: give one of return, reject") as refused:
            traces.start("t", id_reuse="always")
        assert refused.value.status == 422


def test_a_trace_goes_along(shop: Shop) -> None:
    from headway.client.protocol import Request

    with Client(shop.urls["listen"], token=TOKEN) as listen, shop.client() as client:
        headers = {"content-type": "application/json", "traceparent": TRACE}
        assert listen.ask(Request("POST", "/v1/functions/trace/traced", headers, b"[]")).status == 200
        await_true(lambda: client.function("trace").instance("traced").describe() is not None, "the start")
        assert client.function("trace").instance("traced").result("30s") == [TRACE, TRACE, TRACE]
        for span, key, status in (("1" * 16, "k1", 200), ("2" * 16, "k1", 200), ("2" * 16, "k2", 200)):
            again = {**headers, "traceparent": TRACE.replace("b7ad6b7169203331", span), "idempotency-key": key}
            assert listen.ask(Request("POST", "/v1/functions/trace/again", again, b"[]")).status == status
        other = {**headers, "idempotency-key": "k1"}
        assert listen.ask(Request("POST", "/v1/functions/trace/another", other, b"[]")).status == 422


def test_an_answer_by_token(shop: Shop) -> None:
    with shop.client() as client:
        one = client.function(client_flow.confirmed).start("c")
        token = one.query("token", returns=str)
        one.answer(token, 7)
        assert one.result("30s") == 7


def test_what_is_refused(shop: Shop) -> None:
    with shop.client() as client:
        declared, named = client.function(client_flow.buy), client.function("buy")
        door = r"function 'buy': argument 'amount': Expected `int`, got `str`"
        with pytest.raises(UsageError, match=door):
            declared.start("x", "lamp", "many")
        with pytest.raises(ServiceError, match=door) as refused:
            named.start("x", "lamp", "many")
        assert refused.value.status == 422
        with pytest.raises(ServiceError, match="there is no function 'bye': there are buy, confirmed") as refused:
            client.function("bye").start("x")
        assert refused.value.status == 404
        one = declared.start("refusals", "lamp")
        for ask, error, said, status in (
            (lambda: one.query("total"), ServiceError, "takes no query 'total': it takes broken, limit, quote", 404),
            (lambda: one.query("broken"), FunctionFailed, "ZeroDivisionError", None),
            (
                lambda: one.update("raise", -1),
                FunctionFailed,
                "update 'raise' of buy/refusals: ValueError: -1 is less",
                None,
            ),
            (lambda: one.update("lower", 1), FunctionFailed, "takes no update 'lower'", None),
            (lambda: declared.instance("nobody").result(), ServiceError, "there is no instance 'buy/nobody'", 404),
            (lambda: declared.instance("nobody").query("limit"), ServiceError, "no such instance", 404),
            (lambda: declared.instance("nobody").update("raise", 1), ServiceError, "there is no instance", 404),
            (lambda: declared.instance(""), UsageError, "'' is no id", None),
            (lambda: one.signal("x", key="ключ"), UsageError, "visible ASCII", None),
            (lambda: one.signal("x", {1, object()}), UsageError, "cannot be written as JSON", None),
            (lambda: declared.start("z", object()), UsageError, "argument 'item'", None),
            (lambda: next(client.list(status="lost")), ServiceError, "status 'lost' is none", 400),
            (lambda: next(client.list("bye")), ServiceError, "there is no function 'bye'", 404),
        ):
            with pytest.raises(error, match=said) as told:
                ask()
            assert status is None or getattr(told.value, "status", None) == status
        assert declared.instance("nobody").describe() is None
    with shop.client(token="wrong") as client, pytest.raises(ServiceError, match="bearer token") as refused:
        client.function("buy").start("x", "lamp")
    assert refused.value.status == 401
    with (
        FunctionClient(listen=shop.urls["listen"]) as half,
        pytest.raises(UsageError, match=r"give the client serve='http"),
    ):
        half.function("buy").instance("b").describe()
    with pytest.raises(UsageError, match="has no address"):
        FunctionClient()


def test_the_same_asynchronously(shop: Shop) -> None:
    pytest.importorskip("aiohttp", reason="the extra `http` is not installed")

    async def check() -> None:
        async with AsyncFunctionClient(**shop.urls, token=TOKEN) as client:
            buys = client.function(client_flow.buy)
            one = await buys.start("a1", "bowl", gift=True)
            assert await one.query("limit", returns=int) == 1_000
            assert await asyncio.gather(*(one.update("raise", 10, returns=int) for _ in range(3))) in (
                [1_010, 1_020, 1_030],
                [1_020, 1_010, 1_030],
                [1_010, 1_030, 1_020],
                [1_030, 1_010, 1_020],
                [1_020, 1_030, 1_010],
                [1_030, 1_020, 1_010],
            )
            waits = asyncio.create_task(one.result("30s"))
            await one.signal("confirm", True)
            assert await waits == Quote(item="bowl", cents=140)
            status = await one.describe()
            assert status is not None and status.status == "completed"
            two = await buys.signal_with_start("a2", "confirm", False, "bowl")
            with pytest.raises(FunctionFailed, match="nobody wants 1 bowl"):
                await two.result("30s")
            three = await client.function("buy").start("a3", "bowl")
            await three.cancel()
            with pytest.raises(FunctionFailed, match="is cancelled"):
                await three.result("30s")
            found = {one.id async for one in client.list("buy", where="item=bowl", page=1)}
            assert found == {"a1", "a2", "a3"}
            confirmed = await client.function(client_flow.confirmed).start("async")
            await confirmed.answer(await confirmed.query("token", returns=str), 8)
            assert await confirmed.result("30s") == 8
            await (await buys.start("a4", "bowl")).terminate()
            with pytest.raises(ServiceError, match="there is no function 'bye'"):
                await client.function("bye").start("x")

    asyncio.run(check())


@pytest.mark.parametrize("seconds", [0.1, *(pytest.param(one, marks=pytest.mark.soak) for one in (0.0, 0.3, 1.0))])
def test_a_run_that_is_killed_while_clients_wait(tmp_path: Path, seconds: float) -> None:
    """All that was asked is done once, and who waits hears of it from the next run."""
    shop = Shop(tmp_path)
    results: dict[str, Any] = {}

    def buy(number: int) -> None:
        with shop.client(timeout_s=5.0) as client:
            one = client.function(client_flow.buy).start(f"k{number}", f"item-{number}")
            assert one.update("raise", number, returns=int) == 1_000 + number
            one.signal("confirm", True)
            results[one.id] = one.result("60s")

    threads = [threading.Thread(target=buy, args=(number,)) for number in range(8)]
    try:
        for thread in threads[:4]:
            thread.start()
        for _ in range(2):
            await_true((tmp_path / "prices.txt").exists, "a step")
            time.sleep(seconds)
            shop.kill()
            shop.start()
        for thread in threads[4:]:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        shop.kill()
    assert results == {f"k{n}": Quote(item=f"item-{n}", cents=60) for n in range(8)}
