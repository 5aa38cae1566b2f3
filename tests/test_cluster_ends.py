"""What hosts and their coordinator do when something goes wrong at a bad moment."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
from tests.cluster_harness import await_true

from headway.backups.files import FileStore
from headway.backups.store import StoreError
from headway.cluster import coordinator as coordinating
from headway.cluster.backing import BackupPlan, ClusterBackups, LastBackup
from headway.cluster.coordinator import Coordinator
from headway.cluster.hosts import Hosts, load_hosts
from headway.cluster.messages import Answer, Done, Ended, Fetch, Leaving, Standing
from headway.cluster.peers import Peers
from headway.cluster.site import Site
from headway.errors import ClusterError, StateError
from headway.runtime.directory import StateDirectory
from headway.runtime.restarts import Restarts

SECRET: Final = "only for tests, and long enough"


class Idle:
    """Duties of a host that has nothing to do."""

    attempt = 0
    has_workers = False

    def standing(self) -> Standing:
        return Standing()

    def end(self) -> None:
        pass

    close = stop = end


@pytest.fixture
def hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hosts:
    monkeypatch.setenv("HOSTS_SECRET", SECRET)
    tables = "".join(f'[[hosts]]\nname = "{name}"\naddress = "127.0.78.{n}:7{n}99"\n' for n, name in enumerate("ab", 1))
    (tmp_path / "hosts.toml").write_text(f'secret = "env:HOSTS_SECRET"\nsilent_after = "2s"\n{tables}')
    return load_hosts(tmp_path / "hosts.toml")


def coordinator_of(hosts: Hosts, backups: Any = None) -> Coordinator:
    return Coordinator(hosts, backups, max_restarts=2, hang_after_ms=5_000)


def test_the_first_host_ends_with_its_coordinator_also_when_it_has_not_heard_of_the_end(
    hosts: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It dials again just when the coordinator fails: nobody lets it in any more."""
    fails = threading.Event()

    def lead(self: Coordinator) -> Done:
        fails.wait(20)
        raise StateError("the disk is full")

    monkeypatch.setattr(Coordinator, "_lead", lead)
    coordinator = coordinator_of(hosts)
    coordinator.start()
    told: list[Done] = []
    site = Site(Idle(), hosts, hosts["a"], stop=lambda: False, ended=lambda: coordinator.done)  # type: ignore[arg-type]
    thread = threading.Thread(target=lambda: told.append(site.run()), daemon=True)
    thread.start()
    fails.set()
    thread.join(20)
    assert not thread.is_alive()
    assert told[0].failure is not None
    assert told[0].failure.message == "the disk is full"
    coordinator.close()


def test_a_host_that_waits_to_be_let_in_says_again_that_it_leaves(hosts: Hosts) -> None:
    peers = Peers(hosts)
    peers.start()
    stops = threading.Event()
    first = Site(Idle(), hosts, hosts["b"], stop=lambda: False)  # type: ignore[arg-type]
    again = Site(Idle(), hosts, hosts["b"], stop=stops.is_set)  # type: ignore[arg-type]
    heard: list[Any] = []

    def has_heard(wanted: Callable[[], bool]) -> Callable[[], bool]:
        def look() -> bool:
            message = peers.next(0.05)
            if message is not None:
                heard.append(message[1])
            return wanted()

        return look

    threading.Thread(target=first.run, daemon=True).start()
    await_true(has_heard(lambda: "b" in peers), "the first one")
    lost = peers["b"].line
    threading.Thread(target=again.run, daemon=True).start()
    stops.set()
    lost.heard_s = float("-inf")  # As if it were silent: the other one has to wait.
    peers.let_go("b")
    await_true(has_heard(lambda: Leaving() in heard), "that it leaves")
    peers.close()


class Gone:
    """Backups to which all hosts are to go back, from 'backup-1' of generation 3."""

    where = "file:/backups"
    every_ms = 1_000

    def last(self) -> LastBackup:
        return LastBackup("backup-1", 3)

    def close(self) -> None:
        pass


def test_a_generation_is_never_ordered_twice(hosts: Hosts, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some hosts may have gone back, although not all have: what they have written is not written again."""
    coordinator = coordinator_of(hosts, Gone())

    class Standings:
        def __getitem__(self, host: str) -> Any:
            return type("Peer", (), {"standing": Standing(latest=5)})()

    ordered: list[int] = []

    def ask(orders: Mapping[str, Any]) -> dict[str, Answer]:
        [fetch] = {order.generation for order in orders.values() if isinstance(order, Fetch)}
        ordered.append(fetch)
        raise coordinating._AttemptLost("host b is gone")

    monkeypatch.setattr(coordinator, "_peers", Standings())
    monkeypatch.setattr(coordinator, "_ask", ask)
    for _ in range(3):
        with pytest.raises(coordinating._AttemptLost):
            coordinator._go_together()
    assert ordered == [6, 7, 8]


def test_workers_that_hang_are_noticed_when_others_have_ended(hosts: Hosts, monkeypatch: pytest.MonkeyPatch) -> None:
    coordinator = coordinator_of(hosts)
    still = {"a": 6_000, "b": 0}

    class Stills:
        def __getitem__(self, host: str) -> Any:
            return type("Peer", (), {"still_ms": still[host]})()

    monkeypatch.setattr(coordinator, "_peers", Stills())
    coordinator._look(None, {})
    with pytest.raises(coordinating._AttemptLost, match="nothing has moved on any host for 5 s"):
        coordinator._look(None, {"b": Ended(attempt=1, workers=[])})


def test_a_store_that_is_away_keeps_no_cluster_from_working(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*args: Any, **options: Any) -> Any:
        raise StoreError("it does not answer")

    backups = ClusterBackups(
        BackupPlan(FileStore(tmp_path / "store"), 1_000, 5), StateDirectory(tmp_path / "state"), "changing"
    )
    monkeypatch.setattr("headway.cluster.backing.Backups.claimed", away)
    assert not backups.claim()
    backups._claimed = type("Claimed", (), {"check": away})()
    assert not backups.claim()


def test_restarts_count_in_a_row_until_something_was_made_durable() -> None:
    restarts = Restarts(2)
    assert [restarts.next_wait_s("lost", 90, 10), restarts.next_wait_s("lost", 90, 10)] == [0.25, 0.5]
    assert restarts.next_wait_s("lost", 90, 20) == 0.25
    assert restarts.next_wait_s("lost", 1, 30, is_counted=False) == 0.5
    assert restarts.next_wait_s("lost", 1, 30) == 0.5
    with pytest.raises(ClusterError, match=r"^lost; 2 restarts did not help"):
        restarts.next_wait_s("lost", 90, 30)
    assert restarts.count == 5
