"""Queries of functions from outside, by command and over HTTP, and signals that start what is not there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.durable_harness import Group, start
from tests.durable_server import asked, served

from headway import durable_workflow
from headway.cli.main import main
from headway.cli.replays import recorded_of
from headway.durable import queries
from headway.durable.inputs import Routes
from headway.durable.messages import Cancel, Signal, Start, body_of
from headway.durable.messages import Message as Told
from headway.errors import FunctionBlocked, UsageError
from headway.functions.history import Answered, Called, Identity, Started
from headway.functions.recorded import Recorded
from headway.state.reader import StateReader

FLOW = """
import headway as hw
from headway import durable_workflow

@durable_workflow
async def tally(context, start: int) -> list[int]:
    seen = []
    context.on_query("sum", lambda: start + sum(seen))
    context.on_query("at", lambda index: seen[index])
    while (value := await context.wait("add", returns=int)) >= 0:
        seen.append(value)
    return seen

flow = hw.Functions("tallies", [tally])
"""


@durable_workflow
async def tally(context: Any, begin: int) -> list[int]:
    seen: list[int] = []

    def at(index: int) -> int:
        return seen[index]

    def meddle() -> None:
        context.call("step")

    def spin() -> None:
        for _ in range(3):
            try:
                while True:
                    pass
            except:  # noqa: E722 - one that is not ended at once
                continue
        while True:
            pass

    context.on_query("sum", lambda: begin + sum(seen))
    context.on_query("at", at)
    context.on_query("meddle", meddle)
    context.on_query("spin", spin)
    while (value := await context.wait("add", returns=int)) >= 0:
        seen.append(value)
    return seen


def add(value: int, **more: Any) -> Signal:
    return Signal("add", msgspec.Raw(str(value).encode()), **more)


def recorded(*entries: Any) -> Recorded:
    return Recorded(Identity("tally", "1"), (Started(0, b"[5]"), *entries))


def test_what_a_history_answers() -> None:
    callees = {"tally": tally}
    assert queries.query(recorded(), callees, "sum", b"null") == b"5"
    with pytest.raises(UsageError, match="takes no query 'total': it takes at, meddle, spin, sum"):
        queries.query(recorded(), callees, "total", b"null")
    with pytest.raises(UsageError, match="Expected `int`"):
        queries.query(recorded(), callees, "at", b'"first"')
    with pytest.raises(UsageError, match="is no JSON"):
        queries.query(recorded(), callees, "at", b"first")
    with pytest.raises(queries.QueryFailed, match="IndexError: list index out of range"):
        queries.query(recorded(), callees, "at", b"0")
    with pytest.raises(queries.QueryFailed, match="they cannot call or wait"):
        queries.query(recorded(), callees, "meddle", b"null")


def test_a_handler_that_never_comes_back_is_ended() -> None:
    with pytest.raises(queries.QueryFailed, match=r"not answered within 0\.05 s"):
        queries.query(recorded(), {"tally": tally}, "spin", b"null", within_s=0.05)
    assert queries.query(recorded(), {"tally": tally}, "sum", b"null") == b"5", "nothing of it is left in this thread"


def test_code_that_goes_another_way_does_not_answer() -> None:
    other = recorded(Called(1, "step", "gone"), Answered(5, 1))
    with pytest.raises(FunctionBlocked, match="gone"):
        queries.query(other, {"tally": tally}, "sum", b"null")


def test_over_http(tmp_path: Path) -> None:
    group = Group(tmp_path, tally)
    group.tell(("tally/a/b", start(5)), ("tally/a/b", add(2)), ("tally/a/b", add(30)))
    group.tell(("tally/done", start(1)), ("tally/done", add(6)), ("tally/done", add(-1)))
    group.run_until_ended(1)
    with served(group) as base:
        one = f"{base}/v1/functions/tally/a%2Fb/queries"
        told = {"instance": "tally/a/b", "run": 0, "status": "running"}
        assert asked(f"{one}/sum") == (200, {**told, "value": 37})
        assert asked(f"{one}/at?value=1") == (200, {**told, "value": 30})
        assert asked(f"{one}/at", b"0") == (200, {**told, "value": 2})
        assert asked(f"{base}/v1/functions/tally/done/queries/sum")[1]["value"] == 7
        for path, body, status, said in (
            (f"{one}/at", b"7", 422, "IndexError"),
            (f"{one}/at", b"{", 422, "no JSON"),
            (f"{one}/total", None, 404, "takes no query 'total'"),
            (f"{one}/meddle", None, 422, "cannot call or wait"),
            (f"{base}/v1/functions/tally/nobody/queries/sum", None, 404, "no instance 'tally/nobody'"),
            (f"{base}/v1/functions/talley/done/queries/sum", None, 404, "no function 'talley': there are tally"),
            (f"{one}/sum?at_least=x", None, 400, "at_least"),
            (f"{one}/sum?color=red", None, 400, "no parameter here"),
            (f"{one}/sum?epoch=100000", None, 412, "not there yet"),
            (f"{base}/v1/functions/tally/done", b"[]", 405, "headway run --listen"),
        ):
            found, problem = asked(path, body)
            assert (found, said in problem["detail"]) == (status, True), (path, problem)


def test_by_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "tallies.py"
    file.write_text(FLOW)
    from headway.declare.loading import FlowSpec, load_flow

    group = Group(tmp_path / "state", tally)
    group.flow = load_flow(FlowSpec(str(file)))  # type: ignore[assignment]

    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(["functions", *arguments, "--state", str(group.state)])
        return code, *capsys.readouterr()

    assert run("signal", str(file), "tally/1", "add", "4", "--start", "[10]") == (0, "taken: tally/1\n", "")
    assert run("signal", str(file), "tally/1", "add", "5", "--start", "[1000]")[0] == 0
    code, _, said = run("signal", str(file), "tally/2", "add", "5", "--start", '["x"]')
    assert (code != 0, "argument 'start'" in said) == (True, True)
    group.run(lambda: group.has_state() and "tally/1" in group.rows())
    assert run("query", str(file), "tally/1", "sum") == (0, "19\n", "")
    found = json.loads(run("query", str(file), "tally/1", "at", "0", "--json")[1])
    assert found == {"instance": "tally/1", "run": 0, "status": "running", "value": 4}
    assert run("query", str(file), "tally/2", "sum") == (1, "", "there is no instance 'tally/2'\n")
    for given, said in (
        (("signal", "tally/1", "add", "hello"), "VALUE is no JSON: 'hello'"),
        (("signal", "tally/1", "add", "1", "--start", "x"), "--start is no JSON: 'x'"),
        (("start", "tally/3", "[1"), "ARGUMENTS is no JSON: '[1'"),
        (("query", "tally/1", "at", "first"), "VALUE is no JSON: 'first'"),
    ):
        command, *arguments = given
        code, _, told = run(command, str(file), *arguments)
        assert code == 2 and said in told and "has quotes of its own" in told
    told = run("start", str(file), "tally/3", "[1,2]")[2]
    assert told == "headway: error: function 'tally' takes 1 argument by position, got 2\n"
    shown = json.loads(run("show", str(file), "tally/1", "--json")[1])
    assert shown["started_by"].startswith("functions-")


@pytest.mark.parametrize(("id_reuse", "runs"), [("return", [0]), ("new", [0, 1])])
def test_a_signal_that_starts(tmp_path: Path, id_reuse: Any, runs: list[int]) -> None:
    @durable_workflow(name="tally", id_reuse=id_reuse)
    async def code(context: Any, begin: int) -> list[int]:
        seen = [begin]
        while (value := await context.wait("add", returns=int)) >= 0:
            seen.append(value)
        return seen

    group = Group(tmp_path, code)
    for value in (1, 2, -1):
        group.tell(("tally/1", start(7, signal=add(value))))
    group.run_until_ended(1)
    group.tell(("tally/1", start(8, signal=add(3))), ("tally/1", add(-1)))
    group.run(lambda: len(group.ended) + len(group.unclaimed) == (2 if id_reuse == "new" else 3))
    assert [one["run"] for one in group.ended] == runs
    assert [json.loads(one["result"]) for one in group.ended] == [[7, 1, 2], [8, 3]][: len(runs)]
    assert {one["reason"] for one in group.unclaimed} == (set() if id_reuse == "new" else {"it is completed"})


def test_one_that_is_cancelled_still_answers(tmp_path: Path) -> None:
    group = Group(tmp_path, tally)
    group.tell(("tally/1", start(5, signal=add(2))), ("tally/1", Cancel("enough")))
    group.run_until_ended(1)
    with StateReader(group.state) as reader:
        row = reader.get("functions", "tally/1")
        assert row is not None and row.state["status"] == "cancelled"
        assert queries.query(recorded_of(row), group.flow.callees, "sum", b"null") == b"7"


def test_requests_that_start_and_signal() -> None:
    routes = Routes({"tally": tally})
    line, _ = routes.line(["tally", "1", "signals", "add", "start"], b'{"arguments": [3], "value": 4}')
    body = body_of(msgspec.json.decode(line, type=Told))
    assert isinstance(body, Start) and body.signal is not None
    assert (bytes(body.arguments), body.signal.name, bytes(body.signal.value)) == (b"[3]", "add", b"4")
    for given, said in ((b"[]", "not {"), (b'{"argument": [3]}', "unknown field"), (b'{"arguments": []}', "begin")):
        with pytest.raises(UsageError, match=said):
            routes.line(["tally", "1", "signals", "add", "start"], given)
    with pytest.raises(LookupError, match="headway run --serve"):
        routes.line(["tally", "1", "queries", "sum"], b"")
