"""What is known of how near we are to Prefect, gathered from the marks of sweep and bridge."""

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from services.run_tracker.domain.trouble import LAUNCH_WAITS, SUB_STATES, Named, Standing, troubles
from services.run_tracker.upkeep import Hanging, Mark, Upkeep


async def standing_of(conn: AsyncConnection, now: datetime) -> tuple[Standing, list[Hanging], list[Named]]:
    """Where we stand, the runs that hang, and what is to be said of both; four statements."""
    upkeep = Upkeep(conn)
    swept, bridged, drift = [await upkeep.load_sweep(name) for name in (Mark.SWEEP, Mark.BRIDGE, Mark.DRIFT)]
    hanging = await upkeep.load_hanging(now - LAUNCH_WAITS)
    standing = Standing(swept.as_of, swept.refused, bridged.as_of, drift.found_at, drift.found)
    return standing, hanging, troubles(standing, [_kind_of(run) for run in hanging], now)


def _kind_of(run: Hanging) -> str | None:
    return run.sub_state if run.sub_state in SUB_STATES.values() else None
