"""`headway ingest`, and `headway run --listen`, as they are called: what they do, and what they refuse."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.cluster_harness import Started, await_true, is_alive, run, send
from tests.ingest_harness import lines_of
from tests.web_harness import ask

from headway.web.addresses import Address

FLOW = """
import headway as hw

class Order(hw.Event):
    id: str
    at: hw.Time

flow = hw.Flow("shop")
flow.source("orders", Order, hw.http_source("/orders"), time="at").to("out", hw.to_jsonl("out.jsonl"))
events = flow.source("events", hw.Json, hw.http_source("/events", format="cloudevents"), time=hw.INGESTION_TIME)
events.to("events_out", hw.to_jsonl("events.jsonl"))
"""
QUIET = """
import headway as hw
flow = hw.Flow("quiet")
flow.source("orders", hw.Json, hw.items([]), time="at").to("out", hw.to_jsonl("out.jsonl"))
"""
SILENT = """
import headway as hw

class Stamp(hw.Operator[hw.Json, hw.State, hw.Json]):
    def on_event(self, state, event, ctx):
        ctx.emit({"at": ctx.time, **event})

flow = hw.Flow("stamps")
events = flow.source("events", hw.Json, hw.http_source("/events"), time=hw.INGESTION_TIME)
events.key_by("n").process("stamp", Stamp()).to("out", hw.to_jsonl("out.jsonl"))
"""
TOKEN = "correct-horse-battery-staple"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "flow.py").write_text(FLOW)
    (tmp_path / "quiet.py").write_text(QUIET)
    return tmp_path


def ingest(place: Path, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "headway", "ingest", "flow.py", *arguments, "--state", "state"]
    return subprocess.run(command, cwd=place, input=stdin, capture_output=True, timeout=60, check=False)


def orders(*numbers: int) -> bytes:
    return b"".join(b'{"id": "o%d", "at": %d}\n' % (number, 1_000 + number) for number in numbers)


def told(done: subprocess.CompletedProcess[bytes]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_before_the_first_run_and_after_it(place: Path) -> None:
    (place / "in.jsonl").write_bytes(orders(*range(2_500)))
    found = told(ingest(place, "orders", "in.jsonl", "--json"))
    assert (found["events"], found["duplicates"], found["position"]) == (2_500, 0, 2_499)
    again = told(ingest(place, "/orders", "-", "--json", "--id-field", "id", stdin=orders(1, 2, 3, 2) + b"\n"))
    assert (again["events"], again["duplicates"]) == (4, 1)
    assert told(ingest(place, "orders", "-", "--json", "--id-field", "id", stdin=orders(2)))["duplicates"] == 1
    assert run(place, "flow.py", "--state", "state")["events"] == 2_503
    text = ingest(place, "orders", "in.jsonl").stderr.decode()
    assert "orders: 2,500 events in" in text
    assert run(place, "flow.py", "--state", "state", "--workers", "2")["events"] == 2_500
    event = {"specversion": "1.0", "id": "1", "source": "/x", "type": "y", "data": [1]}
    lines = f"{json.dumps(event)}\n{json.dumps(event)}\n".encode()
    assert told(ingest(place, "events", "-", "--json", stdin=lines))["duplicates"] == 1


@pytest.mark.parametrize(
    ("arguments", "stdin", "code", "text"),
    [
        (["nope", "-"], b"", 2, "there are 'orders', 'events'"),
        (["orders", "nope.jsonl"], b"", 4, "No such file"),
        (["orders", "-"], orders(1) + b'{"id": 3}\n', 4, "line 2 is refused"),
        (["orders", "-"], b"\n\n" + orders(1) + b"nonsense\n", 4, "line 4 is refused"),
        (["orders", "-", "--id-field", "no"], orders(1), 2, "line 1 has no field 'no'"),
        (["events", "-", "--id-field", "id"], b"{}", 2, "leave --id-field out"),
        (["events", "-"], b"{}", 4, "specversion"),
    ],
)
def test_refused(place: Path, arguments: list[str], stdin: bytes, code: int, text: str) -> None:
    done = ingest(place, *arguments, stdin=stdin)
    assert done.returncode == code, done.stderr
    assert text in done.stderr.decode()
    assert b"Traceback" not in done.stderr
    for log in ("orders/0", "events/0"):
        if (place / "state" / "inbox" / log).exists():
            assert lines_of(place / "state", log) == []


def test_books_that_are_closed_take_no_more(place: Path) -> None:
    told(ingest(place, "orders", "-", "--json", stdin=orders(1)))
    run(place, "flow.py", "--state", "state", "--drain")
    done = ingest(place, "orders", "-", stdin=orders(2))
    assert done.returncode == 3
    assert b"was drained" in done.stderr


def test_while_a_run_listens(place: Path) -> None:
    """The same events by the socket of the server, by HTTP with a token, and after the server was killed."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = int(sock.getsockname()[1])
    (place / "token").write_text(TOKEN)
    started = Started(
        place,
        "flow.py",
        "--state",
        "state",
        "--listen",
        port,
        "--token",
        "file:token",
        "--epoch",
        "50ms",
        "--workers",
        2,
    )
    try:
        await_true(lambda: "takes events" in started.log.read_text() or not is_alive(started.pid), "a server")
        started.check_running()
        assert (
            told(ingest(place, "orders", "-", "--json", "--id-field", "id", stdin=orders(1, 2, 2)))["duplicates"] == 1
        )
        done = ingest(place, "orders", "-", stdin=orders(9) + b"{}\n")
        assert (done.returncode, b"line 2 is refused" in done.stderr) == (4, True)
        at = Address("127.0.0.1", port)
        headers = {"content-type": "application/json"}
        assert ask(at, "POST", "/orders", orders(3), headers).status == 401
        headers["authorization"] = f"Bearer {TOKEN}"
        assert ask(at, "POST", "/orders", orders(3), headers).json["position"] == 2
        assert ask(at, "POST", "/orders", orders(3), headers, host="evil.example").status == 421
        assert told(ingest(place, "orders", "-", "--json", stdin=orders(4, 5)))["position"] == 4
        await_true(
            lambda: (place / "out.jsonl").exists() and len((place / "out.jsonl").read_bytes().splitlines()) == 4, "4"
        )
        assert TOKEN not in Path(f"/proc/{started.pid}/cmdline").read_text()
    finally:
        send(started.pid, signal.SIGINT)
        code, err = started.outcome()
    assert code == 0, err
    assert TOKEN not in err
    assert TOKEN.encode() not in (place / "state" / "run" / "ingest.log").read_bytes()
    assert not (place / "state" / "inbox" / "ingest.sock").exists()


