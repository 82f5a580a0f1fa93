"""P8: 10,000 requests that wait below one flow, released by its completion, against the same rows written bare.

Ours is all of it, portion after portion with its own transaction, as the due worker goes on: decide each, save, tell.
One floor is a single UPDATE of the requests; the next inserts the same decisions and outbox rows as well, in one
transaction: what a release can not do without. The last appends them by COPY, as the service does, and is a scale.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from uuid import UUID, uuid5

from runtide_schemas.vocabulary import FlowKind, FlowStatus, Gate, instance_id_of
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from benchmarks.measuring import Figure, Floor, compare_all
from benchmarks.platforms import AT, TENANT, Platform
from services.lineage import handlers
from services.lineage.conclusion import DECIDE, Change, conclude
from services.lineage.domain.gate import Request, State
from services.lineage.domain.graph import FlowKey
from services.lineage.domain.staleness import Root
from services.lineage.domain.world import changed_copy
from services.lineage.mirror import Loaded, Mirror
from services.lineage.request_rows import INSERT_DECISIONS, DecisionRow, decision_columns
from services.lineage.store import LineageStore
from shared.messaging import outbox
from shared.messaging.due import Due
from shared.messaging.work import Work
from shared.postgres import copy, execute, fetch
from tests.support.harness import World as Place

WAITING = 10_000
_AGAIN = [Due(DECIDE, TENANT, AT)]
_UPDATE = """
update open_requests r set state = 'admitted', shown = '[]', number = 2, revision = :revision
from unnest(cast(:ids as uuid[])) as n (run_id) where r.run_id = n.run_id
"""
_MESSAGES = """
insert into outbox (topic, key, payload, headers)
select topic, key, payload, headers
from unnest(cast(:rows as outbox[])) with ordinality as m (id, shard, topic, key, payload, headers, created_at, n)
order by n
"""
Append = Callable[[AsyncConnection], Awaitable[None]]


async def figures(engine: AsyncEngine, place: Place) -> list[Figure]:
    """The floors and ours."""
    release = Release(engine, Fan())
    await release.begin(place)
    return await compare_all(
        "P8",
        floors=[
            Floor(f"{WAITING} requests released: one UPDATE", 1.5, release.update),
            Floor("and the INSERTs of their decisions and messages", 1.5, release.inserted),
            Floor("and the same rows by COPY", None, release.copied),
        ],
        ours=release.ours, unit="ms", better="lower",
    )  # fmt: skip


class Fan(Platform):
    """One flow, and all the others read it."""

    def __init__(self) -> None:
        self.reads = {"n0-0": [], **{f"r{place}": ["n0-0"] for place in range(WAITING)}}
        self.edges = self.below = WAITING
        self.root = FlowKey(instance_id_of(TENANT, "n0-0"), FlowKind.REFRESH)


class Release:
    """The rounds. Before each every request waits."""

    def __init__(self, engine: AsyncEngine, fan: Fan) -> None:
        self.engine, self.fan = engine, fan
        self.mirror = Mirror()
        self._waiting: Loaded
        self._decisions: list[DecisionRow] = []
        self._messages: list[outbox.OutboxRow] = []

    async def begin(self, place: Place) -> None:
        """Store and load it with the upstream failed, and keep what one release writes for the floors."""
        await self.fan.store(place)
        async with self.engine.connect() as conn:
            world = (await LineageStore(conn).read(TENANT)).world
        root = world.flow(self.fan.root)
        assert root is not None
        failed = changed_copy(root, newest_end_failed=True, freshness=FlowStatus.ERROR, reason="the newest run failed")
        requests = [_parked(key) for key in world.flow_keys() if key != self.fan.root]
        async with self.engine.begin() as conn:
            await execute(conn, "truncate open_requests")
            store = LineageStore(conn)
            await store.lock([TENANT])
            await store.save_requests([(None, request) for request in requests], now=AT)
        async with self.engine.connect() as conn:
            loaded = await LineageStore(conn).read(TENANT)
        assert len(loaded.world.graph.rank) == WAITING + 1  # built, as a running service has it
        self._waiting = Loaded.of(loaded.world.with_flows({self.fan.root: failed}), loaded.requests.values())
        await self.ours()
        async with self.engine.connect() as conn:
            found = await fetch(
                conn,
                """
                select run_id, number, tenant, answer, decided_at, said::text as said, seen::text as seen from decisions
                """,
            )
            self._decisions = [DecisionRow(**row) for row in found]
            found = await fetch(conn, "select topic, key, payload, headers::text as headers from outbox order by 1, 2")
        self._messages = [outbox.OutboxRow(**row) for row in found]
        assert len(self._decisions) == WAITING, len(self._decisions)

    async def update(self) -> float:
        async def nothing(conn: AsyncConnection) -> None: ...

        return await self._bare(nothing)

    async def inserted(self) -> float:
        columns, messages = decision_columns(self._decisions), [(None, None, *row, None) for row in self._messages]

        async def insert(conn: AsyncConnection) -> None:
            await execute(conn, INSERT_DECISIONS, **columns)
            await execute(conn, _MESSAGES, rows=messages)

        return await self._bare(insert)

    async def copied(self) -> float:
        async def append(conn: AsyncConnection) -> None:
            await copy(conn, "decisions", DecisionRow._fields, self._decisions)
            await copy(conn, "outbox", outbox.OutboxRow._fields, self._messages)

        return await self._bare(append)

    async def ours(self) -> float:
        await self._as_it_was()
        began = time.perf_counter()
        goes_on = await self._portion(first=True)
        while goes_on:
            goes_on = await self._portion(first=False)
        return (time.perf_counter() - began) * 1000

    async def _portion(self, *, first: bool) -> bool:
        """One transaction as the consumer or the due worker has it, and whether another follows."""
        async with self.engine.begin() as conn:
            work = Work(conn, LineageStore(conn, self.mirror), now=AT, source="/bench")
            if first:
                await work.store.lock([TENANT])
                await conclude([self._completed((await work.store.load([TENANT]))[TENANT])], work)
            else:
                await execute(conn, "delete from due where kind = :kind and ref = :ref", kind=DECIDE, ref=TENANT)
                await handlers.on_portions(_AGAIN, work)
            await work.flush()
            goes_on = bool(await fetch(conn, "select ref from due where kind = :kind and ref = :ref",
                                       kind=DECIDE, ref=TENANT))  # fmt: skip
        work.committed()
        return goes_on

    def _completed(self, loaded: Loaded) -> Change:
        """The upstream ran again and made what it had made before: whoever waited for it may run."""
        change = Change.of(loaded)
        flow = change.world.flow(self.fan.root)
        assert flow is not None
        change.world = change.world.with_flows({self.fan.root: replace(flow, newest_end_failed=False)})
        change.roots[self.fan.root] = Root("bench", changed=False, run_id=UUID(int=1))
        return change

    async def _bare(self, append: Append) -> float:
        """One UPDATE and what comes with it, the values made before the clock runs."""
        await self._as_it_was()
        ids = list(self._waiting.requests)
        began = time.perf_counter()
        async with self.engine.begin() as conn:
            await LineageStore(conn).lock([TENANT])
            await execute(conn, _UPDATE, ids=ids, revision=2)
            await append(conn)
        return (time.perf_counter() - began) * 1000

    async def _as_it_was(self) -> None:
        async with self.engine.begin() as conn:
            await execute(conn, "truncate outbox, decisions, status_events, due")
            await execute(conn, "update open_requests set state = 'parked', number = 1, shown = :shown",
                          shown='[["n0-0", "error"]]')  # fmt: skip
            [row] = await fetch(conn, "select revision from tenants where tenant = :tenant", tenant=TENANT)
        async with self.engine.connect() as conn:
            auto = await conn.execution_options(isolation_level="AUTOCOMMIT")
            await execute(auto, "vacuum analyze open_requests")
        self.mirror = Mirror()
        self.mirror.put(row["revision"], self._waiting)


def _parked(key: FlowKey) -> Request:
    return Request(
        run_id=uuid5(key.instance_id, "request"), tenant=TENANT, instance_id=key.instance_id, instance_name=None,
        kind=key.kind, gate=Gate.WAIT, skip_if_ready=False, wait_until=None, asked_at=AT, state=State.PARKED,
        number=1, shown=(("n0-0", "error"),),
    )  # fmt: skip
