"""Finding instances: search fields, filters, pages of one epoch while a run changes thousands."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import pytest
from tests.durable_harness import Group, start
from tests.durable_server import asked, served

from headway import durable_workflow
from headway.cli.main import main
from headway.durable.listing import filter_of
from headway.durable.messages import Signal
from headway.errors import FlowError, UsageError
from headway.testing import FunctionTest


@durable_workflow(search={"customer": str, "cents": int, "rush": bool, "weight": float})
async def order(context: Any, customer: str, cents: int) -> str:
    context.search["customer"] = customer
    context.search["cents"] = cents
    context.search["rush"] = cents > 500
    context.search["weight"] = 1
    await context.wait("paid", timeout="30d")
    del context.search["rush"]
    if cents == 13:
        raise ValueError("unlucky")
    return "paid"


def test_conditions() -> None:
    search = '{"customer":"ann","cents":700,"rush":true,"weight":1.5}'
    for where, found in (
        (["customer=ann"], True),
        (["customer = ann"], True),
        (["customer=bob"], False),
        (["customer!=bob"], True),
        (["cents>=700", "cents<701"], True),
        (["cents>700"], False),
        (["cents=7e2"], True),
        (["cents=many"], False),
        (["cents!=many"], True),
        (["rush=true"], True),
        (["rush=false"], False),
        (["weight>1"], True),
        (["customer>a", "customer<b"], True),
        (["nothing=1"], False),
        (["nothing!=1"], False),
    ):
        assert filter_of(where=where).matches("running", 5, search) == found, where
    assert filter_of(where=["customer="]).matches("running", 5, '{"customer":""}')
    assert filter_of(statuses=["failed", "blocked"]).matches("blocked", 5, "")
    assert not filter_of(statuses=["failed"], where=["customer=ann"]).matches("running", 5, search)
    assert [filter_of(since_ms=5).matches("running", at_ms, "") for at_ms in (4, 5)] == [False, True]
    for options, said in (
        ({"statuses": ["asleep"]}, "status 'asleep' is none: there are running, blocked"),
        ({"where": ["customer"]}, "write FIELD=VALUE"),
        ({"where": ["=ann"]}, "write FIELD=VALUE"),
    ):
        with pytest.raises(UsageError, match=said):
            filter_of(**options)  # type: ignore[arg-type]


def test_fields_are_declared() -> None:
    with pytest.raises(FlowError, match=r"the search field 'at' is .*expected str, int, float or bool"):
        durable_workflow(search={"at": list})(order.code)
    with pytest.raises(FlowError, match="must have a name such as customer_id"):
        durable_workflow(search={"the customer": str})(order.code)

    @durable_workflow(search={"cents": int})
    async def careless(context: Any, value: Any, name: str = "cents") -> None:
        context.search[name] = value

    for value, name, said in (
        ("many", "cents", "the field is declared as int"),
        (True, "cents", "the field is declared as int"),
        (1, "sum", "it is not declared"),
    ):
        failure = FunctionTest(careless).run(value, name).failure
        assert failure is not None and said in str(failure)
    assert FunctionTest(careless).with_crashes().run(7).status == "completed"


def filled(state: Path, count: int) -> Group:
    group = Group(state, order)
    group.tell(*((f"order/{n:03}", start(("ann", "bob")[n % 2], n)) for n in range(count)))
    group.tell(*((f"order/{n:03}", Signal("paid")) for n in range(0, count, 3)))
    group.run_until_ended(len(range(0, count, 3)))
    return group


def test_by_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    group = filled(tmp_path, 40)

    def ls(*options: str) -> list[str]:
        assert main(["functions", "ls", str(group.state), "--json", "--limit", "0", *options]) == 0
        return [json.loads(line)["instance"] for line in capsys.readouterr().out.splitlines()]

    names = [f"order/{n:03}" for n in range(40)]
    assert ls() == names
    assert ls("--where", "customer=ann", "--status", "running") == [names[n] for n in range(0, 40, 2) if n % 3]
    assert ls("--where", "cents>=30", "--where", "customer=bob", "--status", "completed") == [names[33], names[39]]
    assert ls("--since", "1h", "--name", "order") == names
    assert ls("--since", "2100-01-01T00:00:00Z") == []
    assert ls("--name", "other") == []
    assert main(["functions", "ls", str(group.state), "--status", "asleep"]) == 2
    assert "there are running, blocked" in capsys.readouterr().err


def test_over_http(tmp_path: Path) -> None:
    group = filled(tmp_path, 40)
    with served(group) as base:

        def pages(parameters: str) -> list[list[str]]:
            found = []
            status, body = asked(f"{base}/v1/functions{parameters}")
            while True:
                assert status == 200, body
                found.append([one["instance"] for one in body["items"]])
                if "next" not in body:
                    return found
                status, body = asked(f"{base}/v1/functions?limit=7&cursor={body['next']}")

        names = [f"order/{n:03}" for n in range(40)]
        whole = pages("?limit=7")
        assert [len(page) for page in whole] == [7, 7, 7, 7, 7, 5]
        assert [name for page in whole for name in page] == names
        assert pages("/order?status=completed,failed")[0] == names[::3]
        assert pages(f"?where={quote('customer=ann')}&where={quote('cents>30')}&status=running&limit=2") == [
            ["order/032", "order/034"],
            ["order/038"],
        ]
        assert pages("?since=1h&name=order&limit=1000") == [names]
        document = asked(f"{base}/openapi.json")[1]["paths"]
        status, one = asked(f"{base}/v1/functions/order/013")
        schema = document["/v1/functions/{name}/{id}"]["get"]["responses"]["200"]["content"]["application/json"][
            "schema"
        ]
        assert set(one) <= set(schema["properties"]) and set(schema["required"]) <= set(one)
        assert "started_by" in schema["properties"]
        assert status == 200
        assert (one["status"], one["arguments"], one["search"]["cents"]) == ("running", ["bob", 13], 13)
        assert asked(f"{base}/v1/functions/order/003")[1]["result"] == "paid"
        for path, code, said in (
            ("?status=asleep", 400, "there are running"),
            ("?where=customer", 400, "FIELD=VALUE"),
            ("?since=yesterday", 400, "since='yesterday'"),
            ("?cursor=abc", 400, "cursor: this is none"),
            (f"?status=running&cursor={asked(f'{base}/v1/functions?limit=1')[1]['next']}", 400, "leave status out"),
            ("/others", 404, "there is no function 'others': there are order"),
            ("/order/nobody", 404, "there is no instance"),
            ("/order/003/more", 404, "there are /v1/functions, /v1/functions/{name}"),
        ):
            status, problem = asked(f"{base}/v1/functions{path}")
            assert (status, said in problem["detail"]) == (code, True), (path, problem)


def test_pages_are_of_one_epoch_while_a_run_changes_all(tmp_path: Path) -> None:
    @durable_workflow(search={"paid": int})
    async def payment(context: Any) -> None:
        context.search["paid"] = 0
        while (paid := await context.wait("pay", returns=int)) < 30:
            context.search["paid"] = paid

    count = 300
    group = Group(tmp_path, payment)
    group.tell(*((f"payment/{n:04}", start()) for n in range(count)))
    group.run(lambda: group.has_state() and len(group.rows()) == count)
    lists: list[list[tuple[str, int, int]]] = []
    over = threading.Event()

    def look(base: str) -> None:
        while not over.is_set():
            found = []
            status, body = asked(f"{base}/v1/functions?limit=50")
            while status == 200:
                found += [(one["instance"], one["search"]["paid"], body["epoch"]) for one in body["items"]]
                if "next" not in body:
                    lists.append(found)
                    break
                status, body = asked(f"{base}/v1/functions?limit=50&cursor={body['next']}")

    with served(group) as base:
        looking = threading.Thread(target=look, args=(base,))
        looking.start()
        try:
            told = 0

            def pays() -> bool:
                nonlocal told
                if told < 20:
                    told += 1
                    group.tell_at_once(
                        *((f"payment/{n:04}", Signal("pay", msgspec.Raw(str(told).encode()))) for n in range(count))
                    )
                return told == 20 and len({paid for one in lists for _, paid, _ in one}) > 3

            group.run(pays)
        finally:
            over.set()
            looking.join()
    for one in lists:
        assert [name for name, _, _ in one] == [f"payment/{n:04}" for n in range(count)]
        assert len({epoch for _, _, epoch in one}) == 1, "all pages are of one epoch"
