"""The SQL of what flows report: reports as they came, the artifacts among them, and the typed metrics of each run."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from services.run_tracker import tables
from shared.postgres import execute, rows_of


class StoredReport(NamedTuple):
    run_id: UUID
    tenant: str
    attempt: int
    n: int
    kind: str
    at: datetime
    body: str


class ReportStore:
    def __init__(self, conn: AsyncConnection) -> None:
        self._conn = conn

    async def keep(self, reports: Sequence[StoredReport]) -> set[tuple[UUID, str, int, int]]:
        """Store what was not stored yet; (run id, tenant, attempt, n) of those. One statement."""
        if not reports:
            return set()
        columns = [list(column) for column in zip(*sorted(reports, key=lambda r: (r[0].int, *r[1:4])), strict=True)]
        rows = await rows_of(
            self._conn,
            """
            insert into reports (run_id, tenant, attempt, n, kind, at, body)
            select * from unnest(cast(:run_id as uuid[]), cast(:tenant as text[]), cast(:attempt as int[]),
                cast(:n as bigint[]), cast(:kind as text[]), cast(:at as timestamptz[]), cast(:body as jsonb[]))
            on conflict do nothing
            returning run_id, tenant, attempt, n
            """,
            **dict(zip(StoredReport._fields, columns, strict=True)),
        )
        return {(run_id, tenant, attempt, n) for run_id, tenant, attempt, n in rows}

    async def load(self, run_ids: Collection[UUID]) -> dict[UUID, list[StoredReport]]:
        """run id → its stored reports, of whichever tenant and attempt."""
        found: dict[UUID, list[StoredReport]] = {}
        if not run_ids:
            return found
        rows = await rows_of(
            self._conn,
            "select run_id, tenant, attempt, n, kind, at, cast(body as text) from reports "
            "where run_id = any(cast(:ids as uuid[])) order by attempt, n",
            ids=list(run_ids),
        )
        for row in rows:
            found.setdefault(row[0], []).append(StoredReport(*row))
        return found

    async def forget_artifacts(self, artifacts: Sequence[Mapping[str, Any]]) -> None:
        """Exactly these reports', which turned out to come after their attempt's seal."""
        if not artifacts:
            return
        names = ("run_id", "attempt", "name", "n")
        await execute(
            self._conn,
            """
            delete from artifacts where (run_id, attempt, name, n) in (select * from unnest(cast(:run_id as uuid[]),
                cast(:attempt as int[]), cast(:name as text[]), cast(:n as bigint[])))
            """,
            **{name: [artifact[name] for artifact in artifacts] for name in names},
        )

    async def save_artifacts(self, artifacts: Sequence[Mapping[str, Any]]) -> None:
        """The newest report of each (run, attempt, name) wins."""
        if not artifacts:
            return
        names = ("run_id", "attempt", "name", "n", "ref", "size_bytes", "sha256", "content_type", "reported_at")
        await execute(
            self._conn,
            """
            insert into artifacts as a (run_id, attempt, name, n, ref, size_bytes, sha256, content_type, reported_at)
            select distinct on (run_id, attempt, name) * from unnest(cast(:run_id as uuid[]), cast(:attempt as int[]),
                cast(:name as text[]), cast(:n as bigint[]), cast(:ref as text[]), cast(:size_bytes as bigint[]),
                cast(:sha256 as text[]), cast(:content_type as text[]), cast(:reported_at as timestamptz[]))
                as u (run_id, attempt, name, n, ref, size_bytes, sha256, content_type, reported_at)
            order by run_id, attempt, name, n desc
            on conflict (run_id, attempt, name) do update set n = excluded.n, ref = excluded.ref,
                size_bytes = excluded.size_bytes, sha256 = excluded.sha256, content_type = excluded.content_type,
                reported_at = excluded.reported_at
            where excluded.n > a.n
            """,
            **{name: [artifact[name] for artifact in artifacts] for name in names},
        )

    async def save_headlines(self, run_type: str, rows_json: str) -> None:
        """Replace the typed metrics of runs of one type: JSON objects with run_id and every column."""
        table = tables.extension_name(run_type)
        names = [c.name for c in tables.metadata.tables[table].columns if c.name != "run_id"]
        await execute(
            self._conn,
            f"update {table} t set {', '.join(f'{name} = u.{name}' for name in names)} "
            f"from jsonb_populate_recordset(null::{table}, cast(:rows as jsonb)) u where t.run_id = u.run_id",
            rows=rows_json,
        )
