"""`headway serve` and `headway run --serve` as processes: beside runs, without them, and when they are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.views_flow import Account
from tests.views_harness import FLOW, UNTIL_S, balances, finished, running, transfers, until, write_lines
from tests.web_harness import ask

from headway.client import Client, ServiceError
from headway.web.addresses import Address


def free_port() -> int:
    import socket

    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def answers(client: Client, expected: Account) -> bool:
    try:
        return client.view("accounts", Account).get("ann") == expected
    except ServiceError:
        return False


def serve(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "headway", "serve", *options]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=UNTIL_S)


def test_a_run_with_its_server_and_two_workers(tmp_path: Path) -> None:
    events = transfers(30)
    write_lines(tmp_path / "transfers-0.jsonl", events[:20])
    port = free_port()
    with (
        running(tmp_path, "--serve", f"127.0.0.1:{port}", workers=2) as process,
        Client(f"http://127.0.0.1:{port}") as client,
    ):
        until(lambda: answers(client, Account(*balances(events[:19])["ann"])), "nineteen events", process=process)
        [server] = [pid for pid in children(process.pid) if b"headway.serving.server" in command_of(pid)]
        os.kill(server, signal.SIGKILL)
        write_lines(tmp_path / "transfers-0.jsonl", events[20:])
        until(lambda: answers(client, Account(*balances(events[:29])["ann"])), "the server is back", process=process)
    assert ask_ready(port) is False


def children(pid: int) -> list[int]:
    return [int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def command_of(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def ask_ready(port: int) -> bool:
    try:
        return ask(Address("127.0.0.1", port), "GET", "/readyz").status == 200
    except OSError:
        return False


def test_a_flow_that_is_stopped_is_served_until_sigterm(tmp_path: Path) -> None:
    events = transfers(20)
    finished(tmp_path, events).close()
    port = free_port()
    command = [sys.executable, "-m", "headway", "serve", str(FLOW), "--listen", f"127.0.0.1:{port}"]
    command += ["--state", str(tmp_path / "state")]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        try:
            with Client(f"http://127.0.0.1:{port}") as client:
                until(lambda: answers(client, Account(*balances(events)["ann"])), "the server is up", process=process)
            process.send_signal(signal.SIGTERM)
            assert process.wait(UNTIL_S) == 0
            assert process.stderr is not None
            assert f"http://127.0.0.1:{port}/v1/views" in process.stderr.read().decode()
        finally:
            process.kill()


def test_what_cannot_be_served_is_one_clear_error(tmp_path: Path) -> None:
    bare = tmp_path / "bare.py"
    bare.write_text(
        'import headway as hw\nflow = hw.Flow("bare")\nflow.source("s", hw.Json, hw.items([]), time="at")\n'
    )
    for options, says in (
        ((str(bare),), "has no view to serve"),
        ((str(FLOW), "--listen", "0.0.0.0:0"), "no token is asked for"),
        ((str(FLOW), "--listen", "nowhere"), "is not an address"),
        ((str(FLOW), "--token", "secret"), "where the token is, not the token"),
    ):
        ended = serve(*options)
        assert (ended.returncode, ended.stderr.count("\n")) == (2, 1), ended.stderr
        assert says in ended.stderr
        assert "secret" not in ended.stderr
