"""What a process has of an object store: a listing that is kept up to date, and copies of the objects that are read.

The client blocks, and so it works in threads: one lists, some copy. Readers never wait for them.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Optional

from headway.basics.secret import hide
from headway.connectors.base import PartitionReader, Position, Session, Tell, unheard
from headway.connectors.naming import in_order
from headway.connectors.objects.copies import OpenCopies, open_most
from headway.connectors.objects.reader import ObjectLogReader, ObjectReader
from headway.connectors.troubles import Troubles
from headway.errors import InputError

if TYPE_CHECKING:
    from headway.connectors.objects.source import ObjectsInput

__all__ = ["Found", "ObjectsSession"]

_COPIES: Final = 3
_CHUNK_BYTES: Final = 8 << 20
_PAUSE_S: Final = 1.0
_TIMEOUT: Final = timedelta(seconds=60)
_CONNECT_TIMEOUT: Final = timedelta(seconds=5)
_RETRIES: Final = 2
"""By the client itself; what goes on failing is tried again here, and told."""
_RETRIES_LAST: Final = timedelta(seconds=10)
_ALLOW_HTTP: Final = ("AWS_ALLOW_HTTP", "AZURE_ALLOW_HTTP", "GOOGLE_ALLOW_HTTP")
_LOG: Final = "objects"
_ENDS: Final = "{name} was not copied: the run ends"


class Found(NamedTuple):
    """An object, as the store has listed it."""

    etag: str
    size: int


class ObjectsSession(Session):
    """One client for all readers of a process."""

    def __init__(self, given: ObjectsInput, clock_s: Callable[[], float] = time.monotonic) -> None:
        import obstore
        from obstore.store import from_url

        self.given = given
        self._api: Any = obstore
        self._clock_s = clock_s
        self._secrets = [line for _, secret in given.options for line in secret.read()]
        self._errors: Any = obstore.exceptions
        options: dict[str, Any] = {name: secret.one() for name, secret in given.options}
        given_to_client: dict[str, Any] = {}
        if not given.url.startswith("file:"):
            client = {"timeout": _TIMEOUT, "connect_timeout": _CONNECT_TIMEOUT, "allow_http": _is_plain(options)}
            retrying = {"max_retries": _RETRIES, "retry_timeout": _RETRIES_LAST}
            given_to_client = {"config": options or None, "client_options": client, "retry_config": retrying}
        try:
            self._store: Any = from_url(given.url, **given_to_client)
        except (self._errors.BaseError, ValueError) as error:
            msg = f"{given.describe()} cannot be used: {self._words(error)}"
            raise InputError(msg) from error
        self.troubles = Troubles(given.describe())
        self.objects: Mapping[str, Found] = {}
        """All objects that are read, by their names, in their order; replaced by each listing."""
        self.open_copies = OpenCopies(open_most())
        self._begun: dict[str, str] = {}
        """The ETags of objects that were read or begun."""
        self._ended = Event()
        self._copying = ThreadPoolExecutor(_COPIES, thread_name_prefix="headway objects")
        self._folder: Optional[Path] = None
        self._listing: Optional[Thread] = None
        self._failure: Optional[InputError] = None
        self._count = 0

    def partitions(self, tell: Tell = unheard) -> list[str]:
        """Those of the last listing; the first call makes one, and may take its time."""
        if self._listing is None:
            self._list()
            self._listing = Thread(target=self._keep_listing, name=f"headway {self.given.describe()}", daemon=True)
            self._listing.start()
        self.check()
        if self.given.one_log:
            return [_LOG] if self.objects else []
        return list(self.objects)

    def notices(self, tell: Tell) -> None:
        """That the store does not answer, and what was changed in it."""
        self.troubles.take(tell)

    def open(self, partition: str, position: Optional[Position], *, follow: bool) -> PartitionReader:
        """A reader of an object, or of all of them as one log."""
        if not self.objects:
            self.partitions()
        if self._folder is None:
            if self.given.folder is not None:
                os.makedirs(self.given.folder, mode=0o700, exist_ok=True)
            self._folder = Path(tempfile.mkdtemp(prefix="copies-", dir=self.given.folder))
        if self.given.one_log:
            return ObjectLogReader(self, partition, position, follow=follow)
        return ObjectReader(self, partition, position)

    def check(self) -> None:
        """Raise what has ended the session, if something has."""
        if self._failure is not None:
            raise self._failure

    def copy(self, name: str, etag: Optional[str]) -> Future[tuple[str, Found]]:
        """Copy an object, in a thread: gives the path, and what it is. With `etag` it has to be the one that has it."""
        return self._copying.submit(self._copy, name, etag)

    def begun(self, name: str, etag: str) -> None:
        """An object is read: it is told when it is changed later."""
        self._begun[name] = etag

    def close(self) -> None:
        """End the threads, and remove all copies."""
        self._ended.set()
        self._copying.shutdown(cancel_futures=True)
        if self._listing is not None:
            self._listing.join()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _list(self) -> None:
        found: dict[str, Found] = {}
        try:
            for page in self._api.list(self._store):
                for entry in page:
                    if self.given.takes(entry["path"]):
                        found[entry["path"]] = Found(str(entry["e_tag"]), entry["size"])
        except FileNotFoundError as error:
            if not self.given.url.startswith("file:"):
                msg = f"{self.given.describe()} cannot be listed: {self._words(error)}; check the URL"
                raise InputError(msg) from error
            found = {}  # A directory that is not there yet.
        except (self._errors.BaseError, OSError) as error:
            msg = f"{self.given.describe()} cannot be listed: {self._words(error)}; check the URL and the credentials"
            raise InputError(msg) from error
        for name, etag in list(self._begun.items()):
            if name in found and found[name].etag != etag:
                self._begun[name] = found[name].etag
                self.troubles.tell(f"{name} was changed after it was read; it is not read again")
        self.objects = {name: found[name] for name in in_order(found)}

    def _keep_listing(self) -> None:
        while not self._ended.wait(self.given.poll_s):
            try:
                self._list()
                self.troubles.up()
            except InputError as error:
                self.troubles.down(f"it cannot be listed: {self._words(error.__cause__ or error)}")
            except BaseException as error:  # Whatever it is, it must not end in an input that finds nothing more.
                self._failure = InputError(f"{self.given.describe()} cannot be listed: {self._words(error)}")
                self._failure.__cause__ = error
                return

    def _copy(self, name: str, etag: Optional[str]) -> tuple[str, Found]:
        while True:
            try:
                found = self._copied(name, etag)
                self.troubles.up(name)
                return found
            except FileNotFoundError as error:
                msg = f"{name} of {self.given.describe()} is gone before it was read: put it back"
                raise InputError(msg) from error
            except (self._errors.UnauthenticatedError, self._errors.PermissionDeniedError) as error:
                msg = f"{name} of {self.given.describe()} may not be read: {self._words(error)}"
                raise InputError(msg) from error
            except self._errors.BaseError as error:
                self.troubles.down(self._words(error), name)
                if self._ended.wait(_PAUSE_S):
                    raise InputError(_ENDS.format(name=name)) from error

    def _copied(self, name: str, etag: Optional[str]) -> tuple[str, Found]:
        got = self._api.get(self._store, name)
        found = Found(str(got.meta["e_tag"]), got.meta["size"])
        if etag is not None and found.etag != etag:
            msg = (
                f"{name} of {self.given.describe()} was changed while it was read: expected the ETag {etag}, found "
                f"{found.etag}; objects must not be changed: put the former one back, or start with a new state "
                "directory"
            )
            raise InputError(msg)
        assert self._folder is not None, "copies are made for readers"
        self._count += 1
        path = self._folder / f"{self._count}-{name.rpartition('/')[2][-100:]}"
        try:
            with path.open("wb") as file:
                for chunk in got.stream(min_chunk_size=_CHUNK_BYTES):
                    if self._ended.is_set():
                        raise InputError(_ENDS.format(name=name))
                    file.write(chunk)
        except OSError as error:
            if isinstance(error, FileNotFoundError) or error.errno is None:
                raise
            msg = f"{name} of {self.given.describe()} cannot be copied to {path}: {error.strerror}; free some space"
            raise InputError(msg) from error
        return str(path), found

    def _words(self, error: BaseException) -> str:
        text = " ".join(str(error).split())[:300] or type(error).__name__
        return hide(text, self._secrets)


def _is_plain(options: Mapping[str, Any]) -> bool:
    """Whether the client is told to talk to a server without TLS."""
    told = any(os.environ.get(name, "").lower() in {"1", "true"} for name in _ALLOW_HTTP)
    return told or any(str(value).startswith("http://") for value in options.values())
