"""Sessions of markets and working days of countries, computed where `exchange_calendars` and `holidays` are installed
(the extra `calendars`). Nothing else of Runtide knows these libraries, which bring pandas along.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, time, timedelta
from importlib.metadata import version
from typing import Any

from runtide.errors import ConfigurationError, InvalidCommand
from runtide.names import did_you_mean

CODE_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")
MISSING = (
    "computing sessions needs the extra `calendars`: pip install 'runtide[calendars]', "
    "or in the repository of Runtide: make env-dev"
)


@dataclass(frozen=True, slots=True)
class Computed:
    """A calendar as `PUT /v1/calendars/{code}` takes it."""

    code: str
    zone: str
    first_day: date
    last_day: date
    sessions: tuple[date, ...]
    early_closes: dict[date, time]
    source: str

    def body(self) -> dict[str, Any]:
        return {
            "zone": self.zone,
            "first_day": self.first_day.isoformat(),
            "last_day": self.last_day.isoformat(),
            "sessions": [day.isoformat() for day in self.sessions],
            "early_closes": {day.isoformat(): at.isoformat() for day, at in self.early_closes.items()},
            "source": self.source,
        }


def default_range(today: date) -> tuple[date, date]:
    """Twenty years back, and to the end of next year."""
    return date(today.year - 20, 1, 1), date(today.year + 1, 12, 31)


def computed(code: str, first: date, last: date, zone: str | None = None) -> Computed:
    """The sessions of an exchange (`XNYS`), or the working days of a country or a part of it (`US`, `DE-BY`).

    Raises: InvalidCommand for a code that nobody knows, with near ones; ConfigurationError without the extra.
    """
    try:
        import exchange_calendars
        import holidays
    except ImportError as error:
        raise ConfigurationError(f"{MISSING} ({error})") from None
    exchanges, countries = exchange_calendars.get_calendar_names(), holidays.list_supported_countries()
    country, _, part = code.partition("-")
    if CODE_PATTERN.fullmatch(code) and code in exchanges:
        return _of_exchange(code, first, last, zone)
    if CODE_PATTERN.fullmatch(code) and country in countries:
        if part and part not in countries[country]:
            has = ", ".join(countries[country]) or "none"
            raise InvalidCommand(f"{country} has no part {part!r}; it has: {has}")
        return _of_country(code, country, part or None, first, last, zone)
    raise InvalidCommand(f"no calendar {code!r} is known{did_you_mean(code, (*exchanges, *countries))}")


def _of_exchange(code: str, first: date, last: date, zone: str | None) -> Computed:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what the library's authors will want to know about pandas
            calendar = _exchange(code, first, last)
    except (ValueError, LookupError) as error:
        raise InvalidCommand(f"exchange_calendars can not compute {code}: {str(error)[:200]}") from None
    early = {
        session.date(): calendar.closes.loc[session].tz_convert(calendar.tz).time() for session in calendar.early_closes
    }
    return Computed(
        code=code,
        zone=zone or str(calendar.tz),
        first_day=max(first, _bound(calendar.bound_min()) or first),
        last_day=min(last, _bound(calendar.bound_max()) or last),
        sessions=tuple(session.date() for session in calendar.sessions),
        early_closes=early,
        source=f"exchange_calendars {version('exchange_calendars')}",
    )


def _exchange(code: str, first: date, last: date) -> Any:
    """From the one day to the other, or as far as the library dares to go."""
    import exchange_calendars

    try:
        return exchange_calendars.get_calendar(code, start=first.isoformat(), end=last.isoformat())
    except ValueError:
        usual = exchange_calendars.get_calendar(code)
        low, high = usual.bound_min(), usual.bound_max()
        if low is None and high is None:
            raise
        start = first if low is None else max(first, low.date())
        end = last if high is None else min(last, high.date())
        return exchange_calendars.get_calendar(code, start=start.isoformat(), end=end.isoformat())


def _bound(bound: Any) -> date | None:
    day: date | None = None if bound is None else bound.date()
    return day


def _of_country(code: str, country: str, part: str | None, first: date, last: date, zone: str | None) -> Computed:
    import holidays

    days_off = holidays.country_holidays(country, subdiv=part, years=range(first.year, last.year + 1))
    return Computed(
        code=code,
        zone=zone or "UTC",
        first_day=first,
        last_day=last,
        sessions=tuple(day for day in _days(first, last) if days_off.is_working_day(day)),
        early_closes={},
        source=f"holidays {version('holidays')}",
    )


def _days(first: date, last: date) -> Iterable[date]:
    return (first + timedelta(days=number) for number in range((last - first).days + 1))
