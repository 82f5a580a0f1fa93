"""P10 and P13: what lineage answers over HTTP, against the least application that sends the same bytes.

Ours is the whole service in this process (its login, its application, its server, and its consumers beside it) on
PostgreSQL. The floor has the same server, one connection to the same PostgreSQL that it keeps, and one statement: P10
reads the answers ready made from a table by their key, P13 reads what the nodes say and sends the answer of before.
"""

from __future__ import annotations

import contextlib
import json
import statistics
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import asyncpg

from benchmarks.least_http import Asking, serving
from benchmarks.measuring import Figure, Floor, compare_all, figure_of
from benchmarks.platforms import TENANT, Layered
from shared import auth
from tests.support.harness import World as Place

INSTANCES = 5_000
ONE_BY_ONE = 400
PAGE = 500
ROUNDS = 11
ALLOWED_MS = 100.0
_ANSWERS = """
create table answers (instance_id uuid primary key, name text collate "C" not null unique, body text not null)
"""


async def statuses(place: Place) -> list[Figure]:
    """One instance of 5,000, and all of them."""
    async with _lineage(place, Layered(INSTANCES, width=500, reads=3)) as (lineage, connection):
        table = await Statuses(lineage, connection).begin()
        async with serving(table.stored) as table.least:
            one = await compare_all(
                "P10",
                floors=[
                    Floor(f"status of one of {INSTANCES} instances", 3.0, table.floor_one),
                    Floor("the same, against /version: no login, no statement", None, table.version),
                ],
                ours=table.one, unit="ms", better="lower",
            )  # fmt: skip
            all_of_them = await compare_all(
                "P10",
                floors=[
                    Floor(f"status of all {INSTANCES}, pages of {PAGE}, one SELECT", None, table.floor_all),
                    Floor("the floor page by page, too", None, table.floor_pages),
                ],
                ours=table.all, unit="ms", better="lower",
            )  # fmt: skip
    return [*one, *all_of_them]


async def graph(place: Place) -> list[Figure]:
    """All of 1,000 nodes around one."""
    platform = Layered(1_000, width=100, reads=3)
    async with _lineage(place, platform) as (lineage, connection):
        path = f"/v1/lineage/{platform.root.instance_id}?direction=downstream&max_depth=1000"
        said = await lineage.get(path)
        assert len(json.loads(said)["nodes"]) == len(platform.reads)
        assert len(json.loads(said)["edges"]) == platform.edges

        async def least(_: str) -> bytes:
            found = await connection.fetch(
                """
                select i.instance_id, i.name, i.instance_type, s.status from instances i join standings s
                using (instance_id) where i.tenant = $1
                """,
                TENANT,
            )
            assert len(found) == len(platform.reads)
            return said

        async with serving(least) as floor:
            what = f"lineage of 1000 nodes, {platform.edges} edges, {len(said) // 1000} kB"
            rounds = [(await floor.milliseconds(path), await lineage.milliseconds(path)) for _ in range(ROUNDS + 1)][1:]
        floors, ours = ([took for [took] in column] for column in zip(*rounds, strict=True))

        def figure(what: str, floors: list[float]) -> Figure:
            return figure_of("P13", what, floors=floors, ours=ours, wanted=None, unit="ms", better="lower")

        return [figure(what, floors), figure("the same, against the 100 ms that it may take", [ALLOWED_MS] * len(ours))]


class Statuses:
    """The rounds of P10."""

    def __init__(self, lineage: Asking, connection: asyncpg.Connection) -> None:
        self._lineage, self._connection = lineage, connection
        self._ids: list[str] = []
        self._before_pages: list[str] = []
        self.least: Asking

    async def begin(self) -> Statuses:
        """Keep what ours says for the floor."""
        found: list[dict[str, Any]] = []
        cursor: str | None = ""
        while cursor is not None:
            self._before_pages.append(cursor)
            page = json.loads(await self._lineage.get(f"/v1/instances?limit={PAGE}&cursor={cursor}"))
            found, cursor = found + page["instances"], page["cursor"]
        await self._connection.execute(_ANSWERS)
        await self._connection.copy_records_to_table(
            "answers", records=[(one["instance_id"], one["name"], json.dumps(one)) for one in found]
        )
        await self._connection.execute("analyze answers")
        self._ids = [one["instance_id"] for one in found]
        assert len(set(self._ids)) == INSTANCES
        return self

    async def stored(self, path: str) -> bytes:
        """What the floor answers: one by its id, a page after a name, or all."""
        what, _, named = path[1:].partition("/")
        if what == "one":
            body: str = await self._connection.fetchval("select body from answers where instance_id = $1", named)
            return body.encode()
        if what == "after":
            found = await self._connection.fetch(
                "select body from answers where name > $1 order by name limit $2", named, PAGE
            )
        else:
            found = await self._connection.fetch("select body from answers order by name")
        return f'{{"instances":[{",".join([row["body"] for row in found])}]}}'.encode()

    async def floor_one(self) -> float:
        return await self._one(self.least, "/one/")

    async def one(self) -> float:
        return await self._one(self._lineage, "/v1/instances/")

    async def version(self) -> float:
        """What the service's server and framework take for an answer that needs nothing."""
        return statistics.median(await self._lineage.milliseconds(*["/version"] * ONE_BY_ONE))

    async def floor_all(self) -> float:
        return sum(await self.least.milliseconds("/all"))

    async def floor_pages(self) -> float:
        return sum(await self.least.milliseconds(*[f"/after/{name}" for name in self._before_pages]))

    async def all(self) -> float:
        pages = [f"/v1/instances?limit={PAGE}&cursor={name}" for name in self._before_pages]
        return sum(await self._lineage.milliseconds(*pages))

    async def _one(self, asked: Asking, path: str) -> float:
        """The median of many, each another instance's."""
        some = [self._ids[7 * number % INSTANCES] for number in range(ONE_BY_ONE)]
        return statistics.median(await asked.milliseconds(*[path + instance_id for instance_id in some]))


@contextlib.asynccontextmanager
async def _lineage(place: Place, platform: Layered) -> AsyncIterator[tuple[Asking, asyncpg.Connection]]:
    """The service with this platform, and a connection to its tables for the floor."""
    await place.migrate("lineage")
    await platform.store(place)
    service = await place.start("lineage", migrated=True)
    token = auth.mint(service.running.settings.auth, tenant=TENANT, actor="bench", valid=timedelta(hours=1))
    connection = await asyncpg.connect(place.dsn, server_settings={"search_path": "lineage", "jit": "off"})
    try:
        yield Asking(service.running.http_url, token), connection
    finally:
        await connection.close()
        await service.stop()
