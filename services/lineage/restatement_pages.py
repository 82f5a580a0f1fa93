"""What the HTTP answers about restatements are read from. Nothing is written here."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import NamedTuple
from uuid import UUID

from runtide_schemas.vocabulary import FlowKind, Mode, RunStatus
from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from services.lineage.domain.graph import FlowKey
from services.lineage.domain.repair import Tainted
from services.lineage.domain.restatement import Restatement
from services.lineage.restatement_store import Attempt, Counted, attempt_of, path_of, restatement_of
from shared.postgres import fetch

_LIST = """
select x.*, (select count(*) from superseded_versions s where s.restatement_id = x.restatement_id) as versions,
    (select count(*) from taints t where t.restatement_id = x.restatement_id) as tainted
from restatements x
where x.tenant = :tenant
"""
_TAINTED = """
select t.version_id, t.run_id, t.attempt, t.path, t.tainted_at, u.instance_id, u.kind, u.mode, u.ended_at,
    case when u.end_attempt = t.attempt then u.end_status
        when v.version_id is not null and v.withdrawn_at is null then 'completed' end as status,
    v.version_id is not null and v.withdrawn_at is null as counts, v.confirms
from taints t
join runs u on u.run_id = t.run_id
left join versions v on v.version_id = t.version_id
where t.restatement_id = :id
"""
_READS = """
select r.version_id, r.role, coalesce(v.confirms, r.upstream_version_id) as read_id
from taints t
join version_reads r on r.version_id = t.version_id
left join versions v on v.version_id = r.upstream_version_id and v.tenant = t.tenant
where t.restatement_id = :id order by r.version_id, r.role
"""
_CONFIRMED = """
select v.confirms, array_agg(r.role) as roles
from taints t
join versions v on v.confirms = t.version_id and v.withdrawn_at is null
join version_reads r on r.version_id = v.version_id
where t.restatement_id = :id
    and not exists (select 1 from taints o where o.restatement_id = t.restatement_id and o.version_id = v.version_id)
