"""What is given an end: events that `why` is not asked about any more, and old plans."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from services.lineage.settings import LineageSettings
from services.lineage.store import LineageStore
from shared.postgres import execute
from shared.retention import forget_regularly
from shared.service import Context

LIMIT = 5_000


async def run(ctx: Context[LineageStore]) -> None:
    settings = ctx.settings
    assert isinstance(settings, LineageSettings)

    async def forget(conn: AsyncConnection) -> int:
        events = await forget_events(conn, ctx.clock() - timedelta(days=settings.keep_status_events_days))
        return events + await forget_plans(conn, ctx.clock() - timedelta(days=settings.keep_plans_days))

    await forget_regularly(ctx, forget, said="forgot old events and plans")


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
