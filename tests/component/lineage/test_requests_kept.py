"""Requests that move by the thousand, and their decisions, are kept as one by one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from runtide_schemas.vocabulary import FlowKind, Gate, Mode, Trigger

from services.lineage.domain import gate
from services.lineage.domain.backfill import Range
from services.lineage.domain.gate import Request, State
from services.lineage.mirror import Mirror
from services.lineage.request_rows import DecisionRow, only_moves
from services.lineage.store import LineageStore
from shared.postgres import MANY
from tests.component.lineage.told import Told

NOW = datetime(2026, 1, 5, 12, 0, 0, 5, tzinfo=UTC)
Pair = tuple[Request | None, Request]


@pytest.fixture
async def asked(told: Told) -> list[Request]:
    """Requests of all kinds, stored as they wait."""
    plain = Request(uuid4(), told.tenant, uuid4(), None, None, Gate.WAIT, False, None, NOW)
    others: list[dict[str, Any]] = [
        {"kind": FlowKind.REFRESH, "parameters": {"é": [1.5, None, {"a": "\t"}]}, "wait_until": NOW},
        {"trigger": Trigger.BACKFILL, "mode": Mode.OVERWRITE, "parent_run_id": uuid4(), "due_at": NOW},
        {"backfill": Range(NOW.date(), NOW.date()), "actor": "ada", "shown": (("said", None),), "state": State.PARKED},
        {"number": 3, "state": State.PARKED, "shown": (("prices", "error"), ("fx", "stale")), "stands_for": "x/1"},
    ]
    requests = [plain, *(plain.but(run_id=uuid4(), asked_at=NOW + timedelta(1), **other) for other in others)]
    await save(told, [(None, one) for one in requests], NOW)
    return requests


async def save(told: Told, changed: list[Pair], now: datetime) -> None:
    async with told.lineage.running.context.engine.begin() as conn:
        store = LineageStore(conn, Mirror())
        await store.lock([told.tenant])
        await store.save_requests(changed, now=now)


async def kept(told: Told, ids: list[UUID]) -> dict[UUID, Request]:
    async with told.lineage.running.context.engine.connect() as conn:
        return await LineageStore(conn).requests(ids)


def moved(number: int, request: Request) -> Request:
    parked = request.but(state=State.PARKED, shown=(("prices", "é"),), due_at=NOW + timedelta(hours=1))
    admitted = request.but(state=State.ADMITTED, kind=FlowKind.REFRESH, shown=(), seq=7)
    return (parked, admitted, gate.ended(request, "skipped"))[number % 3].but(number=request.number + 1)


async def test_what_only_moves_is_stored_as_what_is_stored_whole(told: Told, asked: list[Request]) -> None:
    ids = [one.run_id for one in asked]
    assert await kept(told, ids) == {one.run_id: one for one in asked}
    changed: list[Pair] = [(one, moved(number, one)) for number, one in enumerate(asked)]
    assert all(only_moves(before, after) for before, after in changed)
    await save(told, changed, NOW)
    by_moving = await kept(told, ids)
    assert by_moving == {after.run_id: after for _, after in changed}
    rows = await told.lineage.rows("select * from open_requests where run_id = any($1) order by run_id", ids)
    await save(told, [(None, after) for _, after in changed], NOW)
    assert rows == await told.lineage.rows("select * from open_requests where run_id = any($1) order by run_id", ids)


async def test_one_that_has_ended_keeps_the_time_at_which_that_was_saved_first(
    told: Told, asked: list[Request]
) -> None:
    ended = gate.ended(asked[0], "refused")
    await save(told, [(asked[0], ended)], NOW)
    await save(told, [(ended, ended.but(seq=9))], NOW + timedelta(hours=1))
    [row] = await told.lineage.rows("select seq, ended_at from open_requests where run_id = $1", ended.run_id)
    assert (row["seq"], row["ended_at"]) == (9, NOW)


async def test_what_changes_besides_is_stored_too(told: Told, asked: list[Request]) -> None:
    after = asked[3].but(state=State.ADMITTED, actor="grace", stands_for="prices/2")
    assert not only_moves(asked[3], after)
    await save(told, [(asked[3], after), (asked[4], moved(1, asked[4]))], NOW)
    assert (await kept(told, [after.run_id]))[after.run_id] == after


@pytest.mark.parametrize("many", [2, MANY])
async def test_decisions_are_kept_whether_they_are_few_or_many(told: Told, many: int) -> None:
    said, seen = '{"type":"request.skipped","é":"\\n","n":1e16}', '{"prices/refresh":{"status":"ready"}}'
    rows = [
        DecisionRow(uuid4(), number, told.tenant, "request.skipped", NOW, said, seen) for number in range(1, many + 1)
    ]
    async with told.lineage.running.context.engine.begin() as conn:
        await LineageStore(conn).save_decisions(rows)
    found = await told.lineage.rows(
        "select run_id, number, tenant, answer, decided_at, said = $2::jsonb as said, seen = $3::jsonb as seen "
        "from decisions where tenant = $1 order by number", told.tenant, said, seen,
    )  # fmt: skip
    assert [tuple(row.values()) for row in found] == [(*row[:5], True, True) for row in rows]
