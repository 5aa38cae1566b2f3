"""What ends of a flow notice of a wire that ends, or falls silent, and how soon."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from tests.cutting_proxy import CuttingProxy
from tests.kafka_harness import eventually
from tests.targets_harness import delivery_of, outcomes, with_target
from tests.wires import WIRES, Ends, kafka, kafka_by_id

import headway as hw
from headway.connectors.base import PartitionReader
from headway.errors import InputError
from headway.formats.json import Json
from headway.inbox.queues.source import QueueInput
from headway.targets.base import Outcome, Target

DECODER = Json().decoder(hw.Json)

OWN_RETRIES = (kafka, kafka_by_id)
"""Whose client sends again by itself over another connection, and answers for both."""


def unharmed(ends: Ends, port: int = 0) -> CuttingProxy:
    """A proxy that does nothing by itself."""
    return CuttingProxy(ends.port, random.Random(1), cut_of=1, cut_most=0, port=port or ends.proxy_port)


@pytest.mark.parametrize("wire", [wire for wire in WIRES if wire not in OWN_RETRIES])
def test_whoever_waits_for_an_answer_hears_at_once_that_the_connection_has_ended(wire: Callable[[], Ends]) -> None:
    ends = wire()
    with unharmed(ends) as proxy:

        async def send(target: Target) -> float:
            assert outcomes(await target.deliver([delivery_of(0)])) == [Outcome.DONE]
            proxy.fall_silent()
            waiting = asyncio.ensure_future(target.deliver([delivery_of(1)]))
            while not proxy.swallowed:
                await asyncio.sleep(0.005)
            proxy.go_away()
            gone_s = time.monotonic()
            [answer] = await waiting
            assert answer.outcome is Outcome.RETRY and answer.reason
            took_s = time.monotonic() - gone_s
            proxy.come_back()
            assert outcomes(await target.deliver([delivery_of(1)])) == [Outcome.DONE]
            return took_s

        target: Target = eval(ends.target(proxy.port), {"hw": hw})
        assert with_target(target, send) < target.limits.timeout_s / 4


SILENT_S = 30.0
"""How soon a source gives up a connection through which nothing comes, as `docs/edges.md` says."""


def steps(numbers: range) -> list[bytes]:
    return [json.dumps({"at": n, "user": f"u{n}", "n": n}).encode() for n in numbers]


class Reading:
    """All partitions of a source, read through a port."""

    def __init__(self, ends: Ends, port: int, folder: Path, *, follow: bool = True) -> None:
        self.told: list[str] = []
        self.found: list[int] = []
        given = eval(ends.source(port), {"hw": hw})
        self._session = (given.within(folder) if isinstance(given, QueueInput) else given).session()
        self._readers: list[PartitionReader] = []
        try:
            for name in self._session.partitions():
                self._readers.append(self._session.open(name, None, follow=follow))
        except InputError:
            self.close()
            raise

    def has(self, count: int) -> bool:
        """Read what has come; whether so many have."""
        for reader in self._readers:
            while (chunk := reader.read(1 << 16)) is not None:
                self.found += [event["n"] for event in chunk.decode(DECODER).events]
        self._session.notices(self.told.append)
        return len(self.found) >= count

    def close(self) -> None:
        for reader in self._readers:
            reader.close()
        self._session.close()


@pytest.mark.soak
@pytest.mark.parametrize("wire", [wire for wire in WIRES if wire is not kafka_by_id])
def test_a_connection_that_falls_silent_is_given_up(wire: Callable[[], Ends], tmp_path: Path) -> None:
    ends = wire()
    ends.grow(steps(range(100)))
    with unharmed(ends) as proxy, closing(Reading(ends, proxy.port, tmp_path)) as reading:
        eventually(lambda: reading.has(100), "what was there")
        before = len(reading.found)
        proxy.fall_silent()
        ends.grow(steps(range(100, 200)))
        started_s = time.monotonic()
        eventually(lambda: reading.has(before + 100), "what came after", 2 * SILENT_S)
    assert time.monotonic() - started_s < SILENT_S
