"""What is given an end: requests that have one, and rows that only an answer or nothing ever came for."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from services.submission.settings import SubmissionSettings
from services.submission.store import SubmissionStore
from shared.postgres import execute
from shared.retention import PORTION, forget_regularly
from shared.service import Context


async def run(ctx: Context[SubmissionStore]) -> None:
    settings = ctx.settings
    assert isinstance(settings, SubmissionSettings)

    async def forget(conn: AsyncConnection) -> int:
        return await forget_requests(conn, ctx.clock() - timedelta(days=settings.keep_requests_days))

    await forget_regularly(ctx, forget, said="forgot old requests")


async def forget_requests(conn: AsyncConnection, before: datetime) -> int:
    """Those that changed last before then, and wait for nothing."""
    return await execute(
        conn,
        """
        delete from requests where (tenant, run_id) in (
            select tenant, run_id from requests r
            where requested_at < :before and changed_at < :before
                and (seq = 0 or status not in ('requested', 'parked', 'admitted'))
                and not exists (select from launches l where l.tenant = r.tenant and l.run_id = r.run_id)
            limit :limit for update skip locked
        )
        """,
        before=before, limit=PORTION,
    )  # fmt: skip
