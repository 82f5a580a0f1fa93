"""What is given an end: old runs, their history sooner, states of flow runs that are nobody's, reports of no run."""

from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from services.run_tracker.settings import RunTrackerSettings
from services.run_tracker.store import RunTrackerStore
from services.run_tracker.upkeep import Upkeep
from shared.retention import forget_regularly
from shared.service import Context


async def run(ctx: Context[RunTrackerStore]) -> None:
    """Never sooner than the topics that feed it."""
    settings = ctx.settings
    assert isinstance(settings, RunTrackerSettings)

    async def forget(conn: AsyncConnection) -> int:
        now, upkeep = ctx.clock(), Upkeep(conn)
        before = now - timedelta(days=settings.keep_unknown_days)
        return (
            await upkeep.forget_runs(now - timedelta(days=settings.keep_runs_days))
            + await upkeep.forget_history(now - timedelta(days=settings.keep_history_days))
            + await upkeep.forget_strangers(before)
            + await upkeep.forget_orphaned_reports(before)
            + await upkeep.forget_answered(before)
        )

    await forget_regularly(ctx, forget, said="forgot what is old or nobody's")
