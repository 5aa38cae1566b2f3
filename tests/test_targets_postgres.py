"""PostgreSQL as a target when things break: rows are there once, in order, with nothing that would sort out repeats.

The table of triggers has a key, which would hide a second insertion. A trigger function of the database writes down
each one in a table without any: what is asserted is that.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.servers import PostgresServer, postgres_server
from tests.sql_harness import (
    Proxy,
    cancel_before_a_silent_server,
    deliver_by_two,
    deliver_cancelled_at_any_step,
    deliver_losing_answers,
    deliver_with_crashes,
)
from tests.targets_harness import deliver, deliver_with_kills, delivery_of, outcomes

import headway as hw
from headway.errors import UsageError
from headway.targets.base import Outcome

DONE, RETRY, NEVER = Outcome.DONE, Outcome.RETRY, Outcome.NEVER
AUDITED = """
CREATE TABLE audited (id text PRIMARY KEY, type text, subject text, time timestamptz, data jsonb);
CREATE TABLE audit (number bigint, place bigserial);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN INSERT INTO audit (number) VALUES ((new.data->>'number')::bigint); RETURN new; END $$;
CREATE TRIGGER note BEFORE INSERT ON audited FOR EACH ROW EXECUTE FUNCTION note();
"""


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    found = postgres_server()
    found.query("DROP SCHEMA IF EXISTS public CASCADE")
    found.query("CREATE SCHEMA public")
    yield found


@pytest.fixture
def audited(server: PostgresServer) -> PostgresServer:
    for statement in re.split(r";\n", AUDITED.strip()):
        server.query(statement)
    return server


def noted(server: PostgresServer) -> list[int]:
    return [row[0] for row in server.query("SELECT number FROM audit ORDER BY place")]


def test_an_answer_that_is_lost_behind_a_commit(audited: PostgresServer) -> None:
    proxy = Proxy(audited.port, swallowed={2, 3, 6})
    target = hw.postgres(f"postgresql://postgres@127.0.0.1:{proxy.port}/postgres", "audited")
    assert deliver_losing_answers(target) == 3
    proxy.close()
    assert noted(audited) == list(range(40))


@pytest.mark.parametrize("total", [1_200, pytest.param(20_000, marks=pytest.mark.soak)])
def test_a_client_that_is_killed_at_any_moment(audited: PostgresServer, tmp_path: Path, total: int) -> None:
    deliver_with_kills("postgres", audited.dsn, tmp_path / "acknowledged", total)
    assert noted(audited) == list(range(total))


def test_a_server_that_crashes_in_the_middle(audited: PostgresServer) -> None:
    crashes = {300: 3, 900: 9, 1_500: 15}
    deliver_with_crashes(hw.postgres(audited.dsn, "audited"), 2_000, crashes, audited.crash, audited.start)
    assert noted(audited) == list(range(2_000))


def test_cancelled_at_any_step(audited: PostgresServer) -> None:
    deliver_cancelled_at_any_step(hw.postgres(audited.dsn, "audited"), 40)
    assert noted(audited) == list(range(120))


def test_two_that_write_one_place(audited: PostgresServer) -> None:
    deliver_by_two(lambda: hw.postgres(audited.dsn, "audited"))
    assert noted(audited) == list(range(100))


class Typed(msgspec.Struct):
    """Each kind of field."""

    key: int
    text: str
    share: float
    fine: bool
    at: Any = None
    parts: list[int] = []
    raw: bytes = b""
    maybe: int | None = None


def test_columns_and_what_is_in_them(server: PostgresServer) -> None:
    value = Typed(1, "ü\n%s", 0.5, True, {"a": None}, [1, 2], b"\x00\xff", None)
    [answer] = deliver(hw.postgres(server.dsn, "typed", key="key", row=Typed), [delivery_of(0, value)])
    assert answer.outcome is DONE
    assert server.query("SELECT * FROM typed") == [(1, "ü\n%s", 0.5, True, {"a": None}, [1, 2], b"\x00\xff", None)]


def test_a_table_of_the_users_own_types(server: PostgresServer) -> None:
    server.query("CREATE TYPE mood AS ENUM ('good', 'bad')")
    server.query("CREATE DOMAIN percent AS double precision CHECK (value <= 1)")
    server.query(
        "CREATE TABLE typed (key int UNIQUE, text mood, share percent, fine varchar(5), at text, "
        "parts json, raw bytea, maybe numeric(4, 1), more text DEFAULT 'x')"
    )
    target = hw.postgres(server.dsn, "typed", key="key", row=Typed)
    values = [
        Typed(1, "good", 0.5, True),
        Typed(2, "odd", 0.5, True),
        Typed(3, "bad", 1.5, True),
        Typed(4, "bad", 1, False),
    ]
    answers = deliver(target, [delivery_of(number, value) for number, value in enumerate(values)])
    assert outcomes(answers) == [DONE, NEVER, NEVER, DONE]
    assert [row[0] for row in server.query("SELECT key FROM typed ORDER BY key")] == [1, 4]


def test_a_deferred_constraint_costs_its_row_alone(server: PostgresServer) -> None:
    server.query("CREATE TABLE parents (key int PRIMARY KEY)")
    server.query(
        "CREATE TABLE typed (key bigint PRIMARY KEY REFERENCES parents DEFERRABLE INITIALLY DEFERRED, text text, "
        "share float, fine bool, at jsonb, parts jsonb, raw bytea, maybe bigint)"
    )
    server.query("INSERT INTO parents VALUES (1), (3)")
    target = hw.postgres(server.dsn, "typed", key="key", row=Typed)
    answers = deliver(target, [delivery_of(number, Typed(number, "", 0, True)) for number in range(1, 4)])
    assert outcomes(answers) == [DONE, NEVER, DONE]
    assert "foreign key" in answers[1].reason and "not present" in answers[1].head


def test_nul_in_a_value_costs_its_row_alone(server: PostgresServer) -> None:
    batch = [delivery_of(number, {"v": "\0" if number == 3 else "x"}) for number in range(8)]
    answers = deliver(hw.postgres(server.dsn, "triggers"), batch)
    assert [number for number, answer in enumerate(answers) if answer.outcome is NEVER] == [3]


def test_no_password_is_shown(server: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    dsn = "postgresql://app:sword%40fish@127.0.0.1:1/shop"
    target = hw.postgres(dsn, "carts")
    [answer] = deliver(target, [delivery_of(0)])
    assert answer.outcome is RETRY and "refused" in answer.reason
    monkeypatch.setenv("DATABASE", "postgresql://app:sword%40fish@127.0.0.1:1/shop?nonsense=1")
    odd = hw.postgres("env:DATABASE", "carts")
    [wrong] = deliver(odd, [delivery_of(0)])
    assert wrong.outcome is RETRY
    shown = " ".join([answer.reason, wrong.reason, repr(target), target.name, repr(odd), repr(vars(target))])
    assert "sword" not in shown and "env:DATABASE carts" in odd.name
    for bad in ("postgrs://app:swordfish@host/shop", "swordfish"):
        with pytest.raises(UsageError) as raised:
            hw.postgres(bad, "carts")
        assert "swordfish" not in str(raised.value)


def test_a_server_that_does_not_answer_is_left_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("psycopg", reason="psycopg is not installed: pip install 'headway[postgres]'")
    monkeypatch.setattr("headway.targets.postgres._CLOSING_S", 0.01)
    cancel_before_a_silent_server(
        lambda port: hw.postgres(f"postgresql://postgres@127.0.0.1:{port}/postgres", "triggers")
    )
