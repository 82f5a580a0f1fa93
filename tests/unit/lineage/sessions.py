"""Two years of XNYS, by the holidays that it published, and closures on it."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

from services.lineage.domain.calendar import Calendar

NEW_YORK = "America/New_York"
_HOLIDAYS = """
2024-01-01 2024-01-15 2024-02-19 2024-03-29 2024-05-27 2024-06-19 2024-07-04 2024-09-02 2024-11-28 2024-12-25
2025-01-01 2025-01-20 2025-02-17 2025-04-18 2025-05-26 2025-06-19 2025-07-04 2025-09-01 2025-11-27 2025-12-25
"""


def _sessions(first: date, last: date, holidays: set[date]) -> tuple[date, ...]:
    days = (first + timedelta(days=number) for number in range((last - first).days + 1))
    return tuple(day for day in days if day.weekday() < 5 and day not in holidays)


def closed(calendar: Calendar, *days: str) -> Calendar:
    gone = {date.fromisoformat(day) for day in days}
    return replace(calendar, sessions=tuple(day for day in calendar.sessions if day not in gone))


_FIRST, _LAST = date(2024, 1, 1), date(2025, 12, 31)
XNYS = Calendar(
    "XNYS", NEW_YORK, _FIRST, _LAST, _sessions(_FIRST, _LAST, {date.fromisoformat(day) for day in _HOLIDAYS.split()})
)
