"""P8: one completion and all that it makes stale, against a search in memory and one UPDATE of the same rows.

Layers of instances, each reading all of the layer before it, and a tail. Ours is the real pass with its transaction:
lock, load (from memory, as in a running service), ask again, save, count. What is announced and remembered for `why`
on top is a figure of its own, against the INSERTs of the same rows of `status_events` and of the outbox.
"""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from itertools import count
from typing import Any
from uuid import UUID, uuid5

import rustworkx
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from benchmarks import release
from benchmarks.measuring import Figure, Floor, compare, compare_all, figure_of
from benchmarks.platforms import AT, TENANT, Platform
from services.lineage import rows
from services.lineage.conclusion import Change, announce, events_to_save, outcome_of, save
from services.lineage.domain.staleness import Root
from services.lineage.domain.world import Flow, Instance, World, changed_copy
from services.lineage.mirror import Loaded, Mirror
from services.lineage.moving import Moved
from services.lineage.store import LineageStore
from shared.messaging import outbox
from shared.messaging.work import Work
from shared.migrate import migrate
from shared.postgres import engine_for, execute
from tests.support.harness import World as Place

SHAPES = [("10k", 50, 0), ("100k", 158, 0), ("1M", 500, 0)]
THOUSAND = ("1,000 instances", 30, 850)
ROUNDS = 5
Conclusion = Callable[[Change, Work[LineageStore]], Awaitable[None]]
_REVISION = text("select revision from tenants")
_versions = count()


async def figures(place: Place) -> list[Figure]:
    """Each shape: a first change, a second under what is stale already, and the announcements."""
    engine = engine_for(place.settings("lineage").postgres, schema="lineage", application="bench")
    await migrate(engine, "lineage")
    try:
        found: list[Figure] = []
        for name, width, tail in (THOUSAND, *SHAPES):
            found += await _of_shape(engine, place, name, width, tail)
        return found + await release.figures(engine, place)
    finally:
        await engine.dispose()


async def _of_shape(engine: AsyncEngine, place: Place, name: str, width: int, tail: int) -> list[Figure]:
    platform = Platform(width, tail)
    await platform.store(place)
    bench = Bench(engine, platform)
    await bench.begin()
    what = f"{name}: {platform.edges} edges, {platform.below} below"
    first = await compare_all(
        "P8",
        floors=[
            Floor(f"{what}, made stale", 1.5, bench.floor),
            Floor("the same, the floor written by our statement", 1.5, bench.floor_by_our_statement),
        ],
        ours=bench.first, unit="ms", better="lower",
    )  # fmt: skip
    told = await compare(
        "P8+", f"{what}, announced as well", unit="ms", better="lower", wanted=3.0,
        floor=bench.floor_told, ours=bench.first_told,
    )  # fmt: skip
    return [*first, *await _second(bench, what), told]


async def _second(bench: Bench, what: str) -> list[Figure]:
    """A second change against the first; how much of it is the transaction that any change needs; and both without."""
    rounds = [(await bench.alone(), await bench.first(), await bench.second()) for _ in range(ROUNDS + 1)][1:]
    alone, first, second = (list(column) for column in zip(*rounds, strict=True))

    def figure(what: str, floors: list[float], ours: list[float], wanted: float | None) -> Figure:
        return figure_of("P8", what, floors=floors, ours=ours, wanted=wanted, unit="ms", better="lower")

    beyond = [[one - own for one, own in zip(column, alone, strict=True)] for column in (first, second)]
    return [
        figure(f"{what}, stale already", first, second, 0.05),
        figure("the transaction of any change, against the first", first, alone, None),
        figure("stale already, both without that transaction", *beyond, None),
    ]


