"""Webhooks over TLS: who is trusted, what is shown, and files that change."""

from __future__ import annotations

import errno
import shutil
import socket
import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.certificates import Authority
from tests.hostile_server import HostileServer, in_turn, raw, respond
from tests.targets_harness import delivery_of, run

import headway as hw
from headway.errors import UsageError
from headway.targets.base import Answer, Outcome

pytest.importorskip("httptools", reason="httptools is not installed: pip install 'headway[http]'")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"), "shop")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("others"), "other")


def post(context: ssl.SSLContext, **options: Any) -> Answer:
    async def exchange() -> Answer:
        async with HostileServer(respond(), tls=context) as hostile:
            target = hw.webhook(f"https://127.0.0.1:{hostile.port}/", timeout="10s", **options)
            target.check()
            await target.open()
            [answer] = await target.deliver([delivery_of(1)])
            await target.close()
            return answer

    return run(exchange())


def test_an_authority_of_ones_own(authority: Authority, other: Authority) -> None:
    context = authority.server(authority.signed("server"))
    assert post(context, ca=str(authority.ca)).outcome is Outcome.DONE
    for options in ({}, {"ca": str(other.ca)}):
        answer = post(context, **options)
        assert answer.outcome is Outcome.RETRY and "the certificate is refused" in answer.reason


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number"),
            "[SSL: WRONG_VERSION_NUMBER] wrong version number",
        ),
        (
            socket.gaierror(8, "nodename nor servname provided, or not known"),
            "nodename nor servname provided, or not known",
        ),
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed ('127.0.0.1', 1)"), "Connection refused"),
        (OSError("the name leads to no address"), "the name leads to no address"),
    ],
)
def test_why_nobody_was_reached(error: OSError, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the resolver and TLS say is told as it is: some systems number it as they number other errors."""

    async def failing(*given: Any, **named: Any) -> Any:
        raise error

    async def exchange() -> str:
        target = hw.webhook("http://shop.example/", timeout="10s")
        await target.open()
        monkeypatch.setattr("headway.targets.http_client.HttpClient._resolve", failing)
        [answer] = await target.deliver([delivery_of(1)])
        await target.close()
        return answer.reason

    assert run(exchange()) == f"cannot connect to shop.example:80: {said}"


@pytest.mark.parametrize(
    ("given", "said"),
    [({"host": "DNS:shop.example"}, "IP address mismatch"), ({"days": -1}, "has expired")],
    ids=["host", "expired"],
)
def test_a_certificate_that_is_not_right(authority: Authority, given: dict[str, Any], said: str) -> None:
    answer = post(authority.server(authority.signed("wrong", **given)), ca=str(authority.ca))
    assert answer.outcome is Outcome.RETRY and said in answer.reason


def test_a_certificate_to_show(authority: Authority, other: Authority) -> None:
    context = authority.server(authority.signed("server"), asks=True)
    cert, key = map(str, authority.signed("client"))
    assert post(context, ca=str(authority.ca), cert=cert, key=key).outcome is Outcome.DONE
    foreign, foreign_key = map(str, other.signed("client"))
    assert post(context, ca=str(authority.ca)).outcome is Outcome.RETRY
    assert post(context, ca=str(authority.ca), cert=foreign, key=foreign_key).outcome is Outcome.RETRY


def test_a_certificate_that_is_renewed(authority: Authority, other: Authority, tmp_path: Path) -> None:
    """The next connection shows the new one; the flow goes on meanwhile."""
    context = authority.server(authority.signed("server"), asks=True)
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"

    def put(pair: tuple[Path, Path]) -> None:
        shutil.copy(pair[0], cert)
        shutil.copy(pair[1], key)

    async def exchange() -> list[Answer]:
        async with HostileServer(in_turn(respond(204, "Connection: close\r\n")), tls=context) as hostile:
            url = f"https://127.0.0.1:{hostile.port}/"
            target = hw.webhook(url, ca=str(authority.ca), cert=str(cert), key=str(key), timeout="10s")
            await target.open()
            answers: list[Answer] = []
            for pair in (other.signed("client"), authority.signed("renewed")):
                put(pair)
                answers += await target.deliver([delivery_of(1)])
            key.unlink()
            answers += await target.deliver([delivery_of(1)])
            await target.close()
            return answers

    wrong, right, gone = run(exchange())
    assert (wrong.outcome, right.outcome, gone.outcome) == (Outcome.RETRY, Outcome.DONE, Outcome.RETRY)
    assert "key.pem cannot be read (No such file" in gone.reason


def test_no_tls_where_it_is_meant() -> None:
    async def exchange() -> Answer:
        async with HostileServer(raw(b"HTTP/1.1 200 OK\r\n\r\n"), unread=lambda: True) as hostile:
            target = hw.webhook(f"https://127.0.0.1:{hostile.port}/")
            await target.open()
            [answer] = await target.deliver([delivery_of(1)])
            await target.close()
            return answer

    assert run(exchange()).outcome is Outcome.RETRY


def test_files_that_cannot_be(authority: Authority, other: Authority, tmp_path: Path) -> None:
    cert, key = authority.signed("client")
    empty, locked = tmp_path / "empty.pem", tmp_path / "locked.key"
    empty.touch()
    subprocess.run(
        ["openssl", "ec", "-in", str(key), "-aes128", "-passout", "pass:swordfish", "-out", str(locked)],
        check=True,
        capture_output=True,
    )
    foreign = other.signed("client")[1]
    for options, said in (
        ({"ca": str(empty)}, "cannot be used for TLS"),
        ({"ca": str(tmp_path / "none.pem")}, "cannot be read (No such file"),
        ({"cert": str(cert), "key": str(foreign)}, "a key that belongs to the certificate"),
        ({"cert": str(cert), "key": str(locked)}, "a key that is not encrypted"),
    ):
        target = hw.webhook("https://shop.example/", **options)  # type: ignore[arg-type]
        with pytest.raises(UsageError) as raised:
            target.check()
        assert said in str(raised.value), raised.value
    with pytest.raises(UsageError, match="has no certificate"):
        hw.webhook("https://shop.example/", key=str(key))
    with pytest.raises(UsageError, match="are for https"):
        hw.webhook("http://shop.example/", ca=str(authority.ca)).check()
