"""The SQL of saying everything again."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from uuid import UUID

from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.postgres import fetch
from shared.reannounce import Portion


class ReannounceStore:
    def __init__(self, conn: AsyncConnection) -> None:
        self._conn = conn

    async def instances_after(self, portion: Portion) -> Sequence[RowMapping]:
        """(tenant, instance id) of what was announced, in that order."""
        after_tenant, after_id = portion.key(2)
        return await fetch(
            self._conn,
            """
            select tenant, instance_id from standings
            where seq > 0 and (cast(:tenant as text) is null or tenant = :tenant)
                and (cast(:after_tenant as text) is null
                     or (tenant, instance_id) > (:after_tenant, cast(:after_id as uuid)))
            order by tenant, instance_id limit :limit
            """,
            tenant=portion.tenant, after_tenant=after_tenant, after_id=after_id, limit=portion.limit,
        )  # fmt: skip

    async def raise_answers(self, run_ids: Collection[UUID], *, by: int) -> Sequence[RowMapping]:
        """run id, number and message of the last answer to each of these, with a number that lies so far on."""
        return await fetch(
            self._conn,
            """
            update decisions d
            set number = d.number + :by, said = d.said || jsonb_build_object('number', d.number + :by)
            from (select run_id, max(number) as number from decisions
                  where run_id = any(cast(:ids as uuid[])) group by run_id) last
            where d.run_id = last.run_id and d.number = last.number
            returning d.run_id, d.number, d.said
            """,
            ids=list(run_ids), by=by,
        )  # fmt: skip
