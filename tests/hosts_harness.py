"""Several machines on one: network namespaces that are joined by a bridge, each with runs of `headway` in it."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Optional

import pytest
from tests.cluster_harness import await_true, children, is_alive, send

NAMES = ("a", "b", "c")
SECRET = "only for tests, and long enough"


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


def why_no_namespaces() -> Optional[str]:
    """Why network namespaces cannot be made here; None where they can."""
    if shutil.which("ip") is None:
        return "needs the command ip (package iproute2)"
    name = f"hw-{secrets.token_hex(3)}"
    try:
        _ip("netns", "add", name)
    except subprocess.CalledProcessError as error:
        return f"needs the right to make network namespaces: {error.stderr.strip()}"
    try:
        _ip("-n", name, "link", "add", "bridge", "type", "bridge")
    except subprocess.CalledProcessError as error:
        return f"needs bridges between network namespaces: {error.stderr.strip()}"
    finally:
        _ip("netns", "del", name)
    return None


needs_namespaces = pytest.mark.skipif(
    (reason := why_no_namespaces()) is not None, reason=reason or "network namespaces can be made"
)


class Network:
    """Machines on one wire, by name. `cut` lets what one sends to another vanish, without a word to either."""

    def __init__(self, names: Sequence[str]) -> None:
        tag = secrets.token_hex(3)
        self._hub = f"hw-{tag}"
        self._spaces = {name: f"hw-{tag}-{name}" for name in names}
        self._numbers = {name: number for number, name in enumerate(names, 1)}

    def make(self) -> None:
        _ip("netns", "add", self._hub)
        _ip("-n", self._hub, "link", "add", "wire", "type", "bridge")
        _ip("-n", self._hub, "link", "set", "wire", "up")
        for name, space in self._spaces.items():
            _ip("netns", "add", space)
            _ip("-n", space, "link", "add", "eth0", "type", "veth", "peer", "name", f"to-{name}", "netns", self._hub)
            _ip("-n", self._hub, "link", "set", f"to-{name}", "master", "wire")
            _ip("-n", self._hub, "link", "set", f"to-{name}", "up")
            _ip("-n", space, "addr", "add", f"{self.ip(name)}/24", "dev", "eth0")
            _ip("-n", space, "link", "set", "eth0", "up")
            _ip("-n", space, "link", "set", "lo", "up")

    def remove(self) -> None:
        for space in (*self._spaces.values(), self._hub):
            subprocess.run(["ip", "netns", "del", space], check=False, capture_output=True)

    def ip(self, name: str) -> str:
        return f"10.77.0.{self._numbers[name]}"

    def within(self, name: str) -> list[str]:
        """What a command begins with that runs on a machine."""
        return ["ip", "netns", "exec", self._spaces[name]]

    def cut(self, sender: str, receiver: str) -> None:
        """Nothing that `sender` sends to `receiver` arrives from now on: it goes to a machine that is not there."""
        nobody = ("lladdr", "02:00:00:00:00:99", "nud", "permanent", "dev", "eth0")
        _ip("-n", self._spaces[sender], "neigh", "replace", self.ip(receiver), *nobody)

    def heal(self, sender: str, receiver: str) -> None:
        _ip("-n", self._spaces[sender], "neigh", "del", self.ip(receiver), "dev", "eth0")

    def cut_off(self, name: str) -> None:
        """Nobody hears the machine, and it hears nobody."""
        _ip("-n", self._spaces[name], "link", "set", "eth0", "down")

    def join_again(self, name: str) -> None:
        _ip("-n", self._spaces[name], "link", "set", "eth0", "up")


class Loopback:
    """Machines that are this one: each has an address of its own on loopback."""

    def ip(self, name: str) -> str:
        return f"127.0.77.{1 + NAMES.index(name)}"

    def within(self, name: str) -> list[str]:
        return []


@contextmanager
def network(names: Sequence[str] = NAMES) -> Iterator[Network]:
    """A wire with these machines, removed at the end of the block."""
    made = Network(names)
    try:
        made.make()
        yield made
    finally:
        made.remove()


def write_hosts(path: Path, net: Network | Loopback, workers: dict[str, int], *, port: int = 2100) -> None:
    """A hosts file with these machines, in their order; the first one listens on `port`."""
    tables = [
        f'[[hosts]]\nname = "{name}"\naddress = "{net.ip(name)}:{port}"\nworkers = {count}\n'
        + ('ports = "2101-2160"\n' if isinstance(net, Network) else "")
        for name, count in workers.items()
    ]
    path.write_text("\n".join(['secret = "env:HOSTS_SECRET"\nsilent_after = "3s"\n', *tables]))


class Machine:
    """A run of a flow on one machine; its state directory is `place / "state-<name>"`."""

    def __init__(
        self, net: Network | Loopback, name: str, place: Path, *arguments: object, hosts: str = "hosts.toml"
    ) -> None:
        self.name = name
        self.secret = SECRET
        self._hosts = place / hosts
        self.state = place / f"state-{name}"
        self._net = net
        self._place = place
        self._arguments = [str(one) for one in arguments]
        self.log = place / f"{name}.err"
        self.process: Optional[subprocess.Popen[bytes]] = None

    def start(self) -> None:
        command = [*self._net.within(self.name), sys.executable, "-m", "headway", "run", *self._arguments]
        command += ["--cluster", str(self._hosts), "--here", self.name, "--state", str(self.state)]
        with self.log.open("ab") as log, (self._place / f"{self.name}.out").open("wb") as out:
            self.process = subprocess.Popen(
                command,
                cwd=self._place,
                stdout=out,
                stderr=log,
                start_new_session=True,
                env={**os.environ, "HOSTS_SECRET": self.secret, "PYTHONFAULTHANDLER": "1"},
            )

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def workers(self) -> list[int]:
        return [pid for pid in children(self.pid) if is_alive(pid)]

    def await_workers(self, count: int) -> list[int]:
        await_true(lambda: self.has_ended or len(self.workers()) == count, f"{count} workers of host {self.name}")
        assert not self.has_ended, self.log.read_text()
        return self.workers()

    @property
    def has_ended(self) -> bool:
        assert self.process is not None
        return self.process.poll() is not None

    def kill(self) -> None:
        """SIGKILL for all that runs there, as when the power fails."""
        pids = [self.pid, *self.workers()]
        for pid in pids:
            send(pid, 9)
        assert self.process is not None
        self.process.wait()
        await_true(lambda: not any(map(is_alive, pids)), f"the end of host {self.name}")

    def lose_disk(self) -> None:
        shutil.rmtree(self.state)

    def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        send(self.pid, 15)
        return self.outcome()

    def outcome(self, timeout_s: float = 60.0) -> int:
        assert self.process is not None
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            send(self.pid, signal.SIGABRT)  # It tells what each of its threads is at.
            self.process.wait()
            raise AssertionError(f"host {self.name} did not end:\n{self.log.read_text()}") from None

    def end(self) -> None:
        if self.process is not None and not self.has_ended:
            self.kill()
