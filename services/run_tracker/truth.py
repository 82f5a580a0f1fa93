"""What is known of how near we are to Prefect, gathered from the marks of sweep and bridge."""

from datetime import datetime

from prometheus_client import Gauge
from sqlalchemy.ext.asyncio import AsyncConnection

from services.run_tracker.domain.trouble import LAUNCH_WAITS, Named, Standing, Trouble, troubles
from services.run_tracker.upkeep import Hanging, Mark, Upkeep

TROUBLES = Gauge("runtide_run_tracker_troubles", "What keeps runs from the truth: runs concerned, or 1", ["code"])


async def standing_of(conn: AsyncConnection, now: datetime) -> tuple[Standing, list[Hanging], list[Named]]:
    """Where we stand, the runs that hang, and what is to be said of both; four statements."""
    upkeep = Upkeep(conn)
    swept, bridged, drift = [await upkeep.load_sweep(name) for name in (Mark.SWEEP, Mark.BRIDGE, Mark.DRIFT)]
    hanging = await upkeep.load_hanging(now - LAUNCH_WAITS)
    standing = Standing(swept.as_of, swept.refused, bridged.as_of, drift.found_at, drift.found)
    return standing, hanging, troubles(standing, [_kind_of(run) for run in hanging], now)


def _kind_of(run: Hanging) -> str | None:
    return run.sub_state if run.sub_state in ("cancel_unconfirmed", "unresponsive") else None


async def measure(conn: AsyncConnection, now: datetime) -> None:
    """Set the gauge of each trouble, also of those that are over."""
    _, _, found = await standing_of(conn, now)
    for code in Trouble:
        TROUBLES.labels(code.value).set(next((one.runs or 1 for one in found if one.code is code), 0))
