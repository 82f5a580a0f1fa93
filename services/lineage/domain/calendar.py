"""Which days count: every day, Monday to Friday, or the sessions of a market. Pure; no clock.

The fact not to break: a calendar says nothing about days outside its horizon. What depends on one of them has no
answer (None), and no answer is doubt.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, time
from difflib import get_close_matches
from itertools import pairwise
from typing import Protocol
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

_FIRST, _LAST = date.min.toordinal(), date.max.toordinal()


class Days(Protocol):
    """Days that count, numbered from 1 in their order."""

    def rank(self, day: date) -> int:
        """How many of them are on or before this day."""

    def at(self, rank: int) -> date | None:
        """The one with this number."""

    def knows(self, day: date) -> bool:
        """Whether it can be said of this day if it counts."""


@dataclass(frozen=True, slots=True)
class EveryDay:
    def rank(self, day: date) -> int:
        return day.toordinal()

    def at(self, rank: int) -> date | None:
        return date.fromordinal(rank) if _FIRST <= rank <= _LAST else None

    def knows(self, day: date) -> bool:
        return True


@dataclass(frozen=True, slots=True)
class Weekdays:
    """Monday to Friday; 0001-01-01 was a Monday."""

    def rank(self, day: date) -> int:
        weeks, rest = divmod(day.toordinal(), 7)
        return weeks * 5 + min(rest, 5)

    def at(self, rank: int) -> date | None:
        weeks, rest = divmod(rank - 1, 5)
        return EveryDay().at(weeks * 7 + rest + 1)

    def knows(self, day: date) -> bool:
        return True


@dataclass(frozen=True, slots=True, eq=False)
class Calendar:
    """A market's or country's sessions from `first` to `last` (the horizon), closures taken out. `zone` is where its
    days are counted. `early_closes`: session → when it closes that day; it moves no session and no publication.

    Compared by identity: there is one value per state of a calendar.
    """

    code: str
    zone: str
    first: date
    last: date
    sessions: tuple[date, ...]
    early_closes: Mapping[date, time] = field(default_factory=dict)

    def rank(self, day: date) -> int:
        return bisect_right(self.sessions, day)

    def at(self, rank: int) -> date | None:
        return self.sessions[rank - 1] if 1 <= rank <= len(self.sessions) else None

    def knows(self, day: date) -> bool:
        return self.first <= day <= self.last

    def same_as(self, other: Calendar) -> bool:
        """It says the same."""
        return all(getattr(self, name) == getattr(other, name) for name in self.__dataclass_fields__)


EVERY_DAY, WEEKDAYS = EveryDay(), Weekdays()


def on_or_before(days: Days, day: date) -> date | None:
    return days.at(days.rank(day)) if days.knows(day) else None


def moved(days: Days, day: date, by: int) -> date | None:
    """So many of these days later, or with a negative number earlier; `day` is one of them."""
    return days.at(days.rank(day) + by)


def between(days: Days, after: date, until: date) -> int:
    """How many of these days lie after the one and on or before the other."""
    return days.rank(until) - days.rank(after)


def wrong_calendar(calendar: Calendar) -> str | None:
    """Why it can not be kept, None if it can."""
    if not known_zone(calendar.zone):
        return f"unknown time zone {calendar.zone!r}{nearest_zones(calendar.zone)}"
    if not calendar.sessions or calendar.first > calendar.last:
        return f"{calendar.code} has no sessions from {calendar.first} to {calendar.last}"
    if any(later <= earlier for earlier, later in pairwise(calendar.sessions)):
        return f"the sessions of {calendar.code} are not in order, or one is there twice"
    if not (calendar.knows(calendar.sessions[0]) and calendar.knows(calendar.sessions[-1])):
        return f"{calendar.code} has sessions outside of {calendar.first} to {calendar.last}"
    odd = sorted(calendar.early_closes.keys() - set(calendar.sessions))
    return f"{calendar.code} closes early on {odd[0]}, which is no session of it" if odd else None


def no_session(calendar: Calendar, day: date) -> str | None:
    """Why nothing can be entered for this day, None if something can."""
    if not calendar.knows(day):
        return f"{calendar.code} is known from {calendar.first} to {calendar.last}; got {day}"
    if on_or_before(calendar, day) != day:
        return f"{day} is no session of {calendar.code} anyway"
    return None


def known_zone(name: str) -> ZoneInfo | None:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


def nearest_zones(name: str) -> str:
    """`; nearest: America/New_York`, or nothing."""
    return nearest(name, available_timezones())


def nearest(text: str, known: Iterable[str]) -> str:
    """`; nearest: XNYS, XNAS`, at most three; nothing where none is near."""
    by_folded = {name.casefold(): name for name in sorted(known)}
    found = [by_folded[match] for match in get_close_matches(text.casefold(), by_folded, n=3, cutoff=0.5)]
    return f"; nearest: {', '.join(found)}" if found else ""
