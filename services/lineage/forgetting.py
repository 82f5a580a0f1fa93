"""Which runs lineage forgets, and their versions and reads with them: old ones on which nothing rests any more.

The fact not to break (docs/adr/0038): whatever is asked about now, or after the limit, is answered as if all were
there. So a run stays for each reason below, and what ended before the limit is never worked out again.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from runtide_schemas.vocabulary import version_id_of
from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from services.lineage.store import LineageStore
from shared.postgres import execute, fetch
from shared.retention import PORTION

TOLD_LATE = timedelta(days=30)  # what a topic held back so long may be named by an event of then
_FLOW = "w.tenant = r.tenant and w.instance_id = r.instance_id and w.kind = r.kind and w.ended_at < l.until"
_COUNTS = f"{_FLOW} and w.withdrawn_at is null and not w.is_backfill"

# Why a run stays that ended before the limit.
OF_RUNS = {
    "it goes on": "r.status <> r.end_status",
    "it was its flow's newest": f"""
        r.run_id = (select w.run_id from runs w where {_FLOW} order by w.ended_at desc, w.run_id desc limit 1)
    """,
    "its end decided": f"""
        r.run_id is not distinct from (
            select w.run_id from runs w where {_FLOW} and w.decides order by w.ended_at desc, w.run_id desc limit 1
        )
    """,
    "it is tainted": "exists (select from taints t where t.run_id = r.run_id)",
    "an event names it": "r.run_id in (select id from named)",
}
# And why one stays that made a version v, the most frequent reason first.
OF_VERSIONS = {
    "it was read": """
        exists (select from version_reads x where x.upstream_version_id = v.version_id and x.run_id <> v.run_id)
    """,
    "it was current": f"""
        v.version_id = (
            select w.version_id from versions w where {_COUNTS}
            order by w.ended_at desc, w.run_id desc, w.attempt desc limit 1
        )
    """,
    "it has the greatest date": f"""
        v.last_data_date is not null and v.withdrawn_at is null and not v.is_backfill and not exists (
            select from versions w where {_COUNTS}
                and (w.last_data_date, w.ended_at, w.version_id) > (v.last_data_date, v.ended_at, v.version_id)
        )
    """,
    "it was confirmed": """
        exists (select from versions w where w.confirms = v.version_id and w.run_id <> v.run_id)
    """,
    "it is superseded": """
        exists (select from superseded_versions s where s.version_id in (v.version_id, v.confirms))
    """,
    "it confirms a tainted one": "exists (select from taints t where t.version_id = v.confirms)",
    "an event names the version": "v.version_id in (select id from named)",
}


async def forget_runs(conn: AsyncConnection, before: datetime, limit: int = PORTION) -> int:
    """Runs that ended before, with what they made and read. The first statements of their transaction: they take the
    tenants' locks. Those that others had read go once their readers have gone.
    """
    found = await _forgettable(conn, before, limit=limit)
    if not found:
        return 0
    await LineageStore(conn).lock({row["tenant"] for row in found})
    old = await _forgettable(conn, before, limit=limit, among=[row["run_id"] for row in found])
    attempts = [version_id_of(row["run_id"], 1 + n) for row in old for n in range(row["attempt"])]
    await _remember_until(conn, {row["tenant"]: row["until"] for row in old})
    await execute(conn, "delete from version_reads where version_id = any(cast(:ids as uuid[]))", ids=attempts)
    ids = [row["run_id"] for row in old]
    await execute(conn, "delete from versions where run_id = any(cast(:ids as uuid[]))", ids=ids)
    return await execute(conn, "delete from runs where run_id = any(cast(:ids as uuid[]))", ids=ids)


async def _forgettable(
    conn: AsyncConnection, before: datetime, *, limit: int, among: Collection[UUID] | None = None
) -> Sequence[RowMapping]:
    """Run, attempts, tenant, and the tenant's limit: not after the beginning of anything that is still open, since that
    may have read what was current then.
    """
    return await fetch(
        conn,
        f"""
        with limits as (
            select t.tenant, least(
                cast(:before as timestamptz),
                (select min(o.started_at) from runs o where o.tenant = t.tenant and o.status = 'running'),
                (select min(q.asked_at) from open_requests q where q.tenant = t.tenant and q.state = 'admitted')
            ) as until
            from tenants t
        ), named as materialized (
            select id from status_events e
            cross join lateral (values (e.run_id), (e.open_run_id), (e.version_id)) as n (id)
            where e.at < :named_before and id is not null
        )
        select r.run_id, r.attempt, r.tenant, l.until
        from runs r
        join limits l on l.tenant = r.tenant
        cross join lateral (
            select coalesce(bool_or({_any_of(OF_VERSIONS)}), false) as stays from versions v where v.run_id = r.run_id
        ) made
        where r.ended_at < :before and r.ended_at < l.until and not ({_any_of(OF_RUNS)}) and not made.stays
            {"and r.run_id = any(cast(:ids as uuid[]))" if among is not None else ""}
        order by r.ended_at limit :limit
        """,
        before=before, named_before=before + TOLD_LATE, limit=limit,
        **({"ids": list(among)} if among is not None else {}),
    )  # fmt: skip


def _any_of(reasons: dict[str, str]) -> str:
    return " or ".join(f"({sql})" for sql in reasons.values())


async def _remember_until(conn: AsyncConnection, limits: dict[str, datetime]) -> None:
    """What ended before these limits is taken as it was found from now on."""
    await execute(
        conn,
        """
        update tenants t set forgotten_until = greatest(t.forgotten_until, n.until)
        from unnest(cast(:tenants as text[]), cast(:untils as timestamptz[])) as n (tenant, until)
        where t.tenant = n.tenant
        """,
        tenants=list(limits), untils=list(limits.values()),
    )  # fmt: skip
