"""What tests of groups of functions share: a group with its state directory, which is told something and run."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Optional

import msgspec

import headway as hw
from headway.durable.inputs import PATH
from headway.durable.messages import Body, Start, message
from headway.inbox.commits import Inbox, item_of
from headway.inbox.settings import InboxSettings
from headway.runtime.run import RunOptions, run_flow
from headway.runtime.stopping import StopFlag
from headway.state.manifest import MANIFEST_NAME
from headway.state.reader import StateReader

PATIENCE_S = 30


class Group:
    """Functions with a state directory; a run of them goes on until as many have ended as are awaited."""

    def __init__(
        self,
        state: Path,
        *functions: Any,
        steps: Sequence[Callable[..., Any]] = (),
        views: Optional[str] = None,
        queues: Sequence[hw.Queue] = (),
    ) -> None:
        self.state = state
        self.ended: list[Any] = []
        self.unclaimed: list[Any] = []
        self.flow = hw.Functions("group", functions, views=views, queues=queues)
        for step in steps:
            self.flow.step(step)
        self.flow.ended.to("ended", hw.to_list(self.ended))
        self.flow.unclaimed.to("unclaimed", hw.to_list(self.unclaimed))

    def tell(self, *messages: tuple[str, Body]) -> None:
        inbox = Inbox(self.state / "inbox" / PATH[1:].replace("/", ".") / "0", InboxSettings())
        for to, body in messages:
            inbox.commit([[item_of(message(to, body))]])
        inbox.close()

    def tell_at_once(self, *messages: tuple[str, Body]) -> None:
        """As `tell`, as one batch of the log."""
        inbox = Inbox(self.state / "inbox" / PATH[1:].replace("/", ".") / "0", InboxSettings())
        inbox.commit([[item_of(message(to, body)) for to, body in messages]])
        inbox.close()

    def run(self, until: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S

        def stops() -> bool:
            assert time.monotonic() < deadline, "it takes too long"
            return until()

        options = RunOptions(self.state, key_groups=2, epoch_ms=20, follow=True)
        run_flow(self.flow, options, stop=StopFlag(stops))

    def run_until_ended(self, count: int) -> None:
        self.run(lambda: len(self.ended) >= count)

    def run_to_the_end(self) -> None:
        """A run that ends by itself."""
        deadline = time.monotonic() + PATIENCE_S

        def stops() -> bool:
            assert time.monotonic() < deadline, "it does not end"
            return False

        run_flow(self.flow, RunOptions(self.state, key_groups=2, epoch_ms=20), stop=StopFlag(stops))

    def waiting(self) -> int:
        """Calls in the outbox, as far as it can be read."""
        with StateReader(self.state) as reader:
            return sum(queue.waiting for queue in reader.deliveries(reader.manifest.outputs["call"].id))

    def has_state(self) -> bool:
        """Whether a run has begun to write."""
        return (self.state / MANIFEST_NAME).exists()

    def rows(self) -> dict[str, Any]:
        with StateReader(self.state) as reader:
            return {row.key: row for row in reader.rows("functions")}


def start(*arguments: Any, **options: Any) -> Start:
    return Start(msgspec.Raw(json.dumps(arguments).encode()), **options)
