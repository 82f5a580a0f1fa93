"""What is given an end: activities, not before the topic forgets them."""

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
        return await forget_activities(conn, ctx.clock() - timedelta(days=settings.keep_activities_days))

    await forget_regularly(ctx, forget, said="forgot old activities")


async def forget_activities(conn: AsyncConnection, before: datetime) -> int:
    return await execute(
        conn,
        "delete from activities where activity_id in "
        "(select activity_id from activities where occurred_at < :before limit :limit)",
        before=before, limit=PORTION,
    )  # fmt: skip