group by v.confirms, v.version_id
"""


@dataclass(frozen=True, slots=True)
class Marked:
    """A tainted attempt and since when it is known."""

    tainted: Tainted
    tainted_at: datetime


class Superseded(NamedTuple):
    version_id: UUID
    made_by: Attempt
    last_data_date: date | None
    ended_at: datetime


class RestatementPages:
    def __init__(self, conn: AsyncConnection) -> None:
        self._conn = conn

    async def page(
        self, tenant: str, *, limit: int, after: tuple[datetime, UUID] | None, instance_id: UUID | None = None
    ) -> list[tuple[Restatement, Counted]]:
        """The newest first."""
        sql = _LIST
        if instance_id is not None:
            sql += " and x.instance_id = :instance_id"
        if after is not None:
            sql += " and (x.declared_at < :at or x.declared_at = :at and x.restatement_id > :after_id)"
        found = await fetch(
            self._conn, sql + " order by x.declared_at desc, x.restatement_id limit :limit",
            tenant=tenant, limit=limit, **({"instance_id": instance_id} if instance_id else {}),
            **({"at": after[0], "after_id": after[1]} if after else {}),
        )  # fmt: skip
        return [(restatement_of(row), Counted(row["versions"], row["tainted"])) for row in found]

    async def counted(self, restatement_id: UUID) -> Counted:
        [row] = await fetch(
            self._conn,
            """
            select (select count(*) from superseded_versions where restatement_id = :id) as versions,
                (select count(*) from taints where restatement_id = :id) as tainted
            """,
            id=restatement_id,
        )
        return Counted(row["versions"], row["tainted"])

    async def of_run(self, tenant: str, run_id: UUID) -> list[tuple[Restatement, Counted, Marked]]:
        """The restatements that taint a run, the newest first; once per attempt of it."""
        found = await fetch(
            self._conn,
            _LIST + "and x.restatement_id in (select restatement_id from taints where run_id = :run_id)"
            " order by x.declared_at desc, x.restatement_id",
            tenant=tenant, run_id=run_id,
        )  # fmt: skip
        result = []
        for row in found:
            about = restatement_of(row), Counted(row["versions"], row["tainted"])
            marks = await fetch(
                self._conn, _TAINTED + "and t.run_id = :run_id order by t.attempt",
                id=row["restatement_id"], run_id=run_id,
            )  # fmt: skip
            result += [(*about, _marked(mark)) for mark in marks]
        return result

    async def tainted(self, restatement_id: UUID, *, limit: int, after: tuple[datetime, UUID] | None) -> list[Marked]:
        """Those last tainted first."""
        sql = _TAINTED
        if after is not None:
            sql += " and (t.tainted_at < :at or t.tainted_at = :at and t.version_id > :after_id)"
        found = await fetch(
            self._conn, sql + " order by t.tainted_at desc, t.version_id limit :limit", id=restatement_id, limit=limit,
            **({"at": after[0], "after_id": after[1]} if after else {}),
        )  # fmt: skip
        return [_marked(row) for row in found]

    async def superseded(self, restatement_id: UUID, *, limit: int) -> list[Superseded]:
        """The versions that it supersedes, the newest first."""
        found = await fetch(
            self._conn,
            """
            select v.* from superseded_versions s join versions v on v.version_id = s.version_id
            where s.restatement_id = :id order by v.ended_at desc, v.version_id limit :limit
            """,
            id=restatement_id, limit=limit,
        )  # fmt: skip
        return [Superseded(row["version_id"], attempt_of(row), row["last_data_date"], row["ended_at"]) for row in found]

    async def made_by(self, tenant: str, version_ids: Collection[UUID]) -> dict[UUID, Attempt]:
        """Version → the attempt that made it."""
        found = await fetch(
            self._conn,
            """
            select version_id, run_id, attempt, instance_id, kind from versions
            where tenant = :tenant and version_id = any(cast(:ids as uuid[]))
            """,
            tenant=tenant, ids=list(version_ids),
        )  # fmt: skip
        return {row["version_id"]: attempt_of(row) for row in found}

    async def to_repair(self, restatement_id: UUID) -> list[Tainted]:
        """All that it taints, with what they read and were asked with."""
        found = await fetch(
            self._conn,
            f"select m.*, q.parameters from ({_TAINTED}) m left join open_requests q on q.run_id = m.run_id",
            id=restatement_id,
        )
        reads: dict[UUID, list[tuple[str, UUID]]] = {}
        for row in await fetch(self._conn, _READS, id=restatement_id):
            reads.setdefault(row["version_id"], []).append((row["role"], row["read_id"]))
        return [_tainted(row, reads.get(row["version_id"], ()), row["parameters"]) for row in found]

    async def superseded_ids(self, restatement_id: UUID) -> set[UUID]:
        """All versions that it supersedes, a confirmed one under its own id."""
        found = await fetch(
            self._conn,
            """
            select coalesce(v.confirms, s.version_id) as version_id
            from superseded_versions s left join versions v on v.version_id = s.version_id where s.restatement_id = :id
            """,
            id=restatement_id,
        )
        return {row["version_id"] for row in found}

    async def confirmed(self, restatement_id: UUID) -> dict[UUID, list[frozenset[str]]]:
        """Tainted version → of each completion that found it unchanged and is not tainted the roles that it read."""
        result: dict[UUID, list[frozenset[str]]] = {}
        for row in await fetch(self._conn, _CONFIRMED, id=restatement_id):
            result.setdefault(row["confirms"], []).append(frozenset(row["roles"]))
        return result

    async def parameters_of(self, run_ids: Collection[UUID]) -> dict[UUID, dict[str, object]]:
        """Those of the runs that somebody requested."""
        found = await fetch(
            self._conn,
            "select run_id, parameters from open_requests where run_id = any(cast(:ids as uuid[]))",
            ids=list(run_ids),
        )
        return {row["run_id"]: row["parameters"] for row in found}


def _marked(row: RowMapping) -> Marked:
    return Marked(_tainted(row), row["tainted_at"])


def _tainted(row: RowMapping, reads: Sequence[tuple[str, UUID]] = (), parameters: object = None) -> Tainted:
    return Tainted(
        version_id=row["version_id"],
        run_id=row["run_id"],
        attempt=row["attempt"],
        flow=FlowKey(row["instance_id"], FlowKind(row["kind"])),
        path=path_of(row["path"]),
        status=RunStatus(row["status"]) if row["status"] else None,
        mode=Mode(row["mode"]),
        ended_at=row["ended_at"],
        counts=row["counts"],
        confirms=row["confirms"],
        reads=tuple(reads),
        parameters=parameters if isinstance(parameters, dict) else {},
    )
