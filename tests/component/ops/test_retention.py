"""What grows without bound is given an end, and what still waits for anything is not."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from runtide_schemas.vocabulary import FlowKind, version_id_of
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.lineage import forgetting
from services.lineage import retention as of_lineage
from services.lineage.domain.endings import BEGINNING, chained
from services.lineage.domain.graph import FlowKey
from services.lineage.store import LineageStore
from services.notifier import retention as of_notifier
from services.submission import retention as of_submission
from shared.messaging import dead_letters
from shared.postgres import engine_for
from tests.support.harness import World

NOW = datetime.now(UTC)
LIMIT = NOW - timedelta(days=100)
OLD, YOUNG = NOW - timedelta(days=101), NOW - timedelta(days=99)


@asynccontextmanager
async def tables_of(world: World, service: str) -> AsyncIterator[AsyncConnection]:
    """Migrated, in a transaction that is rolled back."""
    await world.migrate(service)
    engine = engine_for(world.settings(service).postgres, schema=service, application="test")
    try:
        async with engine.connect() as conn:
            yield conn
            await conn.rollback()
    finally:
        await engine.dispose()


async def put(conn: AsyncConnection, table: str, **values: Any) -> None:
    names, places = ", ".join(f'"{name}"' for name in values), ", ".join(f":{name}" for name in values)
    await conn.execute(text(f"insert into {table} ({names}) values ({places})"), values)


async def left(conn: AsyncConnection, sql: str) -> set[str]:
    return {str(row[0]) for row in await conn.execute(text(sql))}


async def test_requests_are_forgotten_that_have_an_end_and_those_that_never_came(world: World) -> None:
    async with tables_of(world, "submission") as conn:

        async def request(what: str, status: str, at: datetime, seq: int = 3) -> uuid.UUID:
            run_id = uuid.uuid4()
            await put(conn, "requests", tenant="acme", run_id=run_id, command_id=what, status=status, seq=seq,
                      requested_at=OLD, changed_at=at)  # fmt: skip
            return run_id

        await request("refused and old", "refused", OLD)
        await request("only an answer ever came", "requested", OLD, seq=0)
        await request("refused lately", "refused", YOUNG)
        await request("parked without deadline", "parked", OLD)
        launching = await request("somebody launches it", "launched", OLD)
        await put(conn, "launches", tenant="acme", run_id=launching, deployment="d", asked_at=OLD, due_at=OLD)
        assert await of_submission.forget_requests(conn, LIMIT) == 2
        assert await left(conn, "select command_id from requests") == {
            "refused lately", "parked without deadline", "somebody launches it",
        }  # fmt: skip


async def test_lineage_forgets_requests_with_their_answers_and_refusals(world: World) -> None:
    async with tables_of(world, "lineage") as conn:

        async def request(what: str, state: str, ended_at: datetime | None) -> None:
            run_id = uuid.uuid4()
            await put(conn, "open_requests", run_id=run_id, tenant="acme", instance_id=run_id, gate="wait",
                      skip_if_ready=False, parameters="{}", state=state, shown="[]", number=1, seq=2, asked_at=OLD,
                      actor=what, ended_at=ended_at)  # fmt: skip
            await put(conn, "decisions", run_id=run_id, number=1, tenant="acme", answer=what, decided_at=OLD,
                      said="{}", seen="{}")  # fmt: skip

        await request("ended", "ended", OLD)
        await request("ended lately", "ended", YOUNG)
        await request("waits", "parked", None)
        await put(conn, "refusals", activity_id=uuid.uuid4(), refused_at=OLD)
        assert await of_lineage.forget_requests(conn, LIMIT) == 2
        assert await left(conn, "select actor from open_requests") == {"ended lately", "waits"}
        assert await left(conn, "select answer from decisions") == {"ended lately", "waits"}


class Runs:
    """Runs of one flow of lineage, each after the one before it."""

    def __init__(self, conn: AsyncConnection) -> None:
        self.conn, self.flow, self.count = conn, uuid.uuid4(), Counter[str]()

    async def put(self, ended_at: datetime | None, *, attempts: int = 1, started_at: datetime = OLD,
                  digest: str | None = None, read: uuid.UUID | None = None) -> uuid.UUID:  # fmt: skip
        self.count["runs"] += 1
        run_id, status = uuid.uuid4(), "completed" if ended_at else "running"
        at = ended_at + timedelta(seconds=self.count["runs"]) if ended_at else None
        of = {"run_id": run_id, "tenant": "acme", "instance_id": self.flow, "kind": "refresh"}
        await put(self.conn, "runs", **of, seq=9, status=status, mode="incremental", trigger="manual",
                  attempt=attempts, started_at=started_at, end_status=status if at else None, ended_at=at,
                  end_attempt=attempts, decides=at is not None)  # fmt: skip
        for attempt in range(1, attempts + 1) if at else ():
            made = version_id_of(run_id, attempt)
            await put(self.conn, "versions", version_id=made, **of, attempt=attempt, ended_at=at, minted_at=at,
                      sealed_late=False, reads="[]", digest=digest)  # fmt: skip
            await put(self.conn, "version_reads", version_id=made, role="prices", tenant="acme",
                      upstream_version_id=read or uuid.uuid4(), run_id=run_id, attempt=attempt)  # fmt: skip
        return run_id


async def test_lineage_forgets_a_run_with_each_of_its_attempts_but_not_what_was_current_at_the_limit(
    world: World,
) -> None:
    async with tables_of(world, "lineage") as conn:
        await put(conn, "tenants", tenant="acme")
        runs = Runs(conn)
        old, current, young = await runs.put(OLD, attempts=3), await runs.put(OLD), await runs.put(YOUNG)
        assert await forgetting.forget_runs(conn, LIMIT) == 1
        for table in ("runs", "versions", "version_reads"):
            assert await left(conn, f"select run_id from {table}") == {str(current), str(young)}, old
        [until] = await conn.scalars(text("select forgotten_until from tenants"))
        assert until == LIMIT


async def test_what_ended_before_the_limit_is_not_worked_out_again(world: World) -> None:
    """Two versions of the same content, and what lay between them is forgotten: the second confirms nothing now."""
    async with tables_of(world, "lineage") as conn:
        await put(conn, "tenants", tenant="acme")
        runs, readers = Runs(conn), Runs(conn)
        first, _, third = [version_id_of(await runs.put(OLD, digest=digest), 1) for digest in ("x", "y", "x")]
        await readers.put(YOUNG, read=first)
        assert await forgetting.forget_runs(conn, LIMIT) == 1

        async def from_the_first() -> list[tuple[uuid.UUID, uuid.UUID | None]]:
            key = FlowKey(runs.flow, FlowKind.REFRESH)
            past = (await LineageStore(conn).pasts("acme", {key: BEGINNING}))[key]
            return [(one.completion_id, one.confirms) for one in chained(past)]

        assert await from_the_first() == [(third, None)]
        await conn.execute(text("update tenants set forgotten_until = null"))
        assert await from_the_first() == [(first, None), (third, first)]  # the control


async def test_lineage_forgets_nothing_that_a_run_may_have_read_that_still_goes_on(world: World) -> None:
    async with tables_of(world, "lineage") as conn:
        await put(conn, "tenants", tenant="acme")
        runs = Runs(conn)
        await runs.put(OLD), await runs.put(OLD)
        hanging = await runs.put(None, started_at=OLD)
        assert await forgetting.forget_runs(conn, LIMIT) == 0
        await conn.execute(text("delete from runs where run_id = :id"), {"id": hanging})
        assert await forgetting.forget_runs(conn, LIMIT) == 1


async def test_activities_are_forgotten_by_when_they_happened(world: World) -> None:
    async with tables_of(world, "notifier") as conn:
        for what, at in (("old", OLD), ("young", YOUNG)):
            await put(conn, "activities", activity_id=uuid.uuid4(), tenant="acme", resource_type="run",
                      resource_id=what, action="request.parked", payload="{}", occurred_at=at)  # fmt: skip
        assert await of_notifier.forget_activities(conn, LIMIT) == 1
        assert await left(conn, "select resource_id from activities") == {"young"}


async def test_whose_an_old_run_is_is_forgotten_and_whose_an_instance_is_is_not(world: World) -> None:
    async with tables_of(world, "notifier") as conn:
        for kind, tenant, at in (("run", "old", OLD), ("run", "young", YOUNG), ("instance", "lives", OLD)):
            await put(conn, "owners", kind=kind, entity_id=uuid.uuid4(), tenant=tenant, named_at=at)
        assert await of_notifier.forget_owners(conn, LIMIT) == 1
        assert await left(conn, "select tenant from owners") == {"young", "lives"}


async def test_a_dead_letter_that_waits_for_a_decision_is_never_forgotten(world: World) -> None:
    async with tables_of(world, "notifier") as conn:
        for what, status, at in (("old", "dropped", OLD), ("young", "replayed", YOUNG), ("waits", "new", OLD)):
            await put(conn, "dead_letters", consumer="c", message_id=what, topic="t", partition=0, offset=0,
                      timestamp_ms=0, headers="[]", reason="r", status=status, last_seen_at=at)  # fmt: skip
        assert await dead_letters.forget(conn, LIMIT, limit=10) == 1
        assert await left(conn, "select message_id from dead_letters") == {"young", "waits"}
