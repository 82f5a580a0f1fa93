"""What is given an end: runs on which nothing rests, events that `why` is not asked about any more, old plans, and
requests with their answers.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from services.lineage.forgetting import forget_runs
from services.lineage.settings import LineageSettings
from services.lineage.store import LineageStore
from shared.postgres import execute
from shared.retention import PORTION, forget_regularly
from shared.service import Context


async def run(ctx: Context[LineageStore]) -> None:
    settings = ctx.settings
    assert isinstance(settings, LineageSettings)

    async def forget(conn: AsyncConnection) -> int:
        now = ctx.clock()
        return (
            await forget_runs(conn, now - timedelta(days=settings.keep_runs_days))  # first: it takes locks
            + await forget_events(conn, now - timedelta(days=settings.keep_status_events_days))
            + await forget_plans(conn, now - timedelta(days=settings.keep_plans_days))
            + await forget_requests(conn, now - timedelta(days=settings.keep_requests_days))
        )

    await forget_regularly(ctx, forget, said="forgot old runs, events, plans and requests")


async def forget_requests(conn: AsyncConnection, before: datetime) -> int:
    """Those that ended before, with the answers to them, the dates of backfills, and what was refused then."""
    requests = await execute(
        conn,
        """
        with old as (
            select run_id from open_requests where state = 'ended' and ended_at < :before limit :limit
        ), answers as (delete from decisions d using old where d.run_id = old.run_id),
        dates as (delete from backfill_dates b using old where b.parent_run_id = old.run_id)
        delete from open_requests r using old where r.run_id = old.run_id
        """,
        before=before, limit=PORTION,
    )  # fmt: skip
    return requests + await execute(
        conn,
        "delete from refusals where activity_id in "
        "(select activity_id from refusals where refused_at < :before limit :limit)",
        before=before, limit=PORTION,
    )  # fmt: skip


async def forget_plans(conn: AsyncConnection, before: datetime) -> int:
    return await execute(
        conn,
        "delete from plans where plan_id in (select plan_id from plans where as_of < :before limit :limit)",
        before=before, limit=PORTION,
    )  # fmt: skip


async def forget_events(conn: AsyncConnection, before: datetime) -> int:
    """The events of that age, but for each flow's last: it says how things were from there on."""
    return await execute(
        conn,
        """
        delete from status_events where event_id in (
            select e.event_id from status_events e
            where e.at < :before and exists (
                select from status_events later
                where later.instance_id = e.instance_id and later.kind = e.kind and later.seq > e.seq
                    and later.at < :before
            )
            order by e.at limit :limit
        )
        """,
        before=before, limit=PORTION,
    )  # fmt: skip
