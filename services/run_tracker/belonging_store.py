"""The SQL of what says to whom a flow run belongs: registered flows, and flow runs that are nobody's yet."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from services.run_tracker.domain.belonging import KnownFlow, Waiting
from shared.postgres import execute, rows_of

_FLOW_AS_TEXT = tuple("cast(roles as text)" if name == "roles" else name for name in KnownFlow._fields)


class BelongingStore:
    def __init__(self, conn: AsyncConnection) -> None:
        self._conn = conn

    async def save_flows(self, flows: Sequence[KnownFlow], instance_seqs: Mapping[UUID, int]) -> None:
        """The flows of these instances are these now; a flow keeps the time since when it has its deployment."""
        ids, seqs = list(instance_seqs), list(instance_seqs.values())
        await execute(
            self._conn,
            """
            delete from known_flows k using unnest(cast(:ids as uuid[]), cast(:seqs as bigint[])) as i (id, seq)
            where k.instance_id = i.id and k.seq < i.seq
                and (k.instance_id::text || '/' || k.flow_kind) <> all(cast(:kept as text[]))
            """,
            ids=ids, seqs=seqs, kept=[f"{flow.instance_id}/{flow.flow_kind}" for flow in flows],
        )  # fmt: skip
        if not flows:
            return
        names = KnownFlow._fields
        types = ("uuid", "text", "text", "text", "text", "text", "text", "jsonb", "timestamptz", "boolean", "bigint")
        unnest = ", ".join(f"cast(:{name} as {kind}[])" for name, kind in zip(names, types, strict=True))
        keeps = "case when k.deployment = excluded.deployment then least(k.registered_at, excluded.registered_at) else excluded.registered_at end"  # noqa: E501
        await execute(
            self._conn,
            f"""
            insert into known_flows as k ({", ".join(names)}) select * from unnest({unnest})
            on conflict (instance_id, flow_kind) do update set tenant = excluded.tenant,
                instance_name = excluded.instance_name, instance_type = excluded.instance_type,
                registered_at = {keeps}, deployment = excluded.deployment, reports = excluded.reports,
                roles = excluded.roles, retired = excluded.retired, seq = excluded.seq
            where excluded.seq > k.seq
            """,
            **{name: [getattr(flow, name) for flow in flows] for name in names},
        )

    async def load_flows(
        self, *, instance_ids: Collection[UUID] = (), deployments: Collection[str] = ()
    ) -> list[KnownFlow]:
        rows = await rows_of(self._conn,
            f"select {', '.join(_FLOW_AS_TEXT)} from known_flows where instance_id = any(cast(:ids as uuid[])) "
            "or deployment = any(cast(:deployments as text[])) order by instance_id, flow_kind",
            ids=list(instance_ids), deployments=list(deployments),
        )  # fmt: skip
        return [KnownFlow(*row) for row in rows]

    async def keep_waiting(self, waiting: Sequence[Waiting], now: datetime) -> list[Waiting]:
        """Note flow runs that belong to no run yet, and give back what is known of each by now."""
        rows = await rows_of(self._conn,
            """
            insert into waiting_flow_runs as w
                (flow_run_id, flow_run_name, deployment, claimed_run_id, left_scheduled_at, seen_at)
            select *, :now from unnest(cast(:ids as uuid[]), cast(:names as text[]), cast(:deployments as text[]),
                cast(:claims as uuid[]), cast(:lefts as timestamptz[]))
            on conflict (flow_run_id) do update set
                flow_run_name = coalesce(w.flow_run_name, excluded.flow_run_name),
                deployment = coalesce(w.deployment, excluded.deployment),
                claimed_run_id = coalesce(w.claimed_run_id, excluded.claimed_run_id),
                left_scheduled_at = least(w.left_scheduled_at, excluded.left_scheduled_at)
            returning flow_run_id, flow_run_name, deployment, claimed_run_id, left_scheduled_at
            """,
            now=now,
            ids=[w.flow_run_id for w in waiting], names=[w.name for w in waiting],
            deployments=[w.deployment for w in waiting], claims=[w.claimed_run_id for w in waiting],
            lefts=[w.left_scheduled_at for w in waiting],
        )  # fmt: skip
        return [Waiting(*row) for row in rows]

    async def load_waiting(
        self, *, flow_run_ids: Collection[UUID] = (), claims: Collection[UUID] = (), deployments: Collection[str] = ()
    ) -> list[Waiting]:
        """Flow runs that wait: these, those tagged with one of these run ids, or of one of these deployments."""
        rows = await rows_of(self._conn,
            "select flow_run_id, flow_run_name, deployment, claimed_run_id, left_scheduled_at from waiting_flow_runs "
            "where flow_run_id = any(cast(:ids as uuid[])) or claimed_run_id = any(cast(:claims as uuid[])) "
            "or deployment = any(cast(:deployments as text[])) order by flow_run_id",
            ids=list(flow_run_ids), claims=list(claims), deployments=list(deployments),
        )  # fmt: skip
        return [Waiting(*row) for row in rows]

    async def no_longer_waiting(self, flow_run_ids: Collection[UUID]) -> None:
        if flow_run_ids:
            await execute(
                self._conn, "delete from waiting_flow_runs where flow_run_id = any(cast(:ids as uuid[]))",
                ids=list(flow_run_ids),
            )  # fmt: skip
