"""Places for backups: a folder, an S3 server on this machine, and one that plays what stores and networks do."""

from __future__ import annotations

import logging
import os
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Optional
from unittest import mock

from headway.backups.catalog import Listed
from headway.backups.create import Backups
from headway.backups.restore import find_backup, known_backups, restore_backup
from headway.backups.store import Store, StoreError
from headway.runtime.directory import StateDirectory
from headway.savepoints.restore import Outputs

BUCKET = "kept"


@contextmanager
def s3_server() -> Iterator[dict[str, str]]:
    """An S3 server with a bucket, as long as the block lasts; what the environment must say to use it."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        address = f"http://{host}:{port}"
        urllib.request.urlopen(urllib.request.Request(f"{address}/{BUCKET}", method="PUT")).close()
        yield {
            "AWS_ACCESS_KEY_ID": "someone",
            "AWS_SECRET_ACCESS_KEY": "a-secret-of-the-test",
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": address,
            "AWS_ALLOW_HTTP": "true",
        }
    finally:
        server.stop()


@contextmanager
def with_environment(values: dict[str, str]) -> Iterator[None]:
    with mock.patch.dict(os.environ, values):
        yield


def unmoved(seconds: float) -> None:
    """Lets time go by: nobody renews a lease meanwhile."""


def claimed(store: Store, directory: Path, *, take_over: bool = False) -> Backups:
    return Backups.claimed(store, StateDirectory(directory / "state"), take_over=take_over, pause=unmoved)


def restored(store: Store, directory: Path, name: Optional[str] = None, outputs: Optional[Outputs] = None) -> None:
    """Let a directory go on from a backup: by default from the last one."""
    catalog = known_backups(store)
    into = StateDirectory(directory / "state")
    restore_backup(store, catalog, find_backup(store, catalog, name), into, outputs=outputs)


class Counted:
    """Passes everything on to another store, and counts the bytes of what is sent."""

    def __init__(self, inner: Store) -> None:
        self.inner = inner
        self.where = inner.where
        self.sent: list[tuple[str, int]] = []

    def read(self, key: str) -> Optional[bytes]:
        return self.inner.read(key)

    def exists(self, key: str) -> bool:
        return self.inner.exists(key)

    def create(self, key: str, data: bytes) -> bool:
        return self.inner.create(key, data)

    def write(self, key: str, data: bytes) -> None:
        self.inner.write(key, data)

    def send(self, key: str, path: Path) -> None:
        self.sent.append((key, path.stat().st_size))
        self.inner.send(key, path)

    def chunks(self, key: str) -> Optional[Iterator[bytes]]:
        return self.inner.chunks(key)

    def keys(self, prefix: str) -> Iterator[str]:
        return self.inner.keys(prefix)

    def remove(self, keys: Sequence[str]) -> None:
        self.inner.remove(keys)


class Unreliable(Counted):
    """A store as networks make it: requests fail, or happen and lose their answer, and listings are those of before."""

    def __init__(self, inner: Store, seed: int, fails: float = 0.0, loses: float = 0.0, stale: bool = False) -> None:
        super().__init__(inner)
        self.rng = Random(seed)
        self.fails, self.loses, self.stale = fails, loses, stale
        self.lost = self.failed = 0
        self._listed: dict[str, list[str]] = {}

    def read(self, key: str) -> Optional[bytes]:
        self._maybe_fail(key)
        return super().read(key)

    def exists(self, key: str) -> bool:
        self._maybe_fail(key)
        return super().exists(key)

    def create(self, key: str, data: bytes) -> bool:
        self._maybe_fail(key)
        made = super().create(key, data)
        self._maybe_lose(key)
        return made

    def write(self, key: str, data: bytes) -> None:
        self._maybe_fail(key)
        super().write(key, data)
        self._maybe_lose(key)

    def send(self, key: str, path: Path) -> None:
        self._maybe_fail(key)
        super().send(key, path)
        self._maybe_lose(key)

    def chunks(self, key: str) -> Optional[Iterator[bytes]]:
        self._maybe_fail(key)
        found = super().chunks(key)
        return None if found is None else self._cut(key, found)

    def keys(self, prefix: str) -> Iterator[str]:
        self._maybe_fail(prefix)
        now = list(super().keys(prefix))
        before = self._listed.get(prefix, [])
        self._listed[prefix] = now
        return iter(before if self.stale else now)

    def remove(self, keys: Sequence[str]) -> None:
        self._maybe_fail("some")
        super().remove(keys)
        self._maybe_lose("some")

    def _cut(self, key: str, chunks: Iterator[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            yield chunk
            self._maybe_fail(key)

    def _maybe_fail(self, key: str) -> None:
        if self.rng.random() < self.fails:
            self.failed += 1
            msg = f"{key}: 503 Slow Down"
            raise StoreError(msg)

    def _maybe_lose(self, key: str) -> None:
        if self.rng.random() < self.loses:
            self.lost += 1
            msg = f"{key}: the connection was reset"
            raise StoreError(msg)


def until_made(make: Callable[[], Listed], tries: int = 400) -> Listed:
    """What a run does: a backup that fails is tried again in its turn."""
    for _ in range(tries):
        try:
            return make()
        except StoreError:
            continue
    raise AssertionError(f"no backup in {tries} tries")
