"""What grows without bound is given an end: a little at a time, by one process of a service."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from shared.messaging import dead_letters
from shared.service import Context

EVERY_SECONDS = 600.0
PORTION = 5_000  # rows in one transaction; where there was as much, the next follows at once


async def forget_regularly(
    ctx: Context[Any], forget: Callable[[AsyncConnection], Awaitable[int]], *, said: str
) -> None:
    """Run `forget` in a transaction of its own every ten minutes, while leader, and forget decided dead letters too;
    `said` is the log line where it forgot anything.
    """
    keep = timedelta(days=ctx.settings.keep_dead_letters_days)
    async with ctx.lead("retention") as lock:
        while not lock.is_closed():
            async with ctx.engine.begin() as conn:
                forgotten = await forget(conn) + await dead_letters.forget(conn, ctx.clock() - keep, limit=PORTION)
            if forgotten:
                ctx.log.info(said, rows=forgotten)
            if forgotten < PORTION:
                await ctx.woken("retention", EVERY_SECONDS)
