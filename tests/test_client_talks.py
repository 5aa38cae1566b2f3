"""What is asked again and when, against a server that loses requests and answers, on a clock of the test."""

from __future__ import annotations

import http.client
import socket
import ssl
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Optional, Union

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.client import Client, FunctionClient
from headway.client.function_protocol import FunctionProtocol, InstanceProtocol, Rules
from headway.client.protocol import Reply, Request, bearer
from headway.client.talks import Ask, Pause, Talk
from headway.errors import NotYetError, ServiceError, UsageError

FAULTS = st.sampled_from(["request lost", "answer lost", 429, 503, 507, "fine", "fine"])


class World:
    """A server of posts that keeps what it took, behind a network with faults; and a clock."""

    def __init__(self, faults: list[Any], answers_in_s: float = 0.0) -> None:
        self.faults = faults
        self.now_s = 100.0
        self.taken: dict[str, int] = {}
        self.asked = 0
        self.answers_in_s = answers_in_s

    def rules(self, retry_s: float) -> Rules:
        return Rules(retry_s, lambda: self.now_s)

    def reply(self, request: Request) -> Reply:
        fault = self.faults.pop(0) if self.faults else "fine"
        self.asked += 1
        self.now_s += self.answers_in_s
        if isinstance(fault, int):
            return Reply(fault, {"retry-after": "1"}, b'{"title": "busy", "detail": "come again"}')
        key = request.headers["idempotency-key"]
        duplicate = key in self.taken
        if fault != "request lost":
            self.taken.setdefault(key, len(self.taken))
        if fault != "fine":
            msg = f"http://it gives no answer: {fault}"
            raise ServiceError(msg)
        told = {"log": "l/0", "position": self.taken[key], "duplicate": duplicate, "events": 1}
        return Reply(200, {}, msgspec.json.encode(told))

    def drive(self, talk: Talk[Any]) -> Any:
        try:
            step: Union[Ask, Pause] = next(talk)
            while True:
                if isinstance(step, Pause):
                    self.now_s += step.seconds
                    step = talk.send(None)
                    continue
                try:
                    reply = self.reply(step.request)
                except ServiceError as error:
                    step = talk.throw(error)
                else:
                    step = talk.send(reply)
        except StopIteration as end:
            return end.value


@given(st.lists(FAULTS, max_size=12), st.floats(0.0, 60.0), st.sampled_from([None, "mine"]))
def test_what_is_told_is_taken_once_and_within_its_time(faults: list[Any], retry_s: float, key: Optional[str]) -> None:
    world = World(list(faults))
    instance: InstanceProtocol[Any] = FunctionProtocol("buy", Any, world.rules(retry_s)).instance("1")
    began_s = world.now_s
    try:
        posted = world.drive(instance.signal("go", 1, key))
    except ServiceError as error:
        assert "fine" not in faults[: world.asked]
        assert error.status in (0, 429, 503, 507)
    else:
        assert posted.position == 0
        used = faults[: world.asked]
        assert used[:-1].count("fine") == 0, "what was answered is not asked again"
        assert posted.duplicate == ("answer lost" in used)
    assert len(world.taken) <= 1, "one key in all attempts"
    assert world.now_s - began_s <= retry_s + 1e-6
    assert world.asked <= 14


def test_two_of_the_same_are_two_unless_they_have_a_key() -> None:
    world = World([])
    instance: InstanceProtocol[Any] = FunctionProtocol("buy", Any, world.rules(1.0)).instance("1")
    for _ in range(2):
        world.drive(instance.signal("go", 1, None))
    assert len(world.taken) == 2
    for _ in range(2):
        world.drive(instance.signal("go", 1, "mine"))
    assert len(world.taken) == 3


def test_pauses_grow_to_two_seconds_and_respect_what_the_server_asks_for() -> None:
    talk = FunctionProtocol("buy", Any, Rules(1_000.0, lambda: 0.0)).instance("1").signal("go", 1, None)
    assert isinstance(next(talk), Ask)
    pauses = []
    for _ in range(7):
        paused = talk.throw(ServiceError("gone"))
        assert isinstance(paused, Pause)
        pauses.append(paused.seconds)
        assert isinstance(talk.send(None), Ask)
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0]
    busy = Reply(507, {"retry-after": "30"}, b"{}")
    assert talk.send(busy) == Pause(30.0)


def of_tls(kind: type[ssl.SSLError], reason: str) -> ssl.SSLError:
    error = kind(1, f"[SSL: {reason}]")
    error.reason = reason
    return error


