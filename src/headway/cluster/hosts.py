"""The file that says which machines a flow runs on: the same on all of them."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from headway.basics.secret import Secret
from headway.basics.times import duration_ms
from headway.errors import UsageError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["Host", "Hosts", "load_hosts"]

_SILENT_AFTER: Final = "10s"
_EXAMPLE: Final = """secret = "file:/etc/headway/cluster-secret"

[[hosts]]
name = "a"
address = "10.0.0.1:2100"
"""
_SECRET_LEAST: Final = 16
_WORKERS_MOST: Final = 64


@dataclass(frozen=True)
class Host:
    """One machine."""

    name: str
    address: str
    """Where it is reached by the others, host:port. Of the first one this is where its supervisor listens."""
    workers: int
    """Worker processes that run on it."""
    ports: tuple[int, int]
    """The first and the last of the ports on which its workers may listen; 0 and 0 for any free ones."""

    @property
    def ip(self) -> str:
        """Its address without the port."""
        return self.address.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """The port of its supervisor."""
        return int(self.address.rpartition(":")[2])


@dataclass(frozen=True)
class Hosts:
    """All machines of a cluster. The first one coordinates the others."""

    hosts: tuple[Host, ...]
    secret: Secret
    """Proves to a machine that another one belongs to the cluster."""
    silent_after_ms: int
    """A machine that has said nothing for this long is lost."""
    path: Path

    def __getitem__(self, name: str) -> Host:
        """A machine by its name; raises `UsageError` where there is none of that name."""
        for host in self.hosts:
            if host.name == name:
                return host
        names = ", ".join(host.name for host in self.hosts)
        msg = f"{self.path} has no host {name!r}: --here must be one of {names}"
        raise UsageError(msg)

    @property
    def first(self) -> Host:
        """The one that coordinates."""
        return self.hosts[0]

    @property
    def workers(self) -> int:
        """Worker processes on all machines together."""
        return sum(host.workers for host in self.hosts)

    @property
    def layout(self) -> list[tuple[str, int]]:
        """Which machine runs how many workers, in their order: this decides where each key group lives."""
        return [(host.name, host.workers) for host in self.hosts]

    def indices(self, name: str) -> range:
        """The numbers of the workers that run on a machine."""
        start = 0
        for host in self.hosts:
            if host.name == name:
                return range(start, start + host.workers)
            start += host.workers
        raise KeyError(name)

    def secret_bytes(self) -> bytes:
        """The secret; raises `UsageError` when there is none, or one that could be guessed."""
        text = self.secret.one()
        if len(text) < _SECRET_LEAST:
            msg = (
                f"the secret of {self.path} has {len(text)} characters: give one of at least {_SECRET_LEAST}, such as "
                "what 'openssl rand -hex 32' prints"
            )
            raise UsageError(msg)
        return sha256(text.encode()).digest()

    @property
    def digest(self) -> str:
        """The same on all machines that have the same file, but for its secret and its comments."""
        told = [self.silent_after_ms, *((host.name, host.address, host.workers, host.ports) for host in self.hosts)]
        return sha256(repr(told).encode()).hexdigest()[:16]


def load_hosts(path: Path) -> Hosts:
    """Read the file. Raises `UsageError` that names what is wrong in it and says what to write."""
    try:
        text = path.read_bytes().decode()
    except OSError as error:
        msg = f"{path} cannot be read ({error.strerror}): give the file that names the hosts, such as\n{_EXAMPLE}"
        raise UsageError(msg) from None
    except UnicodeDecodeError:
        msg = f"{path} is not text: it must be TOML, such as\n{_EXAMPLE}"
        raise UsageError(msg) from None
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        msg = f"{path} is not TOML ({error}): write it like this\n{_EXAMPLE}"
        raise UsageError(msg) from None
    return _Reading(path).hosts(found)


class _Reading:
    """Checks what a file says."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def hosts(self, found: Mapping[str, Any]) -> Hosts:
        self._check_names(found, {"secret", "silent_after", "hosts"}, "it")
        tables = found.get("hosts")
        if not isinstance(tables, list) or not tables or not all(isinstance(table, dict) for table in tables):
            msg = f"it needs a table [[hosts]] for each machine, such as\n{_EXAMPLE}"
            raise self._wrong(msg)
        hosts = tuple(self._host(table) for table in tables)
        for what, values in (("name", [host.name for host in hosts]), ("address", [host.address for host in hosts])):
            [(value, count)] = Counter(values).most_common(1)
            if count > 1:
                msg = f"{count} hosts have the {what} {value!r}: each needs its own"
                raise self._wrong(msg)
        secret = found.get("secret")
        if not isinstance(secret, str):
            msg = 'it has no secret: write secret = "file:/path" or secret = "env:NAME"'
            raise self._wrong(msg)
        read = Secret(secret, "secret of the cluster")
        if read.reference is None:
            msg = (
                'the secret is written in it: keep that in a file or in the environment, and write "file:/path" or '
                '"env:NAME"'
            )
            raise self._wrong(msg)
        return Hosts(hosts, read, self._silent_after(found.get("silent_after", _SILENT_AFTER)), self._path)

    def _silent_after(self, value: Any) -> int:
        try:
            silent_ms = duration_ms(value) if isinstance(value, str) else 0
        except UsageError as error:
            msg = f"silent_after: {error}"
            raise self._wrong(msg) from None
        if silent_ms < 1_000:
            msg = f'silent_after is {value!r}: write a duration of 1s or longer, such as "10s"'
            raise self._wrong(msg)
        return silent_ms

    def _host(self, table: Mapping[str, Any]) -> Host:
        self._check_names(table, {"name", "address", "workers", "ports"}, "a host")
        name = table.get("name")
        if not isinstance(name, str) or not name.replace("-", "").replace("_", "").replace(".", "").isalnum():
            msg = f"a host has the name {name!r}: write letters, digits, '.', '_' and '-'"
            raise self._wrong(msg)
        address = table.get("address")
        place, _, port = address.rpartition(":") if isinstance(address, str) else ("", "", "")
        if not place or not port.isdecimal() or not 0 < int(port) < 65_536:
            msg = f"host {name!r} has the address {address!r}: write host:port, such as 10.0.0.1:2100"
            raise self._wrong(msg)
        workers = table.get("workers", 1)
        if not isinstance(workers, int) or isinstance(workers, bool) or not 1 <= workers <= _WORKERS_MOST:
            msg = f"host {name!r} has workers = {workers!r}: write a number from 1 to {_WORKERS_MOST}"
            raise self._wrong(msg)
        return Host(name, str(address), workers, self._ports(name, table.get("ports"), workers))

    def _ports(self, name: str, value: Any, workers: int) -> tuple[int, int]:
        if value is None:
            return 0, 0
        low, _, high = value.partition("-") if isinstance(value, str) else ("", "", "")
        if not low.isdecimal() or not high.isdecimal() or not 0 < int(low) <= int(high) < 65_536:
            msg = f'host {name!r} has ports = {value!r}: write the first and the last, such as "2101-2120"'
            raise self._wrong(msg)
        if int(high) - int(low) + 1 < 2 * workers:
            msg = (
                f"host {name!r} has ports {value} for {workers} workers: give at least {2 * workers}, since a start "
                "does not use those of the one before"
            )
            raise self._wrong(msg)
        return int(low), int(high)

    def _check_names(self, table: Mapping[str, Any], known: set[str], what: str) -> None:
        unknown = sorted(table.keys() - known)
        if unknown:
            msg = f"{what} has {unknown[0]!r}, which is not known: expected {', '.join(sorted(known))}"
            raise self._wrong(msg)

    def _wrong(self, what: str) -> UsageError:
        return UsageError(f"{self._path}: {what}")
