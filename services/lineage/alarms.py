"""What wakes a person about lineage: calendars that end."""

from typing import Any
from zoneinfo import ZoneInfo

from prometheus_client import Gauge
from sqlalchemy.ext.asyncio import AsyncConnection

from services.lineage.calendars import ENDS_SOON_DAYS, days_left
from shared.findings import Finding

DAYS_LEFT = Gauge("runtide_calendar_days_left", "Days until a calendar's horizon", ["calendar"])


async def calendars_end(ctx: Any, conn: AsyncConnection) -> list[Finding]:
    """Date rules know nothing beyond a calendar's last day, and turn stale there."""
    ending = []
    for calendar in (await ctx.service.store(conn).calendars()).values():
        left = days_left(calendar, ctx.clock().astimezone(ZoneInfo(calendar.zone)).date())
        DAYS_LEFT.labels(calendar.code).set(left)
        if left < ENDS_SOON_DAYS:
            ending.append((left, calendar))
    if not ending:
        return []
    said = "; ".join(f"{calendar.code} ends on {calendar.last}, in {left} days" for left, calendar in ending)
    to_do = f"runtide calendars sync {' '.join(calendar.code for _, calendar in ending)}"
    return [Finding("calendar_ends", "failed" if min(left for left, _ in ending) < 0 else "warning", said, to_do)]
