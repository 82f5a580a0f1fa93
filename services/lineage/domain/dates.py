"""Which data date is expected now, and when that changes: a date rule asked at an instant, on the days that count.

A period (a day or session, a week, month or quarter) ends on one day. Its data is expected from its publication on:
`publication_lag` days later at `available_at`; where neither says when, from the beginning of the next day.
"""

from __future__ import annotations

import json
from calendar import monthrange
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from itertools import count
from zoneinfo import ZoneInfo

from runtide_schemas.vocabulary import Frequency

from services.lineage.domain.calendar import (
    EVERY_DAY,
    WEEKDAYS,
    Calendar,
    Days,
    between,
    known_zone,
    moved,
    on_or_before,
)

_MIDNIGHT = time()
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class DateRule:
    """`update_frequency`, read. `lag` None: as `available_at` says. `zone` None: the calendar's, else UTC."""

    frequency: Frequency
    business_days_only: bool = False
    calendar: str | None = None
    grace: int = 0
    day_of_week: int = 0
    day_of_month: int | None = None
    available_at: time | None = None
    lag: int | None = None
    zone: str | None = None

    def days(self, calendar: Calendar | None) -> Days:
        """The days on which data is made; grace and lag are counted in them."""
        if not self.business_days_only:
            return EVERY_DAY
        return WEEKDAYS if calendar is None else calendar


@dataclass(frozen=True, slots=True)
class Expected:
    """The answer of a rule at an instant. `day`: the data date expected, None: none ever is. `threshold`: data to this
    day is fresh still. `changes_at`: the next instant with another answer, None: the clock changes nothing. `doubt`:
    why there is no answer; then data is stale.
    """

    day: date | None = None
    threshold: date | None = None
    changes_at: datetime | None = None
    doubt: str | None = None


@lru_cache(maxsize=1024)
def rule_of(update_frequency: str) -> DateRule:
    """The rule as registered (JSON)."""
    said = json.loads(update_frequency)
    at = said.get("available_at")
    return DateRule(
        frequency=Frequency(said["frequency"]),
        business_days_only=said.get("business_days_only", False),
        calendar=said.get("calendar"),
        grace=said.get("grace_period_days", 0),
        day_of_week=said.get("day_of_week") or 0,
        day_of_month=said.get("day_of_month"),
        available_at=None if at is None else time.fromisoformat(at),
        lag=said.get("publication_lag"),
        zone=said.get("timezone"),
    )


@lru_cache(maxsize=4096)
def expected_at(rule: DateRule, calendar: Calendar | None, now: datetime) -> Expected:
    """What the rule expects at this instant. `calendar`: the one that it names, None: nobody knows it."""
    if rule.frequency is Frequency.IRREGULAR:
        return Expected()
    if rule.calendar is not None and calendar is None:
        return Expected(doubt=f"calendar {rule.calendar} is not known; run: runtide calendars sync {rule.calendar}")
    zone = known_zone(rule.zone or (calendar.zone if calendar else "UTC"))
    if zone is None:
        return Expected(doubt=f"the time zone {rule.zone} is not known")
    return _Asked(rule, rule.days(calendar), zone).at(now, calendar)


def lag_of(rule: DateRule, calendar: Calendar | None, last_data_date: date, threshold: date) -> int | None:
    """How many sessions of its calendar the data is behind its threshold; None: further back than is known."""
    days = calendar or rule.days(calendar)
    return between(days, last_data_date, threshold) if days.knows(last_data_date) else None


@dataclass(frozen=True, slots=True)
class _Asked:
    """A rule on its days. Periods are numbered; a period and all before it are published in their order."""

    rule: DateRule
    days: Days
    zone: ZoneInfo

    def at(self, now: datetime, calendar: Calendar | None) -> Expected:
        today = now.astimezone(self.zone).date()
        if not self.days.knows(today):
            return Expected(doubt=_outside(calendar, today))
        period = self._newest_published(today, now)
        day = None if period is None else self.end(period)
        threshold = None if day is None else moved(self.days, day, -self.rule.grace)
        if period is None or day is None or threshold is None:
            return Expected(doubt=_outside(calendar, date.min))
        return Expected(day, threshold, self._next_change(period, day, calendar))

    def _newest_published(self, today: date, now: datetime) -> int | None:
        """The period that counts now; None: it would lie before the calendar's beginning. One that ends later, as
        written, may be over already: its last days do not count.
        """
        newest = self._at_or_before(today)
        for period in count(newest + 1, -1):
            published_at = self.publication(period)
            if published_at is not None and published_at <= now:
                return period
            if period <= newest and self.end(period) is None:
                break
        return None

    def _next_change(self, period: int, day: date, calendar: Calendar | None) -> datetime | None:
        """When the next period with another end is published, or the horizon is reached."""
        horizon = calendar.last if calendar is not None and self.rule.business_days_only else None
        over_at = None if horizon is None else self._instant(horizon + _DAY, _MIDNIGHT)
        following = next(one for one in count(period + 1) if (end := self.end(one)) is None or end > day)
        next_at = self.publication(following)
        return min((at for at in (next_at, over_at) if at is not None), default=None)

    def publication(self, period: int) -> datetime | None:
        """From when on its data is expected; None: it can not be said."""
        end, rule = self.end(period), self.rule
        if end is None:
            return None
        if rule.lag is not None:
            day = moved(self.days, end, rule.lag)
        else:
            day = end if rule.available_at is not None else moved(EVERY_DAY, end, 1)
        return None if day is None else self._instant(day, rule.available_at or _MIDNIGHT)

    def end(self, period: int) -> date | None:
        """The last day of the period that counts."""
        nominal = self._nominal(period)
        return None if nominal is None else on_or_before(self.days, nominal)

    def _instant(self, day: date, at: time) -> datetime:
        return datetime.combine(day, at, self.zone).astimezone(UTC)

    def _at_or_before(self, day: date) -> int:
        """The last period that ends, as written, on or before the day."""
        match self.rule.frequency:
            case Frequency.WEEKLY:
                return (day.toordinal() - 1 - self.rule.day_of_week) // 7
            case Frequency.MONTHLY | Frequency.QUARTERLY:
                months = 3 if self.rule.frequency is Frequency.QUARTERLY else 1
                period = (day.year * 12 + day.month - 1) // months
                nominal = self._nominal(period)
                return period if nominal is not None and nominal <= day else period - 1
            case _:
                return self.days.rank(day)

    def _nominal(self, period: int) -> date | None:
        """The day on which it ends as written; None: outside all time."""
        match self.rule.frequency:
            case Frequency.WEEKLY:
                return EVERY_DAY.at(period * 7 + 1 + self.rule.day_of_week)
            case Frequency.MONTHLY:
                return _day_of_month(period, self.rule.day_of_month)
            case Frequency.QUARTERLY:
                return _day_of_month(period * 3 + 2, None)
            case _:
                return self.days.at(period)


def _day_of_month(month: int, day: int | None) -> date | None:
    """`month` counts from the year 0; the last day where none is given or the month is shorter."""
    year, number = divmod(month, 12)
    if not date.min.year <= year <= date.max.year:
        return None
    last = monthrange(year, number + 1)[1]
    return date(year, number + 1, min(day or last, last))


def _outside(calendar: Calendar | None, day: date) -> str:
    if calendar is None:
        return f"{day} lies outside of all time"
    if day > calendar.last:
        return f"calendar {calendar.code} ends on {calendar.last}; run: runtide calendars sync {calendar.code}"
    return (
        f"calendar {calendar.code} begins on {calendar.first}, later than what is asked of it; "
        f"run: runtide calendars sync {calendar.code} --from …"
    )
