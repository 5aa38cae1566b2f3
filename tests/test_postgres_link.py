"""A connection to PostgreSQL that falls silent, and statements that take long."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

import psycopg
import pytest
from tests.cutting_proxy import CuttingProxy
from tests.targets_harness import run
from tests.test_wires_ends import unharmed
from tests.wires import postgres

from headway.basics.dsn import Dsn
from headway.connectors import postgres_link
from headway.connectors.postgres_link import PostgresLink

PATIENCE_S = 0.3


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_link, "_PATIENCE_S", PATIENCE_S)
    monkeypatch.setattr(postgres_link, "_CANCEL_S", PATIENCE_S)


def linked(step: Callable[[PostgresLink, CuttingProxy], Coroutine[Any, Any, None]]) -> None:
    with unharmed(postgres()) as proxy:

        async def opened() -> None:
            link = await PostgresLink.open(Dsn(f"postgresql://postgres@127.0.0.1:{proxy.port}/postgres"))
            try:
                await step(link, proxy)
            finally:
                await link.close()

        run(opened())


def test_a_statement_may_take_as_long_as_the_server_works_on_it() -> None:
    async def wait(link: PostgresLink, proxy: CuttingProxy) -> None:
        assert await link.rows(f"SELECT 7 FROM pg_sleep({5 * PATIENCE_S})") == [(7,)]
        assert link.is_open

    linked(wait)


def test_an_answer_that_nobody_works_on_is_given_up() -> None:
    async def wait(link: PostgresLink, proxy: CuttingProxy) -> None:
        proxy.fall_silent()
        with pytest.raises(psycopg.OperationalError):
            await link.rows("SELECT 7")
        assert not link.is_open

    linked(wait)


def test_it_is_given_up_where_the_server_cannot_be_asked() -> None:
    async def wait(link: PostgresLink, proxy: CuttingProxy) -> None:
        proxy.fall_silent()
        asking = asyncio.ensure_future(link.rows("SELECT 7"))
        while not proxy.swallowed:
            await asyncio.sleep(0.005)
        proxy.go_away()
        with pytest.raises(psycopg.OperationalError):
            await asking

    linked(wait)


def test_whoever_waits_for_an_answer_that_does_not_come_can_be_cancelled() -> None:
    async def wait(link: PostgresLink, proxy: CuttingProxy) -> None:
        proxy.fall_silent()
        asking = asyncio.ensure_future(link.rows("SELECT 7"))
        while not proxy.swallowed:
            await asyncio.sleep(0.005)
        started_s = time.monotonic()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert time.monotonic() - started_s < 5

    linked(wait)


def test_a_statement_of_somebody_who_is_cancelled_ends_at_the_server() -> None:
    async def wait(link: PostgresLink, proxy: CuttingProxy) -> None:
        asking = asyncio.ensure_future(link.rows("SELECT pg_sleep(30)"))
        other = await PostgresLink.open(Dsn(f"postgresql://postgres@127.0.0.1:{proxy.port}/postgres"))
        sleeping = "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(30)' AND state = 'active'"
        while await other.rows(sleeping) == [(0,)]:
            await asyncio.sleep(0.01)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert await other.rows(sleeping) == [(0,)]
        await other.close()

    linked(wait)
