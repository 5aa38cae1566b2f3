"""Hosts that talk through tunnels of stunnel, as docs/cluster.md says: nothing of theirs crosses as it is."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final

import pytest
from tests.cluster_harness import FLOWS, await_true, run
from tests.hosts_harness import Machine, Network, needs_namespaces, network

pytestmark = [
    needs_namespaces,
    pytest.mark.skipif(shutil.which("stunnel") is None, reason="needs stunnel: apt-get install stunnel4"),
]

NAMES: Final = ("a", "b")
PORTS: Final = {"a": range(2100, 2104), "b": range(2110, 2114)}
"""Those of each host, which no other host has: on every machine its own are real, and those of others are tunnels."""
INNER: Final = {"a": "127.1.0.1", "b": "127.1.0.2"}
"""What the hosts file calls each host: an address of loopback, the same on all machines."""
OUTER: Final = 10_000
"""What is added to a port for the end of its tunnel."""
FLOW: Final = FLOWS / "abandoned_carts.py"


def tunnels(here: str, net: Network, place: Path) -> str:
    """A configuration of stunnel for one machine."""
    parts = [f"foreground = yes\npid =\nPSKsecrets = {place / 'psk'}\nciphers = PSK\n"]
    for name in NAMES:
        for port in PORTS[name]:
            inner, outer = f"{INNER[name]}:{port}", f"{net.ip(name)}:{port + OUTER}"
            ways = (outer, inner, "no") if name == here else (inner, outer, "yes")
            parts.append(f"[{name}-{port}]\naccept = {ways[0]}\nconnect = {ways[1]}\nclient = {ways[2]}\n")
    return "\n".join(parts)


def _is_ready(told_by: Callable[[], str]) -> bool:
    return "Configuration successful" in told_by()


@pytest.fixture
def net() -> Iterator[Network]:
    with network(NAMES) as made:
        yield made


def test_a_flow_runs_through_tunnels(net: Network, tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "headway", "generate", "shop", "events", "--events", "3000", "--quiet"],
        check=True,
        cwd=tmp_path,
    )
    (tmp_path / "psk").write_text("cluster:" + "5a" * 32 + "\n")
    (tmp_path / "psk").chmod(0o600)
    hosts = "".join(
        f'[[hosts]]\nname = "{name}"\naddress = "{INNER[name]}:{PORTS[name][0]}"\nworkers = 1\n'
        f'ports = "{PORTS[name][1]}-{PORTS[name][-1]}"\n'
        for name in NAMES
    )
    (tmp_path / "hosts.toml").write_text('secret = "env:HOSTS_SECRET"\n' + hosts)
    ends: list[subprocess.Popen[bytes]] = []
    machines = []
    try:
        for name in NAMES:
            settings = tmp_path / f"{name}.conf"
            settings.write_text(tunnels(name, net, tmp_path))
            log = (tmp_path / f"{name}.tunnel").open("wb")
            ends.append(subprocess.Popen([*net.within(name), "stunnel", str(settings)], stdout=log, stderr=log))
            log.close()
            told_by = (tmp_path / f"{name}.tunnel").read_text
            await_true(partial(_is_ready, told_by), "stunnel", describe=told_by)
        out = tmp_path / "out.jsonl"
        given = ("--set", f"input={tmp_path}/events/shop-*.jsonl", "--set", f"output={out}", "--quiet")
        machines = [Machine(net, name, tmp_path, FLOW, *given) for name in NAMES]
        for machine in machines:
            machine.start()
        told = [machine.outcome() for machine in machines]
        assert told == [0, 0], [machine.log.read_text() for machine in machines]
    finally:
        for machine in machines:
            machine.end()
        for end in ends:
            end.send_signal(signal.SIGTERM)
            end.wait(10)
    alone = tmp_path / "alone.jsonl"
    run(tmp_path, FLOW, "--set", "input=events/shop-*.jsonl", "--set", f"output={alone}", "--state", "alone")
    assert out.read_bytes() == alone.read_bytes()