@pytest.mark.parametrize(
    ("cause", "is_final"),
    [
        (of_tls(ssl.SSLCertVerificationError, "CERTIFICATE_VERIFY_FAILED"), True),
        (of_tls(ssl.SSLError, "TLSV13_ALERT_CERTIFICATE_REQUIRED"), True),
        (of_tls(ssl.SSLError, "TLSV1_ALERT_UNKNOWN_CA"), True),
        (of_tls(ssl.SSLEOFError, "UNEXPECTED_EOF_WHILE_READING"), False),
        (of_tls(ssl.SSLError, "RECORD_LAYER_FAILURE"), False),
        (ssl.SSLZeroReturnError(6, "closed"), False),
        (ConnectionResetError(), False),
    ],
)
def test_of_tls_only_certificates_are_not_tried_again(cause: OSError, is_final: bool) -> None:
    talk = FunctionProtocol("buy", Any, Rules(1_000.0, lambda: 0.0)).instance("1").signal("go", 1, None)
    next(talk)
    error = ServiceError("no answer")
    error.__cause__ = cause
    if not is_final:
        assert isinstance(talk.throw(error), Pause)
        return
    with pytest.raises(ServiceError, match="no answer"):
        talk.throw(error)


def test_a_kept_connection_that_the_server_has_ended_is_opened_anew() -> None:
    class Ended(http.client.HTTPConnection):
        def request(self, *arguments: Any, **options: Any) -> None:
            raise ssl.SSLEOFError(8, "EOF occurred in violation of protocol")

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")

        thread = threading.Thread(target=answer)
        thread.start()
        with Client(f"http://127.0.0.1:{port}") as client:
            client._idle.append(Ended("127.0.0.1", port))
            assert client.ask(Request("GET", "/", {})).status == 200
        thread.join()


def row(status: str, **more: Any) -> Reply:
    headers = {"headway-epoch": "1", "headway-age-ms": "0", "etag": f'"{status}{len(more)}"'}
    return Reply(200, headers, msgspec.json.encode({"key": "buy/1", "value": {"status": status, **more}}))


def test_a_result_is_waited_for_version_by_version() -> None:
    now_s = 0.0
    instance: InstanceProtocol[Any] = FunctionProtocol("buy", int, Rules(10.0, lambda: now_s)).instance("1")
    talk = instance.result("2m")
    first = next(talk)
    assert isinstance(first, Ask) and "wait" not in first.request.path and first.request.headers == {}
    second = talk.send(row("running"))
    assert isinstance(second, Ask)
    assert second.request.headers == {"if-none-match": '"running0"'}
    assert second.request.path.endswith("?wait=60000ms") and second.request.wait_s == 60.0
    now_s = 60.0
    third = talk.send(Reply(304, {}, b""))
    now_s = 100.0
    fourth = talk.throw(ServiceError("cut"))
    assert isinstance(fourth, Pause)
    now_s += fourth.seconds
    again = talk.send(None)
    assert isinstance(third, Ask) and isinstance(again, Ask)
    assert third.request.path.endswith("?wait=60000ms") and again.request.path.endswith("?wait=19900ms")
    assert (again.request.headers, round(again.request.wait_s, 3)) == (third.request.headers, 19.9)
    fifth = talk.send(Reply(304, {}, b""))
    assert isinstance(fifth, Ask) and round(fifth.request.wait_s, 3) == 19.9
    with pytest.raises(StopIteration) as ended:
        talk.send(row("completed", result="7"))
    assert ended.value.value == 7


def test_a_result_that_does_not_come_in_time() -> None:
    now_s = 0.0
    instance: InstanceProtocol[Any] = FunctionProtocol("buy", int, Rules(10.0, lambda: now_s)).instance("1")
    talk = instance.result("5s")
    next(talk)
    talk.send(row("running"))
    now_s = 5.0
    with pytest.raises(NotYetError, match="buy/1 has not ended within 5s: it is running"):
        talk.send(Reply(304, {}, b""))


class Gone(World):
    """Nobody answers, each time only once the time for the answer has passed."""

    def reply(self, request: Request) -> Reply:
        self.asked += 1
        self.now_s += request.timeout_s(10.0)
        raise ServiceError("http://it gives no answer: timed out")


