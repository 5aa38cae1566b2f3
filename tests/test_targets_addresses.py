"""Which addresses are dialled: judged by what is really dialled, however it is written or found."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.hostile_server import HostileServer, respond
from tests.targets_harness import delivery_of, run

import headway as hw
from headway.errors import UsageError
from headway.targets.addresses import AddressPolicy, AddressRefusedError
from headway.targets.base import Answer, Outcome

pytest.importorskip("httptools", reason="httptools is not installed: pip install 'headway[http]'")


@pytest.mark.parametrize(
    "address",
    [
        *("169.254.169.254", "169.254.0.1", "fe80::1", "fe80::1%eth0", "fd00:ec2::254", "100.100.100.200"),
        *("168.63.129.16", "0.0.0.0", "::", "224.0.0.1", "255.255.255.255", "ff02::1", "240.0.0.1"),
        *("::ffff:169.254.169.254", "64:ff9b::169.254.169.254", "2002:a9fe:a9fe::1", "::169.254.169.254"),
        "2001:0:a9fe:a9fe::1",
    ],
)
def test_never_by_default(address: str) -> None:
    assert AddressPolicy().refusal(address) is not None
    assert AddressPolicy(allow=["all"]).refusal(address) is None
    assert AddressPolicy(allow=[address.partition("%")[0]], deny=["all"]).refusal(address) is None or ":" in address


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "::1", "::ffff:127.0.0.1", "10.1.2.3", "192.168.0.1", "fd12::1", "8.8.8.8"]
)
def test_allowed_by_default(address: str) -> None:
    assert AddressPolicy().refusal(address) is None


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "10.0.0.1", "::ffff:10.0.0.1", "64:ff9b::10.0.0.1"),
        *("2002:0a00:0001::", "172.31.0.1", "192.168.1.1", "fc00::1", "100.64.0.1", "2130706433", "127.1", "0"),
        "localhost",
    ],
)
def test_without_the_own_network(address: str) -> None:
    """Also what is no address is refused: it would be resolved behind our back."""
    assert AddressPolicy(deny=["private", "loopback"]).refusal(address) is not None


networks = st.integers(0, 24).flatmap(
    lambda bits: st.integers(0, (1 << bits) - 1).map(lambda top: f"{IPv4Address(top << (32 - bits))}/{bits}")
)


@given(st.lists(networks, max_size=3), st.lists(networks, max_size=3), st.integers(0, (1 << 32) - 1))
def test_allow_wins_over_deny(allow: list[str], deny: list[str], number: int) -> None:
    """Against a model on bits; and an IPv6 address that carries an address is judged as that."""

    def within(texts: list[str]) -> bool:
        parts = [text.split("/") for text in texts]
        return any(number >> (32 - int(bits)) == int(IPv4Address(top)) >> (32 - int(bits)) for top, bits in parts)

    policy, address = AddressPolicy(allow=allow, deny=deny), str(IPv4Address(number))
    by_default = AddressPolicy().refusal(address) is not None
    assert (policy.refusal(address) is not None) is (not within(allow) and (within(deny) or by_default))
    for prefix in (0xFFFF << 32, 0x64FF9B << 96):
        carried = str(IPv6Address(prefix | number))
        assert (policy.refusal(carried) is None) is (policy.refusal(address) is None), ip_address(carried)


def test_networks_that_are_none() -> None:
    for options in ({"allow": ["10.0.0.1/8"]}, {"deny": ["lan"]}, {"allow": "loopback"}):
        with pytest.raises(UsageError, match=r"is no network|is one text"):
            AddressPolicy(**options)


def post(url: str, port: int, **options: Any) -> Answer:
    async def exchange() -> Answer:
        target = hw.webhook(url.format(port=port), timeout="5s", **options)
        await target.open()
        [answer] = await target.deliver([delivery_of(1)])
        await target.close()
        return answer

    return run(exchange())


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"])
def test_no_way_of_writing_it_leads_there(host: str) -> None:
    """A real socket listens; nothing comes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        answer = post(f"http://{host}:{{port}}/", listener.getsockname()[1], deny=["loopback"])
        assert answer.outcome is Outcome.RETRY and "denied" in answer.reason
        with pytest.raises(BlockingIOError):
            listener.accept()


@pytest.mark.parametrize("host", ["127.1", "2130706433", "0", "0x7f000001", "017700000001", "1.2.3.4.5", "127.0.0.0x1"])
def test_an_address_is_written_as_usual(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of these means an address to some resolver, and none to the client: it is refused before."""
    with pytest.raises(UsageError, match="is no address of an HTTP service"):
        hw.webhook(f"http://{host}/")
    monkeypatch.setenv("SHOP_URL", f"http://{host}/")
    answer = post("env:SHOP_URL", 0, deny=["loopback"])
    assert answer.outcome is Outcome.RETRY and answer.reason.startswith("'<url from env:SHOP_URL>' is no address")


def test_a_name_that_leads_elsewhere_the_second_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first answer of the DNS is harmless and the second is not: what is dialled is what is judged."""
    found = ["8.8.8.8", "169.254.169.254"]
    dialled = []

    class Policy(AddressPolicy):
        def socket_for(self, addr_info: tuple[Any, ...]) -> socket.socket:
            dialled.append(addr_info[4][0])
            return super().socket_for(addr_info)

    def resolve(host: str, port: int, *rest: Any, **options: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (found[1], port))]

    async def exchange() -> Answer:
        target = hw.webhook("http://shop.example/", timeout="5s")
        target._receiver._addresses = Policy()
        await target.open()
        monkeypatch.setattr(socket, "getaddrinfo", resolve)
        [answer] = await target.deliver([delivery_of(1)])
        await target.close()
        return answer

    answer = run(exchange())
    assert dialled == ["169.254.169.254"]
    assert answer.outcome is Outcome.RETRY and "169.254.169.254 is denied (169.254.0.0/16)" in answer.reason


def test_a_second_address_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name with an address that is denied and one that is not."""
    real = socket.getaddrinfo

    def resolve(host: str, port: int, *rest: Any, **options: Any) -> list[Any]:
        if host != "shop.example":
            return real(host, port, *rest, **options)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in ("169.254.1.1", "127.0.0.1")]

    async def exchange() -> Answer:
        async with HostileServer(respond()) as hostile:
            monkeypatch.setattr(socket, "getaddrinfo", resolve)
            target = hw.webhook(f"http://shop.example:{hostile.port}/", timeout="5s")
            await target.open()
            [answer] = await target.deliver([delivery_of(1)])
            await target.close()
            return answer

    assert run(exchange()).outcome is Outcome.DONE


def test_the_refusal_is_an_error_of_the_system() -> None:
    """Whoever dials goes on with the next address: it must be no other kind of error."""
    assert issubclass(AddressRefusedError, OSError)


def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")

    async def exchange() -> Answer:
        async with HostileServer(respond()) as hostile:
            target = hw.webhook(f"http://127.0.0.1:{hostile.port}/", timeout="5s")
            await target.open()
            [answer] = await target.deliver([delivery_of(1)])
            await target.close()
            return answer

    assert run(exchange()).outcome is Outcome.DONE
