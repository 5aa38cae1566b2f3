"""A checksum of the engine's recovery log while no run uses it, since the log itself has none.

It holds positions and versions in SQLite: a flipped bit there would be believed, and a file be read twice.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Final, Optional

from headway.errors import CorruptStateError
from headway.state.private import write_private
from headway.state.seal import seal, unseal

__all__ = ["open_log", "summed_log"]

_NAME: Final = "engine.sum"


@contextmanager
def summed_log(state_dir: Path) -> Iterator[None]:
    """Sum the log up at the end of the block, if that is a good one: nothing else may be running then."""
    yield
    sums = _sums(state_dir / "engine", sync=True)
    if sums is not None:
        write_private(state_dir / _NAME, seal(sums), sync=True)


def open_log(state_dir: Path) -> None:
    """Check the log, if the run before has summed it up, and take the sum away, as it is about to change.

    To be called before anything else opens the log. Raises `CorruptStateError` when it is not as it was left.
    """
    path = state_dir / _NAME
    try:
        sealed = path.read_bytes()
    except FileNotFoundError:
        return
    expected = unseal(sealed, str(path))
    found = _sums(state_dir / "engine", sync=False) if (state_dir / "engine").is_dir() else {}
    if found != expected:
        differing = sorted(
            name for name in {*expected, *(found or {})} if expected.get(name) != (found or {}).get(name)
        )
        msg = (
            f"the recovery log in {state_dir / 'engine'} is not as the last run left it: {', '.join(differing)} "
            "differs; it is damaged, or from another time than the rest: restore the whole state directory from one "
            "backup, or start with an empty one"
        )
        raise CorruptStateError(msg)
    path.unlink()
    descriptor = os.open(state_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sums(directory: Path, *, sync: bool) -> Optional[dict[str, str]]:
    """A hash for each file; None while SQLite keeps files of its own beside them: then they are not final."""
    sums = {}
    for path in sorted(directory.iterdir()):
        if path.name.endswith(("-wal", "-shm", "-journal")) and sync:
            return None
        with path.open("rb") as file:
            sums[path.name] = blake2b(file.read(), digest_size=16).hexdigest()
            if sync:
                os.fsync(file.fileno())
    return sums
