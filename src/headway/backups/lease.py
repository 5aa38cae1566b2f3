"""Leases: whether the one who has claimed a place is alive, so that nobody takes it from him by mistake.

The chain of versions keeps two writers apart whatever happens (`headway.backups.catalog`); the second one would fence
the first. A lease is for not getting that far: `leases/CLAIM` is written anew every few seconds, with the time until
which it holds, and its end is written when it is given back. Who wants the place looks at it first. If it ran out long
ago, its writer is gone. If not, it is watched: when it is renewed meanwhile, its writer is alive, and the place is
refused; when nothing happens for as long as a lease holds, he is gone. So clocks need not agree: only one that is wrong
by more than `_DOUBT_MS` takes a living one for dead.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Final, Optional

import msgspec

from headway.backups.catalog import FencedError, Version
from headway.backups.store import Store, StoreError
from headway.errors import HeadwayError, LockedStateError

__all__ = ["LASTS_S", "Lease", "await_end", "remove_lease", "unheard", "wall_ms"]

log = logging.getLogger("headway")
LASTS_S: Final = 20.0
"""How long a lease holds that is not renewed."""
_EVERY_S: Final = 5.0
"""How often it is renewed."""
_DOUBT_MS: Final = 30_000
"""How far the clocks of two machines may differ."""
_LOOK_S: Final = 1.0


class _Held(msgspec.Struct, frozen=True):
    """What `leases/CLAIM` holds."""

    until_ms: int
    """Until when, in epoch milliseconds; 0 when it was given back."""


def wall_ms() -> int:
    """The wall clock, in epoch milliseconds."""
    return time.time_ns() // 1_000_000


def unheard(text: str) -> None:
    """Drops what it is told."""


def await_end(
    store: Store,
    version: Version,
    *,
    now_ms: Callable[[], int] = wall_ms,
    pause: Callable[[float], object] = time.sleep,
    tell: Callable[[str], object] = unheard,
) -> None:
    """Return when the writer of the last claim in `version` is gone; at once, unless he has been seen lately.

    Then it takes `LASTS_S` at most, which `tell` hears. Raises `LockedStateError` when he is alive, and `StoreError`.
    """
    first = _held(store, version)
    if not first.until_ms or first.until_ms + _DOUBT_MS < now_ms():
        return
    tell(f"{store.where} was claimed by {version.writer}: waiting {LASTS_S:.0f} s at most to see whether that is gone")
    waited_s = 0.0
    while waited_s < LASTS_S:
        pause(_LOOK_S)
        waited_s += _LOOK_S
        now = _held(store, version)
        if not now.until_ms:
            return
        if now != first:
            msg = (
                f"{store.where} is claimed by {version.writer}, which makes backups there now: stop that run, or give "
                "another place; --backup-take-over takes the place from it"
            )
            raise LockedStateError(msg)


def _held(store: Store, version: Version) -> _Held:
    data = store.read(_key(version.claim))
    if data is None:  # The claim is so new, or its writer came no further.
        return _Held(version.at_ms + int(LASTS_S * 1_000))
    try:
        return msgspec.json.decode(data, type=_Held)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        msg = f"{_key(version.claim)} in {store.where} cannot be read ({error}): remove it, if no run makes backups"
        raise StoreError(msg) from error


def _key(claim: int) -> str:
    return f"leases/{claim}"


def remove_lease(store: Store, before: Version) -> None:
    """Remove the lease of a claim that another one follows."""
    store.remove([_key(before.claim)])


class Lease:
    """Holds the lease of a claim as long as its block lasts, by a thread; and gives it back at the end.

    `check` is called each time, and raises `FencedError` when the place is another one's: then `fenced` is called
    with it, once, and the lease is left. A store that fails is told once in the log until it answers again.
    """

    def __init__(
        self,
        store: Store,
        claim: int,
        check: Callable[[], None],
        fenced: Optional[Callable[[FencedError], None]] = None,
    ) -> None:
        self._store = store
        self._claim = claim
        self._check = check
        self._fenced = fenced
        self._failed = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, name="headway-backup-lease", daemon=True)

    def __enter__(self) -> Lease:
        self._renew()
        self._thread.start()
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self._ended.set()
        self._thread.join(LASTS_S)  # A store that does not answer must not hold up the end of the run.
        try:
            self._write(0)
        except StoreError as failure:
            log.warning("the lease of a place for backups could not be given back; it runs out by itself: %s", failure)

    def _work(self) -> None:
        while not self._ended.wait(_EVERY_S) and self._renew():
            pass

    def _renew(self) -> bool:
        """Renew it; says whether to go on."""
        try:
            self._check()
            self._write(wall_ms() + int(LASTS_S * 1_000))
            self._failed = False
        except FencedError as error:
            if self._fenced is not None:
                self._fenced(error)
            return False
        except HeadwayError as error:  # Also a catalog that is damaged: what has been claimed is held all the same.
            if not self._failed:
                self._failed = True
                log.warning("the lease of a place for backups is not renewed: %s", error)
        return True

    def _write(self, until_ms: int) -> None:
        self._store.write(_key(self._claim), msgspec.json.encode(_Held(until_ms)))