def test_a_pipe_that_is_idle_keeps_nobody_out(place: Path) -> None:
    """A run that follows reads what a command appends, and may begin to listen while the command waits for more."""
    command = [sys.executable, "-m", "headway", "ingest", "flow.py", "events", "-", "--state", "state"]
    event = b'{"specversion": "1.0", "id": "%d", "source": "/x", "type": "y"}\n'
    with subprocess.Popen(command, cwd=place, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as feeding:
        assert feeding.stdin is not None
        feeding.stdin.write(event % 1)
        feeding.stdin.flush()
        await_true(lambda: list(place.glob("state/inbox/events/0/*.log")) != [], "the log")
        with socket.create_server(("127.0.0.1", 0)) as sock:
            port = int(sock.getsockname()[1])
        run_until(place, 1, lambda: None, "--follow")

        def feed() -> None:
            assert feeding.stdin is not None
            feeding.stdin.write(event % 2)
            feeding.stdin.flush()

        run_until(place, 2, feed, "--listen", str(port))
        feeding.stdin.close()
        assert feeding.wait(60) == 0


def run_until(place: Path, lines: int, ready: Callable[[], None], *options: str) -> None:
    """Run the flow until so many events have come out; `ready` is called once a server, if it has one, listens."""
    started = Started(place, "flow.py", "--state", "state", "--epoch", "50ms", *options)

    def happened(condition: bool) -> bool:
        return condition or not is_alive(started.pid)

    try:
        if "--listen" in options:
            await_true(lambda: happened("takes events" in started.log.read_text()), "a server")
        ready()
        await_true(lambda: happened(count_lines(place / "events.jsonl") == lines), "events")
        started.check_running()
    finally:
        send(started.pid, signal.SIGTERM)
        code, err = started.outcome()
    assert code == 0, err


def count_lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def test_a_replay_has_the_same_ingestion_times(place: Path) -> None:
    """Another state directory, another number of workers, another time: the same log gives the same bytes."""
    (place / "flow.py").write_text(SILENT)
    for number in range(4):
        told(ingest(place, "events", "-", "--json", stdin=b'{"n": %d}\n' % number))
    shutil.copytree(place / "state" / "inbox", place / "other" / "inbox")
    run(place, "flow.py", "--state", "state", "--drain")
    first = (place / "out.jsonl").read_bytes()
    times = [json.loads(line)["at"] for line in first.splitlines()]
    assert len(times) == 4
    assert times == sorted(times)
    (place / "out.jsonl").unlink()
    run(place, "flow.py", "--state", "other", "--workers", "2", "--drain")
    assert (place / "out.jsonl").read_bytes() == first


def test_two_sources_cannot_share_a_log(place: Path) -> None:
    (place / "flow.py").write_text(FLOW.replace('"/events"', '"/orders"'))
    code, err = Started(place, "flow.py", "--state", "state").outcome()
    assert (code, "'orders' and 'events' both keep inbox/orders" in err) == (2, True), err


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["quiet.py", "--listen", "0"], "has no source that takes posts"),
        (["flow.py", "--listen", "nowhere"], "is not an address"),
        (["flow.py", "--listen", "0.0.0.0:0"], "no token is asked for"),
        (["flow.py", "--listen", "0", "--token", TOKEN], "env:NAME or file:PATH"),
        (["flow.py", "--listen", "0", "--drain"], "choose one of the two"),
    ],
)
def test_a_server_that_cannot_be(place: Path, arguments: list[str], text: str) -> None:
    code, err = Started(place, *arguments, "--state", "state").outcome()
    assert (code, text in err, "Traceback" in err) == (2, True, False), err
    assert TOKEN not in err
    assert not (place / "state").exists(), "nothing was begun"


def test_a_port_in_use(place: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, err = Started(place, "flow.py", "--state", "state", "--listen", taken.getsockname()[1]).outcome()
    assert (code, "in use" in err, "Traceback" in err) == (2, True, False), err


def test_without_the_extra(place: Path) -> None:
    (place / "uvicorn.py").write_text("")
    code = "import sys; sys.modules['uvicorn'] = None\nfrom headway.cli.main import main\nsys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "run", "flow.py", "--state", "state", "--listen", "0"]
    done = subprocess.run(command, cwd=place, capture_output=True, timeout=60, check=False, env={**os.environ})
    assert done.returncode == 2
    assert b"pip install 'headway[serve]'" in done.stderr
