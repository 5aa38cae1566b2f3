"""A receiver that does its worst, and is killed like the run that delivers to it: all triggers arrive all the same.

What is compared: the receiver's journal, with a file output of the same stream, which is exact. Values hold a random
number that is drawn anew whenever they are made again, so that what was made in an epoch that did not commit is seen.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.hostile_receiver import SECRET, TEN_YEARS
from tests.kills_harness import (
    COUNTED,
    Chaos,
    Feed,
    Receiver,
    chance_of,
    check_webhooks,
    lines_of,
    needs_http,
    retry_what_was_put_off_for_years,
)

HOOKED = """
counted.trigger(
    "hooked",
    hw.webhook("URL", secret="SECRET", timeout="1s", concurrency=8),
    retry_first="50ms",
    retry_longest="1s",
)
"""


def kill_and_deliver(directory: Path, *, rounds: int, steps: int, evil_of: int) -> None:
    """Let the logs grow, and kill the run and its receiver, over and over; then compare."""
    needs_http()
    chance = chance_of("webhook")
    receiver = Receiver(directory, chance, evil_of, (TEN_YEARS,))
    receiver.start()
    (directory / "flow.py").write_text(COUNTED + HOOKED.replace("URL", receiver.url).replace("SECRET", SECRET))
    feed, chaos = Feed(directory, chance, users=20), Chaos(directory, chance, ("--follow",))
    put_off = 0

    def await_taken(count: int) -> None:
        def taken() -> int:
            nonlocal put_off
            put_off = retry_what_was_put_off_for_years(receiver, directory, put_off)
            return len(receiver.taken())

        chaos.await_count(taken, count, "triggers that are taken")

    try:
        feed.grow(steps)
        chaos.start()
        for number in range(rounds):
            taken, left = len(receiver.taken()), feed.count - len(receiver.taken())
            for moment in sorted(chance.randrange(max(1, left)) for _ in range(2)):
                await_taken(taken + moment)
                chance.choice([receiver.restart, chaos.kill])()
            if number + 1 < rounds:
                feed.grow(steps)
        # The run follows its input, of which nothing more comes: what is withheld in silence is found here.
        await_taken(feed.count)
        chaos.stop()
        receiver.restart(evil_of=1 << 30)
        chaos.finish()
    finally:
        chaos.end()
        receiver.kill()
    written = lines_of(directory / "written.jsonl")
    assert {line["data"]["n"] for line in written} == {-1, *range(feed.count)}
    check_webhooks(receiver.records(), written)


def test_a_hostile_receiver_gets_every_trigger(tmp_path: Path) -> None:
    kill_and_deliver(tmp_path, rounds=3, steps=150, evil_of=12)


@pytest.mark.soak
@pytest.mark.parametrize("evil_of", [3, 8, 30])
def test_a_hostile_receiver_gets_every_trigger_for_long(tmp_path: Path, evil_of: int) -> None:
    kill_and_deliver(tmp_path, rounds=12, steps=600, evil_of=evil_of)
