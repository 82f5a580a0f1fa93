"""Random stories told to lineage's handlers over real tables, in a transaction that is rolled back: the same second
half is told once to tables that forgot what is old, and once to tables that did not.
"""

from __future__ import annotations

import copy
import random
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from runtide_schemas import instances as wire
from runtide_schemas.runs import RunStatusChanged
from runtide_schemas.vocabulary import RunStatus
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.lineage import forgetting, handlers, rows
from services.lineage.domain.graph import FlowKey
from services.lineage.domain.repair import repair
from services.lineage.explaining import Explaining
from services.lineage.mirror import Loaded, Mirror
from services.lineage.reading import Reading
from services.lineage.recheck import recheck
from services.lineage.retention import forget_events
from services.lineage.store import LineageStore
from tests.unit.lineage.memory import MemoryWork
from tests.unit.lineage.stories import Played, Story
from tests.unit.lineage.worlds import TENANT

DAYS = [date(2026, 1, day) for day in range(1, 5)]
NOBODYS = """
select version_id from versions where run_id not in (select run_id from runs)
union all select version_id from version_reads where run_id not in (select run_id from runs)
"""
Told = tuple[datetime, Callable[[Any, Any], Coroutine[Any, Any, None]], list[Any]]


class Recorded(Story):
    """`heard`: all that lineage was told, batch by batch. Runs that end well bring a date, or none."""

    def __init__(self, seed: int) -> None:
        self.heard: list[Told] = []
        self.beginning: tuple[Any, Any, Any] | None = None
        self.days = random.Random(f"{seed}/days")
        self.day_of: dict[UUID, date | None] = {}
        self.final: set[UUID] = set()  # runs that Prefect corrects no more
        super().__init__(seed)

    def _begin(self) -> None:
        self.backfilled = self.backfilled if self.days.random() < 0.2 else []  # they stay open to the end
        super()._begin()

    def withdraw(self) -> None:
        runs = self.runs
        self.runs = {run_id: played for run_id, played in runs.items() if run_id not in self.final}
        super().withdraw()
        self.runs = runs

    def _end(self, played: Played, end: str) -> None:
        """Some bring again what their flow had brought before."""
        super()._end(played, end)
        if end == "changed" and self.days.random() < 0.3:
            played.digest = f"{played.name} {self.days.choice('xy')}"

    def live_halves(self) -> int:
        """How much of what was heard belongs to the first."""
        self.live(90)
        half = len(self.heard)
        self.final = {run_id for run_id, played in self.runs.items() if played.ended_at is not None}
        self.live(30)
        self.calm_down()
        return half

    def tell(self, handler: Any, batch: Iterable[Any], *, by_hand: bool = True) -> None:
        if self.beginning is None:
            store = self.store
            self.beginning = dict(store.instances), dict(store.all_runs), copy.deepcopy(store.versions)

        async def recorded(heard: Any, work: Any) -> None:
            self.heard.append((work.now, handler, list(heard)))
            await handler(heard, work)

        super().tell(recorded, batch, by_hand=by_hand)

    def _snapshot(self, played: Played) -> RunStatusChanged:
        message = super()._snapshot(played)
        if played.status is not RunStatus.COMPLETED:
            return message
        day = self.day_of.setdefault(played.run_id, self.days.choice([*DAYS, None]))
        return message.model_copy(update={"last_data_date": day})


class Store(LineageStore):
    """In the middle of a transaction."""

    async def read(self, tenant: str) -> Loaded:
        await self.lock([tenant])
        return (await self.load([tenant]))[tenant]


@dataclass
class Ending:
    """What there is to see afterwards. `answers` must not depend on what was forgotten; of `taints` those of the runs
    that are left, `runs`.
    """

    answers: dict[str, Any]
    taints: dict[Any, Any]
    runs: set[UUID]
    forgotten: int = 0


def differing(kept: Ending, forgetful: Ending) -> list[str]:
    found = [what for what, answer in kept.answers.items() if answer != forgetful.answers[what]]
    left = {each: path for each, path in kept.taints.items() if each[1] in forgetful.runs}
    return found + (["taints"] if left != forgetful.taints else [])


