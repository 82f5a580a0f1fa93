"""`POST /v1/ops/announce`: a service says again, portion by portion, what it knows of everything that lives."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field

from shared.auth import Caller
from shared.http import Ctx, Problem, requires
from shared.messaging import offsets
from shared.reannounce import AFTER_RESTORE, Portion

router = APIRouter(prefix="/v1/ops", tags=["operations"])
Operator = Annotated[Caller, Depends(requires("ops"))]
LIVES = timedelta(days=30)  # as long as the topics of snapshots keep them
PATIENCE_SECONDS = 20.0


class Announce(BaseModel):
    model_config = ConfigDict(extra="forbid")

    tenant: str | None = Field(None, description="of this one alone")
    after_restore: bool = Field(False, description="raise every seq by 1,000: the tables are older than what was said")
    since: datetime | None = Field(None, description="what ended before is left out; 30 days ago, if not said")
    cursor: str | None = Field(None, description="the `cursor` of the portion before")
    limit: int = Field(500, ge=1, le=2000)


@router.post("/announce")
async def announce(ctx: Ctx, _: Operator, asked: Announce) -> dict[str, Any]:
    """One portion; call again with its `cursor` until that is null. Raises: Problem 409 while a restored service has
    not read again what it forgot.
    """
    if asked.after_restore and asked.cursor is None:
        await _insist_on_having_read(ctx)
    portion = Portion(
        asked.tenant, asked.since or ctx.clock() - LIVES, AFTER_RESTORE if asked.after_restore else 1,
        asked.cursor, asked.limit,
    )  # fmt: skip
    async with ctx.unit_of_work() as work:
        said = await ctx.service.reannounce(work, portion)
    return {"announced": said.announced, "cursor": said.cursor, "as_of": ctx.clock()}


async def _insist_on_having_read(ctx: Any) -> None:
    """All that Kafka holds now of this service's topics."""
    ends = {consumer: await ctx.end_offsets(consumer.topic) for consumer in ctx.consumers.values()}
    deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
    while behind := await _behind(ctx, ends):
        if asyncio.get_running_loop().time() >= deadline:
            said = "; ".join(f"{name} has {records} records to read" for name, records in behind.items())
            raise Problem(409, "STILL_READING", "What was forgotten is not read again yet", f"{said}; ask again later")
        await ctx.wait_saved([consumer.topic for consumer in ends], 0.2)


async def _behind(ctx: Any, ends: dict[Any, dict[int, int]]) -> dict[str, int]:
    """Consumer → records before these ends that it has not read."""
    found: dict[str, int] = {}
    async with ctx.engine.connect() as conn:
        for consumer, until in ends.items():
            rows = await offsets.read(conn, consumer=consumer.name, topic=consumer.topic.name)
            records = sum(max(0, end - rows.get(partition, 0)) for partition, end in until.items() if end)
            if records:
                found[consumer.name] = records
    return found
