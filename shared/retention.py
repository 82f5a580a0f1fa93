"""What grows without bound is given an end: a little at a time, by one process of a service."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from shared.service import Context

EVERY_SECONDS = 600.0


async def forget_regularly(
    ctx: Context[Any], forget: Callable[[AsyncConnection], Awaitable[int]], *, said: str
) -> None:
    """Run `forget` in a transaction of its own every ten minutes, while leader; `said` is the log line where it forgot
    anything.
    """
    async with ctx.lead("retention") as lock:
        while not lock.is_closed():
            async with ctx.engine.begin() as conn:
                forgotten = await forget(conn)
            if forgotten:
                ctx.log.info(said, rows=forgotten)
            await ctx.woken("retention", EVERY_SECONDS)
