"""Values that no row can be made of: each costs its own row, and what is behind it goes in, on every table."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.servers import mariadb_server, postgres_server, redis_server
from tests.targets_harness import deliver, delivery_of

import headway as hw
from headway.targets.base import Outcome, Target

NAMES = itertools.count()


class Cart(msgspec.Struct):
    """What a stream has promised; what comes may be something else, as types of a file of events may be wrong."""

    cart: str
    note: str
    cents: int
    fine: bool
    at: datetime
    raw: bytes
    parts: list[int]


GOOD: dict[str, Any] = {"note": "n", "cents": 1, "fine": True, "at": "2024-05-01T12:00:00Z", "raw": "", "parts": [1]}


def _with(field: str, *values: object) -> list[dict[str, Any]]:
    return [{field: value} for value in values]


REFUSED: list[dict[str, Any]] = [
    *_with("cents", [1], {"a": 1}, "many"),
    *_with("fine", [1], {"a": 1}, "perhaps"),
    *_with("at", [1], {"a": 1}, "some day"),
    *_with("raw", [1], {"a": 1}, 5, "no base 64!"),
]
"""By the tables of all servers. SQLite takes a text as a number, and has no times."""
ODD: list[dict[str, Any]] = [
    *REFUSED,
    *_with("note", [1], {"a": 1}, [[]], 2**70, True),
    *_with("cart", [1], {"a": [1]}, None, 1, True),
    *_with("at", 5, "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"),
    *_with("cents", 2**63, -(2**70), 1.5),
]
"""Of which a table may take some."""


def mysql(name: str, tmp_path: Path) -> Target:
    return hw.to_mysql(mariadb_server().url, name, key="cart", row=Cart)


def postgres(name: str, tmp_path: Path) -> Target:
    return hw.postgres(postgres_server().dsn, name, key="cart", row=Cart)


def sqlite(name: str, tmp_path: Path) -> Target:
    return hw.sqlite(tmp_path / "carts.db", name, key="cart", row=Cart)


def redis_hash(name: str, tmp_path: Path) -> Target:
    return hw.to_redis_hash(redis_server().url, name, key="cart")


@pytest.mark.parametrize("system", [mysql, postgres, sqlite, redis_hash])
def test_an_odd_value_costs_its_row_alone(system: Callable[[str, Path], Target], tmp_path: Path) -> None:
    name = f"odd{next(NAMES)}"
    given: list[Any] = [[1], 5, "text", *({"cart": f"odd-{n}", **GOOD, **odd} for n, odd in enumerate(ODD))]
    mixed = [value for n, odd in enumerate(given) for value in (odd, {"cart": f"good-{n}", **GOOD})]
    batch = [delivery_of(number, value) for number, value in enumerate(mixed)]
    answers = deliver(system(name, tmp_path), batch)
    assert {answer.outcome for answer in answers[1::2]} == {Outcome.DONE}
    bad = answers[::2]
    assert {answer.outcome for answer in bad} <= {Outcome.DONE, Outcome.NEVER}
    assert all(answer.reason for answer in bad if answer.outcome is Outcome.NEVER)
    assert {answer.outcome for answer in bad[:3]} == {Outcome.NEVER}, "no object has the key"
    if system in (mysql, postgres):
        found = dict(zip(map(repr, REFUSED), bad[3:]))
        assert {text: answer.outcome for text, answer in found.items() if answer.outcome is not Outcome.NEVER} == {}
    # They come again where the answer was lost, and nothing else is said of them.
    assert deliver(system(name, tmp_path), batch) == answers


def test_what_is_said_names_the_field(tmp_path: Path) -> None:
    [answer] = deliver(sqlite("carts", tmp_path), [delivery_of(0, {"cart": "a", **GOOD, "note": ["x" * 200]})])
    assert answer.outcome is Outcome.NEVER
    assert answer.reason.startswith("the field 'note' is [\"xxx")
    assert answer.reason.endswith("…, which cannot be stored as text (it has parts)")


@pytest.mark.parametrize("system", [mysql, postgres, sqlite])
def test_percent_signs_and_quotes_in_names(system: Callable[[str, Path], Target], tmp_path: Path) -> None:
    class Odd(msgspec.Struct):
        key: str = msgspec.field(name="a%sb")
        share: int = msgspec.field(name="%d of `x` VALUES (%s)")

    table = f"odd%s{next(NAMES)}"
    server: Any = None
    if system is mysql:
        server = mariadb_server()
        target: Target = hw.to_mysql(server.url, table, key="a%sb", row=Odd)
    elif system is postgres:
        server = postgres_server()
        target = hw.postgres(server.dsn, table, key="a%sb", row=Odd)
    else:
        target = hw.sqlite(tmp_path / "odd.db", table, key="a%sb", row=Odd)
    answers = deliver(target, [delivery_of(n, Odd("k", n)) for n in range(3)], [delivery_of(3, Odd("k", 3))])
    assert [(answer.outcome, answer.reason) for answer in answers] == [(Outcome.DONE, "")] * 4
    if server is not None:
        mark = "`" if system is mysql else '"'
        assert [tuple(row) for row in server.query(f"SELECT * FROM {mark}{table}{mark}")] == [("k", 3)]
