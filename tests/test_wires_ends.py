"""What ends of a flow notice of a wire that ends, or falls silent, and how soon."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable

import pytest
from tests.cutting_proxy import CuttingProxy
from tests.targets_harness import delivery_of, outcomes, with_target
from tests.wires import WIRES, Ends, kafka, kafka_by_id

import headway as hw
from headway.targets.base import Outcome, Target

OWN_RETRIES = (kafka, kafka_by_id)
"""Whose client sends again by itself over another connection, and answers for both."""


def unharmed(ends: Ends) -> CuttingProxy:
    """A proxy that does nothing by itself."""
    return CuttingProxy(ends.port, random.Random(1), cut_of=1, cut_most=0, port=ends.proxy_port)


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
