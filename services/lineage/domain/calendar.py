"""Which days count: every day, Monday to Friday, or the sessions of a market. Pure; no clock.

The fact not to break: a calendar says nothing about days outside its horizon. What depends on one of them has no
answer (None), and no answer is doubt.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, time
from typing import Protocol

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


EVERY_DAY, WEEKDAYS = EveryDay(), Weekdays()


def on_or_before(days: Days, day: date) -> date | None:
    return days.at(days.rank(day)) if days.knows(day) else None


def moved(days: Days, day: date, by: int) -> date | None:
    """So many of these days later, or with a negative number earlier; `day` is one of them."""
    return days.at(days.rank(day) + by)


def between(days: Days, after: date, until: date) -> int:
    """How many of these days lie after the one and on or before the other."""
    return days.rank(until) - days.rank(after)
