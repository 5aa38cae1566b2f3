"""A disk that fails on command, and a client of an inbox that keeps book of what it was promised."""

from __future__ import annotations

import errno
import os
import random
import shutil
import tempfile
from pathlib import Path
from typing import Optional

from headway.inbox.commits import Inbox, Item, item_of
from headway.inbox.files import Files
from headway.inbox.reader import InboxReader
from headway.inbox.settings import InboxSettings


class Killed(BaseException):
    """The process is gone: nothing of it runs any more."""


class FaultyFiles(Files):
    """Writes and syncs that fail as they are told to, once each."""

    def __init__(self) -> None:
        self.fault: Optional[str] = None
        self.at_byte = 0
        """How many bytes of the write still reach the file."""
        self.synced: dict[str, int] = {}
        """How much of each file is on the disk for sure."""

    def write(self, descriptor: int, data: bytes, offset: int) -> int:
        fault = self.fault
        if fault in ("short", "full", "error", "killed"):
            part = data[: self.at_byte % (len(data) + 1)]
            written = super().write(descriptor, part, offset) if part else 0
            if fault == "short" and written:
                self.fault = None
                return written
            self.fault = None
            if fault == "killed":
                raise Killed
            raise OSError(errno.EIO if fault == "error" else errno.ENOSPC, "injected")
        return super().write(descriptor, data, offset)

    def sync(self, descriptor: int) -> None:
        if self.fault in ("sync", "killed before sync"):
            fault, self.fault = self.fault, None
            if fault == "sync":
                raise OSError(errno.EIO, "injected")
            raise Killed
        super().sync(descriptor)
        self.synced[os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}"))] = os.fstat(descriptor).st_size
        if self.fault == "killed after sync":
            self.fault = None
            raise Killed


class Machine:
    """An inbox on a disk of its own, which may lose its process, its power, and what was not synced."""

    def __init__(self, seed: int = 0) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="inbox-"))
        self.directory = self.root / "log"
        self.now_ms = 1_000_000
        self.files = FaultyFiles()
        self.random = random.Random(seed)
        self.tails = [b""]
        """What the small file of numbers has held: after a loss of power any of them may be found."""
        self.inbox: Optional[Inbox] = None
        self.settings = InboxSettings(window_ms=1_000, window_keys=1_000)

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self.root)

    def start(self) -> Inbox:
        if self.inbox is None:
            self.inbox = Inbox(
                self.directory,
                self.settings,
                wall_ms=lambda: self.now_ms,
                files=self.files,
                segment_bytes=600,
                room_bytes=0,
            )
        return self.inbox

    def commit(self, *groups: list[Item]) -> list[object]:
        found = self.start().commit(groups)
        self.tails.append((self.directory / "tail").read_bytes())
        return list(found)

    def stop(self) -> None:
        """The process ends, somehow; the machine goes on."""
        inbox, self.inbox = self.inbox, None
        if inbox is not None:
            inbox.close()

    def lose_power(self) -> None:
        """Of what was not synced some bytes are lost, and some of the numbers are old."""
        self.stop()
        if not self.directory.exists():
            return
        for path in self.directory.glob("*.log"):
            data = bytearray(path.read_bytes())
            safe = min(self.files.synced.get(path.name, 0), len(data))
            if self.random.random() < 0.5:
                del data[self.random.randint(safe, len(data)) :]
            elif safe < len(data):
                start = self.random.randint(safe, len(data) - 1)
                end = self.random.randint(start, len(data))
                data[start:end] = bytes(end - start)
            path.write_bytes(data)
            # What is there when the machine starts again is on the disk.
            self.files.synced[path.name] = len(data)
        tail = bytearray(self.random.choice(self.tails) or bytes(4096))
        tail[8:16] = (2).to_bytes(8, "little")  # Another start of the machine.
        (self.directory / "tail").write_bytes(tail)

    def lines(self) -> list[bytes]:
        """All records, as a flow reads them."""
        reader = InboxReader(self.directory, "log/0", None, follow=False)
        try:
            found: list[bytes] = []
            while (chunk := reader.read(200)) is not None:
                assert chunk.first_ordinal == len(found)
                found += chunk.data.splitlines()
            assert reader.at_end
            return found
        finally:
            reader.close()


def one(number: int, key: Optional[str] = None) -> Item:
    return item_of(b'{"n":%d}' % number, key)
