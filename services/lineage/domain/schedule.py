"""When a flow runs by itself: the instants of a schedule, on the clocks of its zone and the days of its calendar. Pure.

The fact not to break: the instants of a schedule do not depend on who asks or when, so that each of them is one
request whatever crashes. A time that a change of clocks leaves out is the next one that exists; one that comes twice
counts once (but for a cron that names every hour, which has every hour). An interval is elapsed time, on no clocks.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from itertools import count, takewhile
from typing import Any
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError
from runtide_schemas.vocabulary import Gate, Missed

from services.lineage.domain.calendar import EVERY_DAY, WEEKDAYS, Calendar, Days, known_zone, moved, nearest
from services.lineage.domain.calendar import nearest_zones as near_zones

WEEKDAYS_NAME = "weekdays"
LATE = timedelta(minutes=5)  # an instant that is answered later than this was missed
SHORTEST = timedelta(minutes=1)
BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
_MINUTE, _DAY = timedelta(minutes=1), timedelta(days=1)
_WINDOWS = tuple(timedelta(hours=hours) for hours in (1, 24, 24 * 32, 24 * 366, 24 * 366 * 8))
_CRON_FIELDS = {
    "minute": "0-59",
    "hour": "0-23",
    "day-of-month": "1-31 or L, on days that its months have",
    "month": "1-12 or JAN-DEC",
    "day-of-week": "0-7 or SUN-SAT (0 and 7 are Sunday)",
}
Calendars = Mapping[str, Calendar] | None


@dataclass(frozen=True, slots=True)
class Schedule:
    """One of `cron`, `interval`, `sessions`. `zone` None: the calendar's, else UTC."""

    cron: str | None = None
    interval: timedelta | None = None
    anchor: datetime = BEGINNING
    sessions: str | None = None
    at: time | None = None
    days_later: int = 0
    zone: str | None = None
    gate: Gate = Gate.WAIT
    skip_if_ready: bool = False
    missed: Missed = Missed.RUN_ONCE
    parameter: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @property
    def calendar(self) -> str | None:
        """The market's that it counts in."""
        return None if self.sessions == WEEKDAYS_NAME else self.sessions


@dataclass(frozen=True, slots=True)
class Planned:
    """An instant of a schedule, and the date that its run is about: the session, else the day on its clocks."""

    at: datetime
    day: date


@dataclass(frozen=True, slots=True)
class Turn:
    """What is to be done at an instant: `run` this one now; `missed`: the newest of those that nobody will run; `next`
    is the one to wait for.
    """

    run: Planned | None = None
    missed: Planned | None = None
    next: Planned | None = None


@lru_cache(maxsize=1024)
def schedule_of(text: str) -> Schedule:
    """The schedule as registered (JSON, spans in seconds)."""
    said = json.loads(text)
    return Schedule(
        cron=said.get("cron"),
        interval=timedelta(seconds=said["interval"]) if said.get("interval") else None,
        anchor=datetime.fromisoformat(said["anchor"]) if said.get("anchor") else BEGINNING,
        sessions=said.get("sessions"),
        at=time.fromisoformat(said["at"]) if said.get("at") else None,
        days_later=said.get("days_later", 0),
        zone=said.get("timezone"),
        gate=Gate(said.get("gate", Gate.WAIT)),
        skip_if_ready=said.get("skip_if_ready", False),
        missed=Missed(said.get("missed", Missed.RUN_ONCE)),
        parameter=said.get("parameter"),
        parameters=said.get("parameters", {}),
    )


def wrong(schedule: Schedule, calendars: Calendars) -> str | None:
    """Why it can not be kept, None if it can."""
    given = [name for name in ("cron", "interval", "sessions") if getattr(schedule, name) is not None]
    if len(given) != 1:
        return f"a schedule names one of cron, interval, sessions; got {' and '.join(given) or 'none of them'}"
    if schedule.zone is not None and known_zone(schedule.zone) is None:
        return f"unknown time zone {schedule.zone!r}{near_zones(schedule.zone)}"
    if schedule.parameter is not None and schedule.parameter in schedule.parameters:
        return f"a schedule gives its date as {schedule.parameter!r}, which its parameters name too"
    return _misplaced(schedule, given[0]) or _WRONG[given[0]](schedule, calendars)


def _misplaced(schedule: Schedule, kind: str) -> str | None:
    """A field that means nothing beside the others is not kept in silence."""
    if schedule.sessions is None and (schedule.at is not None or schedule.days_later):
        return f"at and days_later go with sessions (got {kind})"
    if schedule.interval is None and schedule.anchor != BEGINNING:
        return f"anchor goes with interval (got {kind})"
    if schedule.interval is not None and schedule.zone is not None and schedule.parameter is None:
        return (
            "an interval is elapsed time, on no clocks: timezone goes with it only to name the date for its parameter"
        )
    return None


def _wrong_cron(schedule: Schedule, calendars: Calendars) -> str | None:
    text = schedule.cron or ""
    if len(text.split()) != len(_CRON_FIELDS):
        return f"cron {text!r} has {len(text.split())} fields; allowed: five ({', '.join(_CRON_FIELDS)})"
    try:
        first = next(_cron_instants(schedule, BEGINNING), None)
    except CronSimError as error:
        name = str(error).removeprefix("Bad ")
        got = text.split()[list(_CRON_FIELDS).index(name)]
        return f"cron {text!r}: {name} is {got!r}; allowed: {_CRON_FIELDS[name]}, with * , - and /"
    return f"cron {text!r} names no day that ever comes" if first is None else None


