"""What operators do to calendars: load, decide, save. With the commit every instance on the calendar falls due: it is
asked again by the due worker, batch by batch, and no transaction holds more than one batch of tenants.
"""

from __future__ import annotations

from datetime import date, time

from runtide_schemas.vocabulary import Code

from services.lineage.domain.calendar import Calendar, no_session, wrong_calendar
from services.lineage.domain.definition import Rejected
from services.lineage.store import LineageStore
from shared.messaging.work import Work

ENDS_SOON_DAYS = 60


async def put(calendar: Calendar, work: Work[LineageStore], *, source: str, actor: str) -> bool | Rejected:
    """Replace its sessions. Says whether it is new; the same sessions again change nothing."""
    fault = wrong_calendar(calendar)
    if fault:
        return Rejected(Code.INVALID_COMMAND, fault)
    before = await work.store.lock_calendar(calendar.code)
    if before is not None and before.same_as(calendar):
        await work.store.confirm_calendar(calendar.code, source=source, actor=actor, now=work.now)
    else:
        await work.store.save_calendar(calendar, source=source, actor=actor, now=work.now)
        await _ask_again(calendar.code, work)
    return before is None


async def enter(
    calendar: Calendar, day: date, work: Work[LineageStore], *, closes_at: time | None, reason: str, actor: str
) -> Rejected | None:
    """A one-off closure, or with `closes_at` an early close; entered again it says the new reason."""
    fault = no_session(calendar, day)
    if fault:
        return Rejected(Code.INVALID_COMMAND, fault)
    kind = "closure" if closes_at is None else "early_close"
    await work.store.enter_exception(
        calendar.code, day, kind, closes_at=closes_at, reason=reason, actor=actor, now=work.now
    )
    if closes_at is None:  # an early close moves no session
        await _ask_again(calendar.code, work)
    return None


async def take_back(calendar: Calendar, day: date, work: Work[LineageStore]) -> Rejected | None:
    """What was entered for that day by hand holds no longer."""
    if not await work.store.take_back_exceptions(calendar.code, day):
        return Rejected(Code.INVALID_COMMAND, f"nothing was entered for {calendar.code} on {day}")
    await _ask_again(calendar.code, work)
    return None


async def _ask_again(code: str, work: Work[LineageStore]) -> None:
    """Dates first, then schedules: always in this order."""
    await work.store.ask_again(code, now=work.now)
    await work.store.schedules.look_again(code, now=work.now)


def days_left(calendar: Calendar, today: date) -> int:
    return (calendar.last - today).days
