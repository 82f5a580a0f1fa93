"""The SQL of what requests said: the newest of each, and the cancels that Prefect is to be asked for."""

from collections.abc import Collection, Sequence
from datetime import datetime
from uuid import UUID

from runtide_schemas.requests import RequestStatusChanged
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.postgres import execute, fetch


class RequestStore:
    def __init__(self, conn: AsyncConnection) -> None:
        self._conn = conn

    async def remember(self, requests: Sequence[RequestStatusChanged]) -> set[tuple[UUID, str]]:
        """Note the newest snapshot of each; (run id, tenant) of those that were newer than what was known."""
        rows = await fetch(
            self._conn,
            """
            insert into seen_requests as s (run_id, tenant, status, cancel_requested_at, actor, occurred_at, seq)
            select * from unnest(cast(:ids as uuid[]), cast(:tenants as text[]), cast(:statuses as text[]),
                cast(:cancels as timestamptz[]), cast(:actors as text[]), cast(:ats as timestamptz[]),
                cast(:seqs as bigint[]))
            on conflict (run_id, tenant) do update set status = excluded.status, occurred_at = excluded.occurred_at,
                cancel_requested_at = excluded.cancel_requested_at, actor = excluded.actor, seq = excluded.seq
            where excluded.seq > s.seq
            returning run_id, tenant
            """,
            ids=[r.run_id for r in requests], tenants=[r.tenant for r in requests],
            statuses=[r.status.value for r in requests], cancels=[r.cancel_requested_at for r in requests],
            actors=[r.actor for r in requests], ats=[r.occurred_at for r in requests], seqs=[r.seq for r in requests],
        )  # fmt: skip
        return {(row["run_id"], row["tenant"]) for row in rows}

    async def load_cancel_wishes(self, run_ids: Collection[UUID]) -> dict[tuple[UUID, str], datetime]:
        """(run id, tenant) → when it was asked for, of cancels that came before their run."""
        if not run_ids:
            return {}
        rows = await fetch(
            self._conn,
            "select run_id, tenant, cancel_requested_at from seen_requests "
            "where run_id = any(cast(:ids as uuid[])) and cancel_requested_at is not null",
            ids=list(run_ids),
        )
        return {(row["run_id"], row["tenant"]): row["cancel_requested_at"] for row in rows}

    async def want_cancelled(self, run_id: UUID, requested_at: datetime, actor: str | None, now: datetime) -> bool:
        """Leave an intent for the canceller; False: it was left before."""
        done = await execute(
            self._conn,
            "insert into cancel_intents (run_id, requested_at, actor, state, tries, next_try_at) "
            "values (:run_id, :requested_at, :actor, 'wanted', 0, :now) on conflict do nothing",
            run_id=run_id, requested_at=requested_at, actor=actor, now=now,
        )  # fmt: skip
        return done == 1

    async def want_ended(self, run_ids: Collection[UUID], now: datetime) -> None:
        """Take up again the cancels of these runs that Prefect was asked for and nobody carried out."""
        await execute(
            self._conn,
            "update cancel_intents set state = 'wanted', tries = 0, next_try_at = :now "
            "where run_id = any(cast(:ids as uuid[])) and state = 'asked'",
            now=now, ids=list(run_ids),
        )  # fmt: skip
