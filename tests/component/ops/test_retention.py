"""What grows without bound is given an end, and what still waits for anything is not."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.lineage import retention as of_lineage
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


async def test_activities_are_forgotten_by_when_they_happened(world: World) -> None:
    async with tables_of(world, "notifier") as conn:
        for what, at in (("old", OLD), ("young", YOUNG)):
            await put(conn, "activities", activity_id=uuid.uuid4(), tenant="acme", resource_type="run",
                      resource_id=what, action="request.parked", payload="{}", occurred_at=at)  # fmt: skip
        assert await of_notifier.forget_activities(conn, LIMIT) == 1
        assert await left(conn, "select resource_id from activities") == {"young"}


async def test_a_dead_letter_that_waits_for_a_decision_is_never_forgotten(world: World) -> None:
    async with tables_of(world, "notifier") as conn:
        for what, status, at in (("old", "dropped", OLD), ("young", "replayed", YOUNG), ("waits", "new", OLD)):
            await put(conn, "dead_letters", consumer="c", message_id=what, topic="t", partition=0, offset=0,
                      timestamp_ms=0, headers="[]", reason="r", status=status, last_seen_at=at)  # fmt: skip
        assert await dead_letters.forget(conn, LIMIT, limit=10) == 1
        assert await left(conn, "select message_id from dead_letters") == {"young", "waits"}
