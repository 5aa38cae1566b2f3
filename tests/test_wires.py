"""From a system and back to it, while connections are cut, answers are held up, and the run is killed.

What has arrived is compared with what the flow has written to a file, which is exact. The flow makes its values
otherwise each time, so that a trigger of an epoch that did not commit, or one that is made twice, gives itself away.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.cutting_proxy import CuttingProxy, Way
from tests.kills_harness import CLOCK, COUNTED, Chaos, chance_of, lines_of
from tests.wires import WIRES, Arrived, Ends

USERS = 20
FLOW = COUNTED.replace('hw.files("steps-*.jsonl")', "SOURCE") + (
    'counted.trigger("told", TARGET, retry_first="50ms", retry_longest="1s")\n'
)


class Wired:
    """A flow from a system to the same system, through a proxy."""

    def __init__(self, ends: Ends, directory: Path, chance: random.Random, proxy: CuttingProxy) -> None:
        self.count = 0
        self.chaos = Chaos(directory, chance, ("--follow",), workers_max=2)
        self._ends = ends
        self._directory = directory
        flow = FLOW.replace("SOURCE", ends.source(proxy.port)).replace("TARGET", ends.target(proxy.port))
        (directory / "flow.py").write_text(flow)

    def grow(self, count: int) -> None:
        """So many steps more."""
        steps = [{"at": 10 * n, "user": f"u{n * 7 % USERS}", "n": n} for n in range(self.count, self.count + count)]
        self.count += count
        # Time goes on behind them, so that nothing of them has to wait for what comes next.
        steps.append({"at": 10 * self.count - 1, "user": CLOCK, "n": -1})
        self._ends.grow([json.dumps(step).encode() for step in steps])

    def written(self) -> int:
        path = self._directory / "written.jsonl"
        return path.read_bytes().count(b'"n":') - path.read_bytes().count(b'"n":-1,') if path.exists() else 0

    def await_arrival(self, arrived: Callable[[], list[Arrived]]) -> None:
        """Wait until all has been written and has arrived, as long as there is more of it."""
        self.chaos.await_count(self.written, self.count, "steps")

        def ids() -> int:
            time.sleep(0.05)  # To look costs the server as much as what it is looked at for.
            return len({one.id for one in arrived() if one.key != CLOCK})

        self.chaos.await_count(ids, self.count, "triggers")

    def check(self, arrived: list[Arrived]) -> None:
        """Each step is there once, in the order of its key; and all that was written has arrived as was promised."""
        written = [line for line in lines_of(self._directory / "written.jsonl") if line["subject"] != CLOCK]
        arrived = [one for one in arrived if one.key != CLOCK]
        of_user: dict[str, list[int]] = {}
        for line in written:
            of_user.setdefault(line["data"]["user"], []).append(line["data"]["n"])
        assert sorted(n for numbers in of_user.values() for n in numbers) == list(range(self.count))
        assert all(numbers == sorted(numbers) for numbers in of_user.values())
        ends = self._ends
        known: dict[str, Arrived] = {}
        for one in arrived:
            assert known.setdefault(one.id, one) == one, "one id, two contents"
        assert not ends.is_exact or len(known) == len(arrived), "what is there twice"
        found: dict[str, list[str]] = {}
        for one in known.values():
            found.setdefault(one.key, []).append(one.nonce)
        expected: dict[str, list[str]] = {}
        for line in written:
            expected.setdefault(line["subject"], []).append(line["data"]["nonce"])
        if not ends.keeps_order:
            found, expected = ({key: sorted(given[key]) for key in given} for given in (found, expected))
        assert found == expected


def there_and_back(ends: Ends, directory: Path, chance: random.Random, *, steps: int, rounds: int, soaks: bool) -> None:
    """So many steps in so many rounds; when it soaks, it is also killed in each fifth, and nothing bounds the cuts."""
    cut_of, cut_most = (8 * ends.cut_of, 1 << 30) if soaks else (ends.cut_of, 6)
    ways = list(Way)
    proxy = CuttingProxy(ends.port, chance, cut_of, hold_of=10, port=ends.proxy_port, cut_most=cut_most, ways=ways)
    with proxy, ends.hearing() as arrived:
        wired = Wired(ends, directory, chance, proxy)
        wired.grow(steps // rounds)
        wired.chaos.start()
        try:
            for number in range(1, rounds):
                # No more than two rounds wait: Mosquitto stores all that waits each time.
                wired.chaos.await_count(wired.written, wired.count - chance.randint(1, steps // rounds), "steps")
                if soaks and number % 5 == 0:
                    wired.chaos.kill()
                wired.grow(steps // rounds)
            wired.await_arrival(arrived)
            wired.chaos.stop()
        finally:
            wired.chaos.end()
        assert proxy.cut >= 1, "a test that cuts nothing shows nothing"
        wired.check(arrived())
        sys.stdout.write(f"{steps} steps: {proxy.cut} cuts, {proxy.dialled} connections\n")


@pytest.mark.parametrize("wire", WIRES)
def test_each_effect_is_there_as_it_was_promised(wire: Callable[[], Ends], tmp_path: Path) -> None:
    there_and_back(wire(), tmp_path, chance_of(wire.__name__), steps=800, rounds=4, soaks=False)


@pytest.mark.soak
@pytest.mark.parametrize("wire", WIRES)
def test_each_effect_is_there_as_it_was_promised_for_long(wire: Callable[[], Ends], tmp_path: Path) -> None:
    there_and_back(wire(), tmp_path, chance_of(wire.__name__), steps=50_000, rounds=50, soaks=True)
