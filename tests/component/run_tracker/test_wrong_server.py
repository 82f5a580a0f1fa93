"""Prefect's address leads to another server: one run of ours that it does not know is no loss either."""

import uuid
from collections.abc import AsyncIterator

import asyncpg
import pytest

from tests.component.run_tracker.server import Prefect, launch, until
from tests.support.eventually import eventually
from tests.support.harness import ServiceHarness, World, of


@pytest.fixture
async def sweeping(world: World) -> AsyncIterator[asyncpg.Connection]:
    """Whoever sweeps instead of the tracker, until it is closed."""
    conn = await asyncpg.connect(world.dsn)
    await conn.execute("select pg_advisory_lock(hashtextextended('run_tracker.sweep', 0))")
    yield conn
    await conn.close()


@pytest.fixture
async def tracker(world: World, sweeping: asyncpg.Connection) -> AsyncIterator[ServiceHarness]:
    harness = await world.start("run_tracker", sweep_seconds=1, gone_after_seconds=1)
    yield harness
    await harness.stop()


async def test_a_server_that_does_not_know_us_ends_no_run_until_an_operator_says_so(
    world: World, prefect: Prefect, tracker: ServiceHarness, sweeping: asyncpg.Connection
) -> None:
    elsewhere = str(uuid.uuid4())
    remembered = "insert into sweeps (name, as_of, server) values ('sweep', now(), $1)"
    await world.rows("run_tracker", remembered, elsewhere)
    run_id, _ = await launch(world, prefect, orchestrator_run_id=str(uuid.uuid4()))
    await until(tracker, run_id, status="pending")
    await sweeping.close()

    async def named() -> bool:
        troubles = (await tracker.http.get("/v1/ops/truth")).json()["troubles"]
        return any("another one" in one["said"] for one in of(troubles, code="LOSS_REFUSED"))

    await eventually(named, what="the wrong server is named")
    await until(tracker, run_id, status="pending")
    assert await tracker.rows("select server from sweeps where name = 'sweep'") == [{"server": elsewhere}]

    confirmed = await tracker.http.post("/v1/ops/truth/confirm-loss")

    assert confirmed.status_code == 200
    await until(tracker, run_id, status="failed", sub_state="lost")
    [mark] = await tracker.rows("select server, refused, confirmed_at from sweeps where name = 'sweep'")
    assert mark["server"] != elsewhere
    assert (mark["refused"], mark["confirmed_at"]) == (None, None)
    foreign = await tracker.http.get(
        "/v1/ops/truth", headers={"Authorization": "Bearer nonsense"}
    )  # operators alone see what is of no one tenant
    assert foreign.status_code == 401
