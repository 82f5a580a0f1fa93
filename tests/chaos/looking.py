"""What a chaos run looks at: rows of every service, records of every topic, and whether all of it is quiet."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import asyncpg
import httpx
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from tests.chaos.fleet import SERVICES, Fleet
from tests.chaos.watcher import Said, pages
from tests.chaos.worker import OPEN, Worker
from tests.support.eventually import eventually

STATUS = ("requests.status.v1", "runs.status.v1", "runs.progress.v1", "instances.status.v1")
TOPICS = (*STATUS, "requests.decisions.v1", "activities.v1", "runs.commands.v1", "runs.reports.v1",
          "prefect.flow-run-states.v1", "instances.commands.v1")  # fmt: skip
# Plumbing that reading again does move: offsets themselves, how often a letter came, leases and marks of workers.
UNTOLD_TABLES = {"consumer_offsets", "alembic_version", "sweeps", "cancel_intents"}
UNTOLD_COLUMNS = {"dead_letters": ("attempts", "last_seen_at")}
MANY_ROWS = 50_000
AWAY = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, KafkaError, httpx.HTTPError, TimeoutError)


class Looking:
    """Eyes of its own, past every wire."""

    def __init__(self, fleet: Fleet, worker: Worker) -> None:
        self.fleet, self.world, self.worker = fleet, fleet.world, worker
        self._reader: AIOKafkaConsumer | None = None

    async def close(self) -> None:
        if self._reader is not None:
            await self._reader.stop()

    async def rows(self, service: str, sql: str, *args: Any) -> list[dict[str, Any]]:
        return await self.world.rows(service, sql, *args)

    async def ends(self) -> dict[tuple[str, int], int]:
        """(topic, partition) → the offset after its last record."""
        if self._reader is None:
            self._reader = AIOKafkaConsumer(
                bootstrap_servers=self.world.env["RUNTIDE_KAFKA_BOOTSTRAP"], enable_auto_commit=False
            )
            await self._reader.start()
        cluster = await self._reader._client.fetch_all_metadata()
        prefix = self.world.kafka.prefix
        tps = [
            TopicPartition(prefix + topic, p)
            for topic in TOPICS
            for p in cluster.partitions_for_topic(prefix + topic) or ()
        ]
        return {
            (tp.topic.removeprefix(prefix), tp.partition): at
            for tp, at in (await self._reader.end_offsets(tps)).items()
        }

    async def counts(self) -> dict[str, int]:
        """topic → how many records lie in it."""
        found = dict.fromkeys(TOPICS, 0)
        for (topic, _), end in (await self.ends()).items():
            found[topic] += end
        return found

    async def behind(self, ends: Mapping[tuple[str, int], int]) -> dict[str, int]:
        """consumer → records that it has not read, of those before `ends`."""
        found: dict[str, int] = {}
        for service in SERVICES:
            for row in await self.rows(service, "select consumer, topic, partition, next_offset from consumer_offsets"):
                lag = ends.get((row["topic"], row["partition"]), 0) - row["next_offset"]
                if lag > 0:
                    found[row["consumer"]] = found.get(row["consumer"], 0) + lag
        return found

    async def seconds_until_read(self, most: float) -> float | None:
        """How long until everything that lies in Kafka now has been read; None: longer than allowed."""
        began, ends = time.monotonic(), None
        while time.monotonic() - began < most:
            try:
                async with asyncio.timeout(10):
                    ends = ends or await self.ends()
                    if not await self.behind(ends):
                        return time.monotonic() - began
            except AWAY:
                pass
            await asyncio.sleep(0.2)
        return None

    async def waiting(self) -> dict[str, int]:
        """What is to be sent, or falls due in a moment and is not done."""
        found = {f"{service}.outbox": rows for service, rows in (await self.outboxes()).items() if rows}
        for service in SERVICES:
            [row] = await self.rows(service, "select count(*) as n from due where due_at <= now() + interval '3 s'")
            found |= {f"{service}.due": row["n"]} if row["n"] else {}
        return found

    async def outboxes(self) -> dict[str, int]:
        return {s: (await self.rows(s, "select count(*) as n from outbox"))[0]["n"] for s in SERVICES}

    async def quiet(self, *, within_seconds: float) -> None:
        """Nothing more comes of what was sent: no lag, empty outboxes, no open run, and the same once more."""
        last: list[Any] = []

        async def probe() -> bool:
            try:
                ends = await self.ends()
                assert not (behind := await self.behind(ends)), f"behind: {behind}"
                assert not (rows := await self.waiting()), f"waiting: {rows}"
                assert not (flow_runs := await self.worker.flow_runs(OPEN)), f"{len(flow_runs)} flow runs are open"
                assert not (runs := await self._unsettled()), f"{len(runs)} runs have no end: {runs[:3]}"
                assert not (asked := await self._undecided()), f"{len(asked)} requests have no answer: {asked[:3]}"
            except AWAY as error:
                raise AssertionError(repr(error)) from error
            same, last[:] = last == [ends], [ends]
            return same

        await eventually(probe, within_seconds=within_seconds, every_seconds=1.0, what="quiet")

    async def _unsettled(self) -> list[str]:
        rows = await self.rows(
            "run_tracker",
            "select run_id, status, sub_state from runs where (not settled and orchestrator_run_id is not null)"
            " or status not in ('completed', 'failed', 'cancelled')",
        )
        return [f"{row['run_id']} {row['status']}/{row['sub_state']}" for row in rows]

    async def _undecided(self) -> list[str]:
        rows = await self.rows(
            "submission", "select run_id, status, message from requests where status in ('requested', 'admitted')"
        )
        return [f"{row['run_id']} {row['status']} {row['message'] or ''}" for row in rows]

    async def tables(self) -> dict[str, set[str]]:
        """schema.table → its rows as text, of a large table a digest of each."""
        found: dict[str, set[str]] = {}
        conn = await asyncpg.connect(self.world.dsn)
        try:
            for schema in SERVICES:
                names = await conn.fetch("select tablename from pg_tables where schemaname = $1", schema)
                for (table,) in names:
                    if table not in UNTOLD_TABLES:
                        without = "".join(f" - '{column}'" for column in UNTOLD_COLUMNS.get(table, ()))
                        row = f"(to_jsonb(t){without})::text"
                        many = await conn.fetchval(f'select count(*) > {MANY_ROWS} from {schema}."{table}"')
                        shown = f"md5({row})" if many else row
                        rows = await conn.fetch(f'select {shown} from {schema}."{table}" t')
                        found[f"{schema}.{table}"] = {row[0] for row in rows}
        finally:
            await conn.close()
        return found

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(headers={"Authorization": f"Bearer {self.world.env['RUNTIDE_TOKEN']}"}, timeout=60)

    async def http(self, service: str, path: str) -> Any:
        async with self.client() as http:
            return (await http.get(self.fleet.url(service) + path)).raise_for_status().json()

    async def shown(self) -> dict[str, Said]:
        """What the services answer now of every request, run and instance."""
        async with self.client() as http:
            return {
                **await pages(http, self.fleet.url("submission") + "/v1/requests", "request"),
                **await pages(http, self.fleet.url("run_tracker") + "/v1/runs", "run"),
                **await pages(http, self.fleet.url("lineage") + "/v1/instances", "instance"),
            }

    async def said(self) -> dict[str, Any]:
        """What lies in Kafka: where each partition ends, and of activities, which repeat under their id, the ids."""
        ends = {f"the end of {t}/{p}": at for (t, p), at in sorted((await self.ends()).items()) if t != "activities.v1"}
        return {**ends, "activities": {m["activity_id"] for m in await self.world.kafka.all("activities.v1")}}
