"""SQL of the HTTP answers about the past: nothing here changes anything."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any
from uuid import UUID

from runtide_schemas.vocabulary import FlowKind, Trigger
from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from services.lineage.domain.graph import FlowKey
from services.lineage.domain.why import Event, Run
from shared.postgres import fetch

RUNS = """
select i.run_id, coalesce(r.instance_id, q.instance_id) as instance_id, coalesce(r.kind, q.kind) as kind,
    coalesce(r.trigger, 'manual') as trigger, r.started_at, q.actor, q.asked_at, q.parent_run_id,
    p.actor as parent_actor, q.planned_for, cast(q.retries ->> 'run_id' as uuid) as retries
from unnest(cast(:ids as uuid[])) as i (run_id)
left join runs r on r.run_id = i.run_id and r.tenant = :tenant
left join open_requests q on q.run_id = i.run_id and q.tenant = :tenant
left join open_requests p on p.run_id = q.parent_run_id and p.tenant = :tenant
where r.run_id is not null or q.run_id is not null
"""
SECONDS = """
select a.instance_id, a.kind, percentile_cont(0.5) within group (order by r.seconds) as seconds
from unnest(cast(:instances as uuid[]), cast(:kinds as text[])) as a (instance_id, kind)
cross join lateral (
    select extract(epoch from ended_at - started_at)::float8 as seconds from runs
    where tenant = :tenant and instance_id = a.instance_id and kind = a.kind and ended_at is not null
        and end_status = 'completed' and mode <> 'preview' and trigger <> 'backfill' and started_at is not null
    order by ended_at desc, run_id desc limit 20
) r
group by a.instance_id, a.kind
"""
WAITING = """
select q.run_id, q.actor, q.gate, q.asked_at, q.wait_until, q.parent_run_id, q.kind,
    d.said -> 'blockers' as blockers, (d.said ->> 'blockers_total')::int as blockers_total
from open_requests q
cross join lateral (
    select answer, said from decisions d where d.run_id = q.run_id and d.decided_at <= :at order by number desc limit 1
) d
where q.tenant = :tenant and q.instance_id = :instance_id and q.asked_at <= :at
    and (q.ended_at is null or q.ended_at > :at) and d.answer = 'request.parked'
order by q.asked_at, q.run_id
"""


class Reading:
    def __init__(self, conn: AsyncConnection) -> None:
        self._conn = conn

    async def events(self, tenant: str, key: FlowKey, *, until: datetime, limit: int = 200) -> list[Event]:
        """Of one flow, the newest first."""
        found = await fetch(
            self._conn,
            """
            select * from status_events
            where tenant = :tenant and instance_id = :instance_id and kind = :kind and at <= :until
            order by seq desc limit :limit
            """,
            tenant=tenant, instance_id=key.instance_id, kind=key.kind, until=until, limit=limit,
        )  # fmt: skip
        return [_event_of(row) for row in found]

    async def runs(self, tenant: str, run_ids: Collection[UUID]) -> dict[UUID, Run]:
        """Those that are known, with who asked for them."""
        found = await fetch(self._conn, RUNS, tenant=tenant, ids=list(run_ids))
        return {row["run_id"]: _run_of(row) for row in found}

    async def version(self, version_id: UUID, *, until: datetime) -> dict[str, Any] | None:
        """The run that made a version, and when it was last confirmed by another."""
        found = await fetch(
            self._conn,
            """
            select v.version_id, v.run_id, v.ended_at as made_at, (
                select max(c.ended_at) from versions c
                where c.tenant = v.tenant and c.instance_id = v.instance_id and c.kind = v.kind
                    and c.confirms = v.version_id and c.withdrawn_at is null and c.ended_at <= :until
            ) as verified_at
            from versions v where v.version_id = :version_id
            """,
            version_id=version_id, until=until,
        )  # fmt: skip
        return dict(found[0]) if found else None

    async def waiting(self, tenant: str, instance_id: UUID, *, at: datetime) -> list[dict[str, Any]]:
        """The requests of an instance that were parked then, oldest first, with their blockers."""
        return [dict(row) for row in await fetch(self._conn, WAITING, tenant=tenant, instance_id=instance_id, at=at)]

    async def plan(self, tenant: str, plan_id: UUID) -> dict[str, Any] | None:
        found = await fetch(
            self._conn, "select * from plans where tenant = :tenant and plan_id = :plan_id",
            tenant=tenant, plan_id=plan_id,
        )  # fmt: skip
        return dict(found[0]) if found else None

    async def seconds(self, tenant: str, keys: Collection[FlowKey]) -> dict[FlowKey, float]:
        """How long a run of each flow took: the median of its last completed ones. Without any it is not there."""
        found = await fetch(
            self._conn, SECONDS,
            tenant=tenant, instances=[key.instance_id for key in keys], kinds=[key.kind for key in keys],
        )  # fmt: skip
        return {FlowKey(row["instance_id"], FlowKind(row["kind"])): row["seconds"] for row in found}

    async def decisions(self, tenant: str, run_id: UUID) -> list[dict[str, Any]]:
        """Every answer to a request, with what it saw, oldest first."""
        found = await fetch(
            self._conn,
            """
            select number, answer, decided_at, said, seen from decisions
            where tenant = :tenant and run_id = :run_id order by number
            """,
            tenant=tenant, run_id=run_id,
        )  # fmt: skip
        return [dict(row) for row in found]


def _event_of(row: RowMapping) -> Event:
    above = row["above_instance_id"]
    return Event(
        flow=FlowKey(row["instance_id"], FlowKind(row["kind"])),
        at=row["at"],
        seq=row["seq"],
        old_status=row["old_status"],
        status=row["status"],
        old_freshness=row["old_freshness"],
        freshness=row["freshness"],
        rule=row["rule"],
        reason=row["reason"],
        old_version_id=row["old_version_id"],
        version_id=row["version_id"],
        open_run_id=row["open_run_id"],
        run_id=row["run_id"],
        above=FlowKey(above, FlowKind(row["above_kind"])) if above else None,
        message_id=row["message_id"],
    )


def _run_of(row: RowMapping) -> Run:
    return Run(
        run_id=row["run_id"],
        flow=FlowKey(row["instance_id"], FlowKind(row["kind"]) if row["kind"] else None),
        trigger=Trigger(row["trigger"]),
        started_at=row["started_at"],
        actor=row["actor"],
        asked_at=row["asked_at"],
        parent_run_id=row["parent_run_id"],
        parent_actor=row["parent_actor"],
        planned_for=row["planned_for"],
        retries=row["retries"],
    )
