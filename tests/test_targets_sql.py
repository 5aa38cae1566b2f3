"""PostgreSQL, MariaDB and SQLite as targets: rows are exactly those of a model, whatever comes again."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.servers import mariadb_server, postgres_server
from tests.targets_harness import deliver, delivery_of, outcomes, with_target

import headway as hw
from headway.errors import UsageError
from headway.targets.base import Delivery, Guarantee, Outcome, Target
from headway.testing import check_target


class Cart(msgspec.Struct):
    """A row."""

    cart: str
    cents: int
    note: Optional[str] = None


@dataclass
class Database:
    """One of them, as the tests see it."""

    make: Callable[..., Target]
    query: Callable[..., list[tuple[Any, ...]]]
    kind: str
    count: list[int] = field(default_factory=lambda: [0])

    def fresh(self) -> str:
        """The name of a table that is not there."""
        self.count[0] += 1
        return f"t{self.count[0]}"


@pytest.fixture(params=["postgres", "mysql", "sqlite"], scope="module")
def database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    if request.param == "postgres":
        server = postgres_server()
        server.query("DROP SCHEMA IF EXISTS public CASCADE")
        server.query("CREATE SCHEMA public")
        yield Database(lambda *given, **options: hw.postgres(server.dsn, *given, **options), server.query, "postgres")
        return
    if request.param == "mysql":
        maria = mariadb_server()
        maria.query("DROP DATABASE IF EXISTS shop", database=None)
        maria.query("CREATE DATABASE shop CHARACTER SET utf8mb4 COLLATE utf8mb4_bin", database=None)
        yield Database(lambda *given, **options: hw.to_mysql(maria.url, *given, **options), maria.query, "mysql")
        return
    path = tmp_path_factory.mktemp("sqlite") / "shop.db"

    def query(text: str, *given: Any) -> list[tuple[Any, ...]]:
        connection = sqlite3.connect(path, isolation_level=None)
        try:
            return connection.execute(text, given).fetchall()
        finally:
            connection.close()

    yield Database(lambda *given, **options: hw.sqlite(path, *given, **options), query, "sqlite")


TOO_LARGE = 1 << 70
values = st.builds(
    lambda cart, cents: {"cart": f"cart {cart}", "cents": cents, "note": None},
    st.integers(0, 3),
    st.integers(-5, 5) | st.just(TOO_LARGE),
)


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Delivery], list[list[Delivery]]]:
    """Deliveries of two places, and batches of them, in which a crash now and then goes back by some."""
    logs = [
        [
            delivery_of(number, value, place=f"place-{place}")
            for number, value in enumerate(draw(st.lists(values, min_size=1)))
        ]
        for place in range(2)
    ]
    batches = []
    for log in logs:
        at = 0
        while at < len(log):
            size = draw(st.integers(1, 6))
            batches.append(log[at : at + size])
            back = draw(st.integers(0, 8)) if draw(st.integers(0, 4)) == 0 else 0
            at = max(0, at + size - back)
    return [delivery for log in logs for delivery in log], batches


def is_bad(delivery: Delivery) -> bool:
    return bool(msgspec.json.decode(delivery.data)["cents"] == TOO_LARGE)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(history=histories())
def test_triggers_are_there_once(database: Database, history: tuple[list[Delivery], list[list[Delivery]]]) -> None:
    deliveries, batches = history
    table = database.fresh()
    answers = deliver(database.make(table), *batches)
    assert set(outcomes(answers)) <= {Outcome.DONE}
    found = database.query(f"SELECT id, subject, data FROM {table}")
    assert len(found) == len(deliveries)
    assert {row[0] for row in found} == {delivery.id for delivery in deliveries}


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(history=histories())
def test_rows_are_those_of_a_model(database: Database, history: tuple[list[Delivery], list[list[Delivery]]]) -> None:
    """Of each key the newest that can be stored; what cannot is refused each time that it comes, and alone."""
    deliveries, batches = history
    # In the order of the batches: two places may have the same key here.
    table, model, passed = database.fresh(), dict[str, int](), dict[str, int]()
    for delivery in (each for batch in batches for each in batch):
        if delivery.number > passed.get(delivery.place, -1):
            passed[delivery.place] = delivery.number
            if not is_bad(delivery):
                value = msgspec.json.decode(delivery.data)
                model[value["cart"]] = value["cents"]
    answers = deliver(database.make(table, key="cart", row=Cart), *batches)
    assert dict(database.query(f"SELECT cart, cents FROM {table}")) == model
    given = [delivery for batch in batches for delivery in batch]
    # A bad row that a newer one of its key follows in the same batch may not have been tried at all.
    newest = {
        id(each) for batch in batches for each in {msgspec.json.decode(d.data)["cart"]: d for d in batch}.values()
    }
    for delivery, answer in zip(given, answers):
        if not is_bad(delivery):
            assert answer.outcome is Outcome.DONE
        elif database.kind != "postgres" or (len(given) == len(deliveries) and id(delivery) in newest):
            assert answer.outcome is Outcome.NEVER and answer.reason


def test_a_refusal_is_remembered_over_a_restart(database: Database) -> None:
    """A crash after the commit, before the dispatcher has heard: it comes again, and is refused again."""
    table = database.fresh()
    good, bad = {"cart": "a", "cents": 1}, {"cart": "b", "cents": TOO_LARGE}
    batch = [delivery_of(0, good), delivery_of(1, bad), delivery_of(2, good)]
    expected = [Outcome.DONE, Outcome.NEVER, Outcome.DONE]
    for again in (batch, batch, [*batch, delivery_of(3, good)], batch[1:]):
        answers = deliver(database.make(table, key="cart", row=Cart), again)
        assert outcomes(answers)[:1] in ([Outcome.DONE], [Outcome.NEVER])
        assert [answer.outcome for answer, each in zip(answers, again) if is_bad(each)] == [Outcome.NEVER]
    assert outcomes(deliver(database.make(table, key="cart", row=Cart), batch)) == expected


def test_what_was_taken_under_a_former_place_is_passed_over(database: Database) -> None:
    """Key groups were divided otherwise: the rows of one place are in two now, each of which has a part of them."""
    table = database.fresh()
    bad = {"cart": "b", "cents": TOO_LARGE}
    before = [delivery_of(number, bad if number == 2 else {"cart": f"c{number}", "cents": 1}) for number in range(9)]
    target = database.make(table, key="cart", row=Cart)
    assert Outcome.NEVER in outcomes(deliver(target, before[:5]))
    parts = [
        [
            replace(each, place=f"{name}<place-0", former_places=("place-0",))
            for each in before
            if each.number % 2 == odd
        ]
        for odd, name in enumerate("ab")
    ]
    for part in (parts[1], parts[0], parts[1][1:]):
        answers = deliver(database.make(table, key="cart", row=Cart), part)
        for delivery, answer in zip(part, answers):
            assert answer.outcome is (Outcome.NEVER if delivery.number == 2 else Outcome.DONE)
    assert len(database.query(f"SELECT cart FROM {table}")) == 8


def test_another_state_directory_is_noticed(database: Database) -> None:
    table = database.fresh()
    deliver(database.make(table), [delivery_of(number) for number in range(3)])
    [answer] = deliver(database.make(table), [replace(delivery_of(2), id="0" * 32)])
    assert answer.outcome is Outcome.RETRY and "another state directory" in answer.reason
    assert len(database.query(f"SELECT * FROM {table}")) == 3


def test_hard_values(database: Database) -> None:
    table = database.fresh()
    subjects = ["", "a\r\nb", "emoji 🛒", "'); DROP TABLE x; --", "%s %(a)s", "x" * 2_000]
    batch = [delivery_of(number, {"v": text}, key=text) for number, text in enumerate(subjects)]
    assert set(outcomes(deliver(database.make(table), batch))) == {Outcome.DONE}
    found = {row[0] for row in database.query(f"SELECT subject FROM {table}")}
    assert found >= set(subjects) - {""}


def test_nothing_of_a_row_is_left_when_it_is_refused(database: Database) -> None:
    """A constraint of the user's own."""
    table = database.fresh()
    database.query(f"CREATE TABLE {table} (cart varchar(90) PRIMARY KEY, cents bigint CHECK (cents > 0), note text)")
    values = [{"cart": f"c{number}", "cents": number % 3} for number in range(60)]
    batch = [delivery_of(number, value) for number, value in enumerate(values)]
    answers = deliver(database.make(table, key="cart", row=Cart), batch)
    assert outcomes(answers) == [Outcome.DONE if value["cents"] else Outcome.NEVER for value in values]
    assert all(
        re.search("check|constraint", answer.reason.lower()) for answer in answers if answer.outcome is Outcome.NEVER
    )
    assert len(database.query(f"SELECT * FROM {table}")) == 40


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ("cart varchar(90) PRIMARY KEY, note text", "no column 'cents': ALTER TABLE"),
        ("cart varchar(90), cents bigint, note text", "unique|cannot take rows by"),
        ("cart varchar(90) PRIMARY KEY, cents bigint, note text, shop text NOT NULL", "'shop'.*give it a default"),
    ],
)
def test_a_table_that_does_not_fit_says_so(database: Database, columns: str, said: str) -> None:
    table = database.fresh()
    database.query(f"CREATE TABLE {table} ({columns})")
    target = database.make(table, key="cart", row=Cart)
    delivery = delivery_of(0, {"cart": "a", "cents": 1})

    async def twice(opened: Target) -> Sequence[Any]:
        [before] = await opened.deliver([delivery])
        database.query(f"DROP TABLE {table}")
        database.query(f"CREATE TABLE {table} (cart varchar(90) PRIMARY KEY, cents bigint, note text)")
        [after] = await opened.deliver([delivery])
        return before, after

    before, after = with_target(target, twice)
    assert before.outcome is Outcome.RETRY
    assert re.search(said, before.reason), before.reason
    assert after.outcome is Outcome.DONE, "it goes on once the table fits"


