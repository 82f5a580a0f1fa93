"""What is given an end: activities, not before the topic forgets them, and whose old runs are."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from services.notifier.settings import NotifierSettings
from services.notifier.store import NotifierStore
from shared.postgres import execute
from shared.retention import PORTION, forget_regularly
from shared.service import Context


async def run(ctx: Context[NotifierStore]) -> None:
    settings = ctx.settings
    assert isinstance(settings, NotifierSettings)

    async def forget(conn: AsyncConnection) -> int:
        now = ctx.clock()
        return await forget_activities(conn, now - timedelta(days=settings.keep_activities_days)) + await forget_owners(
            conn, now - timedelta(days=settings.keep_owners_days)
        )

    await forget_regularly(ctx, forget, said="forgot old activities and owners")


async def forget_activities(conn: AsyncConnection, before: datetime) -> int:
    return await execute(
        conn,
        "delete from activities where activity_id in "
        "(select activity_id from activities where occurred_at < :before limit :limit)",
        before=before, limit=PORTION,
    )  # fmt: skip


async def forget_owners(conn: AsyncConnection, before: datetime) -> int:
    """Of runs that were named first before then. One that still goes on is named again by its next snapshot."""
    return await execute(
        conn,
        "delete from owners where (kind, entity_id) in "
        "(select kind, entity_id from owners where kind = 'run' and named_at < :before limit :limit)",
        before=before, limit=PORTION,
    )  # fmt: skip
