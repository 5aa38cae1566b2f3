"""A server of posts without a run beside it: `python -m tests.ingest_child STATE PORT`."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.ingest_harness import shop

from headway.inbox.commits import Inbox
from headway.ingest.app import IngestApp
from headway.ingest.door import Door
from headway.ingest.server import doors_of
from headway.web.addresses import Address, listen
from headway.web.host import serve
from headway.web.middleware import guarded


def open_inbox(door: Door, partition: str) -> Inbox:
    return Inbox(door.input.directory(partition), door.input.settings, room_bytes=0)


def main(state_dir: Path, port: int) -> None:
    app = IngestApp("shop", doors_of(shop(), state_dir), open_inbox, lambda: None)
    app.start()
    sock = listen(Address("127.0.0.1", port), "the test")
    sys.stdout.write(f"{sock.getsockname()[1]}\n")
    sys.stdout.flush()
    serve(guarded(app), [sock])


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
