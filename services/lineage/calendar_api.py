"""`/v1/calendars`: the markets' sessions, until when they are known, and what was entered by hand.

Calendars belong to no tenant: whoever may read instances reads them, scope `ops` changes them.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime, time
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Depends, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import RowMapping

from services.lineage import calendars
from services.lineage.domain.calendar import Calendar, nearest
from services.lineage.domain.definition import Rejected
from services.lineage.store import LineageStore
from shared.auth import Caller
from shared.http import Ctx, Problem, requires

router = APIRouter(prefix="/v1/calendars", tags=["calendars"])
Reader = Annotated[Caller, Depends(requires("instances:read"))]
Operator = Annotated[Caller, Depends(requires("ops"))]
Code = Annotated[str, Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$", description="XNYS, or a country: US, DE-BY")]
ReasonText = Annotated[str, Field(min_length=1, max_length=500, pattern=r"^[^\x00]*$")]
LONGEST = 50_000


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class CalendarBody(_Strict):
    """`early_closes`: session → when it closes, where that is earlier than usual."""

    zone: str
    first_day: date
    last_day: date
    sessions: list[date] = Field(max_length=LONGEST)
    early_closes: dict[date, time] = Field(default={}, max_length=LONGEST)
    source: ReasonText


class ClosureBody(_Strict):
    day: date
    reason: ReasonText


class EarlyCloseBody(ClosureBody):
    closes_at: time


@router.get("")
async def list_calendars(ctx: Ctx, caller: Reader) -> dict[str, Any]:
    """Every calendar, with the days until its horizon."""
    async with ctx.reading() as store:
        heads = await store.calendar_heads()
    now = ctx.clock()
    return {"calendars": [_head(head, calendar, now) for head, calendar in heads], "as_of": now}


@router.get("/{code}")
async def get_calendar(
    ctx: Ctx,
    caller: Reader,
    code: Code,
    since: Annotated[date | None, Query(alias="from")] = None,
    until: Annotated[date | None, Query(alias="to")] = None,
) -> dict[str, Any]:
    """Its sessions from one day to another, and all that was entered by hand."""
    return await _whole(ctx, code, since, until)


@router.put("/{code}")
async def put_calendar(
    ctx: Ctx, caller: Operator, code: Code, body: CalendarBody, response: Response
) -> dict[str, Any]:
    """Replace its sessions; closures that were entered by hand stay. 201 where it is new."""
    calendar = Calendar(
        code, body.zone, body.first_day, body.last_day, tuple(sorted(body.sessions)), dict(body.early_closes)
    )
    async with ctx.unit_of_work() as work:
        is_new = await calendars.put(calendar, work, source=body.source, actor=caller.actor)
        if isinstance(is_new, Rejected):
            raise _problem(is_new)
    response.status_code = 201 if is_new else 200
    return await _whole(ctx, code, body.last_day, body.last_day)


@router.post("/{code}/closures", status_code=201)
async def close(ctx: Ctx, caller: Operator, code: Code, body: ClosureBody) -> dict[str, Any]:
    """A session that does not take place. It counts at once."""
    return await _enter(ctx, caller, code, body, None)


@router.post("/{code}/early-closes", status_code=201)
async def close_early(ctx: Ctx, caller: Operator, code: Code, body: EarlyCloseBody) -> dict[str, Any]:
    """A session that ends early. It stays a session, and data is expected at the time that its rule names."""
    return await _enter(ctx, caller, code, body, body.closes_at)


@router.delete("/{code}/closures/{day}")
@router.delete("/{code}/early-closes/{day}")
async def take_back(ctx: Ctx, caller: Operator, code: Code, day: date) -> dict[str, Any]:
    """What was entered for that day by mistake."""
    async with ctx.unit_of_work() as work:
        rejected = await calendars.take_back(await _locked(work.store, code), day, work)
        if rejected is not None:
            raise _problem(rejected)
    return await _whole(ctx, code, day, day)


async def _enter(ctx: Ctx, caller: Caller, code: str, body: ClosureBody, closes_at: time | None) -> dict[str, Any]:
    async with ctx.unit_of_work() as work:
        calendar = await _locked(work.store, code)
        rejected = await calendars.enter(
            calendar, body.day, work, closes_at=closes_at, reason=body.reason, actor=caller.actor
        )
        if rejected is not None:
            raise _problem(rejected)
    return await _whole(ctx, code, body.day, body.day)


async def _locked(store: LineageStore, code: str) -> Calendar:
    calendar = await store.lock_calendar(code)
    if calendar is None:
        raise _no_such(code, await store.calendars())
    return calendar


async def _whole(ctx: Ctx, code: str, since: date | None, until: date | None) -> dict[str, Any]:
    async with ctx.reading() as store:
        heads = {head["code"]: (head, calendar) for head, calendar in await store.calendar_heads()}
        entered = await store.calendar_exceptions(code)
    if code not in heads:
        raise _no_such(code, heads)
    head, calendar = heads[code]
    days = [day for day in calendar.sessions if (since or day) <= day <= (until or day)]
    return {
        **_head(head, calendar, ctx.clock()),
        "sessions": days,
        "early_closes": {str(day): calendar.early_closes[day] for day in days if day in calendar.early_closes},
        "entered": [_entered(row) for row in entered],
        "as_of": ctx.clock(),
    }


def _head(head: RowMapping, calendar: Calendar, now: datetime) -> dict[str, Any]:
    left = calendars.days_left(calendar, now.astimezone(ZoneInfo(calendar.zone)).date())
    return {
        "code": calendar.code,
        "zone": calendar.zone,
        "first_day": calendar.first,
        "last_day": calendar.last,
        "days_left": left,
        "ends_soon": left < calendars.ENDS_SOON_DAYS,
        "source": head["source"],
        "synced_at": head["synced_at"],
        "synced_by": head["synced_by"],
    }


def _entered(row: RowMapping) -> dict[str, Any]:
    return {name: row[name] for name in ("day", "kind", "closes_at", "reason", "actor", "entered_at")}


def _no_such(code: str, known: Iterable[str]) -> Problem:
    said = f"calendar {code} is not known{nearest(code, known)}; run: runtide calendars sync {code}"
    return Problem(404, "NOT_FOUND", "No such calendar", said)


def _problem(rejected: Rejected) -> Problem:
    return Problem(422, rejected.code, "The calendar can not be changed so", rejected.message)
