"""After a restart of PostgreSQL nobody gets a connection that died while it lay in the pool."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.messaging.failure import verdict
from shared.postgres import copy, engine_for, fetch, refuse_closed
from tests.component.messaging.counting import CountingSettings
from tests.support.eventually import eventually
from tests.support.harness import World

SIZE = 5


@pytest.fixture
async def engine(world: World) -> AsyncIterator[AsyncEngine]:
    """A pool that is full of connections which the server has just ended."""
    settings = world.settings_of(CountingSettings).postgres
    engine = engine_for(settings, schema="public", application="pool", pool_size=SIZE)
    together = asyncio.Barrier(SIZE)

    async def opened() -> Any:
        async with engine.begin() as conn:
            await together.wait()
            return (await conn.get_raw_connection()).driver_connection

    connections = await asyncio.gather(*(opened() for _ in range(SIZE)))
    ended = await world.rows("public", "select pg_terminate_backend(pid) from pg_stat_activity "
                             "where application_name = 'pool' and datname = current_database()")  # fmt: skip
    assert len(ended) == SIZE
    await eventually(lambda: all(connection.is_closed() for connection in connections))
    yield engine
    await engine.dispose()


async def ask(engine: AsyncEngine) -> int:
    async with engine.begin() as conn:
        return len(await fetch(conn, "select 1"))


async def test_whoever_asks_next_is_answered(engine: AsyncEngine) -> None:
    assert await asyncio.gather(*(ask(engine) for _ in range(3 * SIZE))) == [1] * 3 * SIZE


async def test_control_without_a_look_at_the_connection_the_first_one_fails(engine: AsyncEngine) -> None:
    event.remove(engine.sync_engine, "checkout", refuse_closed)
    with pytest.raises(DBAPIError, match="connection is closed"):
        await ask(engine)


async def test_a_copy_whose_connection_dies_is_for_another_try_and_leaves_the_pool_well(
    engine: AsyncEngine, world: World
) -> None:
    await world.rows("public", "create table copied (n int)")
    with pytest.raises(Exception, match="connection") as died:  # noqa: PT012 the end of the transaction may say it too
        async with engine.begin() as conn:
            [row] = await fetch(conn, "select pg_backend_pid() as pid")
            await world.rows("public", "select pg_terminate_backend($1)", row["pid"])
            await copy(conn, "copied", ["n"], [(1,)])
    assert verdict(died.value) == "retry"
    assert await ask(engine) == 1
    assert await world.rows("public", "select n from copied") == []
    async with engine.begin() as conn:
        await copy(conn, "copied", ["n"], [(1,), (2,)])  # it begins the transaction
        assert len(await fetch(conn, "select n from copied")) == 2
        await conn.rollback()
    assert await world.rows("public", "select n from copied") == []
