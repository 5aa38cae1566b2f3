"""The file that names the hosts of a cluster."""

from __future__ import annotations

from pathlib import Path

import pytest

from headway.cluster.hosts import Host, load_hosts
from headway.errors import UsageError

HEAD = 'secret = "env:CLUSTER_SECRET"\n'
A = '[[hosts]]\nname = "a"\naddress = "10.0.0.1:2100"\n'
B = '[[hosts]]\nname = "b"\naddress = "10.0.0.2:2100"\nworkers = 2\nports = "2101-2110"\n'


def test_a_file_says_who_runs_what(tmp_path: Path) -> None:
    path = tmp_path / "hosts.toml"
    path.write_text(HEAD + 'silent_after = "5s"\n' + A + B)
    hosts = load_hosts(path)
    assert hosts.first == Host("a", "10.0.0.1:2100", 1, (0, 0))
    assert hosts["b"] == Host("b", "10.0.0.2:2100", 2, (2101, 2110))
    assert (hosts.workers, list(hosts.indices("b")), hosts.silent_after_ms) == (3, [1, 2], 5_000)


def test_an_address_of_ipv6_has_brackets(tmp_path: Path) -> None:
    path = tmp_path / "hosts.toml"
    path.write_text(HEAD + '[[hosts]]\nname = "a"\naddress = "[fd00::1]:2100"\n')
    [host] = load_hosts(path).hosts
    assert (host.ip, host.port) == ("fd00::1", 2100)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "it needs a table [[hosts]]"),
        ("secret = ", "is not TOML"),
        (A, "it has no secret"),
        ('secret = "swordfish"\n' + A, "the secret is written in it"),
        (HEAD + "colour = 1\n" + A, "'colour', which is not known: expected hosts, secret, silent_after"),
        (HEAD + A + "colour = 1\n", "a host has 'colour', which is not known"),
        (HEAD + A + A, "2 hosts have the name 'a'"),
        (HEAD + A + A.replace('"a"', '"b"'), "2 hosts have the address '10.0.0.1:2100'"),
        (HEAD + A + "workers = 0\n", "workers = 0: write a number from 1 to 64"),
        (HEAD + A + "workers = true\n", "workers = True"),
        (HEAD + A.replace(":2100", ""), "the address '10.0.0.1': write host:port"),
        (HEAD + A.replace('"a"', '"a b"'), "the name 'a b'"),
        (HEAD + A + 'ports = "9-7"\n', "ports = '9-7'"),
        (HEAD + A + 'workers = 3\nports = "2101-2105"\n', "give at least 6"),
        (HEAD + 'silent_after = "10ms"\n' + A, "write a duration of 1s or longer"),
        (HEAD + 'silent_after = "soon"\n' + A, "silent_after"),
    ],
)
def test_what_is_wrong_is_said_with_the_file(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "hosts.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as failure:
        load_hosts(path)
    assert str(path) in str(failure.value)
    assert words in str(failure.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot be read \(No such file or directory\)"):
        load_hosts(tmp_path / "hosts.toml")


def test_a_host_that_is_not_in_it(tmp_path: Path) -> None:
    path = tmp_path / "hosts.toml"
    path.write_text(HEAD + A + B)
    with pytest.raises(UsageError, match="has no host 'c': --here must be one of a, b"):
        load_hosts(path)["c"]


def test_a_secret_that_is_too_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "hosts.toml"
    path.write_text(HEAD + A)
    monkeypatch.setenv("CLUSTER_SECRET", "short")
    with pytest.raises(UsageError, match="has 5 characters: give one of at least 16"):
        load_hosts(path).secret_bytes()
