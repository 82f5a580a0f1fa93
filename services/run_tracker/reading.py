"""SQL of the HTTP answers: nothing here changes anything."""

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic_core import from_json
from runtide_schemas.vocabulary import RunType
from sqlalchemy.ext.asyncio import AsyncConnection

from services.run_tracker import tables
from services.run_tracker.upkeep import Mark, Upkeep
from shared.postgres import fetch

RECORD = (
    "run_id", "tenant", "run_type", "name", "instance_id", "instance_name", "flow_kind", "trigger", "mode",
    "parameters", "actor", "orchestrator_kind", "orchestrator_run_id", "deployment", "status", "previous_status",
    "sub_state", "attempt", "progress_pct", "step", "created_at", "started_at", "ended_at", "duration_seconds",
    "metrics_json", "artifacts_ref", "outputs_ref", "outputs", "input_versions", "output_digest", "schema_digest",
    "last_data_date", "rows_processed", "knowledge_time", "error", "cancel_requested_at", "supersedes", "warnings",
    "occurred_at", "seq",
)  # fmt: skip
_JSON = frozenset({"parameters", "metrics_json", "artifacts_ref", "input_versions", "error", "warnings"})
_SHOWN_AS = {"metrics_json": "metrics", "artifacts_ref": "artifacts"}


class Reading:
    def __init__(self, conn: AsyncConnection) -> None:
        self._conn = conn

    async def as_of(self) -> datetime | None:
        """Up to when our states are Prefect's."""
        return (await Upkeep(self._conn).load_sweep(Mark.SWEEP)).as_of

    async def runs(
        self, *, tenant: str, instance_id: UUID | None, run_type: RunType | None, status: str | None, limit: int,
        before: tuple[datetime, UUID] | None,
    ) -> list[dict[str, Any]]:  # fmt: skip
        """The newest first, after the cursor."""
        conditions, params = ["tenant = :tenant"], {"tenant": tenant, "limit": limit}
        if instance_id is not None:
            conditions.append("instance_id = :instance_id")
            params["instance_id"] = instance_id
        if run_type is not None:
            conditions.append("run_type = :run_type")
            params["run_type"] = str(run_type)
        if status is not None:
            conditions.append("status = :status")
            params["status"] = status
        if before is not None:
            conditions.append("(created_at, run_id) < (:created_at, :run_id)")
            params["created_at"], params["run_id"] = before
        rows = await fetch(
            self._conn,
            f"select {', '.join(RECORD)} from runs where {' and '.join(conditions)} "
            "order by created_at desc, run_id desc limit :limit",
            **params,
        )
        return [shown(dict(row)) for row in rows]

    async def run(self, tenant: str, run_id: UUID) -> dict[str, Any] | None:
        rows = await fetch(
            self._conn, f"select {', '.join(RECORD)} from runs where run_id = :run_id and tenant = :tenant",
            run_id=run_id, tenant=tenant,
        )  # fmt: skip
        return shown(dict(rows[0])) if rows else None

    async def is_request(self, tenant: str, run_id: UUID) -> str | None:
        """The status of the request of this id, if there is one."""
        rows = await fetch(
            self._conn, "select status from seen_requests where run_id = :run_id and tenant = :tenant",
            run_id=run_id, tenant=tenant,
        )  # fmt: skip
        return rows[0]["status"] if rows else None

    async def is_sealed(self, run_id: UUID, attempt: int) -> bool:
        """Whether this attempt has said its last."""
        return bool(await fetch(
            self._conn,
            "select 1 from runs where run_id = :run_id and outputs_attempt = :attempt and sealed_n is not null",
            run_id=run_id, attempt=attempt,
        ))  # fmt: skip

    async def headline(self, run_type: str, run_id: UUID) -> dict[str, Any]:
        """The typed metrics of the run's own table."""
        table = tables.extension_name(run_type)
        rows = await fetch(self._conn, f"select * from {table} where run_id = :run_id", run_id=run_id)
        return {name: value for name, value in rows[0].items() if name != "run_id"} if rows else {}

    async def history(self, run_id: UUID) -> list[dict[str, Any]]:
        """Everything that happened, oldest first."""
        rows = await fetch(
            self._conn,
            "select entry, at, source, status, sub_state, attempt, detail, message, seq from run_history "
            "where run_id = :run_id order by at, entry",
            run_id=run_id,
        )
        return [dict(row) for row in rows]

    async def artifacts(self, run_id: UUID, name: str | None = None) -> list[dict[str, Any]]:
        """Artifacts of every attempt that the run had, the newest attempt first."""
        rows = await fetch(
            self._conn,
            "select name, attempt, ref, size_bytes, sha256, content_type, reported_at from artifacts "
            "where run_id = :run_id and (cast(:name as text) is null or name = :name) "
            "and attempt <= (select greatest(1, attempt) from runs where run_id = :run_id) order by attempt desc, name",
            run_id=run_id, name=name,
        )  # fmt: skip
        return [dict(row) for row in rows]


def shown(row: dict[str, Any]) -> dict[str, Any]:
    """A row as people see it: JSON parsed, the contract's names."""
    return {
        _SHOWN_AS.get(name, name): from_json(value) if name in _JSON and isinstance(value, str) else value
        for name, value in row.items()
    }
