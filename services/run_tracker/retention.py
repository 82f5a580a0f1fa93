"""What grows without bound is given an end: states of flow runs that are nobody's, reports of runs that never were."""

from datetime import timedelta

from services.run_tracker.settings import RunTrackerSettings
from services.run_tracker.store import RunTrackerStore
from services.run_tracker.upkeep import Upkeep
from shared.service import Context

EVERY_SECONDS = 600.0


async def run(ctx: Context[RunTrackerStore]) -> None:
    """A little at a time, never sooner than the topics that feed it."""
    settings = ctx.settings
    assert isinstance(settings, RunTrackerSettings)
    async with ctx.lead("retention") as lock:
        while not lock.is_closed():
            before = ctx.clock() - timedelta(days=settings.keep_unknown_days)
            async with ctx.engine.begin() as conn:
                forgotten = await Upkeep(conn).forget_strangers(before)
                forgotten += await Upkeep(conn).forget_orphaned_reports(before)
                forgotten += await Upkeep(conn).forget_answered(before)
            if forgotten:
                ctx.log.info("forgot what is nobody's", rows=forgotten)
            await ctx.woken("retention", EVERY_SECONDS)
