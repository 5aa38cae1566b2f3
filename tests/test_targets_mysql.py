"""MySQL as a target when things break, on MariaDB: rows are there once, in order.

The table of triggers has a key, which would hide a second insertion. A trigger of the database writes down each attempt
in a table without any: what is asserted is that.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any, Optional
from uuid import UUID

import msgspec
import pytest
from tests.servers import MariadbServer, mariadb_server
from tests.sql_harness import (
    Proxy,
    cancel_before_a_silent_server,
    deliver_by_two,
    deliver_cancelled_at_any_step,
    deliver_losing_answers,
    deliver_with_crashes,
)
from tests.targets_harness import deliver, deliver_with_kills, delivery_of, outcomes, run

import headway as hw
from headway.errors import OutputError, UsageError
from headway.targets.base import Outcome
from headway.targets.columns import rows_of
from headway.targets.mysql_table import MysqlTable, Unique
from headway.targets.sql_table import Found

DONE, RETRY, NEVER = Outcome.DONE, Outcome.RETRY, Outcome.NEVER
AUDITED = (
    "CREATE TABLE audited (id varchar(64) PRIMARY KEY, type text, subject text, time datetime(6), data json)",
    "CREATE TABLE audit (place int AUTO_INCREMENT PRIMARY KEY, number bigint)",
    "CREATE TRIGGER note BEFORE INSERT ON audited FOR EACH ROW "
    "INSERT INTO audit (number) VALUES (JSON_VALUE(new.data, '$.number'))",
)


@pytest.fixture
def server() -> Iterator[MariadbServer]:
    found = mariadb_server()
    found.query("DROP DATABASE IF EXISTS shop", database=None)
    found.query("CREATE DATABASE shop", database=None)
    yield found


@pytest.fixture
def audited(server: MariadbServer) -> MariadbServer:
    for statement in AUDITED:
        server.query(statement)
    return server


def noted(server: MariadbServer) -> list[int]:
    return [row[0] for row in server.query("SELECT number FROM audit ORDER BY place")]


def test_an_answer_that_is_lost_behind_a_commit(audited: MariadbServer) -> None:
    proxy = Proxy(audited.port, swallowed={2, 3, 6})
    target = hw.to_mysql(f"mysql://root@127.0.0.1:{proxy.port}/shop", "audited")
    assert deliver_losing_answers(target) == 3
    proxy.close()
    assert noted(audited) == list(range(40))


@pytest.mark.parametrize("total", [1_200, pytest.param(20_000, marks=pytest.mark.soak)])
def test_a_client_that_is_killed_at_any_moment(audited: MariadbServer, tmp_path: Path, total: int) -> None:
    deliver_with_kills("mysql", audited.url, tmp_path / "acknowledged", total)
    assert noted(audited) == list(range(total))


def test_a_server_that_crashes_in_the_middle(audited: MariadbServer) -> None:
    target = hw.to_mysql(audited.url, "audited")
    deliver_with_crashes(target, 1_000, {300: 1, 600: 1}, audited.kill, audited.start)
    assert noted(audited) == list(range(1_000))


def test_cancelled_at_any_step(audited: MariadbServer) -> None:
    deliver_cancelled_at_any_step(hw.to_mysql(audited.url, "audited"), 30)
    assert noted(audited) == list(range(90))


def test_two_that_write_one_place(audited: MariadbServer) -> None:
    deliver_by_two(lambda: hw.to_mysql(audited.url, "audited"))
    assert noted(audited) == list(range(100))


def test_a_position_is_made_once(audited: MariadbServer) -> None:
    def insertions() -> int:
        [(_, count)] = audited.query("SHOW GLOBAL STATUS LIKE 'Com_insert'")
        return int(count)

    before = insertions()
    deliver(hw.to_mysql(audited.url, "audited"), *([delivery_of(2 * n), delivery_of(2 * n + 1)] for n in range(6)))
    assert noted(audited) == list(range(12))
    of_the_trigger = 12
    assert insertions() - before - of_the_trigger == 6 + 1


class Typed(msgspec.Struct):
    """Each kind of field."""

    key: str
    text: str
    share: float
    fine: bool
    at: datetime
    day: date
    took: timedelta
    price: Decimal
    who: UUID
    parts: list[int]
    raw: bytes
    count: int
    maybe: Optional[int] = None


def typed(key: str, **other: Any) -> Typed:
    at = datetime(2024, 5, 1, 12, 30, 15, 123_456, tzinfo=timezone(timedelta(hours=2)))
    given: dict[str, Any] = {"text": "ü\n%s'", "share": 0.1, "fine": True, "at": at, "day": date(2024, 5, 1)}
    given |= {"took": timedelta(hours=1), "price": Decimal("12.340"), "who": UUID(int=7), "parts": [1, 2]}
    return Typed(key, **{**given, "raw": b"\x00\xff'", "count": -(2**63), **other})


def test_columns_and_what_is_in_them(server: MariadbServer) -> None:
    [answer] = deliver(hw.to_mysql(server.url, "typed", key="key", row=Typed), [delivery_of(0, typed("a"))])
    assert answer.outcome is DONE, answer.reason
    [row] = server.query("SELECT * FROM typed")
    at = datetime(2024, 5, 1, 10, 30, 15, 123_456, tzinfo=timezone.utc).replace(tzinfo=None)
    expected = ("a", "ü\n%s'", 0.1, 1, at, date(2024, 5, 1), "PT3600S", Decimal("12.34"), str(UUID(int=7)))
    assert row == (*expected, "[1,2]", b"\x00\xff'", -(2**63), None)


def test_texts_that_differ_in_anything_are_other_keys(server: MariadbServer) -> None:
    keys = ["a", "A", "a ", "ä", "🛒", ""]
    batch = [delivery_of(number, typed(key)) for number, key in enumerate(keys)]
    assert set(outcomes(deliver(hw.to_mysql(server.url, "typed", key="key", row=Typed), batch))) == {DONE}
    assert {row[0] for row in server.query("SELECT `key` FROM typed")} == set(keys)


def test_what_does_not_fit_costs_its_row_alone(server: MariadbServer) -> None:
    """A session that is not strict would cut it off, and say nothing."""
    server.query("SET GLOBAL sql_mode = ''")
    odd = [typed("x" * 300), typed("b", count=2**63), typed("c", at=datetime(1, 1, 1, tzinfo=timezone.utc)), typed("d")]
    target = hw.to_mysql(server.url, "typed", key="key", row=Typed)
    answers = deliver(target, [delivery_of(number, value) for number, value in enumerate(odd)])
    found = dict(server.query("SELECT `key`, at FROM typed"))
    assert outcomes(answers)[:2] == [NEVER, NEVER] and outcomes(answers)[3] is DONE
    assert "too long" in answers[0].reason and "out of range" in answers[1].reason.lower()
    assert set(found) == {"d"} | ({"c"} if answers[2].outcome is DONE else set())


def test_a_trigger_of_the_database_refuses_a_row_alone(server: MariadbServer) -> None:
    server.query("CREATE TABLE carts (cart varchar(90) PRIMARY KEY, cents bigint)")
    server.query(
        "CREATE TRIGGER no BEFORE INSERT ON carts FOR EACH ROW "
        "IF new.cents < 0 THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'not that'; END IF"
    )

    class Cart(msgspec.Struct):
        cart: str
        cents: int

    values = [Cart(f"c{number}", -1 if number in (2, 5) else 1) for number in range(8)]
    target = hw.to_mysql(server.url, "carts", key="cart", row=Cart)
    answers = deliver(target, [delivery_of(number, value) for number, value in enumerate(values)])
    assert [number for number, answer in enumerate(answers) if answer.outcome is NEVER] == [2, 5]
    assert {answer.reason for answer in answers if answer.outcome is NEVER} == {"not that (error 1644)"}
    assert server.query("SELECT count(*) FROM carts") == [(6,)]


def test_a_value_that_no_statement_can_hold_costs_its_row_alone(server: MariadbServer) -> None:
    batch = [delivery_of(number, {"v": "x" * (3 << 20) if number == 1 else "x"}) for number in range(3)]
    answers = deliver(hw.to_mysql(server.url, "triggers"), batch)
    assert outcomes(answers) == [DONE, NEVER, DONE]
    assert "max_allowed_packet" in answers[1].reason


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("CREATE TABLE t (cart varchar(90) PRIMARY KEY, cents bigint) ENGINE=MyISAM", "MyISAM, which has no transact"),
        ("CREATE TABLE t (cart varchar(90) PRIMARY KEY, cents bigint, UNIQUE other (cents))", "another unique .*other"),
        ("CREATE TABLE t (cart text, cents bigint, UNIQUE (cart(10)))", "nothing says that `cart` is unique"),
        ("CREATE TABLE t (cart varchar(90) PRIMARY KEY, cents date)", "'cents' of the table t is date"),
    ],
)
def test_a_table_that_cannot_be_exact_says_so(server: MariadbServer, statement: str, said: str) -> None:
    class Cart(msgspec.Struct):
        cart: str
        cents: int

    server.query(statement)
    target = hw.to_mysql(server.url, "t", key="cart", row=Cart)
    [answer] = deliver(target, [delivery_of(0, Cart("a", 1))])
    assert answer.outcome is RETRY
    with pytest.raises(AssertionError, match=said):
        raise AssertionError(answer.reason)


def test_a_number_that_the_table_counts_by_itself_is_no_other_key() -> None:
    class Cart(msgspec.Struct):
        cart: str

    table = MysqlTable("carts", rows_of(Cart, ("cart",)))
    uniques = [Unique("PRIMARY", frozenset({"n"}), True), Unique("cart", frozenset({"cart"}), False)]
    assert table.misfit([Found("n", "int", False), Found("cart", "varchar", False)], uniques) is None


def test_no_password_is_shown(server: MariadbServer, monkeypatch: pytest.MonkeyPatch) -> None:
    target = hw.to_mysql(f"mysql://app:sword%40fish@127.0.0.1:{server.port}/shop", "carts")
    [answer] = deliver(target, [delivery_of(0)])
    assert answer.outcome is RETRY and "Access denied" in answer.reason
    with pytest.raises(OutputError, match="Access denied") as refused:
        run(target.look())
    monkeypatch.setenv("DATABASE", "mysql://app:sword%40fish@127.0.0.1:1/shop?nonsense=1")
    odd = hw.to_mysql("env:DATABASE", "carts")
    with pytest.raises(UsageError, match="the option 'nonsense'") as wrong:
        odd.check()
    shown = [answer.reason, str(refused.value), str(wrong.value), repr(target), target.name, repr(odd)]
    assert "fish" not in " ".join([*shown, repr(vars(target))]) and "env:DATABASE carts" in odd.name
    for bad in ("postgres://app:swordfish@host/shop", "swordfish", "mysql://app:swordfish@host"):
        with pytest.raises(UsageError, match="no address of a MySQL database") as raised:
            hw.to_mysql(bad, "carts")
        assert "fish" not in str(raised.value)


def test_it_is_looked_at_without_a_table(server: MariadbServer) -> None:
    assert "lets us in as root@" in run(hw.to_mysql(server.url, "carts").look())
    assert server.query("SHOW TABLES") == []


def test_a_server_that_does_not_answer_is_left_at_once() -> None:
    pytest.importorskip("pymysql", reason="pymysql is not installed: pip install 'headway[mysql]'")
    cancel_before_a_silent_server(lambda port: hw.to_mysql(f"mysql://root@127.0.0.1:{port}/shop", "triggers"))