@dataclass
class Telling:
    """One story in one transaction."""

    conn: AsyncConnection
    story: Recorded
    half: int

    @property
    def limit(self) -> datetime:
        """What ended before is not touched by the second half."""
        return self.story.heard[self.half][0]

    async def begin(self) -> None:
        assert self.story.beginning is not None
        instances, runs, versions = self.story.beginning
        store = Store(self.conn, Mirror())
        loaded = await store.read(TENANT)
        completions = [(runs[one.completion.run_id], one.completion) for one in versions.values()]
        await store.save_instances([(None, one) for one in instances.values()])
        await store.save_runs(list(runs.values()))
        await store.save_completions(completions, now=self.story.heard[0][0])
        reads = [row for _, one in completions for row in rows.read_rows(TENANT, one)]
        await store.restatements.tell_reads(reads, {one.completion_id: TENANT for _, one in completions})
        await store.advance([loaded])

    async def first_half(self) -> None:
        await self._tell(self.story.heard[: self.half])
        name = self.story.names[0]
        await self._declare(f"early/{name}", name, self.story.heard[self.half - 1][0], DAYS[2])
        await forget_events(self.conn, self.limit)

    async def forget(self, without: Collection[str]) -> int:
        """As often as anything goes: readers before what they have read. `without`: reasons to stay."""
        forgotten = 0
        with pytest.MonkeyPatch.context() as patched:
            for reason in without:
                patched.delitem(forgetting.OF_RUNS if reason in forgetting.OF_RUNS else forgetting.OF_VERSIONS, reason)
            while gone := await forgetting.forget_runs(self.conn, self.limit):
                forgotten += gone
        return forgotten

    async def second_half(self) -> Ending:
        now = self.story.now
        said = await self._tell(self.story.heard[self.half :])
        answers = {"said": said, **await self._seen(now)}
        for name in self.story.names[:2]:
            await self._declare(f"late/{name}", name, now, DAYS[0])
        answers |= {"repairs": await self._repairs(), "marked": await self._flows()}
        found = await self.conn.execute(text("select restatement_id, run_id, attempt, path from taints"))
        runs = await self.conn.execute(text("select run_id from runs"))
        return Ending(answers, {tuple(row[:3]): row[3] for row in found}, {row[0] for row in runs})

    async def _tell(self, told: Sequence[Told]) -> list[Any]:
        said, mirror = [], Mirror()
        for now, handler, heard in told:
            work: Any = MemoryWork(now, Store(self.conn, mirror))  # type: ignore[arg-type]
            await handler(heard, work)
            said += work.said
        return said

    async def _declare(self, command_id: str, name: str, now: datetime, first: date) -> None:
        command = wire.SupersedeVersions(
            tenant=TENANT, instance=name, first_data_date=first, last_data_date=DAYS[-1], reason="restated", actor="ana"
        )
        work: Any = MemoryWork(now, Store(self.conn, Mirror()))  # type: ignore[arg-type]
        await handlers.supersede(command, command_id, work)

    async def _flows(self) -> dict[FlowKey, Any]:
        world = (await Store(self.conn, Mirror()).read(TENANT)).world
        return {key: world.flow(key) for key in world.flow_keys()}

    async def _seen(self, now: datetime) -> dict[str, Any]:
        store = Store(self.conn, Mirror())
        world = (await store.read(TENANT)).world
        keys, limit = sorted(world.flow_keys()), self.limit
        instants = [limit + (now - limit) * part / 3 for part in range(4)]
        why = [
            await Explaining(Reading(self.conn), world, at, at < now).explain(
                world.instances[key.instance_id], key.kind
            )
            for key in keys for at in (now, limit + timedelta(seconds=1))
        ]  # fmt: skip
        return {
            "flows": await self._flows(),
            "recheck": await recheck(store, TENANT, now),
            "why": why,
            "nobody's": [tuple(row) for row in await self.conn.execute(text(NOBODYS))],
            "versions": await store.versions_at(TENANT, [(key, at) for key in keys for at in instants]),
        }

    async def _repairs(self) -> list[Any]:
        store = Store(self.conn, Mirror())
        world, pages = (await store.read(TENANT)).world, store.restatement_pages
        planned = []
        for one, _ in await pages.page(TENANT, limit=100, after=None):
            of = one.restatement_id
            plan = repair(world, one, await pages.to_repair(of), await pages.superseded_ids(of),
                          await pages.confirmed(of), parameters={}, history=False)  # fmt: skip
            planned.append((one, plan.batches, plan.source))
        return planned


@asynccontextmanager
async def undone(conn: AsyncConnection) -> AsyncIterator[None]:
    point = await conn.begin_nested()
    try:
        yield
    finally:
        await point.rollback()


async def endings(conn: AsyncConnection, seed: int, *without: Collection[str]) -> tuple[Ending, list[Ending]]:
    """Of one story: where all is kept, and where what is old is forgotten in the middle; once for each
    collection of reasons to stay that are left out.
    """
    story = Recorded(seed)
    half = story.live_halves()
    forgetful = []
    async with undone(conn):
        telling = Telling(conn, story, half)
        await telling.begin()
        await telling.first_half()
        async with undone(conn):
            kept = await telling.second_half()
        for reasons in without:
            async with undone(conn):
                forgotten = await telling.forget(reasons)
                forgetful.append(await telling.second_half())
                forgetful[-1].forgotten = forgotten
    return kept, forgetful
