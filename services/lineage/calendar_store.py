"""The SQL of calendars. They belong to no tenant: whoever changes one locks its row, and gives it another revision.

A calendar is read whole once per revision and process, so a batch that needs calendars costs one small statement.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import date, datetime, time
from uuid import UUID

from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from services.lineage.domain.calendar import Calendar
from shared.postgres import execute, fetch

_HEADS = "select code, zone, first_day, last_day, source, revision, synced_at, synced_by from calendars order by code"
_SESSIONS = """
select s.code, s.day, coalesce(e.closes_at, s.closes_at) as closes_at
from calendar_sessions s
left join calendar_exceptions e on e.code = s.code and e.day = s.day and e.kind = 'early_close'
where s.code = any(cast(:codes as text[])) and not exists (
    select from calendar_exceptions c where c.code = s.code and c.day = s.day and c.kind = 'closure'
)
order by s.code, s.day
"""
_SAVE = """
insert into calendars (code, zone, first_day, last_day, source, revision, synced_at, synced_by)
values (:code, :zone, :first, :last, :source, gen_random_uuid(), :now, :actor)
on conflict (code) do update set
    zone = excluded.zone, first_day = excluded.first_day, last_day = excluded.last_day, source = excluded.source,
    revision = excluded.revision, synced_at = excluded.synced_at, synced_by = excluded.synced_by
"""
_SAVE_SESSIONS = """
insert into calendar_sessions (code, day, closes_at)
select :code, s.day, s.closes_at
from unnest(cast(:days as date[]), cast(:closes as time[])) as s (day, closes_at)
"""
_ENTER = """
insert into calendar_exceptions (code, day, kind, closes_at, reason, actor, entered_at)
values (:code, :day, :kind, :closes_at, :reason, :actor, :now)
on conflict (code, day, kind) do update set
    closes_at = excluded.closes_at, reason = excluded.reason, actor = excluded.actor, entered_at = excluded.entered_at
"""
_ASK_AGAIN = """
insert into due (kind, ref, due_at)
select 'date', instance_id::text, :now from instances
where update_frequency ->> 'calendar' = :code and retired_at is null
order by instance_id
on conflict (kind, ref) do update set due_at = excluded.due_at
"""
_read: dict[str, tuple[UUID, Calendar]] = {}  # code → revision and value; a revision never comes again


class CalendarStore:
    def __init__(self, conn: AsyncConnection) -> None:
        self._conn = conn

    async def calendars(self) -> dict[str, Calendar]:
        """Every calendar by code, closures and early closes applied."""
        return {head["code"]: calendar for head, calendar in await self.calendar_heads()}

    async def calendar_heads(self) -> list[tuple[RowMapping, Calendar]]:
        """Each calendar with where it is from."""
        heads = await fetch(self._conn, _HEADS)
        unread = [head for head in heads if _read.get(head["code"], (None,))[0] != head["revision"]]
        if unread:
            found: dict[str, list[RowMapping]] = {head["code"]: [] for head in unread}
            for row in await fetch(self._conn, _SESSIONS, codes=list(found)):
                found[row["code"]].append(row)
            for head in unread:
                _read[head["code"]] = head["revision"], _calendar_of(head, found[head["code"]])
        return [(head, _read[head["code"]][1]) for head in heads]

    async def lock_calendar(self, code: str) -> Calendar | None:
        """Take the calendar for a change. It is as synced, without what was entered by hand; None: there is none."""
        heads = await fetch(self._conn, "select * from calendars where code = :code for update", code=code)
        sql = "select day, closes_at from calendar_sessions where code = :code order by day"
        return _calendar_of(heads[0], await fetch(self._conn, sql, code=code)) if heads else None

    async def save_calendar(self, calendar: Calendar, *, source: str, actor: str, now: datetime) -> None:
        """Its sessions, all of them anew. What was entered by hand stays."""
        await execute(
            self._conn, _SAVE, code=calendar.code, zone=calendar.zone, first=calendar.first, last=calendar.last,
            source=source, actor=actor, now=now,
        )  # fmt: skip
        await execute(self._conn, "delete from calendar_sessions where code = :code", code=calendar.code)
        closes = [calendar.early_closes.get(day) for day in calendar.sessions]
        await execute(
            self._conn, _SAVE_SESSIONS, code=calendar.code, days=list(calendar.sessions), closes=closes
        )  # fmt: skip

    async def confirm_calendar(self, code: str, *, source: str, actor: str, now: datetime) -> None:
        """It was synced again and is as it was."""
        sql = "update calendars set source = :source, synced_by = :actor, synced_at = :now where code = :code"
        await execute(self._conn, sql, code=code, source=source, actor=actor, now=now)

    async def calendar_exceptions(self, code: str) -> Sequence[RowMapping]:
        """What was entered by hand, by day."""
        sql = "select * from calendar_exceptions where code = :code order by day, kind"
        return await fetch(self._conn, sql, code=code)

    async def enter_exception(
        self, code: str, day: date, kind: str, *, closes_at: time | None, reason: str, actor: str, now: datetime
    ) -> None:
        await execute(
            self._conn, _ENTER, code=code, day=day, kind=kind, closes_at=closes_at, reason=reason, actor=actor, now=now
        )
        await self._revise(code)

    async def take_back_exceptions(self, code: str, day: date) -> int:
        """How many were entered for that day."""
        sql = "delete from calendar_exceptions where code = :code and day = :day"
        taken = await execute(self._conn, sql, code=code, day=day)
        await self._revise(code)
        return taken

    async def ask_again(self, code: str, *, now: datetime) -> int:
        """Every instance of every tenant that counts in this calendar falls due now; how many."""
        return await execute(self._conn, _ASK_AGAIN, code=code, now=now)

    async def _revise(self, code: str) -> None:
        await execute(self._conn, "update calendars set revision = gen_random_uuid() where code = :code", code=code)


def _calendar_of(head: RowMapping, sessions: Collection[RowMapping]) -> Calendar:
    return Calendar(
        code=head["code"],
        zone=head["zone"],
        first=head["first_day"],
        last=head["last_day"],
        sessions=tuple(row["day"] for row in sessions),
        early_closes={row["day"]: row["closes_at"] for row in sessions if row["closes_at"] is not None},
    )
