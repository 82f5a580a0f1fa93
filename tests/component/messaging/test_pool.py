"""After a restart of PostgreSQL nobody gets a connection that died while it lay in the pool."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.postgres import engine_for, fetch, refuse_closed
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
