"""SQL of the workers: what a sweep reads and notes, cancel intents, and what is thrown away with age."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from shared.postgres import execute, fetch
from shared.reannounce import Portion


class Mark(StrEnum):
    """The rows of `sweeps`: who was last seen at work, and what was found."""

    SWEEP = "sweep"
    STRANGERS = "strangers"
    BRIDGE = "bridge"
    DRIFT = "drift"


class Open(NamedTuple):
    """A run that Prefect must be asked about; `ended`: it is over, and looked at once more.

    `lost_at`: it is over because Prefect did not know it any more.
    """

    run_id: UUID
    flow_run_id: UUID
    state_id: UUID | None
    ended: bool
    lost_at: datetime | None


class Marked(NamedTuple):
    """What the last sweep left: up to when our states are Prefect's, which server it was, why losses were refused.

    `confirmed_at`: when an operator said that the losses are real; `found`: states that nobody else had seen.
    """

    as_of: datetime | None = None
    server: str | None = None
    refused: str | None = None
    confirmed_at: datetime | None = None
    found: int = 0
    found_at: datetime | None = None


class Living(NamedTuple):
    """A run whose process should be alive."""

    run_id: UUID
    flow_run_id: UUID
    state_at: datetime
    silent_since: datetime | None


class Hanging(NamedTuple):
    """An open run that does not go on by itself."""

    run_id: UUID
    tenant: str
    instance_name: str
    flow_run_id: UUID
    status: str
    sub_state: str | None
    since: datetime


class Intent(NamedTuple):
    """A cancel that Prefect is to be asked for."""

    run_id: UUID
    requested_at: datetime
    actor: str | None
    flow_run_id: UUID
    silent: bool
    tries: int


def _old(which: str = "true") -> str:
    """Runs that ended before, with what the sweep and the flow said of them deleted."""
    return f"""
    with old as (
        select r.run_id, r.orchestrator_run_id from runs r
        where r.settled and r.created_at < :before and r.ended_seen_at < :before and {which}
        order by r.created_at limit :limit for update skip locked
    ), states as (delete from observations o using old where o.flow_run_id = old.orchestrator_run_id),
    said as (delete from reports p using old where p.run_id = old.run_id),
    entries as (delete from run_history h using old where h.run_id = old.run_id)
    """


class Upkeep:
    def __init__(self, conn: AsyncConnection) -> None:
        self._conn = conn

    # -- sweep ---------------------------------------------------------------------------------------------------

    async def load_unsettled(self, now: datetime, *, first: timedelta, last: timedelta) -> list[Open]:
        """Open runs with a flow run, and ended ones whose first or last look back has come."""
        rows = await fetch(
            self._conn,
            """
            select run_id, orchestrator_run_id, state_id, ended_seen_at is not null as ended,
                   case when sub_state = 'lost' then gone_at end as lost_at from runs
            where not settled and orchestrator_run_id is not null and (ended_seen_at is null
                or (rechecks = 0 and ended_seen_at <= :first) or (rechecks = 1 and ended_seen_at <= :last))
            order by run_id
            """,
            first=now - first, last=now - last,
        )  # fmt: skip
        return [
            Open(row["run_id"], row["orchestrator_run_id"], row["state_id"], row["ended"], row["lost_at"])
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

    async def note_sweep(self, name: Mark, as_of: datetime, server: str | None, refused: str | None) -> None:
        await execute(
            self._conn,
            "insert into sweeps as s (name, as_of, server, refused) values (:name, :as_of, :server, :refused) "
            "on conflict (name) do update set as_of = excluded.as_of, refused = excluded.refused, "
            "server = coalesce(excluded.server, s.server)",
            name=name, as_of=as_of, server=server, refused=refused,
        )  # fmt: skip

    async def load_sweep(self, name: Mark) -> Marked:
        rows = await fetch(
            self._conn,
            f"select {', '.join(Marked._fields)} from sweeps where name = :name", name=name,
        )  # fmt: skip
        return Marked(**rows[0]) if rows else Marked()

    async def count_found(self, name: Mark, states: int, now: datetime) -> None:
        """Add to what only the sweep saw."""
        await execute(
            self._conn,
            "insert into sweeps as s (name, found, found_at) values (:name, :states, :now) "
            "on conflict (name) do update set found = s.found + excluded.found, found_at = excluded.found_at",
            name=name, states=states, now=now,
        )  # fmt: skip

    async def confirm_loss(self, name: Mark, now: datetime | None) -> None:
        """What is gone from Prefect is gone: for the next sweep to believe; None takes that back."""
        await execute(
            self._conn,
            "insert into sweeps as s (name, confirmed_at) values (:name, :now) "
            "on conflict (name) do update set confirmed_at = excluded.confirmed_at",
            name=name, now=now,
        )  # fmt: skip

    async def unseen(self, states: Collection[tuple[UUID, UUID]]) -> set[tuple[UUID, UUID]]:
        """(flow run id, state id) of those that no observation was stored of. One statement."""
        rows = await fetch(
            self._conn,
            """
            select f, s from unnest(cast(:flow_runs as uuid[]), cast(:states as uuid[])) as asked (f, s)
            where not exists (select from observations o where o.flow_run_id = f and o.state_id = s)
            """,
            flow_runs=[flow_run_id for flow_run_id, _ in states], states=[state_id for _, state_id in states],
        )  # fmt: skip
        return {(row["f"], row["s"]) for row in rows}

    async def lost(self, flow_run_ids: Collection[UUID]) -> dict[UUID, datetime]:
        """flow run id → since when it is gone, of those whose runs ended by that. One statement."""
        rows = await fetch(
            self._conn,
            "select orchestrator_run_id, gone_at from runs where orchestrator_run_id = any(cast(:ids as uuid[])) "
            "and sub_state = 'lost'",
            ids=list(flow_run_ids),
        )
        return {row["orchestrator_run_id"]: row["gone_at"] for row in rows}

    # -- heartbeats ----------------------------------------------------------------------------------------------

    async def load_living(self, types: Collection[str]) -> list[Living]:
        """Open runs in one of these types of state."""
        rows = await fetch(
            self._conn,
            """
            select run_id, orchestrator_run_id as flow_run_id, state_at, silent_since from runs
            where not settled and orchestrator_run_id is not null and ended_seen_at is null
                and state_type = any(cast(:types as text[])) order by run_id
            """,
            types=list(types),
        )
        return [Living(**row) for row in rows]

    # -- what needs a person -------------------------------------------------------------------------------------

    async def load_hanging(self, waiting_since: datetime) -> list[Hanging]:
        """Open runs that go on only when somebody looks at them, the oldest first."""
        rows = await fetch(
            self._conn,
            """
            select run_id, tenant, instance_name, orchestrator_run_id as flow_run_id, status, sub_state,
                   coalesce(cancel_unconfirmed_at, state_at, created_at) as since from runs
            where not settled and orchestrator_run_id is not null and ended_seen_at is null
                and (sub_state in ('cancel_unconfirmed', 'unresponsive')
                     or (status = 'pending' and created_at < :waiting_since))
            order by created_at, run_id
            """,
            waiting_since=waiting_since,
        )
        return [Hanging(**row) for row in rows]

    # -- cancels -------------------------------------------------------------------------------------------------

    async def lease_cancels(self, now: datetime, *, lease: timedelta, limit: int) -> list[Intent]:
        """Intents whose time has come and whose flow run exists; nobody else takes them while the lease lasts."""
        rows = await fetch(
            self._conn,
            """
            update cancel_intents c set next_try_at = :until, tries = c.tries + 1
            from (select i.run_id, i.requested_at, r.orchestrator_run_id, r.silent_since is not null as silent
                  from cancel_intents i join runs r on r.run_id = i.run_id
                  where i.state = 'wanted' and i.next_try_at <= :now and r.orchestrator_run_id is not null
                  order by i.next_try_at limit :limit for update of i skip locked) due
            where c.run_id = due.run_id and c.requested_at = due.requested_at
            returning c.run_id, c.requested_at, c.actor, due.orchestrator_run_id, due.silent, c.tries
            """,
            now=now, until=now + lease, limit=limit,
        )  # fmt: skip
        return [
            Intent(
                row["run_id"],
                row["requested_at"],
                row["actor"],
                row["orchestrator_run_id"],
                row["silent"],
                row["tries"],
            )
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

    # -- saying all again ----------------------------------------------------------------------------------------

    async def live_after(self, portion: Portion) -> dict[UUID, bool]:
        """run id → whether it lives, in id order; after a restore also those that do not."""
        [after] = portion.key(1)
        rows = await fetch(
            self._conn,
            """
            select * from (
                select run_id, ended_seen_at is null or ended_seen_at >= :since as lives from runs
                where seq > 0 and (cast(:tenant as text) is null or tenant = :tenant)
                    and (cast(:after as uuid) is null or run_id > cast(:after as uuid))
            ) r where lives or :everything order by run_id limit :limit
            """,
            since=portion.since, tenant=portion.tenant, after=after, everything=portion.is_after_restore,
            limit=portion.limit,
        )  # fmt: skip
        return {row["run_id"]: row["lives"] for row in rows}

    async def raise_seq(self, run_ids: Sequence[UUID], *, by: int) -> None:
        """Let the next word about these runs, which are locked, lie so far on."""
        await execute(
            self._conn, "update runs set seq = seq + :by where run_id = any(cast(:ids as uuid[]))",
            by=by, ids=list(run_ids),
        )  # fmt: skip

    # -- age -----------------------------------------------------------------------------------------------------

    async def forget_runs(self, before: datetime, limit: int = 1_000) -> int:
        """Runs that ended before, with all that is known of them; their artifacts' files are the bucket's to forget."""
        return await execute(
            self._conn,
            f"""
            {_old()}, files as (delete from artifacts a using old where a.run_id = old.run_id),
            asked as (delete from seen_requests s using old where s.run_id = old.run_id)
            delete from runs r using old where r.run_id = old.run_id
            """,
            before=before, limit=limit,
        )  # fmt: skip

    async def forget_history(self, before: datetime, limit: int = 1_000) -> int:
        """How runs that ended before came to what they are; the run's row keeps what they are. Says how many runs."""
        known = "exists (select from run_history h where h.run_id = r.run_id)"
        return len(await fetch(self._conn, f"{_old(known)} select run_id from old", before=before, limit=limit))

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
