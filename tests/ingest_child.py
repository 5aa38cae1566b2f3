"""A server that kills itself at a point of its work: `python -m tests.ingest_child STATE PORT POINT AFTER`."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.ingest_harness import shop

from headway.inbox.commits import Inbox
from headway.inbox.files import Files
from headway.ingest.app import IngestApp
from headway.ingest.door import Door
from headway.ingest.server import doors_of
from headway.web.addresses import Address, listen
from headway.web.host import serve
from headway.web.middleware import guarded


class Killing(Files):
    """Dies with SIGKILL at the n-th time that it comes to a point."""

    def __init__(self, point: str, after: int) -> None:
        self.point = point
        self.left = after
        self.is_armed = False

    def reach(self, point: str) -> None:
        if self.is_armed and point == self.point:
            self.left -= 1
            if self.left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def write(self, descriptor: int, data: bytes, offset: int) -> int:
        if self.is_armed and self.point == "in a write" and self.left == 1:
            super().write(descriptor, data[: len(data) // 2], offset)
        self.reach("in a write")
        return super().write(descriptor, data, offset)

    def sync(self, descriptor: int) -> None:
        self.reach("before the sync")
        super().sync(descriptor)
        self.reach("after the sync")


def main(state_dir: Path, port: int, point: str, after: int) -> None:
    files = Killing(point, after)

    def open_inbox(door: Door, partition: str) -> Inbox:
        return Inbox(door.input.directory(partition), door.input.settings, files=files, room_bytes=0)

    app = IngestApp("shop", doors_of(shop(), state_dir), open_inbox, lambda: None)
    deliver = app._deliver

    def killing(told: Sequence[Any]) -> None:
        files.reach("before the answer")
        deliver(told)

    app._deliver = killing  # type: ignore[method-assign]
    app.start()
    files.is_armed = True
    sock = listen(Address("127.0.0.1", port), "the test")
    sys.stdout.write(f"{sock.getsockname()[1]}\n")
    sys.stdout.flush()
    serve(guarded(app), [sock])


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
