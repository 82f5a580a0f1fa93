"""All SQL of lineage, in the caller's transaction.

The fact not to break: whoever writes a tenant's rows has taken its lock first (`lock`, sorted), and counts the change
(`advance`). Loading costs four statements per tenant that others changed, and one where date rules name calendars;
saving one per table.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

from runtide_schemas.vocabulary import FlowKind
from sqlalchemy.ext.asyncio import AsyncConnection

from services.lineage import request_rows, rows
from services.lineage.backfill_dates import BackfillDates
from services.lineage.calendar_store import CalendarStore
from services.lineage.domain.approval import Approved
from services.lineage.domain.endings import Completion, Past, Run
from services.lineage.domain.gate import Request
from services.lineage.domain.graph import FlowKey
from services.lineage.domain.world import Instance, Schema, World
from services.lineage.mirror import Loaded, Mirror
from services.lineage.moving import Moved
from services.lineage.reannounce_store import ReannounceStore
from services.lineage.request_rows import DecisionRow
from services.lineage.restatement_pages import RestatementPages
from services.lineage.restatement_store import RestatementStore
from services.lineage.schedule_store import ScheduleStore
from shared.postgres import MANY, copy, execute, fetch


class LineageStore(CalendarStore):
    def __init__(self, conn: AsyncConnection, mirror: Mirror | None = None) -> None:
        super().__init__(conn)
        self._mirror = mirror or Mirror()
        self._revisions: dict[str, int] = {}
        self._counted: set[str] = set()
        self.restatements = RestatementStore(conn)
        self.restatement_pages = RestatementPages(conn)

    @property
    def again(self) -> ReannounceStore:
        return ReannounceStore(self._conn)

    @property
    def backfills(self) -> BackfillDates:
        return BackfillDates(self._conn)

    @property
    def schedules(self) -> ScheduleStore:
        return ScheduleStore(self._conn)

    async def lock(self, tenants: Collection[str]) -> None:
        """Take the tenants' locks, sorted, so that two batches never wait for each other in a ring. A tenant that is
        remembered has its row; the others get theirs first.
        """
        names = sorted(set(tenants))
        if all(self._mirror.get(name) is not None for name in names) and await self._locked(names):
            return
        await execute(
            self._conn,
            """
            insert into tenants (tenant) select name from unnest(cast(:names as text[])) as n (name) order by name
            on conflict do nothing
            """,
            names=names,
        )
        await self._locked(names)

    async def _locked(self, names: Sequence[str]) -> bool:
        """Whether all of them were there."""
        found = await fetch(
            self._conn,
            """
            select tenant, revision from tenants where tenant = any(cast(:names as text[])) order by tenant for update
            """,
            names=names,
        )
        self._revisions |= {row["tenant"]: row["revision"] for row in found}
        return len(found) == len(names)

    async def load(self, tenants: Collection[str]) -> dict[str, Loaded]:
        """These tenants, which are locked: from memory, as far as nobody else has changed them since. Calendars belong
        to nobody, so they are read anew.
        """
        return {tenant: await self._loaded(tenant, self._revisions[tenant]) for tenant in sorted(set(tenants))}

    async def present(self, tenant: str) -> World:
        """The world of the last change that was committed, for an answer that needs nothing else: where memory has it,
        after one statement of the driver's own, without a transaction, which is one round trip instead of four. A world
        that counts in calendars is read: those belong to nobody, and change without their tenants.
        """
        known = self._mirror.get(tenant)
        if known is not None and known.loaded.world.calendars is None:
            driver: Any = (await self._conn.get_raw_connection()).driver_connection
            if await driver.fetchval("select revision from tenants where tenant = $1", tenant) == known.revision:
                return known.loaded.world
        return (await self.read(tenant)).world

    async def read(self, tenant: str) -> Loaded:
        """The tenant as it is at one instant, without its lock. The first statement of its transaction."""
        await execute(self._conn, "set transaction isolation level repeatable read read only")
        found = await fetch(self._conn, "select revision from tenants where tenant = :tenant", tenant=tenant)
        revision = found[0]["revision"] if found else 0
        loaded = await self._loaded(tenant, revision)
        if found:
            self._mirror.put(revision, loaded)
        return loaded

    async def _loaded(self, tenant: str, revision: int) -> Loaded:
        known = self._mirror.get(tenant)
        if known is not None and known.revision == revision:
            return await self._with_calendars(known.loaded, named=False)
        usable = known if known is not None and known.revision < revision else None
        of: dict[str, Any] = {"tenant": tenant, "since": usable.revision if usable else -1}
        instances = await fetch(self._conn, rows.INSTANCES, **of)
        flows = await fetch(self._conn, rows.FLOWS, **of)
        edges = await fetch(self._conn, rows.EDGES, **of)
        requests = await fetch(self._conn, request_rows.REQUESTS, **of)
        changed = rows.instances_of(instances, flows, edges)
        world = usable.loaded.world if usable else World(tenant, {})
        asked = {**usable.loaded.requests} if usable else {}
        asked |= {row["run_id"]: request_rows.request_of(row) for row in requests}
        loaded = Loaded.of(world.with_instances(changed), asked.values())
        return await self._with_calendars(loaded, named=any(rows.names_calendar(row) for row in instances))

    async def _with_calendars(self, loaded: Loaded, *, named: bool) -> Loaded:
        """As calendars are now, for a world that counts in any. `named`: it does since this load."""
        if not named and loaded.world.calendars is None:
            return loaded
        calendars = await self.calendars()
        if calendars == loaded.world.calendars:
            return loaded
        return Loaded(loaded.world.with_calendars(calendars), loaded.requests)

    async def advance(self, changed: Collection[Loaded]) -> Callable[[], None]:
        """Count these tenants as changed. The answer remembers them so; call it after the commit."""
        names = [name for name in (loaded.world.tenant for loaded in changed) if name not in self._counted]
        if names:
            await execute(
                self._conn, "update tenants set revision = revision + 1 where tenant = any(cast(:names as text[]))",
                names=names,
            )  # fmt: skip
        kept = [(self._next_revision(loaded.world.tenant), loaded) for loaded in changed]

        def remember() -> None:
            for revision, loaded in kept:
                self._mirror.put(revision, loaded)

        return remember

    def _next_revision(self, tenant: str) -> int:
        return self._revisions[tenant] + 1

    async def owners(self, instance_ids: Collection[UUID]) -> dict[UUID, str]:
        """Instance → its tenant, of whichever tenant."""
        found = await fetch(
            self._conn,
            "select instance_id, tenant from instances where instance_id = any(cast(:ids as uuid[]))",
            ids=list(instance_ids),
        )
        return {row["instance_id"]: row["tenant"] for row in found}

    async def requests(self, run_ids: Collection[UUID]) -> dict[UUID, Request]:
        """Those that are known, also when ended."""
        found = await fetch(
            self._conn,
            "select * from open_requests where run_id = any(cast(:ids as uuid[]))",
            ids=list(run_ids),
        )
        return {row["run_id"]: request_rows.request_of(row) for row in found}

    async def runs(self, run_ids: Collection[UUID]) -> dict[UUID, Run]:
        found = await fetch(
            self._conn, "select * from runs where run_id = any(cast(:ids as uuid[]))", ids=list(run_ids)
        )
        return {row["run_id"]: rows.run_of(row) for row in found}

    async def versions_at(self, tenant: str, asked: Sequence[tuple[FlowKey, datetime]]) -> list[UUID | None]:
        """The version of each flow that was current at each instant, in the order asked."""
        found = await fetch(
            self._conn, rows.VERSIONS_AT,
            tenant=tenant, instances=[key.instance_id for key, _ in asked],
            kinds=[key.kind for key, _ in asked], ats=[at for _, at in asked],
        )  # fmt: skip
        return [row["version_id"] for row in found]

    async def pasts(self, tenant: str, changed_from: Mapping[FlowKey, datetime]) -> dict[FlowKey, Past]:
        """What the runs of these flows left, as far as it matters after a change from these instants on."""
        asked: dict[str, Any] = {
            "tenant": tenant,
            "instances": [key.instance_id for key in changed_from],
            "kinds": [key.kind for key in changed_from],
            "froms": list(changed_from.values()),
        }
        completions = await fetch(self._conn, rows.COMPLETIONS, **asked)
        facts = await fetch(self._conn, rows.PASTS, **asked)
        return rows.pasts_of(facts, completions, changed_from)

    async def save_runs(self, runs: Collection[Run]) -> None:
        await self._upsert("runs", ("run_id",), [rows.run_row(run) for run in runs])

    async def save_completions(self, completions: Iterable[tuple[Run, Completion]], *, now: datetime) -> None:
        """One row per completed attempt; one that comes again with more (a late seal) is completed."""
        batch = [rows.completion_row(run, completion, now) for run, completion in completions]
        if batch:
            await execute(self._conn, rows.SAVE_COMPLETIONS, rows=rows.dumps(batch))

    async def save_confirmed(self, completions: Collection[Completion]) -> None:
        """What the chain of completions says about each: what it confirms, and since when its columns are these."""
        if completions:
            await execute(
                self._conn,
                """
                update versions v set
                    confirms = c.confirms, schema_digest = c.schema_digest, schema_since = c.schema_since
                from unnest(
                    cast(:ids as uuid[]), cast(:confirmed as uuid[]), cast(:digests as text[]), cast(:sinces as uuid[])
                ) as c (version_id, confirms, schema_digest, schema_since)
                where v.version_id = c.version_id
                """,
                ids=[one.completion_id for one in completions], confirmed=[one.confirms for one in completions],
                digests=[one.schema_digest for one in completions], sinces=[one.schema_since for one in completions],
            )  # fmt: skip

    async def schemas(self, version_ids: Collection[UUID]) -> dict[UUID, Schema]:
        """Version → its columns, of those that are known."""
        if not version_ids:
            return {}
        found = await fetch(
            self._conn,
            "select version_id, schema_digest, schema_since from versions where version_id = any(cast(:ids as uuid[]))",
            ids=list(version_ids),
        )
        return {row["version_id"]: Schema(row["schema_digest"], row["schema_since"]) for row in found}

    async def withdraw(self, run_ids: Collection[UUID], *, now: datetime) -> dict[UUID, datetime]:
        """No version of these runs counts any more. Run → the earliest end of those that did."""
        if not run_ids:
            return {}
        found = await fetch(
            self._conn,
            """
            with gone as (
                update versions set withdrawn_at = :now
                where run_id = any(cast(:ids as uuid[])) and withdrawn_at is null
                returning run_id, ended_at
            )
            select run_id, min(ended_at) as ended_at from gone group by run_id
            """,
            now=now, ids=list(run_ids),
        )  # fmt: skip
        return {row["run_id"]: row["ended_at"] for row in found}

    async def save_instances(
        self, changed: Sequence[tuple[Instance | None, Instance]], turned: Sequence[Instance] = ()
    ) -> None:
        """Before and after of each. Definitions, facts and edges are touched only where they differ. `turned`: others,
        of which nothing differs but the answer.
        """
        touched = [pair for pair in changed if not rows.is_only_answered(*pair)]
        defined = [after for before, after in touched if before is None or before.definition != after.definition]
        await self._upsert("instances", ("instance_id",), [rows.instance_row(after) for after in defined])
        flows = [row for before, after in touched for row in rows.changed_flow_rows(before, after)]
        answered = [after for before, after in changed if before is not None]
        if not await self._move_at_once(flows, Moved.of(answered, turned)):
            await self._upsert("flows", ("instance_id", "kind"), flows)
            await self._save_standings(rows.UPDATE_STANDINGS, [*answered, *turned])
        await self._delete_flows([key for before, after in touched for key in rows.gone_flows(before, after)])
        await self._rewire([after for before, after in touched if rows.rewired(before, after)])
        await self._save_standings(rows.INSERT_STANDINGS, [after for before, after in changed if before is None])

    async def _save_standings(self, sql: str, changed: Sequence[Instance]) -> None:
        if changed:
            tenants = [instance.tenant for instance in changed]
            revisions = [self._next_revision(tenant) for tenant in tenants]
            columns = rows.standing_columns(changed)
            await execute(self._conn, sql, tenants=tenants, revisions=revisions, **columns)

    async def _move_at_once(self, flows: Sequence[Mapping[str, Any]], moved: Moved) -> bool:
        """Answers, facts and the count of the change by one statement, where it can be one."""
        shared = moved.shared()
        if shared is None:
            return False
        tenant, at = shared
        facts = [_upsert_of("flows", ("instance_id", "kind"), tuple(flows[0]))] if flows else []
        sql, params = moved.statement(facts)
        params |= {"rows": rows.dumps(flows)} if flows else {}
        await execute(self._conn, sql, tenant=tenant, revision=self._next_revision(tenant), at=at, **params)
        self._counted.add(tenant)
        return True

    async def _delete_flows(self, gone: Sequence[FlowKey]) -> None:
        if gone:
            await execute(
                self._conn,
                """
                delete from flows f using unnest(cast(:ids as uuid[]), cast(:kinds as text[])) as g (instance_id, kind)
                where f.instance_id = g.instance_id and f.kind = g.kind
                """,
                ids=[key.instance_id for key in gone], kinds=[key.kind for key in gone],
            )  # fmt: skip

    async def _rewire(self, rewired: Sequence[Instance]) -> None:
        if rewired:
            ids = [instance.instance_id for instance in rewired]
            await execute(self._conn, "delete from edges where instance_id = any(cast(:ids as uuid[]))", ids=ids)
            edges = [row for instance in rewired for row in rows.edge_rows(instance)]
            await execute(
                self._conn,
                "insert into edges select * from jsonb_populate_recordset(null::edges, cast(:rows as jsonb))",
                rows=rows.dumps(edges),
            )

    async def save_requests(self, changed: Sequence[tuple[Request | None, Request]], *, now: datetime) -> None:
        """Before and after of each. One that has ended keeps the time at which that was saved first."""
        moved: list[tuple[Request, int]] = []
        others: list[tuple[Request, int]] = []
        for before, after in changed:
            place = moved if request_rows.only_moves(before, after) else others
            place.append((after, self._next_revision(after.tenant)))
        if moved:
            await execute(self._conn, request_rows.MOVE_REQUESTS, **request_rows.moves_of(moved, now))
        batch = [{**request_rows.request_row(request, now), "revision": revision} for request, revision in others]
        await self._upsert("open_requests", ("run_id",), batch, kept="ended_at")

    async def save_decisions(self, decisions: Sequence[DecisionRow]) -> None:
        """Appended; of many as a COPY."""
        if len(decisions) >= MANY:
            await copy(self._conn, "decisions", DecisionRow._fields, decisions)
        elif decisions:
            await execute(self._conn, request_rows.INSERT_DECISIONS, **request_rows.decision_columns(decisions))

    async def save_plan(self, row: Mapping[str, Any]) -> None:
        await execute(
            self._conn,
            "insert into plans select * from jsonb_populate_recordset(null::plans, cast(:rows as jsonb))",
            rows=rows.dumps([row]),
        )

    async def plans(self, tenant: str, plan_ids: Collection[UUID]) -> dict[UUID, Approved]:
        """Those that this tenant has."""
        found = await fetch(
            self._conn,
            """
            select plan_id, instance_id, kind, skip_if_ready, promises from plans
            where tenant = :tenant and plan_id = any(cast(:ids as uuid[]))
            """,
            tenant=tenant, ids=list(plan_ids),
        )  # fmt: skip
        return {
            row["plan_id"]: Approved(
                FlowKey(row["instance_id"], FlowKind(row["kind"])), row["skip_if_ready"], row["promises"]
            )
            for row in found
        }

    async def save_events(self, events: Sequence[Mapping[str, Any]]) -> None:
        """What snapshots said anew, appended."""
        if events:
            await execute(self._conn, rows.INSERT_EVENTS, rows=rows.events_text(events))

    async def newly_refused(self, activity_ids: Collection[UUID], *, now: datetime) -> set[UUID]:
        """Those of these refusals that were not said before."""
        if not activity_ids:
            return set()
        found = await fetch(
            self._conn,
            """
            insert into refusals (activity_id, refused_at)
            select distinct id, cast(:now as timestamptz) from unnest(cast(:ids as uuid[])) as i (id)
            on conflict do nothing returning activity_id
            """,
            now=now, ids=list(activity_ids),
        )  # fmt: skip
        return {row["activity_id"] for row in found}

    async def _upsert(
        self, table: str, key: tuple[str, ...], batch: Sequence[Mapping[str, Any]], *, kept: str | None = None
    ) -> None:
        """`kept`: a column that stays as it was first set."""
        if not batch:
            return
        await execute(self._conn, _upsert_of(table, key, tuple(batch[0]), kept), rows=rows.dumps(batch))


@lru_cache
def _upsert_of(table: str, key: tuple[str, ...], columns: tuple[str, ...], kept: str | None = None) -> str:
    changes = ", ".join(
        f"{name} = coalesce({table}.{name}, excluded.{name})" if name == kept else f"{name} = excluded.{name}"
        for name in columns
        if name not in key
    )
    return f"""
    insert into {table} ({", ".join(columns)})
    select {", ".join(columns)} from jsonb_populate_recordset(null::{table}, cast(:rows as jsonb))
    on conflict ({", ".join(key)}) do update set {changes}
    """
