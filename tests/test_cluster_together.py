"""Hosts of a cluster that do not fit together, or must go back together; all on the loopback of this machine."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.cluster_harness import FLOWS, await_true, run
from tests.hosts_harness import Loopback, Machine, write_hosts

from headway.runtime.last_run import load_stats

FLOW = FLOWS / "abandoned_carts.py"
NET = Loopback()


class Site:
    """A folder with a log, a hosts file, and hosts that read the one and go by the other."""

    def __init__(self, place: Path) -> None:
        self.place = place
        with socket.socket() as probe:
            probe.bind((NET.ip("a"), 0))
            self.port = probe.getsockname()[1]
        self.hosts({"a": 1, "b": 1})
        self.generate(0, 3_000)
        self.out = place / "out.jsonl"
        self.started: list[Machine] = []

    def hosts(self, workers: dict[str, int], name: str = "hosts.toml") -> None:
        write_hosts(self.place / name, NET, workers, port=self.port)

    def generate(self, seed: int, events: int) -> None:
        command = ["generate", "shop", "events", "--events", str(events), "--seed", str(seed), "--quiet"]
        subprocess.run([sys.executable, "-m", "headway", *command], check=True, cwd=self.place)

    def start(self, *names: str, backups: bool = True, more: tuple[str, ...] = (), **options: Any) -> list[Machine]:
        to = ("--backup-to", f"file:{self.place / 'backups'}") if backups else ()
        settings = ("--set", f"input={self.place}/events/shop-*.jsonl", "--set", f"output={self.out}", "--quiet")
        machines = [Machine(NET, name, self.place, FLOW, *settings, *to, *more, **options) for name in names]
        for machine in machines:
            machine.start()
        self.started += machines
        return machines

    def finish(self, *names: str, **options: Any) -> None:
        """Let these hosts run to the end of the log."""
        machines = self.start(*names, **options)
        codes = [machine.outcome() for machine in machines]
        assert codes == [0] * len(names), [machine.log.read_text() for machine in machines]

    def backups(self) -> list[dict[str, Any]]:
        command = [sys.executable, "-m", "headway", "backup", "list", f"file:{self.place / 'backups'}", "--json"]
        lines = subprocess.run(command, check=True, capture_output=True).stdout.splitlines()
        return [json.loads(line) for line in lines]

    def alone(self) -> bytes:
        """What the flow writes on one machine."""
        out = self.place / "alone.jsonl"
        run(self.place, FLOW, "--set", "input=events/shop-*.jsonl", "--set", f"output={out}", "--state", "alone")
        return out.read_bytes()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    for machine in made.started:
        machine.end()


def test_two_hosts_write_what_one_machine_does_and_have_other_groups(site: Site) -> None:
    site.finish("a", "b", backups=False)
    assert site.out.read_bytes() == site.alone()
    groups = [{path.name for path in (site.place / f"state-{name}" / "groups").iterdir()} for name in "ab"]
    assert groups[0] and groups[1] and not groups[0] & groups[1]
    logs = [[path.name for path in (site.place / f"state-{name}").glob("engine-1/*.sqlite3")] for name in "ab"]
    assert logs == [["part-0.sqlite3"], []]


@pytest.mark.soak
def test_a_backup_of_two_hosts_goes_on_on_one_machine(site: Site) -> None:
    site.finish("a", "b")
    [*_, last] = site.backups()
    assert last["events"] == 3_000
    backups = ("--backup-to", f"file:{site.place / 'backups'}")
    settings = ("--set", "input=events/shop-*.jsonl", "--set", f"output={site.out}")
    told = run(site.place, FLOW, *settings, *backups, "--state", "anew")
    assert (told["events"], told["resumed_events"]) == (0, 3_000)
    assert site.out.read_bytes() == site.alone()


def test_other_hosts_go_on_from_the_last_backup(site: Site) -> None:
    site.finish("a", "b")
    site.hosts({"a": 2, "b": 1, "c": 1})
    site.finish("a", "b", "c")
    assert site.out.read_bytes() == site.alone()


def test_without_a_backup_a_host_that_has_lost_its_state_is_refused(site: Site) -> None:
    site.finish("a", "b", backups=False)
    [_, b] = site.started
    b.lose_disk()
    machines = site.start("a", "b", backups=False)
    assert [machine.outcome() for machine in machines] == [3, 3]
    for machine in machines:
        assert "cannot go on together: host b has no state" in machine.log.read_text()
        assert "no --backup-to was given" in machine.log.read_text()


def test_a_host_that_is_stopped_while_it_waits_has_no_figures_and_keeps_those_of_before(site: Site) -> None:
    site.finish("a", "b", backups=False)
    kept = load_stats(site.place / "state-b")
    assert kept is not None and kept.events == 3_000
    (site.place / "b.err").unlink()  # It says there that it waited at its first start.
    [b] = site.start("b", backups=False, more=("--follow", "--json"))
    await_true(lambda: "host b waits for host a" in b.log.read_text(), "that it waits")
    assert b.stop() == 0, b.log.read_text()
    told = json.loads((site.place / "b.out").read_text())
    assert told["workers"] == 0
    assert any("no workers ran when this host was stopped" in notice for notice in told["notices"])
    assert load_stats(site.place / "state-b") == kept


def test_what_one_host_has_is_not_taken_for_a_whole_state(site: Site) -> None:
    site.finish("a", "b", backups=False)
    settings = ("--set", "input=events/shop-*.jsonl", "--set", f"output={site.out}", "--quiet")
    for command in (("run", FLOW, *settings, "--state", "state-b"), ("savepoint", "create", "state-b")):
        whole = [sys.executable, "-m", "headway", *map(str, command)]
        ended = subprocess.run(whole, check=False, capture_output=True, text=True, cwd=site.place)
        assert ended.returncode == 3
        assert "holds what one host of a cluster has" in ended.stderr


def refused(site: Site, *, code: int, words: str, start: Callable[[], list[Machine]]) -> None:
    [machine] = start()
    assert machine.outcome() == code, machine.log.read_text()
    assert words in machine.log.read_text()


def test_a_host_with_another_hosts_file_is_refused(site: Site) -> None:
    site.start("a", more=("--follow",))
    site.hosts({"a": 1, "b": 3}, "other.toml")
    refused(site, code=5, words="put the same file on all hosts", start=lambda: site.start("b", hosts="other.toml"))


def test_a_host_that_does_not_know_the_secret_is_refused(site: Site) -> None:
    [a] = site.start("a", more=("--follow",))
    await_true(lambda: "waits for host b" in a.log.read_text(), "the first host to wait", describe=a.log.read_text)
    b = Machine(NET, "b", site.place, FLOW, "--quiet")
    b.secret = "another one, as long as that"
    b.start()
    site.started.append(b)
    await_true(lambda: "refused" in a.log.read_text(), "a refusal", describe=a.log.read_text)
    assert b.outcome() == 5
    assert "does not know the secret of this cluster" in b.log.read_text()


@pytest.mark.soak
def test_a_second_host_of_one_name_is_refused_and_the_first_goes_on(site: Site) -> None:
    first = site.start("a", "b", more=("--follow",))
    for machine in first:
        machine.await_workers(1)
    second = Machine(NET, "b", site.place, FLOW, "--quiet", "--set", f"output={site.out}")
    second.state = site.place / "second"
    second.log = site.place / "second.err"
    second.start()
    site.started.append(second)
    assert second.outcome() == 5
    assert "there is a host b already" in second.log.read_text()
    assert not any(machine.has_ended for machine in first)


@pytest.mark.soak
def test_of_two_clusters_with_one_place_the_second_one_is_refused_or_takes_it(site: Site) -> None:
    site.finish("a", "b")
    first = site.start("a", "b", more=("--follow", "--backup-every", "1s"))
    for machine in first:
        machine.await_workers(1)
    place = site.place / "elsewhere"
    place.mkdir()
    other = Site(place)
    to = ("--backup-to", f"file:{site.place / 'backups'}", "--follow")
    refused = other.start("a", "b", backups=False, more=to)
    site.started += refused
    assert [machine.outcome() for machine in refused] == [3, 3]
    assert "which makes backups there now" in refused[0].log.read_text()
    assert not any(machine.has_ended for machine in first)
    taking = other.start("a", "b", backups=False, more=(*to, "--backup-take-over"))
    site.started += taking
    for machine in taking:
        machine.await_workers(1)
    assert [machine.outcome() for machine in first] == [3, 3]
    assert "claimed" in first[0].log.read_text()
    assert not any(machine.has_ended for machine in taking)