def _wrong_interval(schedule: Schedule, calendars: Calendars) -> str | None:
    if schedule.interval is not None and schedule.interval < SHORTEST:
        return f"interval is {schedule.interval}; allowed: at least {SHORTEST}"
    return None


def _wrong_sessions(schedule: Schedule, calendars: Calendars) -> str | None:
    if schedule.at is None:
        return "a schedule by sessions says when: at, as HH:MM"
    known = calendars or {}
    if schedule.calendar is not None and schedule.calendar not in known:
        near, todo = nearest(schedule.calendar, [*known, WEEKDAYS_NAME]), f"runtide calendars sync {schedule.calendar}"
        return f"calendar {schedule.calendar!r} is not known{near}; run: {todo}"
    return None


_WRONG = {"cron": _wrong_cron, "interval": _wrong_interval, "sessions": _wrong_sessions}


def doubt(schedule: Schedule, calendars: Calendars, now: datetime) -> str | None:
    """Why no instant of it can be named any more, None if one can."""
    if next(instants(schedule, calendars, now), None) is not None:
        return None
    calendar = (calendars or {}).get(schedule.calendar or "")
    until = f" ends on {calendar.last}" if calendar is not None else " is not known"
    return f"calendar {schedule.calendar}{until}; run: runtide calendars sync {schedule.calendar}"


def instants(schedule: Schedule, calendars: Calendars, after: datetime) -> Iterator[Planned]:
    """Its instants later than this one, in order; they end with the horizon of a calendar, if with anything."""
    calendar = (calendars or {}).get(schedule.calendar or "")
    if schedule.cron is not None:
        yield from _cron_instants(schedule, after)
    elif schedule.interval is not None:
        yield from _intervals(schedule, schedule.interval, after)
    elif schedule.calendar is None or calendar is not None:
        yield from _session_instants(schedule, calendar or WEEKDAYS, _zone(schedule, calendar), after)


def turn(schedule: Schedule, calendars: Calendars, planned_at: datetime, now: datetime) -> Turn:
    """What to do now for all instants from this one on. Of those that have passed only the newest is ever run, and only
    if it is not missed, or the schedule makes up for missed ones.
    """
    following = next(instants(schedule, calendars, now), None)
    newest = _newest(schedule, calendars, planned_at, now)
    if newest is None:
        return Turn(next=following)
    if now - newest.at > LATE and schedule.missed is Missed.SKIP:
        return Turn(missed=newest, next=following)
    return Turn(run=newest, next=following)


def parameters_of(schedule: Schedule, planned: Planned) -> dict[str, Any]:
    """What its run is given."""
    date_too = {schedule.parameter: planned.day.isoformat()} if schedule.parameter else {}
    return {**schedule.parameters, **date_too}


def _newest(schedule: Schedule, calendars: Calendars, since: datetime, now: datetime) -> Planned | None:
    """The last instant from `since` to now, both included: looked for in ever longer windows before now."""
    for window in _WINDOWS:
        begin = max(since - _MINUTE, now - window)
        passed = list(takewhile(lambda one: one.at <= now, instants(schedule, calendars, begin)))
        if passed or begin == since - _MINUTE:
            return passed[-1] if passed and passed[-1].at >= since else None
    return None


def _cron_instants(schedule: Schedule, after: datetime) -> Iterator[Planned]:
    assert schedule.cron is not None
    zone = known_zone(schedule.zone or "UTC") or UTC
    for local in CronSim(schedule.cron, after.astimezone(zone)):
        yield Planned(local.astimezone(UTC), local.date())


def _intervals(schedule: Schedule, interval: timedelta, after: datetime) -> Iterator[Planned]:
    zone = known_zone(schedule.zone or "UTC") or UTC
    passed = (after - schedule.anchor) // interval
    for number in count(passed + 1):
        at = schedule.anchor + number * interval
        yield Planned(at, at.astimezone(zone).date())


def _session_instants(schedule: Schedule, days: Days, zone: ZoneInfo, after: datetime) -> Iterator[Planned]:
    before = after.astimezone(zone).date() - timedelta(days=schedule.days_later + 2)
    for rank in count(max(days.rank(before), 0) + 1):
        day = days.at(rank)
        run_day = None if day is None else moved(EVERY_DAY, day, schedule.days_later)
        if day is None or run_day is None:
            return
        at = _existing(run_day, schedule.at or time(), zone)
        if at > after:
            yield Planned(at, day)


def _existing(day: date, at: time, zone: ZoneInfo) -> datetime:
    """That time on these clocks, the first of two; one that was left out is the next one that exists."""
    local = datetime.combine(day, at)
    while True:
        instant = local.replace(tzinfo=zone).astimezone(UTC)
        if instant.astimezone(zone).replace(tzinfo=None) == local:
            return instant
        local += _MINUTE


def _zone(schedule: Schedule, calendar: Calendar | None) -> ZoneInfo:
    return known_zone(schedule.zone or (calendar.zone if calendar else "UTC")) or ZoneInfo("UTC")
