"""MySQL by TLS, on MariaDB with a certificate that the test has made: who is let in, who is not, and what is said."""

from __future__ import annotations

import re
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from benchmarks.mariadb_server import MariadbServer
from tests.certificates import Authority
from tests.servers import mariadb_server
from tests.targets_harness import deliver, delivery_of, outcomes, run

import headway as hw
from headway.errors import InputError, OutputError, UsageError
from headway.probing.urls import probe_of
from headway.targets.base import Outcome

PASSWORD = "sword%40fish"


class SecureMariadb(MariadbServer):
    """Lets the user ann in by TLS alone."""

    name = "mariadb-secure"

    def __init__(self, directory: Path) -> None:
        self.authority = Authority(directory, "ca")
        self._certificate, self._key = self.authority.signed("server")
        super().__init__()
        self.query("CREATE USER ann IDENTIFIED BY 'sword@fish' REQUIRE SSL")
        self.query("GRANT ALL ON shop.* TO ann")

    def command(self) -> list[str]:
        return [*super().command(), f"--ssl-cert={self._certificate}", f"--ssl-key={self._key}"]

    def url_of(self, options: str, *, host: str = "127.0.0.1", password: str = PASSWORD, database: str = "shop") -> str:
        return f"mysql://ann:{password}@{host}:{self.port}/{database}?{options}"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureMariadb]:
    mariadb_server()  # Skips where there is none.
    found = SecureMariadb(tmp_path_factory.mktemp("secure"))
    yield found
    found.remove()


def test_rows_arrive_by_tls(server: SecureMariadb) -> None:
    target = hw.to_mysql(server.url_of(f"ssl_ca={server.authority.ca}"), "triggers")
    assert outcomes(deliver(target, [delivery_of(n) for n in range(20)])) == [Outcome.DONE] * 20
    assert server.query("SELECT count(*) FROM triggers") == [(20,)]
    assert "lets us in as ann@%" in run(target.look())


def refusal(url: str) -> str:
    """What is said, by a delivery and by a look: the same, and without the password."""
    target = hw.to_mysql(url, "triggers")
    [answer] = deliver(target, [delivery_of(0)])
    assert answer.outcome is Outcome.RETRY
    with pytest.raises(OutputError, match=re.escape(answer.reason)):
        run(target.look())
    with pytest.raises(InputError, match=re.escape(answer.reason)) as seen:
        probe_of(url, {}).look()
    assert "fish" not in str(seen.value)
    return answer.reason


def test_an_authority_that_is_unknown(server: SecureMariadb, tmp_path: Path) -> None:
    expected = "no authority that we trust has signed the server's certificate: name the file of its own with ?ssl_ca="
    assert expected in refusal(server.url_of("ssl=true"))
    assert expected in refusal(server.url_of(f"ssl_ca={Authority(tmp_path, 'other').ca}"))


def test_a_certificate_for_another_host(server: SecureMariadb) -> None:
    said = refusal(server.url_of(f"ssl_ca={server.authority.ca}", host="localhost"))
    assert "the server's certificate is for another name" in said


def test_a_server_without_tls() -> None:
    plain = mariadb_server()
    said = refusal(f"{plain.url}?ssl=true")
    assert "server doesn't support it" in said and "make the server offer TLS, or leave it out of the url" in said


def test_a_wrong_password_and_a_database_that_is_not_there(server: SecureMariadb) -> None:
    ssl = f"ssl_ca={server.authority.ca}"
    said = refusal(server.url_of(ssl, password="crayfish"))
    assert said.startswith("Access denied for user 'ann'") and said.endswith("check user and password in the url")
    server.query("GRANT ALL ON `absent`.* TO ann")
    said = refusal(server.url_of(ssl, database="absent"))
    assert said == "Unknown database 'absent' (error 1049): check its name in the url, or make it with CREATE DATABASE"


@pytest.mark.parametrize("options", ["ssl_ca=/absent/ca.pem", "ssl_key=/absent/key.pem", "ssl=yes", "ssl_ca="])
def test_options_that_cannot_be_are_refused_before_the_run(options: str) -> None:
    """An option that means nothing must not leave the connection open to all that listen."""
    with pytest.raises(UsageError, match=r"/absent/|the option 'ssl"):
        hw.to_mysql(f"mysql://ann:{PASSWORD}@127.0.0.1:1/shop?{options}", "triggers").check()


def test_tables_are_listed(server: SecureMariadb, monkeypatch: pytest.MonkeyPatch) -> None:
    server.query("CREATE TABLE seen_orders (id bigint PRIMARY KEY, kind varchar(9))")
    monkeypatch.setenv("SHOP", server.url_of(f"ssl_ca={server.authority.ca}"))
    probe = probe_of("env:SHOP", {})
    look = probe.look()
    assert look.server.startswith("MariaDB ") and "as the user ann@%" in look.server
    [orders] = [one for one in look.names if one.name == "seen_orders"]
    assert orders.size == "about 0 rows, InnoDB: id bigint(20), kind varchar(9)"
    assert (probe.shown, probe.input("seen_orders")) == (f"mysql://127.0.0.1:{server.port}/shop", None)


def packet(number: int, payload: bytes) -> bytes:
    return struct.pack("<I", len(payload))[:3] + bytes([number]) + payload


def sha2_server(listener: socket.socket) -> None:
    """What MySQL 8 says, without TLS, to a user whom it has not seen since its start."""
    salt = b"12345678", b"123456789012\0"
    capabilities = 0x200 | 0x8000 | 0x80000 | 0x8
    greeting = b"\x0a8.0.30\0" + struct.pack("<I", 1) + salt[0] + b"\0" + struct.pack("<H", capabilities & 0xFFFF)
    greeting += b"\x2d" + struct.pack("<HHB", 2, capabilities >> 16, 21) + bytes(10) + salt[1]
    with suppress(OSError):
        while True:
            client, _ = listener.accept()
            with client:
                client.sendall(packet(0, greeting + b"caching_sha2_password\0"))
                client.recv(4_096)
                client.sendall(packet(2, b"\x01\x04"))
                client.recv(4_096)
                client.sendall(packet(4, b"\x01-----BEGIN PUBLIC KEY-----"))
                client.recv(4_096)


def test_a_library_that_is_missing_to_be_let_in(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pymysql", reason="pymysql is not installed: pip install 'headway[mysql]'")
    monkeypatch.setattr("pymysql._auth._have_cryptography", False)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = threading.Thread(target=sha2_server, args=(listener,))
        serving.start()
        try:
            said = refusal(f"mysql://ann:{PASSWORD}@127.0.0.1:{listener.getsockname()[1]}/shop")
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            serving.join()
    assert "'cryptography' package is required" in said and "pip install 'headway[mysql]'" in said
