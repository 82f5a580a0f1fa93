"""The SQL of restatements: who read what, what is superseded, who is tainted. In the caller's transaction.

Whoever writes here has the lock of the tenant, as everywhere in lineage.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from runtide_schemas.vocabulary import FlowKind
from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from services.lineage.domain.graph import FlowKey
from services.lineage.domain.restatement import Path, Restatement, Step
from services.lineage.rows import dumps
from shared.postgres import execute, fetch

_TELL = """
with told as (
    select * from jsonb_populate_recordset(null::version_reads, cast(:rows as jsonb))
), gone as (
    delete from version_reads r where r.version_id = any(cast(:ids as uuid[]))
        and not exists (select 1 from told t where t.version_id = r.version_id and t.role = r.role)
), kept as (
    insert into version_reads select * from told
    on conflict (version_id, role) do update set upstream_version_id = excluded.upstream_version_id
    where version_reads.upstream_version_id <> excluded.upstream_version_id
)
select distinct tenant from restatements where tenant = any(cast(:tenants as text[]))
"""
_REACHED = """
coalesce(v.started_at, v.ended_at) <= x.declared_at
and (v.last_data_date is null or v.last_data_date >= x.first_data_date)
"""
_SUPERSEDE = f"""
insert into superseded_versions (restatement_id, version_id)
select x.restatement_id, v.version_id from restatements x
join versions v on v.tenant = x.tenant and v.instance_id = x.instance_id and v.kind = x.kind
where x.tenant = :tenant and case when x.version_id is null then {_REACHED} else v.version_id = x.version_id end
"""
_NO_LONGER = f"""
delete from superseded_versions s using restatements x, versions v
where x.restatement_id = s.restatement_id and v.version_id = s.version_id and x.tenant = :tenant
    and s.version_id = any(cast(:ids as uuid[])) and x.version_id is null and not ({_REACHED})
"""
_BELOW = """
with recursive below (version_id) as (
    (
        select id from unnest(cast(:ids as uuid[])) as i (id)
        union
        select confirms from versions where version_id = any(cast(:ids as uuid[])) and confirms is not null
    )
    union
    select r.version_id from below b
    join lateral (
        select b.version_id union all select v.version_id from versions v where v.confirms = b.version_id
    ) same (version_id) on true
    join version_reads r on r.upstream_version_id = same.version_id and r.tenant = :tenant
)
select b.version_id, r.role, coalesce(v.confirms, r.upstream_version_id) as read_id, r.run_id, r.attempt,
    u.instance_id, u.kind
