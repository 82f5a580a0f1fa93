"""All SQL of submission, in the caller's transaction."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from runtide_schemas.vocabulary import Code, FlowKind, Gate, Mode, RequestStatus, RunType, Trigger
from sqlalchemy import RowMapping, and_, or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from services.submission.domain.admission import Candidate
from services.submission.domain.request import Request
from services.submission.tables import requests
from shared.postgres import execute, fetch
from shared.reannounce import Portion

Key = tuple[str, UUID]
_ENUMS: Mapping[str, Any] = {
    "status": RequestStatus, "previous_status": RequestStatus, "run_type": RunType, "flow_kind": FlowKind,
    "trigger": Trigger, "mode": Mode, "gate": Gate, "code": Code,
}  # fmt: skip
_FIELDS = tuple(field.name for field in fields(Request))
_CHANGING = tuple(name for name in _FIELDS if name not in ("tenant", "run_id"))
_TYPES = {
    **dict.fromkeys(_FIELDS, "text"),
    **dict.fromkeys(("run_id", "instance_id", "orchestrator_run_id", "plan_id", "parent_run_id"), "uuid"),
    **dict.fromkeys(("seq", "decision_number", "blockers_total"), "int"),
    **dict.fromkeys(("parameters", "blockers", "input_versions", "ahead", "backfill", "progress", "retries"), "jsonb"),
    **dict.fromkeys(("wait_until", "cancel_requested_at", "planned_for"), "timestamptz"),
    "skip_if_ready": "boolean",
}
_SAVE = f"""
update requests r set changed_at = :now, {", ".join(f"{name} = x.{name}" for name in _CHANGING)}
from jsonb_to_recordset(cast(:rows as jsonb)) as x ({", ".join(f"{name} {_TYPES[name]}" for name in _FIELDS)})
where r.tenant = x.tenant and r.run_id = x.run_id
"""


class SubmissionStore:
    def __init__(self, conn: AsyncConnection) -> None:
        self._conn = conn

    # -- requests ------------------------------------------------------------------------------------------------

    async def open(self, keys: Collection[Key], *, now: datetime) -> dict[Key, Request]:
        """The requests of these keys, locked in key order; a row is opened for an id that nobody has named yet."""
        ordered = sorted(set(keys))
        await execute(
            self._conn,
            """
            insert into requests (tenant, run_id, status, requested_at, changed_at)
            select tenant, run_id, 'requested', :now, :now
            from unnest(cast(:tenants as text[]), cast(:run_ids as uuid[])) as k (tenant, run_id)
            on conflict do nothing
            """,
            now=now, tenants=[key[0] for key in ordered], run_ids=[key[1] for key in ordered],
        )  # fmt: skip
        return await self.load(ordered)

    async def load(self, keys: Collection[Key]) -> dict[Key, Request]:
        """Those that exist, locked in key order."""
        if not keys:
            return {}
        query = (
            select(requests)
            .where(tuple_(requests.c.tenant, requests.c.run_id).in_(sorted(set(keys))))
            .order_by(requests.c.tenant, requests.c.run_id)
            .with_for_update()
        )
        rows = (await self._conn.execute(query)).mappings()
        return {(row["tenant"], row["run_id"]): _request(row) for row in rows}

    async def save(self, changed: Collection[Request], *, now: datetime) -> None:
        """Write these rows whole. One statement."""
        if changed:
            rows = json.dumps([{name: getattr(r, name) for name in _FIELDS} for r in changed], default=_plain)
            await execute(self._conn, _SAVE, rows=rows, now=now)

    async def one(self, tenant: str, run_id: UUID) -> tuple[datetime, Request] | None:
        """(changed at, request), without a lock, for reading; a row that only was opened does not exist yet."""
        query = select(requests).where(requests.c.tenant == tenant, requests.c.run_id == run_id, requests.c.seq > 0)
        row = (await self._conn.execute(query)).mappings().first()
        return (row["changed_at"], _request(row)) if row is not None else None

    async def chain(self, tenant: str, first_run_id: UUID) -> list[Request]:
        """A request and all that did its run over, in their order."""
        rows = await fetch(
            self._conn,
            """
            select * from requests where tenant = :tenant and seq > 0
                and (run_id = :first or retries ->> 'first_run_id' = cast(:first as text))
            order by coalesce(cast(retries ->> 'number' as int), 0)
            """,
            tenant=tenant, first=first_run_id,
        )  # fmt: skip
        return [_request(row) for row in rows]

    async def page(
        self, tenant: str, *, statuses: Sequence[str], instance_id: UUID | None, parent_run_id: UUID | None,
        limit: int, after: tuple[datetime, UUID] | None,
    ) -> list[tuple[datetime, datetime, Request]]:  # fmt: skip
        """(requested at, changed at, request), the newest first."""
        c = requests.c
        query = select(requests).where(c.tenant == tenant, c.seq > 0)
        if statuses:
            query = query.where(c.status.in_(statuses))
        if instance_id is not None:
            query = query.where(c.instance_id == instance_id)
        if parent_run_id is not None:
            query = query.where(c.parent_run_id == parent_run_id)
        if after is not None:
            query = query.where(or_(c.requested_at < after[0], and_(c.requested_at == after[0], c.run_id > after[1])))
        query = query.order_by(c.requested_at.desc(), c.run_id).limit(limit)
        rows = (await self._conn.execute(query)).mappings()
        return [(row["requested_at"], row["changed_at"], _request(row)) for row in rows]

    async def live_after(self, portion: Portion) -> list[tuple[Key, datetime, bool]]:
        """(key, changed at, whether it lives) in key order; after a restore also of those that do not."""
        tenant, run_id = portion.key(2)
        rows = await fetch(
            self._conn,
            """
            select * from (
                select tenant, run_id, changed_at,
                       changed_at >= :since or status in ('requested', 'parked', 'admitted') as lives
                from requests
                where seq > 0 and (cast(:tenant as text) is null or tenant = :tenant)
                    and (cast(:after_tenant as text) is null
                         or (tenant, run_id) > (:after_tenant, cast(:after_run as uuid)))
            ) r where lives or :everything order by tenant, run_id limit :limit
            """,
            since=portion.since, tenant=portion.tenant, after_tenant=tenant, after_run=run_id,
            everything=portion.is_after_restore, limit=portion.limit,
        )  # fmt: skip
        return [((row["tenant"], row["run_id"]), row["changed_at"], row["lives"]) for row in rows]

    async def raise_seq(self, keys: Collection[Key], *, by: int) -> dict[Key, Request]:
        """Let the next word about these lie so far on; answers them as they were. When they changed stays as it is."""
        held = await self.load(keys)
        await execute(
            self._conn,
            """
            update requests r set seq = r.seq + :by
            from unnest(cast(:tenants as text[]), cast(:run_ids as uuid[])) as k (tenant, run_id)
            where r.tenant = k.tenant and r.run_id = k.run_id
            """,
            by=by, tenants=[key[0] for key in keys], run_ids=[key[1] for key in keys],
        )  # fmt: skip
        return held

    # -- launches ------------------------------------------------------------------------------------------------

    async def ask_launch(self, admitted: Collection[Request], *, now: datetime) -> None:
        """Intents for the launcher."""
        if not admitted:
            return
        await execute(
            self._conn,
            """
            insert into launches (tenant, run_id, deployment, asked_at, due_at)
            select tenant, run_id, deployment, :now, :now
            from unnest(cast(:tenants as text[]), cast(:run_ids as uuid[]), cast(:deployments as text[]))
                as l (tenant, run_id, deployment)
            on conflict do nothing
            """,
            now=now, tenants=[r.tenant for r in admitted], run_ids=[r.run_id for r in admitted],
            deployments=[r.deployment for r in admitted],
        )  # fmt: skip

    async def launching(self, keys: Collection[Key]) -> set[Key]:
        """Which of these may have reached Prefect already; their intents are locked against a new lease."""
        rows = await fetch(
            self._conn,
            """
            select l.tenant, l.run_id, l.in_doubt from launches l
            join unnest(cast(:tenants as text[]), cast(:run_ids as uuid[])) as k (tenant, run_id) using (tenant, run_id)
            order by l.tenant, l.run_id for update of l
            """,
            tenants=[key[0] for key in keys], run_ids=[key[1] for key in keys],
        )  # fmt: skip
        return {(row["tenant"], row["run_id"]) for row in rows if row["in_doubt"]}

    async def drop_launches(self, keys: Collection[Key]) -> None:
        if keys:
            await execute(
                self._conn,
                """
                delete from launches l using unnest(cast(:tenants as text[]), cast(:run_ids as uuid[]))
                    as k (tenant, run_id) where l.tenant = k.tenant and l.run_id = k.run_id
                """,
                tenants=[key[0] for key in keys], run_ids=[key[1] for key in keys],
            )  # fmt: skip

    async def due_launches(self, *, now: datetime, limit: int) -> list[Candidate]:
        """The oldest of each tenant first, unleased ones only."""
        rows = await fetch(
            self._conn,
            """
            select tenant, run_id, deployment from (
                select tenant, run_id, deployment, asked_at,
                       row_number() over (partition by tenant, deployment order by asked_at, run_id) as turn
                from launches where due_at <= :now and (leased_until is null or leased_until <= :now)
            ) l order by turn, asked_at, run_id limit :limit
            """,
            now=now, limit=limit,
        )  # fmt: skip
        return [Candidate(row["tenant"], row["run_id"], row["deployment"]) for row in rows]

    async def lease(self, keys: Collection[Key], *, owner: str, now: datetime, seconds: float) -> dict[Key, bool]:
        """Take these for a while; of those that nobody else took first: may an earlier call have reached Prefect?"""
        rows = await fetch(
            self._conn,
            """
            update launches set lease_owner = :owner, leased_until = :until, in_doubt = true
            from (
                select l.tenant, l.run_id, l.in_doubt from launches l
                join unnest(cast(:tenants as text[]), cast(:run_ids as uuid[])) as k (tenant, run_id)
                    using (tenant, run_id)
                where l.leased_until is null or l.leased_until <= :now
                order by l.tenant, l.run_id for update of l skip locked
            ) free where launches.tenant = free.tenant and launches.run_id = free.run_id
            returning launches.tenant, launches.run_id, free.in_doubt
            """,
            owner=owner, now=now, until=now + timedelta(seconds=seconds),
            tenants=[key[0] for key in keys], run_ids=[key[1] for key in keys],
        )  # fmt: skip
        return {(row["tenant"], row["run_id"]): row["in_doubt"] for row in rows}

    async def postpone(self, key: Key, *, owner: str, now: datetime, in_doubt: bool) -> None:
        """Give the lease back and wait, twice as long as before (1 s to 30 s)."""
        await execute(
            self._conn,
            """
            update launches set lease_owner = null, leased_until = null, in_doubt = :in_doubt,
                waits_seconds = least(30, greatest(1, waits_seconds * 2)),
                due_at = :now + make_interval(secs => least(30, greatest(1, waits_seconds * 2)) * (0.5 + random() / 2))
            where tenant = :tenant and run_id = :run_id and lease_owner = :owner
            """,
            tenant=key[0], run_id=key[1], owner=owner, now=now, in_doubt=in_doubt,
        )  # fmt: skip


def _request(row: RowMapping) -> Request:
    values = {name: row[name] for name in _FIELDS}
    for name, enum in _ENUMS.items():
        if values[name] is not None:
            values[name] = enum(values[name])
    return Request(**{**values, "blockers": tuple(values["blockers"]), "ahead": tuple(values["ahead"])})


def _plain(value: object) -> object:
    match value:
        case datetime():
            return value.isoformat()
        case UUID():
            return str(value)
        case Mapping():
            return dict(value)
        case _:
            raise TypeError(f"{type(value).__name__} is not JSON")
