"""Time is an input like a message: what becomes true by the clock alone is a row with `due_at`.

One worker per service takes what is due through the same handler shape; the row goes with the transaction that
answers it, so that it happens once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shared import telemetry
from shared.clock import Clock
from shared.logs import Log
from shared.messaging.backoff import Backoff
from shared.messaging.failure import reason_of, verdict
from shared.messaging.work import Work
from shared.postgres import execute, fetch

S = TypeVar("S")
LONGEST_SLEEP_SECONDS = 1.0
BATCH = 500


@dataclass(frozen=True, slots=True)
class Due:
    """Something that became true: what, about which row, and since when."""

    kind: str
    ref: str
    due_at: datetime


DueHandler = Callable[[Sequence[Due], Work[S]], Awaitable[None]]

_TAKE = """
delete from due where (kind, ref) in (
    select kind, ref from due where due_at <= :now and kind = any(cast(:kinds as text[]))
    order by due_at limit :limit for update skip locked
) returning kind, ref, due_at
"""
_TAKE_ONE = "delete from due where kind = :kind and ref = :ref and due_at <= :now returning kind, ref, due_at"


class DueWorker:
    """Takes due rows for the life of the process. More than one is harmless: a row is locked by who takes it."""

    def __init__(
        self,
        handlers: Mapping[str, DueHandler[Any]],
        *,
        service: str,
        engine: AsyncEngine,
        store: Callable[[AsyncConnection], Any],
        clock: Clock,
        log: Log,
    ) -> None:
        self._handlers, self._engine, self._store, self._clock = handlers, engine, store, clock
        self._source = f"/runtide/{service}"
        self._log = log.bind(worker="due")

    async def run(self) -> None:
        backoff = Backoff()
        while True:
            try:
                wait_seconds = 0.0 if await self.tick() else await self._sleep_seconds()
                backoff.reset()
            except Exception as error:
                if verdict(error) == "data":
                    raise
                self._log.warning("due rows will be tried again", error=reason_of(error))
                wait_seconds = backoff.next_seconds()
            await asyncio.sleep(wait_seconds)

    async def tick(self) -> int:
        """Answer what is due now; says how much it was. A fault of one row does not hold up the others for ever."""
        try:
            return await self._take(BATCH)
        except Exception as error:
            if verdict(error) == "retry":
                raise
            self._log.error("due rows failed together; one by one", error=reason_of(error))
        return await self._one_by_one()

    async def _one_by_one(self) -> int:
        """Each due row in a transaction of its own; one that cannot be answered waits a minute and says so."""
        async with self._engine.connect() as conn:
            rows = await fetch(
                conn, "select kind, ref from due where due_at <= :now and kind = any(cast(:kinds as text[])) limit 500",
                now=self._clock(), kinds=list(self._handlers),
            )  # fmt: skip
        for row in rows:
            try:
                await self._take(1, only=(row["kind"], row["ref"]))
            except Exception as error:
                if verdict(error) == "retry":
                    raise
                self._log.error("due row failed", kind=row["kind"], ref=row["ref"], exc_info=error)
                async with self._engine.begin() as conn:
                    await execute(
                        conn, "update due set due_at = now() + interval '1 minute' where kind = :kind and ref = :ref",
                        kind=row["kind"], ref=row["ref"],
                    )  # fmt: skip
        return len(rows)

    async def _take(self, limit: int, only: tuple[str, str] | None = None) -> int:
        async with self._engine.begin() as conn:
            if only is None:
                rows = await fetch(conn, _TAKE, now=self._clock(), kinds=list(self._handlers), limit=limit)
            else:
                rows = await fetch(
                    conn, _TAKE_ONE,
                    kind=only[0], ref=only[1], now=self._clock(),
                )  # fmt: skip
            if not rows:
                return 0
            work = Work(conn, self._store(conn), now=self._clock(), source=self._source)
            by_kind: dict[str, list[Due]] = {}
            for row in rows:
                by_kind.setdefault(row["kind"], []).append(Due(row["kind"], row["ref"], row["due_at"]))
            for kind in sorted(by_kind):
                await self._handlers[kind](by_kind[kind], work)
                telemetry.DUE.labels(kind).inc(len(by_kind[kind]))
            await work.flush()
        work.committed()
        return len(rows)

    async def _sleep_seconds(self) -> float:
        async with self._engine.connect() as conn:
            rows = await fetch(conn, "select min(due_at) as at from due where kind = any(cast(:kinds as text[]))",
                               kinds=list(self._handlers))  # fmt: skip
        at = rows[0]["at"]
        if at is None:
            return LONGEST_SLEEP_SECONDS
        return min(LONGEST_SLEEP_SECONDS, max(0.02, float((at - self._clock()).total_seconds())))
