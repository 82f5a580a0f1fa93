"""What looks through Prefect again and again: one process of all, and it outlives Prefect's absence."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from services.run_tracker.store import RunTrackerStore
from shared.errors import OrchestratorUnavailable
from shared.service import Context


async def look_regularly(
    ctx: Context[RunTrackerStore], name: str, once: Callable[[], Awaitable[object]], *, seconds: float
) -> None:
    """Lead `name`, and look every so many seconds, first after the bridge had as long. Prefect away only delays it; the
    sweep says when it is back.
    """
    async with ctx.lead(name) as lock:
        while not lock.is_closed():
            await ctx.woken(name, seconds)
            try:
                await once()
            except OrchestratorUnavailable as error:
                ctx.degrade("prefect", str(error))
