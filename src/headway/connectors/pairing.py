"""Which partition of a history is before which one of a live log: decided once, for all starts of a flow.

Partitions are paired by their order. Were they paired anew at each start, one that came in between would move the
others, and a history would be read again in front of another live partition.
"""

from __future__ import annotations

import json
import os
import uuid
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Final, Optional

from headway.errors import InputError

__all__ = ["Pairing", "Pairs"]

_FOLDER: Final = "histories"
"""Of a state directory; savepoints keep it."""
Pairs = dict[str, str]
"""For each live partition that has a history, that of the history."""


class Pairing:
    """The pairs of one input; in a state directory in a file there, so that all processes and later runs have the same.

    `describe` tells the input from others of the flow. Raises `InputError` where the file cannot be read or written.
    """

    def __init__(self, describe: str, directory: Optional[Path]) -> None:
        digest = blake2b(describe.encode(), digest_size=8).hexdigest()
        self._path = None if directory is None else directory / _FOLDER / f"{digest}.json"
        self._describe = describe
        self._known: Optional[Pairs] = None

    def find(self) -> Optional[Pairs]:
        """The pairs, if they have been decided."""
        if self._known is None and self._path is not None:
            with suppress(FileNotFoundError):
                try:
                    self._known = json.loads(self._path.read_text())["pairs"]
                except FileNotFoundError:
                    raise
                except (OSError, ValueError, LookupError, TypeError) as error:
                    msg = (
                        f"{self._path}, which says what of the history belongs to which partition of {self._describe}, "
                        f"cannot be read: {error}; restore the whole state directory from one backup"
                    )
                    raise InputError(msg) from error
        return self._known

    def decide(self, pairs: Pairs) -> Pairs:
        """Keep the pairs, durably, unless another process was faster; returns those that are kept."""
        self._known = pairs if self._path is None else self._kept(self._path, pairs)
        return self._known

    def _kept(self, path: Path, pairs: Pairs) -> Pairs:
        draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        try:
            path.parent.mkdir(mode=0o700, exist_ok=True)
            file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                os.write(file, json.dumps({"input": self._describe, "pairs": pairs}).encode())
                os.fsync(file)
            finally:
                os.close(file)
            with suppress(FileExistsError):
                os.link(draft, path)
            os.unlink(draft)
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            msg = f"{self._describe}: {path} cannot be written: {error}"
            raise InputError(msg) from error
        found = self.find()
        assert found is not None
        return found
