"""`/v1/ops/dead-letters` of every service: what could not be handled is listed, shown, replayed or dropped.

A replay runs the consumer's own function in a transaction of its own, without the fence. The fact not to break: one
that fails again leaves nothing behind but its reason and one more attempt.
"""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field

from shared.auth import Caller
from shared.http import Ctx, Problem, not_found, requires
from shared.messaging import dead_letters
from shared.messaging.dead_letters import Which
from shared.messaging.decode import Bad, decode
from shared.messaging.door import HEADER
from shared.messaging.failure import reason_of, verdict
from shared.messaging.work import Work

router = APIRouter(prefix="/v1/ops/dead-letters", tags=["operations"])
Operator = Annotated[Caller, Depends(requires("ops"))]
Limit = Annotated[int, Query(ge=1, le=500)]
Decide = Callable[[Any, int], Awaitable[None]]


class Chosen(BaseModel):
    """Which letters, by any of these; a portion of them, from the oldest on."""

    model_config = ConfigDict(extra="forbid")

    consumer: str | None = None
    topic: str | None = None
    reason: str | None = Field(None, description="a part of it")
    status: str = "new"
    after: int = Field(0, description="the `cursor` of the portion before")
    limit: int = Field(100, ge=1, le=500)

    def which(self) -> Which:
        return Which(self.consumer, self.topic, self.reason, self.status)


@router.get("")
async def list_dead_letters(
    ctx: Ctx, _: Operator, status: str | None = None, consumer: str | None = None, topic: str | None = None,
    reason: str | None = None, limit: Limit = 50, cursor: int | None = None,
) -> dict[str, Any]:  # fmt: skip
    """The newest first. `reason`: a part of it."""
    which = Which(consumer, topic, reason, status)
    async with ctx.engine.connect() as conn:
        rows = await dead_letters.listing(conn, which, limit=limit, before=cursor)
    following = rows[-1]["id"] if len(rows) == limit else None
    return {"dead_letters": [dict(row) for row in rows], "cursor": following, "as_of": ctx.clock()}


@router.get("/{letter_id}")
async def show_dead_letter(ctx: Ctx, _: Operator, letter_id: int) -> dict[str, Any]:
    """One letter whole; bytes that are not UTF-8 are shown with escapes. `raw`: key and value as they are, base 64."""
    async with ctx.engine.connect() as conn:
        row = await dead_letters.load(conn, letter_id)
    if row is None:
        raise not_found("dead letter", letter_id)
    record = dead_letters.record_of(row)
    return {
        **{name: value for name, value in row.items() if name not in ("key", "value", "headers")},
        "key": _shown(record.key),
        "value": _shown(record.value),
        "headers": [_header(name, value) for name, value in record.headers],
        "raw": {"key": _base64(record.key), "value": _base64(record.value)},
        "as_of": ctx.clock(),
    }


@router.post("/replay")
async def replay_chosen(ctx: Ctx, _: Operator, chosen: Chosen) -> dict[str, Any]:
    """Replay a portion of these, each in a transaction of its own; those that fail again are named with the reason."""
    return await _each(ctx, chosen, _replay, "replayed")


@router.post("/drop")
async def drop_chosen(ctx: Ctx, _: Operator, chosen: Chosen) -> dict[str, Any]:
    """Drop a portion of these."""
    return await _each(ctx, chosen, _drop, "dropped")


@router.post("/{letter_id}/replay")
async def replay(ctx: Ctx, _: Operator, letter_id: int) -> dict[str, Any]:
    """Hand the record to its handler again, here and now; a second replay changes nothing."""
    await _replay(ctx, letter_id)
    return {"id": letter_id, "status": "replayed", "as_of": ctx.clock()}


@router.post("/{letter_id}/drop")
async def drop(ctx: Ctx, _: Operator, letter_id: int) -> dict[str, Any]:
    """Decide that this record will never be handled; it stays in the table."""
    await _drop(ctx, letter_id)
    return {"id": letter_id, "status": "dropped", "as_of": ctx.clock()}


async def _each(ctx: Any, chosen: Chosen, decide: Decide, done: str) -> dict[str, Any]:
    async with ctx.engine.connect() as conn:
        ids = await dead_letters.choose(conn, chosen.which(), after=chosen.after, limit=chosen.limit)
    did: list[int] = []
    failed: list[dict[str, Any]] = []
    for letter_id in ids:
        try:
            await decide(ctx, letter_id)
        except Problem as problem:
            failed.append({"id": letter_id, "code": problem.body["code"], "reason": problem.body["detail"]})
        else:
            did.append(letter_id)
    cursor = ids[-1] if len(ids) == chosen.limit else None
    return {done: did, "failed": failed, "cursor": cursor, "as_of": ctx.clock()}


async def _replay(ctx: Any, letter_id: int) -> None:
    """Raises: Problem 404; 409 with what went wrong again, which is counted."""
    try:
        async with ctx.engine.connect() as conn:
            row = await dead_letters.load(conn, letter_id)
        if row is None:
            raise not_found("dead letter", letter_id)
        handle = await _handler_of(ctx, row)
        async with ctx.unit_of_work_on_connection() as (conn, work):
            await dead_letters.load(conn, letter_id)
            await handle(work)
            await dead_letters.mark(conn, letter_id, "replayed")
    except Problem as problem:
        if problem.status == 409:
            await _count(ctx, letter_id, problem.body["detail"])
        raise
    except Exception as error:
        if verdict(error) == "retry":
            raise
        await _count(ctx, letter_id, reason_of(error))
        raise Problem(409, "STILL_FAILS", "The record still cannot be handled", reason_of(error)) from error


async def _count(ctx: Any, letter_id: int, reason: str) -> None:
    async with ctx.engine.begin() as conn:
        await dead_letters.count(conn, letter_id, reason)


async def _drop(ctx: Any, letter_id: int) -> None:
    async with ctx.engine.begin() as conn:
        if await dead_letters.load(conn, letter_id) is None:
            raise not_found("dead letter", letter_id)
        await dead_letters.mark(conn, letter_id, "dropped")


async def _handler_of(ctx: Any, row: Any) -> Callable[[Work[Any]], Awaitable[None]]:
    """What handles the record in a transaction, with the keys that it names at hand. Raises: Problem 409 where nobody
    can.
    """
    record = dead_letters.record_of(row)
    if (again := ctx.replays.get(row["consumer"])) is not None:
        return lambda _: again(record)
    consumer = next((c for c in ctx.consumers.values() if c.name == row["consumer"]), None)
    if consumer is None:
        raise Problem(
            409, "NO_CONSUMER", "Nobody reads this any more", f"{row['consumer']} is not a consumer of this service"
        )
    [decoded] = decode(consumer.topic, [record])
    if isinstance(decoded, Bad):
        raise Problem(409, "STILL_UNREADABLE", "The record still cannot be read", decoded.reason)
    await consumer.learn([decoded])
    return lambda work: consumer.handle([decoded], work)


def _header(name: str, value: bytes | None) -> list[str | None]:
    """A token stays between its bearer and us, also where the letter is looked at."""
    secret = name.lower() == HEADER and value
    return [_shown(name.encode("utf-8", "surrogateescape")), "********" if secret else _shown(value)]


def _shown(value: bytes | None) -> str | None:
    return None if value is None else value.decode("utf-8", "backslashreplace")


def _base64(value: bytes | None) -> str | None:
    return None if value is None else base64.b64encode(value).decode()
