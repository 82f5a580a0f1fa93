"""Time is an input like a message: what becomes true by the clock alone is a row with `due_at`.

One worker per service takes what is due through the same handler shape; the row goes with the transaction that
answers it, so that it happens once. The fact not to break: what the rows speak of is locked before the rows, as
consumers do, who schedule at their end; else the two wait for each other.
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

_SEE = """
select kind, ref, due_at from due where due_at <= :now and kind = any(cast(:kinds as text[]))
order by due_at limit :limit
"""
_TAKE = """
delete from due where (kind, ref) in (
    select kind, ref from due join unnest(cast(:kinds as text[]), cast(:refs as text[])) as seen (kind, ref)
        using (kind, ref)
    where due_at <= :now for update of due skip locked
) returning kind, ref, due_at
"""


class DueWorker:
    """Takes due rows for the life of the process. More than one is harmless: a row is locked by who takes it."""

    def __init__(
        self,
        handlers: Mapping[str, DueHandler[Any]],
        *,
        lock: DueHandler[Any] | None,
        service: str,
        engine: AsyncEngine,
        store: Callable[[AsyncConnection], Any],
        clock: Clock,
        log: Log,
    ) -> None:
        self._handlers, self._lock = handlers, lock
        self._engine, self._store, self._clock = engine, store, clock
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
        seen = await self._see()
        try:
            return await self._answer(seen)
        except Exception as error:
            if verdict(error) == "retry":
                raise
            self._log.error("due rows failed together; one by one", error=reason_of(error))
        return await self._one_by_one(seen)

    async def _see(self) -> list[Due]:
        async with self._engine.connect() as conn:
            rows = await fetch(conn, _SEE, now=self._clock(), kinds=list(self._handlers), limit=BATCH)
        return [Due(row["kind"], row["ref"], row["due_at"]) for row in rows]

    async def _one_by_one(self, seen: Sequence[Due]) -> int:
        """Each due row in a transaction of its own; one that cannot be answered waits a minute and says so."""
        for one in seen:
            try:
                await self._answer([one])
            except Exception as error:
                if verdict(error) == "retry":
                    raise
                self._log.error("due row failed", kind=one.kind, ref=one.ref, exc_info=error)
                async with self._engine.begin() as conn:
                    await execute(
                        conn, "update due set due_at = now() + interval '1 minute' where kind = :kind and ref = :ref",
                        kind=one.kind, ref=one.ref,
                    )  # fmt: skip
        return len(seen)

    async def _answer(self, seen: Sequence[Due]) -> int:
        """Lock what these speak of, take those that are still due, answer them; says how many."""
        if not seen:
            return 0
        async with self._engine.begin() as conn:
            work = Work(conn, self._store(conn), now=self._clock(), source=self._source)
            if self._lock is not None:
                await self._lock(seen, work)
            rows = await fetch(
                conn, _TAKE, now=work.now, kinds=[one.kind for one in seen], refs=[one.ref for one in seen]
            )
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
