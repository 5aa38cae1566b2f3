"""A flow on three machines: whatever happens to one of them, the triggers are those of a run on one machine."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from tests.cluster_harness import FLOWS, await_true, run, send
from tests.hosts_harness import NAMES, Machine, Network, needs_namespaces, network, write_hosts

pytestmark = needs_namespaces

EVENTS: Final = 24_000
PORTIONS: Final = 12
FLOW: Final = FLOWS / "abandoned_carts.py"


class Story:
    """Three machines that run a flow on logs which grow, with backups."""

    def __init__(self, place: Path, net: Network) -> None:
        self.net = net
        self.place = place
        self.out = place / "out.jsonl"
        whole = place / "whole"
        command = ["generate", "shop", str(whole), "--events", str(EVENTS), "--out-of-order", "2s", "--quiet"]
        subprocess.run([sys.executable, "-m", "headway", *command], check=True)
        self._files = {path.name: path.read_bytes().splitlines(keepends=True) for path in whole.glob("shop-*.jsonl")}
        self._fed = 0
        self.events = place / "events"
        self.events.mkdir()
        for name in self._files:
            (self.events / name).touch()
        self.machines = {name: self.machine(name, "--follow") for name in NAMES}

    def machine(self, name: str, *more: str) -> Machine:
        settings = ("--set", f"input={self.events}/shop-*.jsonl", "--set", f"output={self.out}", "--quiet")
        backups = ("--backup-to", f"file:{self.place / 'backups'}", "--backup-every", "3s")
        patience = ("--hang-after", "5s", "--max-restarts", "100")
        return Machine(self.net, name, self.place, FLOW, *settings, *backups, *patience, "--epoch", "100ms", *more)

    def feed(self) -> None:
        """The next portion of all logs."""
        self._fed += 1
        for name, lines in self._files.items():
            size = -(-len(lines) // PORTIONS)
            with (self.events / name).open("ab") as file:
                file.writelines(lines[(self._fed - 1) * size : self._fed * size])

    @property
    def fed(self) -> int:
        return sum(path.read_bytes().count(b"\n") for path in self.events.iterdir())

    def read(self) -> int:
        """Events that the workers have read, as far as they have said."""
        total = 0
        for machine in self.machines.values():
            for path in (machine.state / "run").glob("worker-*.json"):
                try:
                    total += json.loads(path.read_text())["events"]
                except (FileNotFoundError, json.JSONDecodeError):
                    return 0  # It is being written.
        return total

    def await_read(self) -> None:
        await_true(self._have_read, "all hosts to have read what there is", describe=self.told)

    def _have_read(self) -> bool:
        for machine in self.machines.values():
            assert not machine.has_ended, self.told()
        return self.read() == self.fed

    def told(self) -> str:
        return "\n".join(f"== {name}\n{machine.log.read_text()}" for name, machine in self.machines.items())

    def start_all(self) -> None:
        for machine in self.machines.values():
            machine.start()

    def finish(self) -> bytes:
        """Stop all hosts, and let them run to the end of the logs; returns what the flow has written."""
        while self._fed < PORTIONS:
            self.feed()
        self.await_read()
        for machine in reversed(self.machines.values()):
            assert machine.stop() == 0, self.told()
        self.machines = {name: self.machine(name) for name in self.machines}
        self.start_all()
        for machine in self.machines.values():
            assert machine.outcome() == 0, self.told()
        return self.out.read_bytes()

    def on_one_machine(self) -> bytes:
        """What the flow writes when nothing happens."""
        out = self.place / "alone.jsonl"
        run(self.place, FLOW, "--set", f"input={self.events}/shop-*.jsonl", "--set", f"output={out}")
        return out.read_bytes()

    # What may happen to machines.

    def kill_worker(self, name: str) -> None:
        await_true(lambda: bool(self.machines[name].workers()), "a worker", describe=self.told)
        send(self.machines[name].workers()[0], 9)

    def lose_power(self, name: str) -> None:
        self.machines[name].kill()
        self.machines[name].start()

    def lose_disk(self, name: str) -> None:
        self.machines[name].kill()
        self.machines[name].lose_disk()
        self.machines[name].start()

    def stop_and_start(self, name: str) -> None:
        assert self.machines[name].stop() == 0, self.told()
        self.machines[name].start()

    def cut_one_way(self, name: str) -> None:
        """One of the other hosts does not hear it any more; the connection ends at both sides."""
        other = next(one for one in NAMES if one != name)
        self.net.cut(name, other)
        try:
            self._await_silence()
        finally:
            self.net.heal(name, other)

    def cut_off(self, name: str) -> None:
        self.net.cut_off(name)
        try:
            self._await_silence()
        finally:
            self.net.join_again(name)

    def cut_between(self, name: str) -> None:
        """The two other hosts do not reach each other. Where one of them is the first one, this is heard at once.

        Else the coordinator hears both, and nothing that the flow reads comes to its end.
        """
        one, other = (host for host in NAMES if host != name)
        self.net.cut(one, other)
        self.net.cut(other, one)
        try:
            self.feed()
            self._await_told("nothing was heard" if NAMES[0] in (one, other) else "restarting the workers")
        finally:
            self.net.heal(one, other)
            self.net.heal(other, one)

    def _await_silence(self) -> None:
        """Until one host has taken another one for lost."""
        self._await_told("nothing was heard")

    def _await_told(self, words: str) -> None:
        before = self.told().count(words)
        await_true(lambda: self.told().count(words) > before, words, describe=self.told)


@pytest.fixture
def story(tmp_path: Path) -> Iterator[Story]:
    with network() as net:
        write_hosts(tmp_path / "hosts.toml", net, {"a": 1, "b": 2, "c": 1})
        told = Story(tmp_path, net)
        try:
            yield told
        finally:
            for machine in told.machines.values():
                machine.end()


EVERYTHING: Final = [
    "kill_worker",
    "lose_power",
    "lose_disk",
    "stop_and_start",
    "cut_one_way",
    "cut_off",
    "cut_between",
]


@pytest.mark.parametrize(
    "happens",
    [
        pytest.param([("lose_disk", "b"), ("cut_one_way", "a")], id="a-disk-and-a-wire"),
        pytest.param([("lose_disk", "a"), ("cut_off", "c")], id="the-first-disk-and-a-network", marks=pytest.mark.soak),
        pytest.param([("cut_between", "a"), ("cut_between", "b")], id="between-two", marks=pytest.mark.soak),
        *(pytest.param(seed, id=f"seed-{seed}", marks=pytest.mark.soak) for seed in range(3)),
    ],
)
def test_the_triggers_are_those_of_one_machine(story: Story, happens: list[tuple[str, str]] | int) -> None:
    if isinstance(happens, int):
        draw = random.Random(happens)
        happens = [(draw.choice(EVERYTHING), draw.choice(NAMES)) for _ in range(8)]
    story.start_all()
    for what, name in happens:
        story.feed()
        story.await_read()
        getattr(story, what)(name)
    assert story.finish() == story.on_one_machine(), happens
