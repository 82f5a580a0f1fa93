"""All SQL that changes run_tracker's state, in the caller's transaction; a constant number of statements per batch.

The fact not to break: runs are locked `FOR UPDATE` in id order, and whoever creates or links runs holds creators' lock
exclusively *before* that, while whoever stores facts of unknown runs holds it shared: so neither misses the other.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from operator import attrgetter
from typing import Any, NamedTuple
from uuid import UUID

from runtide_schemas.prefect import FlowRunStateObserved
from runtide_schemas.requests import RequestStatusChanged
from sqlalchemy import Boolean, Date, DateTime, Double, Integer, Text, Uuid
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from services.run_tracker import tables
from services.run_tracker.domain.belonging import KnownFlow, Waiting
from services.run_tracker.domain.lifecycle import Observation
from services.run_tracker.domain.run import Run
from services.run_tracker.settings import Policy
from shared.postgres import execute, fetch, statement

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
_FLOW_AS_TEXT = tuple("cast(roles as text)" if name == "roles" else name for name in KnownFlow._fields)


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


class StoredReport(NamedTuple):
    run_id: UUID
    tenant: str
    attempt: int
    n: int
    kind: str
    at: datetime
    body: str


class RunTrackerStore:
    def __init__(self, conn: AsyncConnection, policy: Policy | None = None) -> None:
        self._conn = self.connection = conn
        self.policy = policy or Policy()

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

    async def _runs(self, sql: str, ids: Collection[UUID]) -> list[Run]:
        if not ids:
            return []
        return [Run(*row) for row in await self._rows(sql, ids=list(ids))]

    async def _rows(self, sql: str, /, **params: Any) -> Sequence[Sequence[Any]]:
        """Rows as tuples, for values that are built by position."""
        return (await self._conn.execute(statement(sql, params), params)).all()

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
        return {(flow_run_id, state_id) for flow_run_id, state_id in await self._rows(_KEEP, rows=rows)}

    async def load_observations(self, flow_run_ids: Collection[UUID]) -> dict[UUID, list[Observation]]:
        """flow run id → all its stored states, oldest first."""
        found: dict[UUID, list[Observation]] = {}
        if not flow_run_ids:
            return found
        rows = await self._rows(
            "select flow_run_id, state_id, state_at, state_type, state_name, state_message, run_count, start_time, "
            "gone, returned from observations where flow_run_id = any(cast(:ids as uuid[])) "
            "order by state_at, state_id",
            ids=list(flow_run_ids),
        )
        for flow_run_id, *values in rows:
            found.setdefault(flow_run_id, []).append(Observation(*values))
        return found

    # -- flow runs without a run ---------------------------------------------------------------------------------

    async def keep_waiting(self, waiting: Sequence[Waiting], now: datetime) -> list[Waiting]:
        """Note flow runs that belong to no run yet, and give back what is known of each by now."""
        rows = await self._rows(
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
        rows = await self._rows(
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

    # -- reports -------------------------------------------------------------------------------------------------

    async def keep_reports(self, reports: Sequence[StoredReport]) -> set[tuple[UUID, str, int, int]]:
        """Store what was not stored yet; (run id, tenant, attempt, n) of those. One statement."""
        if not reports:
            return set()
        columns = [list(column) for column in zip(*sorted(reports, key=lambda r: (r[0].int, *r[1:4])), strict=True)]
        rows = await self._rows(
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

    async def load_reports(self, run_ids: Collection[UUID]) -> dict[UUID, list[StoredReport]]:
        """run id → its stored reports, of whichever tenant and attempt."""
        found: dict[UUID, list[StoredReport]] = {}
        if not run_ids:
            return found
        rows = await self._rows(
            "select run_id, tenant, attempt, n, kind, at, cast(body as text) from reports "
            "where run_id = any(cast(:ids as uuid[])) order by attempt, n",
            ids=list(run_ids),
        )
        for row in rows:
            found.setdefault(row[0], []).append(StoredReport(*row))
        return found

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

    # -- requests and flows --------------------------------------------------------------------------------------

    async def remember_requests(self, requests: Sequence[RequestStatusChanged]) -> set[tuple[UUID, str]]:
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
        rows = await self._rows(
            f"select {', '.join(_FLOW_AS_TEXT)} from known_flows where instance_id = any(cast(:ids as uuid[])) "
            "or deployment = any(cast(:deployments as text[])) order by instance_id, flow_kind",
            ids=list(instance_ids), deployments=list(deployments),
        )  # fmt: skip
        return [KnownFlow(*row) for row in rows]

    async def load_unsettled_of(self, instance_ids: Collection[UUID]) -> list[Run]:
        """Runs of these instances that are not over for good, locked."""
        return await self._runs(
            f"{_SELECT} where instance_id = any(cast(:ids as uuid[])) and not settled order by run_id for update",
            instance_ids,
        )

    # -- cancels -------------------------------------------------------------------------------------------------

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


def _columns(runs: Collection[Run], names: Sequence[str]) -> dict[str, list[Any]]:
    values = zip(*map(attrgetter(*names), runs), strict=True)
    return {name: list(column) for name, column in zip(names, values, strict=True)}