from below b
left join (version_reads r join runs u on u.run_id = r.run_id) on r.version_id = b.version_id and r.tenant = :tenant
left join versions v on v.version_id = r.upstream_version_id and v.tenant = :tenant
"""
_SUPERSEDED = """
select s.restatement_id, coalesce(v.confirms, s.version_id) as version_id
from superseded_versions s
join restatements x on x.restatement_id = s.restatement_id
left join versions v on v.version_id = s.version_id
where x.tenant = :tenant
"""
_WHY = """
select coalesce(v.confirms, v.version_id) as current_id, x.*
from versions v
join superseded_versions s on s.version_id = v.version_id
join restatements x on x.restatement_id = s.restatement_id
where x.tenant = :tenant and (v.version_id = any(cast(:ids as uuid[])) or v.confirms = any(cast(:ids as uuid[])))
order by x.declared_at, x.restatement_id
"""


class Attempt(NamedTuple):
    """One start of a run of a flow."""

    run_id: UUID
    attempt: int
    flow: FlowKey


class Counted(NamedTuple):
    """How many versions a restatement supersedes, and how many attempts it taints."""

    versions: int
    tainted: int


@dataclass(slots=True)
class Below:
    """Attempts that a change may taint, with what they read: role and version, a confirmed one under its own id."""

    reads: dict[UUID, list[tuple[str, UUID]]] = field(default_factory=dict)
    attempts: dict[UUID, Attempt] = field(default_factory=dict)

    @property
    def versions(self) -> list[UUID]:
        """All that appear: the attempts, and what they read."""
        return list({*self.reads, *(version_id for its in self.reads.values() for _, version_id in its)})


class RestatementStore:
    def __init__(self, conn: AsyncConnection) -> None:
        self._conn = conn

    async def tell_reads(self, reads: Sequence[Mapping[str, Any]], ended: Mapping[UUID, str]) -> set[str]:
        """What these attempts (→ tenant) read, each as a whole. Answers which of their tenants have restatements."""
        found = await fetch(
            self._conn, _TELL, rows=dumps(reads), ids=list(ended), tenants=sorted(set(ended.values()))
        )  # fmt: skip
        return {row["tenant"] for row in found}

    async def restated(self, tenants: Collection[str]) -> set[str]:
        """Those that have restatements."""
        found = await fetch(
            self._conn,
            "select distinct tenant from restatements where tenant = any(cast(:tenants as text[]))",
            tenants=sorted(tenants),
        )
        return {row["tenant"] for row in found}

    async def one(self, tenant: str, restatement_id: UUID) -> Restatement | None:
        found = await fetch(
            self._conn, "select * from restatements where tenant = :tenant and restatement_id = :id",
            tenant=tenant, id=restatement_id,
        )  # fmt: skip
        return restatement_of(found[0]) if found else None

    async def flow_of(self, tenant: str, version_id: UUID) -> FlowKey | None:
        """The flow that made a version of this tenant."""
        found = await fetch(
            self._conn, "select instance_id, kind from versions where tenant = :tenant and version_id = :id",
            tenant=tenant, id=version_id,
        )  # fmt: skip
        return FlowKey(found[0]["instance_id"], FlowKind(found[0]["kind"])) if found else None

    async def declare(self, restatement: Restatement) -> set[UUID]:
        """Keep it, with the versions that it supersedes: those."""
        await execute(
            self._conn,
            """
            insert into restatements (restatement_id, tenant, instance_id, kind, version_id, first_data_date,
                last_data_date, reason, actor, command_id, declared_at)
            values (:id, :tenant, :instance_id, :kind, :version_id, :first, :last, :reason, :actor, :command_id, :at)
            """,
            id=restatement.restatement_id, tenant=restatement.tenant, instance_id=restatement.instance_id,
            kind=restatement.kind, version_id=restatement.version_id, first=restatement.first_data_date,
            last=restatement.last_data_date, reason=restatement.reason, actor=restatement.actor,
            command_id=restatement.command_id, at=restatement.declared_at,
        )  # fmt: skip
        found = await fetch(
            self._conn,
            _SUPERSEDE + "and x.restatement_id = :id on conflict do nothing returning version_id",
            tenant=restatement.tenant, id=restatement.restatement_id,
        )  # fmt: skip
        return {row["version_id"] for row in found}

    async def supersede_late(self, tenant: str, version_ids: Collection[UUID]) -> None:
        """Bring these completions, told late or told anew, under the restatements that reach them, and no others."""
        await execute(self._conn, _NO_LONGER, tenant=tenant, ids=list(version_ids))
        await execute(
            self._conn,
            _SUPERSEDE + "and x.version_id is null and v.version_id = any(cast(:ids as uuid[])) on conflict do nothing",
            tenant=tenant, ids=list(version_ids),
        )  # fmt: skip

    async def below(self, tenant: str, version_ids: Collection[UUID]) -> Below:
        """These attempts, and all that read what they or the versions that they confirm are, through any number."""
        result = Below()
        for row in await fetch(self._conn, _BELOW, tenant=tenant, ids=list(version_ids)):
            its = result.reads.setdefault(row["version_id"], [])
            if row["role"] is not None:
                its.append((row["role"], row["read_id"]))
                result.attempts[row["version_id"]] = attempt_of(row)
        return result

    async def superseded(self, tenant: str, version_ids: Collection[UUID]) -> dict[UUID, set[UUID]]:
        """Restatement → which of these versions it supersedes."""
        among = "and (s.version_id = any(cast(:ids as uuid[])) or v.confirms = any(cast(:ids as uuid[])))"
        result: dict[UUID, set[UUID]] = {}
        for row in await fetch(self._conn, _SUPERSEDED + among, tenant=tenant, ids=list(version_ids)):
            result.setdefault(row["restatement_id"], set()).add(row["version_id"])
        return result

    async def paths(self, tenant: str, version_ids: Collection[UUID]) -> dict[UUID, dict[UUID, Path]]:
        """Restatement → the paths of those of these attempts that it taints."""
        found = await fetch(
            self._conn,
            """
            select restatement_id, version_id, path from taints
            where version_id = any(cast(:ids as uuid[])) and tenant = :tenant
            """,
            tenant=tenant, ids=list(version_ids),
        )  # fmt: skip
        result: dict[UUID, dict[UUID, Path]] = {}
        for row in found:
            result.setdefault(row["restatement_id"], {})[row["version_id"]] = path_of(row["path"])
        return result

    async def save_taints(self, taints: Collection[Mapping[str, Any]], gone: Iterable[tuple[UUID, UUID]]) -> None:
        """Each with its path; `gone`: (restatement, attempt) that the facts no longer taint."""
        lost = list(gone)
        if lost:
            await execute(
                self._conn,
                """
                delete from taints t using unnest(cast(:of as uuid[]), cast(:ids as uuid[])) as g (of, id)
                where t.restatement_id = g.of and t.version_id = g.id
                """,
                of=[one for one, _ in lost], ids=[one for _, one in lost],
            )  # fmt: skip
        if taints:
            await execute(
                self._conn,
                """
                insert into taints select * from jsonb_populate_recordset(null::taints, cast(:rows as jsonb))
                on conflict (restatement_id, version_id) do update set path = excluded.path
                """,
                rows=dumps(taints),
            )

    async def why_superseded(self, tenant: str, version_ids: Collection[UUID]) -> dict[UUID, Restatement]:
        """Version → the newest restatement that supersedes it, of those of these that one does."""
        if not version_ids:
            return {}
        found = await fetch(self._conn, _WHY, tenant=tenant, ids=list(version_ids))
        return {row["current_id"]: restatement_of(row) for row in found}

    async def refused(self, activity_ids: Collection[UUID]) -> set[UUID]:
        """Those of these refusals that were said before."""
        found = await fetch(
            self._conn,
            "select activity_id from refusals where activity_id = any(cast(:ids as uuid[]))",
            ids=list(activity_ids),
        )
        return {row["activity_id"] for row in found}


def attempt_of(row: RowMapping) -> Attempt:
    return Attempt(row["run_id"], row["attempt"], FlowKey(row["instance_id"], FlowKind(row["kind"])))


def restatement_of(row: RowMapping) -> Restatement:
    return Restatement(
        restatement_id=row["restatement_id"],
        tenant=row["tenant"],
        instance_id=row["instance_id"],
        kind=FlowKind(row["kind"]),
        version_id=row["version_id"],
        first_data_date=row["first_data_date"],
        last_data_date=row["last_data_date"],
        reason=row["reason"],
        actor=row["actor"],
        command_id=row["command_id"],
        declared_at=row["declared_at"],
    )


def path_of(stored: Any) -> Path:
    steps = json.loads(stored) if isinstance(stored, str) else stored
    return tuple(Step(UUID(version_id), role) for version_id, role in steps)


def taint_row(
    restatement_id: UUID, tenant: str, version_id: UUID, attempt: Attempt, path: Path, now: datetime
) -> dict[str, Any]:
    return {
        "restatement_id": restatement_id,
        "version_id": version_id,
        "tenant": tenant,
        "run_id": attempt.run_id,
        "attempt": attempt.attempt,
        "path": [[str(step.version_id), step.role] for step in path],
        "tainted_at": now,
    }
