"""`/v1/ops` of every service: what is wrong, how far the consumers are, and what the outbox holds."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends

from shared.auth import Caller
from shared.http import Ctx, requires
from shared.postgres import fetch

router = APIRouter(prefix="/v1/ops", tags=["operations"])
Operator = Annotated[Caller, Depends(requires("ops"))]


@router.get("")
async def findings(ctx: Ctx, _: Operator) -> dict[str, Any]:
    """What an operator should look at now, the worst first; empty: nothing."""
    found = await ctx.watch.look()
    return {"service": ctx.service.name, "findings": [asdict(one) for one in found], "as_of": ctx.clock()}


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
