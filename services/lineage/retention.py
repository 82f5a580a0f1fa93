"""What grows without bound is given an end: events that `why` is not asked about any more, and old plans."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from services.lineage.settings import LineageSettings
from services.lineage.store import LineageStore
from shared.postgres import execute
from shared.service import Context

EVERY_SECONDS = 600.0
LIMIT = 5_000


async def run(ctx: Context[LineageStore]) -> None:
    """A little at a time."""
    settings = ctx.settings
    assert isinstance(settings, LineageSettings)
    async with ctx.lead("retention") as lock:
        while not lock.is_closed():
            async with ctx.engine.begin() as conn:
                before = ctx.clock() - timedelta(days=settings.keep_status_events_days)
                forgotten = await forget_events(conn, before)
                forgotten += await forget_plans(conn, ctx.clock() - timedelta(days=settings.keep_plans_days))
            if forgotten:
                ctx.log.info("forgot old events and plans", rows=forgotten)
            await ctx.woken("retention", EVERY_SECONDS)


async def forget_plans(conn: AsyncConnection, before: datetime) -> int:
    return await execute(
        conn,
        "delete from plans where plan_id in (select plan_id from plans where as_of < :before limit :limit)",
        before=before, limit=LIMIT,
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
        before=before, limit=LIMIT,
    )  # fmt: skip
