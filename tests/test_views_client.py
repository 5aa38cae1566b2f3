"""The typed clients, sync and async, against a real server."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.views_flow import NAMES, Account, Booking, Sheet
from tests.views_harness import balances, decision_state, finished, flow_of, serving, transfers, write_lines

import headway as hw
from headway.basics.receipts import Receipt
from headway.client import Answer, AsyncClient, Client, NotYetError, ServiceError, Status
from headway.errors import UsageError
from headway.web.addresses import Address
from headway.web.tokens import Tokens

EVENTS = transfers(30)
EXPECTED = {name: Account(*pair) for name, pair in balances(EVENTS).items()}
RANKED = sorted(NAMES, key=lambda name: (-EXPECTED[name].cents, name.encode()))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("client")
    finished(directory, EVENTS).close()
    return directory


@pytest.fixture(scope="module")
def server(place: Path) -> Iterator[Address]:
    with serving(decision_state(place)) as address:
        yield address


def test_values_are_of_the_type_that_was_given(server: Address) -> None:
    with Client(f"http://{server}") as client:
        accounts = client.view("accounts", Account)
        assert {name: accounts.get(name) for name in NAMES} == EXPECTED
        assert accounts.get("nobody") is None
        answer = accounts.read("ann")
        assert (answer.status, answer.value, answer.epoch > 0) == (Status.PRESENT, EXPECTED["ann"], True)
        assert accounts.read("nobody").status is Status.ABSENT
        many = accounts.many([*NAMES, "nobody"])
        assert {key: one.value for key, one in many.items()} == {**EXPECTED, "nobody": None}
        assert [one.key for one in accounts.scan(page=3)] == sorted(NAMES, key=str.encode)
        assert [one.key for one in accounts.top(4, by="cents")] == RANKED[:4]
        assert (accounts.count(), accounts.count("a")) == (len(NAMES), 2)


def test_a_log_is_shown_by_its_end(server: Address) -> None:
    first = max((number for number, event in enumerate(EVENTS) if event["taker"] == "ann"), default=0)
    with Client(f"http://{server}") as client:
        sheets = client.view("sheets", Sheet)
        sheet = sheets.get("ann")
        assert sheet is not None
        assert [booking.number for booking in sheet.bookings] == list(range(first, len(EVENTS)))
        [listed] = [one.value for one in sheets.scan() if one.key == "ann"]
        assert listed is not None
        log = listed.bookings
        assert (len(log), log[-3:]) == (len(EVENTS) - first, sheet.bookings[-3:])
        assert isinstance(log[-1], Booking)
        with pytest.raises(LookupError, match="entries 0 to 0 of the log are not in the answer, which has those from"):
            assert log[0]
        with pytest.raises(TypeError, match="a log that a view shows cannot be appended to"):
            log.append(log[-1])


def test_the_same_asynchronously(server: Address) -> None:
    pytest.importorskip("aiohttp", reason="the extra `http` is not installed")

    async def check() -> None:
        async with AsyncClient(f"http://{server}") as client:
            accounts = client.view("accounts", Account)
            assert {name: await accounts.get(name) for name in NAMES} == EXPECTED
            assert (await accounts.read("nobody")).status is Status.ABSENT
            many = await accounts.many(NAMES)
            assert {key: one.value for key, one in many.items()} == EXPECTED
            assert [one.key async for one in accounts.scan(page=3)] == sorted(NAMES, key=str.encode)
            assert [one.key for one in await accounts.top(4)] == RANKED[:4]
            assert await accounts.count() == len(NAMES)
            with pytest.raises(NotYetError):
                await accounts.get("ann", at_least=Receipt("transfers", "transfers-0.jsonl", 99).token())

    asyncio.run(check())


def test_one_client_serves_many_threads(server: Address) -> None:
    wrong: list[object] = []
    with Client(f"http://{server}") as client:
        accounts = client.view("accounts", Account)

        def ask() -> None:
            for name in NAMES * 5:
                found = accounts.get(name)
                if found != EXPECTED[name]:
                    wrong.append(found)

        threads = [threading.Thread(target=ask) for _ in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


def test_reading_what_one_has_written_and_watching_it(tmp_path: Path) -> None:
    write_lines(tmp_path / "transfers-0.jsonl", transfers(5))
    hw.run(flow_of(tmp_path), state=tmp_path / "state", epoch="20ms")
    with serving(decision_state(tmp_path)) as server, Client(f"http://{server}", monotone=True) as client:
        accounts = client.view("accounts", Account)
        watched = accounts.watch("ann")
        first = next(watched)
        token = Receipt("transfers", "transfers-0.jsonl", 8, time_ms=8).token()
        for receipt in (token, {"log": "transfers-0.jsonl", "position": 8, "duplicate": False}):
            with pytest.raises(NotYetError, match="not been read yet"):
                accounts.get("ann", at_least=receipt)
        write_lines(tmp_path / "transfers-0.jsonl", transfers(5, start=5))
        hw.run(flow_of(tmp_path), state=tmp_path / "state", epoch="20ms")
        assert accounts.get("ann", at_least=token, wait="30s") == Account(
            *balances([*transfers(5), *transfers(5, start=5)][:9])["ann"]
        )
        changed = next(watched)
        assert first.value is not None and changed.value is not None
        assert changed.value.n > first.value.n and changed.epoch > first.epoch


class Other(hw.Event):
    n: str


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        (lambda client: client.view("nothing").get("ann"), "no view 'nothing'"),
        (lambda client: client.view("accounts", Other).get("ann"), "does not fit the type"),
        (lambda client: client.view("last-booking").top(by="cents"), "it is indexed by 'number'"),
        (lambda client: client.view("accounts").get("ann", at_least="mine"), "is not a receipt"),
    ],
)
def test_errors_say_what_is_wrong(server: Address, ask: Callable[[Client], Answer[object]], says: str) -> None:
    with Client(f"http://{server}") as client, pytest.raises(ServiceError, match=says):
        ask(client)


def test_nobody_there_is_one_clear_error() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with Client(url) as client, pytest.raises(ServiceError, match="gives no answer"):
        client.view("accounts").get("ann")


@pytest.mark.parametrize(
    "url", ["", "127.0.0.1:8090", "ftp://x", "http://", "http://x:99999", "http://x/?a=1", "http://u:p@x"]
)
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(UsageError, match="is not the address of a server"):
        Client(url)


def test_tokens(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIEWS_TOKEN", "correct-horse-battery")
    with serving(decision_state(place), tokens=Tokens(["correct-horse-battery"])) as server:
        with Client(f"http://{server}", token="env:VIEWS_TOKEN") as client:
            assert client.view("accounts", Account).get("ann") == EXPECTED["ann"]
        with Client(f"http://{server}") as client, pytest.raises(ServiceError, match="bearer token") as refused:
            client.view("accounts").get("ann")
        assert refused.value.status == 401
        with pytest.raises(UsageError, match="not set"):
            Client(f"http://{server}", token="env:NO_SUCH_VARIABLE")
