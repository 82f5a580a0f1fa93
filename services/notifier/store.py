"""All SQL of notifier, in the caller's transaction."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from runtide_schemas.activities import ActivityRecorded
from sqlalchemy import and_, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from services.notifier.tables import activities
from shared.postgres import execute, fetch

Kind = Literal["run", "instance"]


class NotifierStore:
    def __init__(self, conn: AsyncConnection) -> None:
        self._conn = conn

    async def own(self, kind: Kind, owned: Collection[tuple[UUID, str]], *, now: datetime) -> None:
        """Note whose these are; the first to be named keeps it."""
        ordered = sorted(set(owned))
        if ordered:
            await execute(
                self._conn,
                """
                insert into owners (kind, entity_id, tenant, named_at)
                select :kind, id, tenant, cast(:now as timestamptz)
                from unnest(cast(:ids as uuid[]), cast(:tenants as text[])) as o (id, tenant)
                on conflict do nothing
                """,
                kind=kind, ids=[entity for entity, _ in ordered], tenants=[tenant for _, tenant in ordered], now=now,
            )  # fmt: skip

    async def owned_by(self, tenant: str, kind: Kind, ids: Collection[UUID]) -> set[UUID]:
        """Those of these that belong to the tenant."""
        if not ids:
            return set()
        rows = await fetch(
            self._conn,
            "select entity_id from owners "
            "where kind = :kind and tenant = :tenant and entity_id = any(cast(:ids as uuid[]))",
            kind=kind, tenant=tenant, ids=list(ids),
        )  # fmt: skip
        return {row["entity_id"] for row in rows}

    async def record(self, happened: Sequence[ActivityRecorded]) -> None:
        """Keep these; one that is known is not stored again."""
        rows = json.dumps([activity.model_dump(mode="json") for activity in happened])
        await execute(
            self._conn,
            """
            insert into activities (activity_id, tenant, actor, resource_type, resource_id, action, payload,
                                    correlation_id, occurred_at)
            select * from jsonb_to_recordset(cast(:rows as jsonb)) as a (
                activity_id uuid, tenant text, actor text, resource_type text, resource_id text, action text,
                payload jsonb, correlation_id text, occurred_at timestamptz)
            order by activity_id on conflict do nothing
            """,
            rows=rows,
        )

    async def page(
        self, tenant: str, *, resource_id: str | None, action: str | None, limit: int,
        after: tuple[datetime, UUID] | None,
    ) -> list[dict[str, Any]]:  # fmt: skip
        """The newest first, by when they happened."""
        c = activities.c
        query = select(activities).where(c.tenant == tenant)
        if resource_id is not None:
            query = query.where(c.resource_id == resource_id)
        if action is not None:
            query = query.where(c.action == action)
        if after is not None:
            query = query.where(
                or_(c.occurred_at < after[0], and_(c.occurred_at == after[0], c.activity_id > after[1]))
            )
        rows = await self._conn.execute(query.order_by(c.occurred_at.desc(), c.activity_id).limit(limit))
        return [dict(row) for row in rows.mappings()]
