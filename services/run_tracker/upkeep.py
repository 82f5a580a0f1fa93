"""SQL of the workers: what a sweep reads and notes, cancel intents, and what is thrown away with age."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from shared.postgres import execute, fetch


class Open(NamedTuple):
    """A run that Prefect must be asked about; `ended`: it is over, and looked at once more."""

    run_id: UUID
    flow_run_id: UUID
    state_id: UUID | None
    state_at: datetime | None
    ended: bool


class Marked(NamedTuple):
    """What the last sweep left: up to when our states are Prefect's, which server it was, why losses were refused."""

    as_of: datetime | None = None
    server: str | None = None
    refused: str | None = None


class Intent(NamedTuple):
    """A cancel that Prefect is to be asked for."""

    run_id: UUID
    requested_at: datetime
    actor: str | None
    flow_run_id: UUID
    tries: int


class Upkeep:
    def __init__(self, conn: AsyncConnection) -> None:
        self._conn = conn

    # -- sweep ---------------------------------------------------------------------------------------------------

    async def load_unsettled(self, now: datetime, *, first: timedelta, last: timedelta) -> list[Open]:
        """Open runs with a flow run, and ended ones whose first or last look back has come."""
        rows = await fetch(
            self._conn,
            """
            select run_id, orchestrator_run_id, state_id, state_at, ended_seen_at is not null as ended from runs
            where not settled and orchestrator_run_id is not null and (ended_seen_at is null
                or (rechecks = 0 and ended_seen_at <= :first) or (rechecks = 1 and ended_seen_at <= :last))
            order by run_id
            """,
            first=now - first, last=now - last,
        )  # fmt: skip
        return [
            Open(row["run_id"], row["orchestrator_run_id"], row["state_id"], row["state_at"], row["ended"])
            for row in rows
        ]

    async def note_rechecked(self, run_ids: Sequence[UUID]) -> None:
        """One look back is done; after the second the run is settled."""
        if run_ids:
            await execute(
                self._conn,
                """
                update runs r set rechecks = r.rechecks + 1, settled = r.rechecks >= 1
                from (select run_id from runs where run_id = any(cast(:ids as uuid[])) and ended_seen_at is not null
                      order by run_id for update) locked
                where r.run_id = locked.run_id
                """,
                ids=list(run_ids),
            )

    async def note_sweep(self, name: str, as_of: datetime, server: str | None, refused: str | None) -> None:
        await execute(
            self._conn,
            "insert into sweeps as s (name, as_of, server, refused) values (:name, :as_of, :server, :refused) "
            "on conflict (name) do update set as_of = excluded.as_of, refused = excluded.refused, "
            "server = coalesce(excluded.server, s.server)",
            name=name, as_of=as_of, server=server, refused=refused,
        )  # fmt: skip

    async def load_sweep(self, name: str) -> Marked:
        rows = await fetch(self._conn, "select as_of, server, refused from sweeps where name = :name", name=name)
        return Marked(rows[0]["as_of"], rows[0]["server"], rows[0]["refused"]) if rows else Marked()

    # -- cancels -------------------------------------------------------------------------------------------------

    async def lease_cancels(self, now: datetime, *, lease: timedelta, limit: int) -> list[Intent]:
        """Intents whose time has come and whose flow run exists; nobody else takes them while the lease lasts."""
        rows = await fetch(
            self._conn,
            """
            update cancel_intents c set next_try_at = :until, tries = c.tries + 1
            from (select i.run_id, i.requested_at, r.orchestrator_run_id
                  from cancel_intents i join runs r on r.run_id = i.run_id
                  where i.state = 'wanted' and i.next_try_at <= :now and r.orchestrator_run_id is not null
                  order by i.next_try_at limit :limit for update of i skip locked) due
            where c.run_id = due.run_id and c.requested_at = due.requested_at
            returning c.run_id, c.requested_at, c.actor, due.orchestrator_run_id, c.tries
            """,
            now=now, until=now + lease, limit=limit,
        )  # fmt: skip
        return [
            Intent(row["run_id"], row["requested_at"], row["actor"], row["orchestrator_run_id"], row["tries"])
            for row in rows
        ]

    async def answer_cancel(self, intent: Intent, state: str, answer: str | None, next_try_at: datetime) -> None:
        await execute(
            self._conn,
            "update cancel_intents set state = :state, answer = :answer, next_try_at = :next_try_at "
            "where run_id = :run_id and requested_at = :requested_at",
            state=state, answer=answer, next_try_at=next_try_at, run_id=intent.run_id,
            requested_at=intent.requested_at,
        )  # fmt: skip

    # -- age -----------------------------------------------------------------------------------------------------

    async def forget_strangers(self, before: datetime, limit: int = 5_000) -> int:
        """States of flow runs that became nobody's run; the topic that fed them has forgotten them too."""
        return await execute(
            self._conn,
            """
            with old as (
                delete from waiting_flow_runs where flow_run_id in (
                    select flow_run_id from waiting_flow_runs where seen_at < :before limit :limit)
                returning flow_run_id)
            delete from observations o using old where o.flow_run_id = old.flow_run_id
            """,
            before=before, limit=limit,
        )  # fmt: skip

    async def forget_answered(self, before: datetime, limit: int = 5_000) -> int:
        """Intents to cancel that nobody will look at again."""
        return await execute(
            self._conn,
            "delete from cancel_intents where (run_id, requested_at) in "
            "(select run_id, requested_at from cancel_intents where requested_at < :before limit :limit)",
            before=before, limit=limit,
        )  # fmt: skip

    async def forget_orphaned_reports(self, before: datetime, limit: int = 5_000) -> int:
        """Reports of runs that never came to be."""
        return await execute(
            self._conn,
            """
            delete from reports where (run_id, tenant, attempt, n) in (
                select p.run_id, p.tenant, p.attempt, p.n from reports p left join runs r on r.run_id = p.run_id
                where r.run_id is null and p.at < :before limit :limit)
            """,
            before=before, limit=limit,
        )  # fmt: skip
