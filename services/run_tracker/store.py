"""The SQL of runs, their histories and observations, in the caller's transaction; a constant number of statements per
batch. What else a batch changes has stores of its own: `reports`, `belonging`, `requests`.

The fact not to break: runs are locked `FOR UPDATE` in id order, and whoever creates or links runs holds creators' lock
exclusively *before* that, while whoever stores facts of unknown runs holds it shared: so neither misses the other.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import fields
from datetime import datetime
from operator import attrgetter
from typing import Any, NamedTuple
from uuid import UUID

from runtide_schemas.prefect import FlowRunStateObserved
from sqlalchemy import Boolean, Date, DateTime, Double, Integer, Text, Uuid
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from services.run_tracker import tables
from services.run_tracker.belonging_store import BelongingStore
from services.run_tracker.domain.lifecycle import Observation
from services.run_tracker.domain.run import Run
from services.run_tracker.report_store import ReportStore
from services.run_tracker.request_store import RequestStore
from services.run_tracker.settings import Policy
from shared.postgres import execute, fetch, rows_of

_PG_TYPES = {
    Uuid: "uuid", Text: "text", DateTime: "timestamptz", Date: "date", Boolean: "boolean", JSONB: "jsonb",
    Double: "double precision", Integer: "integer",
}  # fmt: skip
_RUN_FIELDS = tuple(field.name for field in fields(Run))
_FIXED = (
    "run_id", "tenant", "run_type", "instance_id", "instance_name", "flow_kind", "trigger", "mode", "parameters",
    "actor",
)  # fmt: skip
_WHOLE = tuple(name for name in _RUN_FIELDS if name not in _FIXED)
STATES = (
    "name", "state_id", "state_at", "state_type", "state_name", "state_message", "state_status",
    "other_status", "other_at", "other_id", "run_count", "first_running_at", "source_started_at", "gone_at",
    "returned_at", "status", "sub_state", "previous_status", "attempt", "progress_pct", "step", "started_at",
    "ended_at", "duration_seconds", "outputs", "outputs_ref", "error", "knowledge_time", "occurred_at", "supersedes",
    "seq", "terminal_seq", "said_progress_at", "said_progress_n", "cancel_unconfirmed_at", "settled", "rechecks",
    "ended_seen_at",
)  # fmt: skip
_PROGRESS = (
    "progress_attempt", "progress_n", "progress_value", "progress_step", "progress_detail", "progress_at",
    "progress_pct", "step", "occurred_at", "seq", "said_progress_at", "said_progress_n", "said_decile",
)  # fmt: skip


def _pg_type(column: str) -> str:
    kind = tables.runs.c[column].type
    return "bigint" if kind.__visit_name__ == "big_integer" else _PG_TYPES[type(kind)]


def _unnest(columns: Sequence[str]) -> str:
    return ", ".join(f"cast(:{name} as {_pg_type(name)}[])" for name in columns)


def _update(columns: Sequence[str]) -> str:
    assignments = ", ".join(f"{name} = u.{name}" for name in columns)
    names = ", ".join(("run_id", *columns))
    return (
        f"update runs r set {assignments} from unnest({_unnest(('run_id', *columns))}) as u ({names}) "
        "where r.run_id = u.run_id"
    )


_AS_TEXT = tuple(f"cast({name} as text)" if _pg_type(name) == "jsonb" else name for name in _RUN_FIELDS)
_SELECT = f"select {', '.join(_AS_TEXT)} from runs"
_BY_FLOW_RUN = f"{_SELECT} where orchestrator_run_id = any(cast(:ids as uuid[])) order by run_id for update"
_BY_ID = f"{_SELECT} where run_id = any(cast(:ids as uuid[])) order by run_id for update"
_INSERT = f"insert into runs ({', '.join(_RUN_FIELDS)}) select * from unnest({_unnest(_RUN_FIELDS)})"
_SAVE_WHOLE, _SAVE_PROGRESS = _update(_WHOLE), _update(_PROGRESS)
_SAVE_STATES = (
    f"update runs r set {', '.join(f'{name} = u.{name}' for name in STATES)} "
    "from unnest(cast(:rows as run_states_2[])) u where r.run_id = u.run_id"
)
_states_of = attrgetter("run_id", *STATES)
SEEN = tuple(column.name for column in tables.observations.c)
_KEEP = f"""
insert into observations ({", ".join(SEEN)}) select * from unnest(cast(:rows as seen_states_2[]))
on conflict do nothing
returning flow_run_id, state_id
"""


class Entry(NamedTuple):
    """One line of a run's history; `entry` is what happened, once: a state id, or what else it was."""

    run_id: UUID
    entry: str
    at: datetime
    source: str
    status: str | None = None
    sub_state: str | None = None
    attempt: int | None = None
    detail: str | None = None
    message: str | None = None
    seq: int | None = None


_HISTORY = f"""
insert into run_history ({", ".join(Entry._fields)}) select * from unnest(cast(:rows as run_entries[]))
on conflict do nothing
"""