@pytest.mark.parametrize(
    ("timeout", "told"),
    [("200ms", NotYetError), ("20s", NotYetError), ("5m", ServiceError), (None, ServiceError)],
)
@pytest.mark.parametrize("what", ["result", "update"])
def test_a_time_limit_is_kept_where_nobody_answers(timeout: Optional[str], told: Any, what: str) -> None:
    """It goes before the time for which a server that is gone is asked again, and is known from it by the error."""
    world = Gone([])
    instance: InstanceProtocol[Any] = FunctionProtocol("buy", int, world.rules(30.0)).instance("1")
    talk = instance.result(timeout) if what == "result" else instance.update("raise", 1, int, timeout, None)
    began_s = world.now_s
    with pytest.raises(ServiceError) as caught:
        world.drive(talk)
    assert type(caught.value) is told and "gives no answer" in str(caught.value)
    took_s = world.now_s - began_s
    if told is NotYetError:
        missing = "has not ended" if what == "result" else "has not answered update 'raise' (ask again with key="
        assert str(caught.value).startswith(f"buy/1 {missing}")
        assert f" within {timeout}: http://it" in str(caught.value)
        limit_s = {"200ms": 0.2, "20s": 20.0}[str(timeout)]
        assert limit_s <= took_s <= limit_s + 1.001, "and a second for the last answer"
    else:
        assert 30.0 <= took_s <= 51.0


def test_updates_of_one_key_are_one_for_each_instance() -> None:
    world = World([])
    keys = []
    for number in ("1", "1", "2"):
        instance: InstanceProtocol[Any] = FunctionProtocol("buy", Any, world.rules(1.0)).instance(number)
        asked = next(instance.update("raise", 5, int, None, "mine"))
        assert isinstance(asked, Ask) and asked.request.path == f"/v1/functions/buy/{number}/updates/raise/mine"
        keys.append(asked.request.headers["idempotency-key"])
    assert keys[0] == keys[1] != keys[2]
    with pytest.raises(UsageError, match="visible ASCII"):
        next(instance.update("raise", 5, int, None, ""))


def test_handles_share_what_reads_their_answers() -> None:
    """It takes classes to be made, so that there would be a leak of them."""
    by_name: FunctionProtocol[Any] = FunctionProtocol("buy", Any, Rules(1.0))
    first, second = (by_name.instance(number)._view for number in ("1", "2"))
    assert first._decode_one is second._decode_one


def test_a_client_that_was_given_is_not_closed() -> None:
    with Client("http://127.0.0.1:9") as own:
        kept = http.client.HTTPConnection("127.0.0.1", 9)
        own._idle.append(kept)
        with FunctionClient(listen=own, serve="http://127.0.0.1:9"):
            pass
        assert own._idle == [kept]


def test_the_sync_client_needs_no_asyncio() -> None:
    code = "import sys; from headway.client import Client, FunctionClient; assert 'asyncio' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


wrong: Any = 5


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (FunctionClient, "has no address: give listen=, serve= or both"),
        (lambda: FunctionClient(listen=wrong), "listen=5: give the address of the server, or a Client"),
        (lambda: FunctionClient(serve="nowhere"), "'nowhere' is not the address of a server"),
        (lambda: Client("http://127.0.0.1:9", token="file:/no/such/file"), "/no/such/file"),
        (
            lambda: FunctionClient(listen="http://127.0.0.1:9").function(wrong),
            r"function\(5\): give a function that @hw",
        ),
        (
            lambda: FunctionClient(serve="http://127.0.0.1:9").function("buy").start("1"),
            "`headway run --listen` starts, signals and ends functions: give the client listen=",
        ),
    ],
)
def test_what_a_client_is_not_given_right(make: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        make()


def test_a_token_in_a_file_is_read_again_when_it_has_changed(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("first\n")
    header = bearer(f"file:{file}")
    assert header() == {"authorization": "Bearer first"}
    file.write_text("second one\n")
    assert header() == {"authorization": "Bearer second one"}
    assert bearer(None)() == {}


def test_what_answers_may_be_no_server_of_headway() -> None:
    page = Reply(200, {"content-type": "text/html"}, b"<html>Welcome")
    by_name: FunctionProtocol[Any] = FunctionProtocol("buy", Any, Rules(1.0, lambda: 0.0))
    for talk in (by_name.instance("1").result(None), by_name.instance("1").signal("go", 1, None)):
        next(talk)
        with pytest.raises(ServiceError, match=r"no server of Headway.*begins with '<html>Welcome'") as caught:
            talk.send(page)
        assert caught.value.status == 200