def test_options_that_cannot_be(database: Database) -> None:
    for table in ("", "a\0b"):
        with pytest.raises(UsageError, match="no name of a table"):
            database.make(table)
    with pytest.raises(UsageError, match="names no field"):
        database.make("t", key=())
    with pytest.raises(UsageError, match="has no field 'user', its fields are cart, cents, note"):
        database.make("t", key="user", row=Cart)
    with pytest.raises(UsageError, match="batch=0 is out of range"):
        database.make("t", batch=0)
    target = database.make("t", key="cart")
    with pytest.raises(UsageError, match="give the stream a type, or name a class with row="):
        target.takes("cart.abandoned", hw.Json)
    with pytest.raises(UsageError, match="no stream has told"):
        target.check()
    target.takes("cart.abandoned", Cart)
    assert target.guarantee is Guarantee.EXACT and target.in_order


@pytest.mark.parametrize("options", [{}, {"key": "cart"}], ids=["triggers", "rows"])
def test_the_contract(database: Database, options: dict[str, Any]) -> None:
    table = database.fresh()

    def received() -> list[str]:
        """Of typed rows no ids are there: each has a key of its own here, by which it is told."""
        column = "cart" if options else "id"
        return [row[0] for row in database.query(f"SELECT {column} FROM {table}")]

    check_target(
        lambda: database.make(table, **options),
        value=lambda number: {"cart": str(number), "cents": number},
        value_type=Cart,
        received=None if options else received,
        secrets=["swordfish"],
    )
    assert len(received()) == len(set(received())) > 50


def test_sqlite_takes_a_trigger_that_rolls_back(tmp_path: Path) -> None:
    """A trigger of the database that ends the whole transaction costs its own row alone."""
    path = tmp_path / "shop.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE carts (cart TEXT PRIMARY KEY, cents INTEGER, note TEXT)")
    connection.execute(
        "CREATE TRIGGER no BEFORE INSERT ON carts WHEN new.cents < 0 BEGIN SELECT RAISE(ROLLBACK, 'not that'); END"
    )
    connection.commit()
    connection.close()
    values = [{"cart": f"c{number}", "cents": -1 if number in (2, 5) else 1} for number in range(8)]
    answers = deliver(
        hw.sqlite(path, "carts", key="cart", row=Cart),
        [delivery_of(number, value) for number, value in enumerate(values)],
    )
    assert [number for number, answer in enumerate(answers) if answer.outcome is Outcome.NEVER] == [2, 5]
    assert {answer.reason for answer in answers if answer.outcome is Outcome.NEVER} == {"not that"}
    assert sqlite3.connect(path).execute("SELECT count(*) FROM carts").fetchone() == (6,)