class RunTrackerStore:
    def __init__(self, conn: AsyncConnection, policy: Policy | None = None) -> None:
        self._conn = self.connection = conn
        self.policy = policy or Policy()
        self.reports, self.belonging, self.requests = ReportStore(conn), BelongingStore(conn), RequestStore(conn)

    # -- locks ---------------------------------------------------------------------------------------------------

    async def be_only_creator(self) -> None:
        """Until the end of the transaction nobody else creates or links runs, or stores facts of unknown ones."""
        await execute(self._conn, "select pg_advisory_xact_lock(hashtextextended(current_schema() || '.creators', 0))")

    async def hold_creators_off(self) -> bool:
        """Until the end of the transaction nobody creates or links runs; False: somebody is at it now.

        It does not wait, for the caller may hold rows that the creator waits for.
        """
        [row] = await fetch(
            self._conn,
            "select pg_try_advisory_xact_lock_shared(hashtextextended(current_schema() || '.creators', 0)) as held",
        )
        return bool(row["held"])

    async def become_only_creator(self) -> bool:
        """As `be_only_creator`, without waiting; False: somebody else stores facts of unknown runs now."""
        [row] = await fetch(
            self._conn, "select pg_try_advisory_xact_lock(hashtextextended(current_schema() || '.creators', 0)) as held"
        )
        return bool(row["held"])

    async def lock_runs(self, run_ids: Collection[UUID], *, of_flow_runs: Collection[UUID]) -> None:
        """These runs, and those that these flow runs have or claim. One statement."""
        await execute(
            self._conn,
            """
            select from runs where run_id in (
                select unnest(cast(:ids as uuid[]))
                union select run_id from runs where orchestrator_run_id = any(cast(:flow_runs as uuid[]))
                union select claimed_run_id from waiting_flow_runs where flow_run_id = any(cast(:flow_runs as uuid[]))
            ) order by run_id for update
            """,
            ids=list(run_ids), flow_runs=list(of_flow_runs),
        )  # fmt: skip

    # -- runs ----------------------------------------------------------------------------------------------------

    async def load_runs(self, run_ids: Collection[UUID]) -> dict[UUID, Run]:
        """run id → run, locked. One statement."""
        return {run.run_id: run for run in await self._runs(_BY_ID, run_ids)}

    async def load_runs_of(self, flow_run_ids: Collection[UUID]) -> list[Run]:
        """The runs of these flow runs, locked. One statement."""
        return await self._runs(_BY_FLOW_RUN, flow_run_ids)

    async def load_unsettled_of(self, instance_ids: Collection[UUID]) -> list[Run]:
        """Runs of these instances that are not over for good, locked."""
        return await self._runs(
            f"{_SELECT} where instance_id = any(cast(:ids as uuid[])) and not settled order by run_id for update",
            instance_ids,
        )

    async def _runs(self, sql: str, ids: Collection[UUID]) -> list[Run]:
        if not ids:
            return []
        return [Run(*row) for row in await rows_of(self._conn, sql, ids=list(ids))]

    async def create_runs(self, runs: Sequence[Run]) -> None:
        """New rows, each with one in the table of its type."""
        if not runs:
            return
        await execute(self._conn, _INSERT, **_columns(runs, _RUN_FIELDS))
        by_type: dict[str, list[UUID]] = {}
        for run in runs:
            by_type.setdefault(run.run_type, []).append(run.run_id)
        for run_type, run_ids in sorted(by_type.items()):
            await execute(
                self._conn,
                f"insert into {tables.extension_name(run_type)} (run_id) select unnest(cast(:ids as uuid[]))",
                ids=run_ids,
            )

    async def save_states(self, runs: Collection[Run]) -> None:
        """What observations change. One statement."""
        if runs:
            await execute(self._conn, _SAVE_STATES, rows=list(map(_states_of, runs)))

    async def save_whole(self, runs: Collection[Run]) -> None:
        """Whatever may change. One statement."""
        await self._save(_SAVE_WHOLE, _WHOLE, runs)

    async def save_progress(self, runs: Collection[Run]) -> None:
        await self._save(_SAVE_PROGRESS, _PROGRESS, runs)

    async def _save(self, sql: str, names: Sequence[str], runs: Collection[Run]) -> None:
        if runs:
            await execute(self._conn, sql, **_columns(runs, ("run_id", *names)))

    async def record(self, entries: Sequence[Entry]) -> None:
        """Append to the histories; what is there already stays. One statement."""
        if entries:
            await execute(self._conn, _HISTORY, rows=list(entries))

    # -- observations --------------------------------------------------------------------------------------------

    async def keep_observations(self, seen: Iterable[FlowRunStateObserved]) -> set[tuple[UUID, UUID]]:
        """Store what was not stored yet; (flow run id, state id) of those. One statement."""
        rows = sorted(
            ((m.flow_run_id, m.state_id, m.state_timestamp, m.state_type, m.state_name, m.state_message, m.run_count,
              m.start_time, m.gone, m.returned, m.source) for m in seen),
            key=lambda row: (row[0].int, row[1].int),
        )  # fmt: skip
        return {(flow_run_id, state_id) for flow_run_id, state_id in await rows_of(self._conn, _KEEP, rows=rows)}

    async def load_observations(self, flow_run_ids: Collection[UUID]) -> dict[UUID, list[Observation]]:
        """flow run id → all its stored states, oldest first."""
        found: dict[UUID, list[Observation]] = {}
        if not flow_run_ids:
            return found
        rows = await rows_of(
            self._conn,
            "select flow_run_id, state_id, state_at, state_type, state_name, state_message, run_count, start_time, "
            "gone, returned from observations where flow_run_id = any(cast(:ids as uuid[])) "
            "order by state_at, state_id",
            ids=list(flow_run_ids),
        )
        for flow_run_id, *values in rows:
            found.setdefault(flow_run_id, []).append(Observation(*values))
        return found


def _columns(runs: Collection[Run], names: Sequence[str]) -> dict[str, list[Any]]:
    values = zip(*map(attrgetter(*names), runs), strict=True)
    return {name: list(column) for name, column in zip(names, values, strict=True)}