class Bench:
    """The rounds. Before each the platform is as it was, in tables and in memory."""

    def __init__(self, engine: AsyncEngine, platform: Platform) -> None:
        self.engine, self.platform = engine, platform
        self.mirror = Mirror()
        self._ready: World
        self._stale: list[Instance] = []

    async def begin(self) -> None:
        """Load it, see what a change comes to, and build what the floor searches."""
        async with self.engine.connect() as conn:
            self._ready = (await LineageStore(conn, self.mirror).read(TENANT)).world
        assert not self._ready.refreshing  # known to every world after the first pass
        graph, numbers = rustworkx.PyDiGraph(), {}
        for key in self._ready.flow_keys():
            numbers[key] = graph.add_node(key)
        graph.add_edges_from_no_data(
            [(numbers[edge.upstream], numbers[edge.downstream]) for edge in self._ready.graph.edges]
        )
        self._graph, self._root = graph, numbers[self.platform.root]
        await self.first()
        known = self.mirror.get(TENANT)
        assert known is not None
        self._stale = [
            one for key, one in known.loaded.world.instances.items() if one is not self._ready.instances[key]
        ]
        assert len(self._stale) == self.platform.below + 1, len(self._stale)

    async def floor(self) -> float:
        return await self._floor(told=False)

    async def floor_by_our_statement(self) -> float:
        """As the service writes them, with the root's facts and the count of the change."""
        return await self._floor(told=False, by_our_statement=True)

    async def floor_told(self) -> float:
        return await self._floor(told=True)

    async def alone(self) -> float:
        """What any change needs: lock, load, the root's rows and the count of the change."""
        return await self._change(self._save_root)

    async def first(self) -> float:
        await self._as_it_was()
        return await self._change(self._save)

    async def second(self) -> float:
        """After a first one that is not measured."""
        await self.first()
        return await self._change(self._save)

    async def first_told(self) -> float:
        await self._as_it_was()
        return await self._change(self._save_and_tell)

    async def _as_it_was(self) -> None:
        async with self.engine.begin() as conn:
            await execute(
                conn, "update standings set status = 'ready', answers = :ready, seq = 1 where status <> 'ready'",
                ready=json.dumps({"refresh": ["ready", None, None, None]}),
            )  # fmt: skip
        await self._vacuum()
        self.mirror = Mirror()
        async with self.engine.connect() as conn:
            revision = await conn.scalar(_REVISION)
        self.mirror.put(revision, Loaded.of(self._ready, ()))

    async def _vacuum(self) -> None:
        async with self.engine.connect() as conn:
            auto = await conn.execution_options(isolation_level="AUTOCOMMIT")
            await execute(auto, "truncate outbox, status_events")
            await execute(auto, "vacuum standings")

    async def _floor(self, *, told: bool, by_our_statement: bool = False) -> float:
        await self._as_it_was()
        columns, revisions = rows.standing_columns(self._stale), [2] * len(self._stale)
        moved = Moved.of(self._stale[:1], self._stale[1:])
        ours, params = moved.statement([])
        events, outbox_rows = await self._to_tell() if told else ([], [])
        events_text = rows.events_text(events)
        began = time.perf_counter()
        async with self.engine.begin() as conn:
            await LineageStore(conn, self.mirror).lock([TENANT])
            found = rustworkx.descendants(self._graph, self._root)
            assert len(found) == self.platform.below
            if by_our_statement:
                await execute(conn, ours, tenant=TENANT, revision=2, at=AT, **params)
            else:
                await execute(conn, rows.UPDATE_STANDINGS, revisions=revisions, **columns)
            if told:
                await execute(conn, rows.INSERT_EVENTS, rows=events_text)
                await outbox.write(conn, outbox_rows)
        return (time.perf_counter() - began) * 1000

    async def _to_tell(self) -> tuple[list[dict[str, Any]], list[outbox.OutboxRow]]:
        events: list[dict[str, Any]] = []
        kept: list[outbox.OutboxRow] = []

        async def keep(change: Change, work: Work[LineageStore]) -> None:
            outcome = outcome_of(change, work)
            events.extend(events_to_save(change, outcome, work))
            announce(change, outcome, work)
            kept.extend(work._rows)

        await self._change(keep)
        await self._as_it_was()
        return events, kept

    async def _change(self, conclude: Conclusion) -> float:
        """The root has a new version."""
        version_id = uuid5(self.platform.root.instance_id, str(next(_versions)))
        began = time.perf_counter()
        async with self.engine.begin() as conn:
            store = LineageStore(conn, self.mirror)
            await store.lock([TENANT])
            change = Change.of((await store.load([TENANT]))[TENANT])
            flow = change.world.flow(self.platform.root)
            assert flow is not None
            change.world = change.world.with_flows({self.platform.root: _with_version(flow, version_id)})
            change.roots[self.platform.root] = Root("bench", changed=True, run_id=UUID(int=1))
            work = Work(conn, store, now=AT, source="/bench")
            await conclude(change, work)
        work.committed()
        return (time.perf_counter() - began) * 1000

    async def _save(self, change: Change, work: Work[LineageStore]) -> None:
        """Without what is announced."""
        outcome = outcome_of(change, work)
        outcome.announced.clear()
        await save([change], [outcome], work)

    async def _save_root(self, change: Change, work: Work[LineageStore]) -> None:
        """Without asking anybody how he is."""
        key = self.platform.root.instance_id
        before = change.stored.world.instances[key]
        after = changed_copy(change.world.instances[key], seq=before.seq + 1, announced_at=AT)
        await work.store.save_instances([(before, after)])

    async def _save_and_tell(self, change: Change, work: Work[LineageStore]) -> None:
        outcome = outcome_of(change, work)
        await save([change], [outcome], work)
        announce(change, outcome, work)
        await work.flush()


def _with_version(flow: Flow, version_id: UUID) -> Flow:
    assert flow.version is not None
    return replace(flow, version=replace(flow.version, version_id=version_id, completion_id=version_id))
