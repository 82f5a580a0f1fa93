"""All SQL about schedules, in the caller's transaction, under the lock of their tenant."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from runtide_schemas.vocabulary import FlowKind
from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from services.lineage.domain.graph import FlowKey
from services.lineage.rows import canonical, dumps
from shared.postgres import execute, fetch

_SAVE = """
insert into schedules select * from jsonb_populate_recordset(null::schedules, cast(:rows as jsonb))
on conflict (instance_id, kind) do update set
    definition = excluded.definition, planned_at = excluded.planned_at, paused_at = excluded.paused_at,
    paused_by = excluded.paused_by, last_planned_for = excluded.last_planned_for, last_run_id = excluded.last_run_id,
    missed_at = excluded.missed_at
"""
_SHOWN = """
select s.*, i.name, i.retired_at, f.deployment, r.state as last_state, r.ended_as as last_ended_as
from schedules s join instances i using (instance_id)
join flows f on f.instance_id = s.instance_id and f.kind = s.kind
left join open_requests r on r.run_id = s.last_run_id
where s.tenant = :tenant and (cast(:id as uuid) is null or s.instance_id = :id) order by i.name, f.place
"""
_LOOK_AGAIN = """
insert into due (kind, ref, due_at)
select 'schedule', instance_id::text || '/' || kind, :now from schedules
where definition ->> 'sessions' = :code
order by instance_id, kind
on conflict (kind, ref) do update set due_at = excluded.due_at
"""


@dataclass(frozen=True, slots=True)
class Kept:
    """A schedule and where it stands. `definition`: as registered (JSON); `planned_at`: the instant it waits for, None:
    it is paused, its instance is retired, or nobody knows one.
    """

    flow: FlowKey
    tenant: str
    definition: str
    planned_at: datetime | None = None
    paused_at: datetime | None = None
    paused_by: str | None = None
    last_planned_for: datetime | None = None
    last_run_id: UUID | None = None
    missed_at: datetime | None = None

    @property
    def ref(self) -> str:
        """What names it among the due rows."""
        return f"{self.flow.instance_id}/{self.flow.kind}"


def flow_of(ref: str) -> FlowKey:
    instance_id, _, kind = ref.partition("/")
    return FlowKey(UUID(instance_id), FlowKind(kind))


class ScheduleStore:
    def __init__(self, conn: AsyncConnection) -> None:
        self._conn = conn

    async def of(self, instance_ids: Collection[UUID]) -> dict[FlowKey, Kept]:
        """All that these instances have."""
        found = await fetch(
            self._conn,
            "select * from schedules where instance_id = any(cast(:ids as uuid[]))",
            ids=list(instance_ids),
        )
        return {kept.flow: kept for kept in map(kept_of, found)}

    async def save(self, kept: Collection[Kept]) -> None:
        if kept:
            await execute(self._conn, _SAVE, rows=dumps([_row(one) for one in kept]))

    async def forget(self, flows: Collection[FlowKey]) -> None:
        if flows:
            await execute(
                self._conn,
                """
                delete from schedules s using unnest(cast(:ids as uuid[]), cast(:kinds as text[]))
                    as g (instance_id, kind) where s.instance_id = g.instance_id and s.kind = g.kind
                """,
                ids=[key.instance_id for key in flows], kinds=[key.kind for key in flows],
            )  # fmt: skip

    async def shown(self, tenant: str, instance_id: UUID | None = None) -> Sequence[RowMapping]:
        """Each with its instance, its flow, and how its last request stands."""
        return await fetch(self._conn, _SHOWN, tenant=tenant, id=instance_id)

    async def look_again(self, code: str, *, now: datetime) -> int:
        """Every schedule of every tenant that counts in this calendar is planned anew; how many."""
        return await execute(self._conn, _LOOK_AGAIN, code=code, now=now)


def kept_of(row: RowMapping) -> Kept:
    return Kept(
        flow=FlowKey(row["instance_id"], FlowKind(row["kind"])),
        tenant=row["tenant"],
        definition=canonical(row["definition"]) or "",
        planned_at=row["planned_at"],
        paused_at=row["paused_at"],
        paused_by=row["paused_by"],
        last_planned_for=row["last_planned_for"],
        last_run_id=row["last_run_id"],
        missed_at=row["missed_at"],
    )


def _row(kept: Kept) -> dict[str, Any]:
    return {
        "instance_id": kept.flow.instance_id,
        "kind": kept.flow.kind,
        "tenant": kept.tenant,
        "definition": json.loads(kept.definition),
        "planned_at": kept.planned_at,
        "paused_at": kept.paused_at,
        "paused_by": kept.paused_by,
        "last_planned_for": kept.last_planned_for,
        "last_run_id": kept.last_run_id,
        "missed_at": kept.missed_at,
    }
