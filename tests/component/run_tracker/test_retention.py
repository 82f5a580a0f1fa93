"""History is forgotten before the run, the run before nothing: and neither while it is young or open."""

from __future__ import annotations

from datetime import timedelta

from runtide_schemas.reports import MetricsReported
from sqlalchemy import text

from services.run_tracker.upkeep import Upkeep
from tests.component.run_tracker.desk import START, Desk
from tests.component.run_tracker.stories import RUN_ID, TENANT, launched, states

OF_A_RUN = ("run_history", "observations", "reports", "seen_requests", "pipeline_runs", "runs")


async def counts(desk: Desk) -> dict[str, int]:
    return {table: (await desk.rows(f"select count(*) as n from {table}"))[0]["n"] for table in OF_A_RUN}


async def forget(desk: Desk, *, runs_days: float, history_days: float) -> tuple[int, int]:
    async with desk.engine.begin() as conn:
        upkeep = Upkeep(conn)
        runs = await upkeep.forget_runs(desk.now - timedelta(days=runs_days))
        return runs, await upkeep.forget_history(desk.now - timedelta(days=history_days))


async def test_a_run_keeps_its_history_for_a_while_and_itself_for_longer(desk: Desk) -> None:
    await desk.deliver(launched())
    await desk.each(states("completed"))
    metrics = MetricsReported(tenant=TENANT, run_id=RUN_ID, attempt=1, n=1, metrics={"x": 1}, occurred_at=START)
    await desk.deliver(metrics)
    desk.now += timedelta(days=500)
    assert await forget(desk, runs_days=400, history_days=90) == (0, 0)  # it is open: its outputs are waited for
    await desk.wait(60)
    assert await forget(desk, runs_days=400, history_days=90) == (0, 0)  # the sweep has not looked for the last time
    full = await counts(desk)
    assert min(full.values()) > 0
    ended = "update runs set settled = true, ended_seen_at = :at, created_at = :at"
    async with desk.engine.begin() as conn:
        await conn.execute(text(ended), {"at": desk.now - timedelta(days=100)})
    assert await forget(desk, runs_days=400, history_days=120) == (0, 0)
    assert await counts(desk) == full
    assert await forget(desk, runs_days=400, history_days=90) == (0, 1)
    assert await forget(desk, runs_days=400, history_days=90) == (0, 0)
    assert await counts(desk) == {**full, "run_history": 0, "observations": 0, "reports": 0}
    assert await forget(desk, runs_days=99, history_days=90) == (1, 0)
    assert set((await counts(desk)).values()) == {0}
