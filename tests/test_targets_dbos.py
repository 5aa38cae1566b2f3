"""Triggers into DBOS: the contract of targets on both of its databases, what comes again, and what it refuses."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from tests.engines_harness import application
from tests.servers import postgres_server
from tests.targets_harness import deliver, deliver_with_kills, delivery_of, outcomes, with_target

import headway as hw
from headway.errors import OutputError, UsageError
from headway.targets.base import Outcome
from headway.targets.dbos_database import DbosDatabase
from headway.targets.positions import NOTHING_YET
from headway.testing import check_target

pytest.importorskip("dbos", reason="dbos is not installed: pip install 'headway[dbos]'")

NAMES = itertools.count()
WORKFLOW: dict[str, Any] = {"workflow": "told", "queue": "nobody"}


def made(kind: str, place: Path) -> str:
    """A system database that an application has made."""
    if kind == "sqlite":
        found = f"sqlite:///{place / 'dbos.sqlite'}"
    else:
        found = f"postgresql://postgres:fish@127.0.0.1:{postgres_server().port}/dbos{next(NAMES)}"
    with application("tests.dbos_app", found):
        return found


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    return made(request.param, tmp_path_factory.mktemp("dbos"))


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[Any]:
    from dbos import DBOSClient

    found = DBOSClient(system_database_url=url)
    yield found
    found.destroy()


@pytest.fixture
def to_dbos(url: str) -> Callable[..., hw.Target]:
    def make(**options: Any) -> hw.Target:
        return hw.to_dbos(url, **(options if "send_to" in options else {**WORKFLOW, **options}))

    return make


def ids_of(client: Any, prefix: str) -> list[str]:
    found = client.list_workflows(workflow_id_prefix=prefix, load_input=False)
    return [one.workflow_id.removeprefix(prefix) for one in found]


def test_the_contract(to_dbos: Callable[..., hw.Target], client: Any, url: str) -> None:
    unreachable = "postgresql://127.0.0.1:1/dbos" if "postgres" in url else "sqlite:////nowhere/dbos.sqlite"
    check_target(
        lambda: to_dbos(workflow_id="contract-{id}", batch=7),
        received=lambda: ids_of(client, "contract-"),
        make_unreachable=lambda: hw.to_dbos(unreachable, **WORKFLOW),
        secrets=["fish"] if "postgres" in url else [],
        cancelled_at=range(0, 12, 3),
    )
    assert len(ids_of(client, "contract-")) > 50


def test_a_trigger_is_there_once_also_when_the_workflow_is_forgotten(
    to_dbos: Callable[..., hw.Target], client: Any
) -> None:
    one, target = delivery_of(1, {"cents": 7}, place=f"once-{next(NAMES)}"), to_dbos(partition="{key}")
    assert outcomes(deliver(target, [one], [replace(one, attempt=2)])) == [Outcome.DONE] * 2
    [found] = client.list_workflows(workflow_ids=[one.id])
    assert (found.name, found.queue_name, found.queue_partition_key) == ("told", "nobody", "cart-1")
    assert found.input["args"] == ({"cents": 7},)
    assert found.attributes["ce-id"] == one.id and found.attributes["ce-subject"] == "cart-1"
    # Another place, as of a log that is read anew: DBOS knows the workflow's id.
    assert outcomes(deliver(target, [replace(one, place="other")])) == [Outcome.DONE]
    assert len(client.list_workflows(workflow_ids=[one.id])) == 1
    client.delete_workflow(one.id)
    assert outcomes(deliver(target, [one])) == [Outcome.DONE]
    assert client.list_workflows(workflow_ids=[one.id]) == []


def test_workflows_get_triggers_and_messages(url: str, to_dbos: Callable[..., hw.Target], client: Any) -> None:
    name = f"told-{next(NAMES)}"
    first, end = delivery_of(1, {"to": name}, place=name), delivery_of(3, "end", place=name)
    second = replace(first, id="2" * 32, number=2)
    with application("tests.dbos_app", url):
        start = to_dbos(queue="triggers", workflow_id="{value.to}-{id}", mode="structured", portable=True)
        assert outcomes(deliver(start, [first])) == [Outcome.DONE]
        told = client.retrieve_workflow(f"{name}-{first.id}").get_result()
        assert (told["id"], told["data"], told["type"]) == (first.id, {"to": name}, "cart.abandoned")
        waits = to_dbos(workflow="waiting", queue="triggers", workflow_id=f"{name}-{{id}}-waits")
        assert outcomes(deliver(waits, [replace(first, place=f"{name}-w")])) == [Outcome.DONE]
        send = to_dbos(send_to=f"{{value.to}}-{first.id}-waits", topic="things")
        assert outcomes(deliver(send, [first, second], [first, second])) == [Outcome.DONE] * 4
        ended = to_dbos(send_to=f"{name}-{first.id}-waits", topic="things")
        assert outcomes(deliver(ended, [end])) == [Outcome.DONE]
        assert client.retrieve_workflow(f"{name}-{first.id}-waits").get_result() == [first.id, second.id]


def test_what_is_refused_is_refused_again_and_the_others_go_in(to_dbos: Callable[..., hw.Target], client: Any) -> None:
    place = f"refused-{next(NAMES)}"
    batch = [delivery_of(number, {"to": "nobody"}, place=place) for number in range(6)]
    batch[2] = replace(batch[2], subject=None)
    for place_of in ("first", "again"):
        given = [replace(one, place=f"{place}-{place_of}") for one in batch]
        target = to_dbos(workflow_id="{key}-{id}")
        for _ in range(2):
            answers = deliver(target, given)
            assert outcomes(answers) == [Outcome.DONE, Outcome.DONE, Outcome.NEVER, *[Outcome.DONE] * 3]
            assert answers[2].reason == "the trigger has no key, and workflow_id='{key}-{id}' names it by its key"
    there = {f"{one.subject}-{one.id}" for one in batch if one.subject}
    assert {one.workflow_id for one in client.list_workflows(workflow_ids=list(there))} == there
    [answer] = deliver(to_dbos(send_to="{value.to}"), [delivery_of(1, {"to": "nobody"}, place=f"{place}-sent")])
    assert answer.outcome is Outcome.NEVER and "nobody" in answer.reason
    same = replace(batch[0], place=f"{place}-other")
    [answer] = deliver(to_dbos(workflow="another", workflow_id="{key}-{id}"), [same])
    assert answer.outcome is Outcome.NEVER and "different function name" in answer.reason


def test_places_of_others(to_dbos: Callable[..., hw.Target], client: Any) -> None:
    place, prefix = f"old-{next(NAMES)}", f"moved-{next(NAMES)}-"
    target = to_dbos(workflow_id=prefix + "{id}")
    deliver(target, [delivery_of(number, place=place) for number in range(4)])
    new = f"{place}<"
    moved = [replace(delivery_of(n, place=place), place=new, former_places=("older", place)) for n in range(2, 6)]
    for number in range(4):
        client.delete_workflow(prefix + delivery_of(number, place=place).id)
    assert outcomes(deliver(target, moved, moved)) == [Outcome.DONE] * 8
    assert set(ids_of(client, prefix)) == {delivery_of(number, place=place).id for number in (4, 5)}
    [answer] = deliver(target, [replace(delivery_of(5, place=new), id="another")])
    assert answer.outcome is Outcome.RETRY and "another state directory has written there" in answer.reason


def test_a_place_is_locked_also_before_anything_is_in_it(url: str) -> None:
    """Another process that still writes there is waited for: else both would take the first batch for new."""
    import sqlalchemy as sa

    if "postgres" not in url:
        pytest.skip("a transaction of SQLite locks the whole file")
    place = f"locked-{next(NAMES)}"
    deliver(hw.to_dbos(url, **WORKFLOW), [delivery_of(1, place=f"{place}-other")])  # It makes the table.
    database = DbosDatabase(url, "dbos", pool=2, timeout_s=20.0)
    database.open()
    engine = database._engine
    assert engine is not None
    try:
        with engine.begin() as first, engine.begin() as second:
            assert database._locked(first, "told", place) == NOTHING_YET
            second.execute(sa.text("SET LOCAL lock_timeout = '50ms'"))
            with pytest.raises(sa.exc.OperationalError, match="lock timeout"):
                database._locked(second, "told", place)
            second.rollback()
    finally:
        database.close()


def test_connections_notice_that_the_other_side_is_gone(url: str) -> None:
    if "postgres" not in url:
        pytest.skip("SQLite has no connections")
    for asked, said in (("", {"keepalives_idle": "10"}), ("?keepalives_idle=77", {"keepalives_idle": "77"})):
        database = DbosDatabase(url + asked, "dbos", pool=1, timeout_s=7.0)
        database.open()
        engine = database._engine
        assert engine is not None
        with engine.connect() as connection:
            driver: Any = connection.connection.driver_connection
            found = driver.info.get_parameters()
        database.close()
        assert {**found, "tcp_user_timeout": "7000", "keepalives_count": "3", **said}.items() <= found.items()


@pytest.mark.parametrize("kind", ["sqlite", pytest.param("postgres", marks=pytest.mark.soak)])
def test_processes_that_are_killed(kind: str, tmp_path: Path) -> None:
    from dbos import DBOSClient

    url = made(kind, tmp_path)
    deliver_with_kills("dbos", url, tmp_path / "at", 400)
    client = DBOSClient(system_database_url=url)
    found = ids_of(client, "audited-")
    client.destroy()
    assert sorted(found) == sorted(delivery_of(number).id for number in range(400))


def test_a_look(to_dbos: Callable[..., hw.Target]) -> None:
    assert with_target(to_dbos(), lambda target: target.look()) == "has the tables of DBOS"


def test_a_database_that_no_application_has_made(tmp_path: Path) -> None:
    missing = tmp_path / "missing.sqlite"
    with pytest.raises(OutputError, match="start its application once"):
        with_target(hw.to_dbos(f"sqlite:///{missing}", **WORKFLOW), lambda target: target.look())
    [answer] = deliver(hw.to_dbos(f"sqlite:///{missing}", **WORKFLOW), [delivery_of(1)])
    assert answer.outcome is Outcome.RETRY and "start its application once" in answer.reason
    assert not missing.exists()
    missing.touch()
    [answer] = deliver(hw.to_dbos(f"sqlite:///{missing}", **WORKFLOW), [delivery_of(1)])
    assert answer.outcome is Outcome.RETRY and "start its application once" in answer.reason


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "needs workflow=... with queue=..., or send_to=..."),
        ({"workflow": "told"}, "needs workflow=... with queue=..., or send_to=..."),
        ({**WORKFLOW, "send_to": "{key}"}, "needs workflow=... with queue=..., or send_to=..."),
        ({**WORKFLOW, "topic": "things"}, "topic='things' is nothing for workflows"),
        ({"send_to": "{key}", "partition": "{key}"}, "partition='{key}' is nothing for messages"),
        ({**WORKFLOW, "workflow_id": "{key}"}, "has no {id} in it: each trigger starts a workflow of its own"),
        ({**WORKFLOW, "mode": "batched"}, "mode='batched' is none"),
        ({**WORKFLOW, "queue": " "}, "queue=' ': expected a name"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as raised:
        hw.to_dbos("sqlite:///dbos.sqlite", **options)
    assert said in str(raised.value)


def test_urls_that_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    for url in (
        "mysql://ann:swordfish@db/x",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///?a=b",
        "sqlite:///file:x?uri=true",
        "dbos.sqlite",
    ):
        with pytest.raises(UsageError) as raised:
            hw.to_dbos(url, **WORKFLOW)
        assert "swordfish" not in str(raised.value) and "write postgresql://" in str(raised.value)
    target = hw.to_dbos("env:DBOS_URL", **WORKFLOW)
    with pytest.raises(UsageError, match="'DBOS_URL' is not set"):
        target.check()
    monkeypatch.setenv("DBOS_URL", "sqlite:///dbos.sqlite")
    target.check()


def test_a_url_of_sqlite_with_options(tmp_path: Path) -> None:
    found = made("sqlite", tmp_path)
    target = hw.to_dbos(f"{found}?check_same_thread=false", **WORKFLOW)
    assert target.name == f"dbos {found} told"
    assert outcomes(deliver(target, [delivery_of(1)])) == [Outcome.DONE]


@pytest.mark.parametrize("url", ["postgres"], indirect=True)
def test_a_url_that_has_changed_counts_for_the_next_connection(url: str, tmp_path: Path) -> None:
    """As when a password is changed while a flow runs."""
    file = tmp_path / "url"
    file.write_text("postgresql://postgres@127.0.0.1:1/shop")

    async def change(target: hw.Target) -> list[Outcome]:
        before = await target.deliver([delivery_of(0, place="changed")])
        file.write_text(url)
        after = await target.deliver([delivery_of(0, place="changed")])
        file.unlink()
        return outcomes([*before, *after, *await target.deliver([delivery_of(1, place="changed")])])

    found = with_target(hw.to_dbos(f"file:{file}", **WORKFLOW), change)
    assert found == [Outcome.RETRY, Outcome.DONE, Outcome.DONE]
