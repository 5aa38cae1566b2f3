"""The HTTP interface of views, through real sockets."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.views_flow import NAMES
from tests.views_harness import balances, decision_state, finished, flow_of, serving, transfers, write_lines
from tests.web_harness import Answer, ask, connect, read_answer, request_bytes

from headway.basics.receipts import Receipt
from headway.web.addresses import Address
from headway.web.tokens import Tokens

EVENTS = transfers(50)
EXPECTED = balances(EVENTS)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("views")


@pytest.fixture(scope="module")
def server(place: Path) -> Iterator[Address]:
    with serving(finished(place, EVENTS)) as address:
        yield address


def get(server: Address, path: str, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return ask(server, "GET", f"/v1/views{path}", headers=named)


@pytest.mark.parametrize("key", NAMES)
def test_one_key(server: Address, key: str) -> None:
    answer = get(server, f"/accounts/{quote(key, safe='')}")
    n, cents = EXPECTED[key]
    assert answer.status == 200
    assert answer.json == {"key": key, "value": {"n": n, "cents": cents}, "timers": {}}
    assert int(answer.headers["headway-epoch"]) > 0
    assert int(answer.headers["headway-age-ms"]) >= 0


def test_a_slash_in_a_key_may_stand_as_it_is(server: Address) -> None:
    assert get(server, "/accounts/a/b").body == get(server, "/accounts/a%2Fb").body


def test_fields_are_what_the_flow_shows(server: Address) -> None:
    assert set(get(server, "/last-booking/ann").json["value"]) == {"cents", "number"}


def test_an_etag_is_that_of_the_content(server: Address, place: Path) -> None:
    answer = get(server, "/accounts/ann")
    known = get(server, "/accounts/ann", if_none_match=answer.headers["etag"])
    assert (known.status, known.body, known.headers["etag"]) == (304, b"", answer.headers["etag"])
    assert get(server, "/accounts/ann", if_none_match='"other"').status == 200
    with serving(decision_state(place)) as other:
        assert get(other, "/accounts/ann").headers["etag"] == answer.headers["etag"]


def test_a_view_that_is_not_known_yet_is_waited_for(tmp_path: Path) -> None:
    with serving(decision_state(tmp_path)) as empty, ThreadPoolExecutor(1) as pool:
        asked = pool.submit(get, empty, "/accounts/ann?wait=60s")
        finished(tmp_path, EVENTS).close()
        answer = asked.result()
    assert answer.status == 200
    assert 0 < answer.json["value"]["n"] <= EXPECTED["ann"][0]


def test_a_first_question_waits_for_the_first_epoch(tmp_path: Path) -> None:
    """Which it need not ask for: services start together with their flow."""
    with serving(decision_state(tmp_path), first_s=60.0) as empty, ThreadPoolExecutor(1) as pool:
        asked = pool.submit(get, empty, "/accounts/ann")
        finished(tmp_path, EVENTS).close()
        assert asked.result().status == 200


def test_absent_not_known_and_no_such_view_are_different_answers(server: Address, tmp_path: Path) -> None:
    absent = get(server, "/accounts/nobody")
    assert (absent.status, absent.json["reason"]) == (404, "absent")
    missing = get(server, "/nothing/ann")
    assert (missing.status, missing.json["reason"]) == (404, "no view")
    with serving(decision_state(tmp_path)) as empty:
        unknown = get(empty, "/accounts/ann")
        assert (unknown.status, unknown.json["reason"]) == (503, "not known")
        assert ask(empty, "GET", "/readyz").status == 503
        assert ask(empty, "GET", "/healthz").status == 200
        assert get(empty, "").json == {"views": [{"name": "accounts"}, {"name": "last-booking"}, {"name": "sheets"}]}


def test_what_is_behind_a_receipt_or_an_epoch_is_told(server: Address) -> None:
    partition = "transfers-0.jsonl"
    reached, ahead = Receipt("transfers", partition, 49, time_ms=49), Receipt("transfers", partition, 50)
    assert get(server, f"/accounts/ann?at_least={reached.token()}").status == 200
    assert get(server, f"/accounts/ann?at_least={partition}@50").status == 412
    assert get(server, "/accounts/ann?at_least=nowhere@50").status == 400
    behind = get(server, f"/accounts/ann?at_least={ahead.token()}")
    assert (behind.status, behind.json["reason"]) == (412, "behind")
    assert get(server, f"/accounts/ann?at_least={ahead.token()}&wait=20ms").status == 412
    assert get(server, "/accounts/ann?epoch=999999").status == 412
    foreign = get(server, f"/accounts/ann?at_least={Receipt('other', partition, 0).token()}")
    assert (foreign.status, "no source of this flow" in foreign.json["detail"]) == (400, True)


def test_several_keys_in_the_order_asked(server: Address) -> None:
    body = json.dumps({"keys": ["nobody", *NAMES, "ann"]}).encode()
    answer = ask(server, "POST", "/v1/views/accounts:batch", body)
    assert answer.status == 200
    assert [one["key"] for one in answer.json["values"]] == ["nobody", *NAMES, "ann"]
    assert answer.json["values"][0] == {"status": "absent", "key": "nobody"}
    assert sum(one["value"]["cents"] for one in answer.json["values"][1:-1]) == 0


def pages(server: Address, first: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    answer = get(server, f"/accounts:list?{first}").json
    found += answer["items"]
    while "next" in answer:
        answer = get(server, f"/accounts:list?limit=2&cursor={answer['next']}").json
        found += answer["items"]
    return found


def test_pages_are_the_keys_in_order(server: Address) -> None:
    assert [item["key"] for item in pages(server, "limit=3")] == sorted(NAMES, key=str.encode)
    assert [item["key"] for item in pages(server, "limit=1&prefix=a")] == ["a/b", "ann"]
    assert get(server, "/accounts:list?prefix=zzz").json["items"] == []


def test_a_cursor_pins_its_epoch(tmp_path: Path) -> None:
    import headway as hw

    state = finished_open(tmp_path)
    with serving(state) as server:
        first = get(server, "/accounts:list?limit=2").json
        write_lines(tmp_path / "transfers-0.jsonl", transfers(30, seed=5, start=20))
        hw.run(flow_of(tmp_path), state=tmp_path / "state", epoch="20ms")
        fresh = get(server, f"/accounts/ann?epoch={first['epoch'] + 1}&wait=30s")
        assert fresh.status == 200
        rest = get(server, f"/accounts:list?limit=100&cursor={first['next']}").json
        assert rest["epoch"] == first["epoch"]
        assert {item["value"]["n"] for item in [*first["items"], *rest["items"]]} == {first["items"][0]["value"]["n"]}
        assert fresh.json["value"]["n"] > first["items"][0]["value"]["n"]
        state._pins.clear()
        gone = get(server, f"/accounts:list?cursor={first['next']}")
        assert (gone.status, "begin anew" in gone.json["detail"]) == (410, True)


def finished_open(directory: Path) -> Any:
    import headway as hw

    write_lines(directory / "transfers-0.jsonl", transfers(20))
    hw.run(flow_of(directory), state=directory / "state", epoch="20ms")
    return decision_state(directory)


def test_the_greatest_first(server: Address) -> None:
    ranked = sorted(NAMES, key=lambda name: (-EXPECTED[name][1], name.encode()))
    for count in (1, 3, 100):
        items = get(server, f"/accounts:top?by=cents&n={count}").json["items"]
        assert [item["key"] for item in items] == ranked[:count]
    assert get(server, "/accounts:top?by=n").status == 400


def test_counts(server: Address) -> None:
    assert get(server, "/accounts:count").json["count"] == len(NAMES)
    assert get(server, "/accounts:count?prefix=a").json["count"] == 2
    assert get(server, "/last-booking:count?prefix=").json["count"] == len(NAMES)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/accounts/ann?wait=soon", 400),
        ("/accounts/ann?nothing=1", 400),
        ("/accounts/ann?at_least=r1.AAAA", 400),
        ("/accounts/ann?at_least=%FF", 400),
        ("/accounts/%FF", 400),
        ("/%FF/ann", 400),
        ("/accounts:nothing", 404),
        ("/accounts:", 404),
        ("/accounts:list?limit=0", 400),
        ("/accounts:list?limit=1001", 400),
        ("/accounts:list?limit=%2B1", 400),
        ("/accounts:list?cursor=nonsense", 400),
        ("/accounts:batch", 405),
        ("/../../etc/passwd", 404),
    ],
)
def test_what_cannot_be_asked(server: Address, path: str, status: int) -> None:
    answer = get(server, path)
    assert (answer.status, answer.headers["content-type"]) == (status, "application/problem+json")


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"keys": [1]}', b'{"keys": ["\xff"]}', b'{"keys": [], "x": 1}'])
def test_bodies_that_ask_for_nothing(server: Address, body: bytes) -> None:
    assert ask(server, "POST", "/v1/views/accounts:batch", body).status == 400


def test_too_many_keys_at_once(server: Address) -> None:
    body = json.dumps({"keys": ["ann"] * 1_001}).encode()
    assert ask(server, "POST", "/v1/views/accounts:batch", body).status == 413


@given(st.text(max_size=30), st.sampled_from(["accounts", "last-booking"]))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_is_a_key(server: Address, key: str, view: str) -> None:
    answer = get(server, f"/{view}/{quote(key, safe='')}")
    assert answer.status == (200 if key in NAMES else 404)


@given(st.binary(max_size=40).filter(lambda raw: not set(raw) & set(b" \r\n\t\0\x0b\x0c#?") and raw.isascii()))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_path_is_answered(server: Address, raw: bytes) -> None:
    answer = get(server, "/accounts" + raw.decode())
    assert answer.status in (200, 400, 404, 405)


def test_tokens_and_hosts(place: Path) -> None:
    with serving(decision_state(place), tokens=Tokens(["correct-horse-battery"])) as server:
        assert get(server, "/accounts/ann").status == 401
        assert get(server, "/accounts/ann", authorization="Bearer correct-horse-battery").status == 200
        headers = {"authorization": "Bearer correct-horse-battery"}
        assert ask(server, "GET", "/v1/views", headers=headers, host="evil.example").status == 421
        assert ask(server, "GET", "/readyz").status == 200


def test_a_connection_takes_many_requests(server: Address) -> None:
    with connect(server) as sock:
        for _ in range(50):
            sock.sendall(request_bytes("GET", "/v1/views/accounts/ann"))
            assert read_answer(sock).status == 200
        sock.sendall(request_bytes("HEAD", "/v1/views/accounts/ann"))
        head = sock.recv(65_536)
        assert head.startswith(b"HTTP/1.1 200") and head.endswith(b"\r\n\r\n")
        sock.shutdown(socket.SHUT_WR)


def test_values_of_ten_megabytes(tmp_path: Path) -> None:
    """One of them is answered; of several, as many as an answer may hold, and pages end sooner."""
    import headway as hw
    from headway.plan.planner import compile_plan
    from headway.serving.state import DecisionState

    flow = hw.Flow("large")
    log = [{"at": number, "key": f"k{number}", "text": "x" * (10 << 20)} for number in range(3)]
    flow.serve("large", flow.source("texts", hw.Json, hw.items([*log, {"at": 9, "key": "z"}]), time="at").key_by("key"))
    hw.run(flow, state=tmp_path)
    with serving(DecisionState(compile_plan(flow.graph), tmp_path)) as server:
        answer = get(server, "/large/k1")
        assert (answer.status, answer.json["value"]) == (200, log[1])
        assert get(server, "/large/k1", if_none_match=answer.headers["etag"]).status == 304
        keys = json.dumps({"keys": ["k0", "k1", "k2"]}).encode()
        assert ask(server, "POST", "/v1/views/large:batch", keys).status == 413
        first = get(server, "/large:list").json
        rest = get(server, f"/large:list?cursor={first['next']}").json
        assert [item["key"] for item in [*first["items"], *rest["items"]]] == ["k0", "k1", "k2"]
