"""Whoever answers what is due locks runs before due rows, as consumers do; so the two never wait in a ring."""

from __future__ import annotations

import asyncio

import pytest

from services.run_tracker.app import build
from services.run_tracker.store import RunTrackerStore
from services.run_tracker.telling import CANCEL_UNCONFIRMED, LINK, PROGRESS, SEAL
from shared.clock import utc_now
from shared.logs import configure
from shared.messaging.due import DueWorker
from shared.postgres import execute
from tests.component.run_tracker.desk import Desk
from tests.component.run_tracker.stories import FLOW_RUN_ID, RUN_ID, admitted, launched, registered
from tests.support.eventually import eventually
from tests.support.harness import World

SPEAKS_OF = {SEAL: RUN_ID, CANCEL_UNCONFIRMED: RUN_ID, PROGRESS: RUN_ID, LINK: FLOW_RUN_ID}


@pytest.fixture
def worker(world: World, desk: Desk) -> DueWorker:
    service = build(world.settings("run_tracker"))
    return DueWorker(
        service.due, lock=service.lock_due, service=service.name, engine=desk.engine, store=service.store,
        clock=utc_now, log=configure(service=service.name, fmt="console", level="WARNING"),
    )  # fmt: skip


@pytest.mark.parametrize("kind", SPEAKS_OF)
async def test_a_due_row_is_taken_only_when_its_run_is_locked(desk: Desk, worker: DueWorker, kind: str) -> None:
    await desk.each([registered(), admitted(), launched()])
    async with desk.engine.begin() as consumer:
        await RunTrackerStore(consumer).load_runs([RUN_ID])
        async with desk.engine.begin() as conn:
            row = "insert into due (kind, ref, due_at) values (:kind, :ref, now())"
            await execute(conn, row, kind=kind, ref=str(SPEAKS_OF[kind]))
        ticking = asyncio.create_task(worker.tick())
        await eventually(lambda: _waits(desk), what="a due worker that waits for the run")
        assert await execute(consumer, "delete from due where kind = :kind", kind=kind) == 1
    assert await ticking == 0


async def _waits(desk: Desk) -> bool:
    sql = "select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
    return bool(await desk.rows(sql))
