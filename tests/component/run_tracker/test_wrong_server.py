"""Prefect's address leads to another server: one run of ours that it does not know is no loss either."""

import uuid
from collections.abc import AsyncIterator

import pytest

from tests.component.run_tracker.server import Prefect, launch, until
from tests.support.eventually import eventually
from tests.support.harness import ServiceHarness, World, of


@pytest.fixture(scope="module")
async def tracker(world: World) -> AsyncIterator[ServiceHarness]:
    harness = await world.start("run_tracker", sweep_seconds=1, gone_after_seconds=1)
    yield harness
    await harness.stop()


async def test_a_server_that_does_not_know_us_ends_no_run_until_an_operator_says_so(
    world: World, prefect: Prefect, tracker: ServiceHarness
) -> None:
    async def met() -> bool:
        return bool(await tracker.rows("select 1 from sweeps where name = 'sweep' and server is not null"))

    await eventually(met, what="the tracker remembers its server")
    elsewhere = str(uuid.uuid4())
    await world.rows("run_tracker", "update sweeps set server = $1 where name = 'sweep'", elsewhere)
    run_id, _ = await launch(world, prefect, orchestrator_run_id=str(uuid.uuid4()))

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
