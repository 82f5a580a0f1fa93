"""`/v1/ops` of every service: how far the consumers are, what the outbox holds, and the dead letters."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query

from shared.auth import Caller
from shared.http import Ctx, Problem, not_found, requires
from shared.messaging import dead_letters
from shared.messaging.decode import Bad, decode
from shared.messaging.failure import reason_of, verdict
from shared.messaging.work import Work
from shared.postgres import fetch

router = APIRouter(prefix="/v1/ops", tags=["operations"])
Operator = Annotated[Caller, Depends(requires("ops"))]


@router.get("/consumers")
async def consumers(ctx: Ctx, _: Operator) -> dict[str, Any]:
    """Each consumer with its partitions: the next offset in our row, and the lag."""
    return {
        "consumers": [
            {
                "consumer": consumer.name,
                "topic": name,
                "lag": sum(ctx.upkeeps[name].lag.values()),
                "failing": consumer.failing_since is not None,
                "lost": consumer.lost,
                "partitions": {
                    partition: {"next_offset": at, "lag": ctx.upkeeps[name].lag.get(partition)}
                    for partition, at in sorted(consumer.positions.items())
                },
            }
            for name, consumer in ctx.consumers.items()
        ],
        "as_of": ctx.clock(),
    }


@router.get("/outbox")
async def outbox(ctx: Ctx, _: Operator) -> dict[str, Any]:
    """How much waits to be sent, and since when."""
    async with ctx.engine.connect() as conn:
        rows = await fetch(
            conn, "select topic, count(*) as rows, min(created_at) as oldest_at from outbox group by topic"
        )
    return {"rows": sum(row["rows"] for row in rows), "topics": [dict(row) for row in rows], "as_of": ctx.clock()}


@router.get("/dead-letters")
async def list_dead_letters(
    ctx: Ctx, _: Operator, status: str | None = None, limit: Annotated[int, Query(ge=1, le=500)] = 50,
    cursor: int | None = None,
) -> dict[str, Any]:  # fmt: skip
    """The newest first."""
    async with ctx.engine.connect() as conn:
        rows = await dead_letters.listing(conn, status=status, limit=limit, before=cursor)
    following = rows[-1]["id"] if len(rows) == limit else None
    return {"dead_letters": [dict(row) for row in rows], "cursor": following, "as_of": ctx.clock()}


@router.get("/dead-letters/{letter_id}")
async def show_dead_letter(ctx: Ctx, _: Operator, letter_id: int) -> dict[str, Any]:
    """One letter whole; bytes that are not UTF-8 are shown with escapes."""
    async with ctx.engine.connect() as conn:
        row = await dead_letters.load(conn, letter_id)
    if row is None:
        raise not_found("dead letter", letter_id)
    record = dead_letters.record_of(row)
    return {
        **{name: value for name, value in row.items() if name not in ("key", "value", "headers")},
        "key": _shown(record.key),
        "value": _shown(record.value),
        "headers": [[_shown(name.encode("utf-8", "surrogateescape")), _shown(value)] for name, value in record.headers],
        "as_of": ctx.clock(),
    }


@router.post("/dead-letters/{letter_id}/replay")
async def replay(ctx: Ctx, _: Operator, letter_id: int) -> dict[str, Any]:
    """Hand the record to its handler again, here and now; a second replay changes nothing."""
    try:
        async with ctx.unit_of_work_on_connection() as (conn, work):
            row = await dead_letters.load(conn, letter_id)
            if row is None:
                raise not_found("dead letter", letter_id)
            await _handle(ctx, row, work)
            await dead_letters.mark(conn, letter_id, "replayed")
    except Problem:
        raise
    except Exception as error:
        if verdict(error) == "retry":
            raise
        raise Problem(409, "STILL_FAILS", "The record still cannot be handled", reason_of(error)) from error
    return {"id": letter_id, "status": "replayed", "as_of": ctx.clock()}


@router.post("/dead-letters/{letter_id}/drop")
async def drop(ctx: Ctx, _: Operator, letter_id: int) -> dict[str, Any]:
    """Decide that this record will never be handled; it stays in the table."""
    async with ctx.engine.begin() as conn:
        if await dead_letters.load(conn, letter_id) is None:
            raise not_found("dead letter", letter_id)
        await dead_letters.mark(conn, letter_id, "dropped")
    return {"id": letter_id, "status": "dropped", "as_of": ctx.clock()}


async def _handle(ctx: Any, row: Any, work: Work[Any]) -> None:
    consumer = next((c for c in ctx.consumers.values() if c.name == row["consumer"]), None)
    if consumer is None:
        raise Problem(
            409, "NO_CONSUMER", "Nobody reads this any more", f"{row['consumer']} is not a consumer of this service"
        )
    [decoded] = decode(consumer.topic, [dead_letters.record_of(row)])
    if isinstance(decoded, Bad):
        raise Problem(409, "STILL_UNREADABLE", "The record still cannot be read", decoded.reason)
    await consumer.handler([decoded], work)


def _shown(value: bytes | None) -> str | None:
    return None if value is None else value.decode("utf-8", "backslashreplace")
