"""A service of two tables, built from `shared.service` alone: what messaging promises, seen without any business.

`taken` has a row each time that the handler was given a record, with no key: twice is visible. `effects` has the
natural key of the fact: twice is a no-op, and only what is new is announced.
"""

from __future__ import annotations

import itertools
import json
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar

from aiokafka import TopicPartition
from pydantic_settings import SettingsConfigDict
from runtide_schemas import cluster
from runtide_schemas.activities import ActivityRecorded
from runtide_schemas.runs import RunProgressed
from runtide_schemas.topics import RUNS_PROGRESS, Topic
from runtide_schemas.vocabulary import RunStatus
from sqlalchemy import MetaData, text
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.errors import InvalidMessage
from shared.messaging import topics as topic_admin
from shared.messaging.consumer import BatchConsumer
from shared.messaging.decode import Received
from shared.messaging.tables import create_messaging_tables
from shared.messaging.work import Work
from shared.postgres import engine_for, execute, fetch
from shared.running import Running
from shared.service import Consumes, Service
from shared.settings import ServiceSettings
from tests.support.eventually import eventually
from tests.support.harness import ServiceHarness, World

SAID = RUNS_PROGRESS.name
NAMES = itertools.count(1)
NOW = datetime(2025, 1, 15, tzinfo=UTC)
Handler = Callable[[Sequence[Received[Any]], Work[Any]], Awaitable[None]]


class CountingSettings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="COUNTING_")


class CountingStore:
    def __init__(self, conn: AsyncConnection) -> None:
        self._conn = conn

    async def take(self, facts: Sequence[ActivityRecorded]) -> set[uuid.UUID]:
        """Note that these were handed over; answers those that are new."""
        ids = [fact.activity_id for fact in facts]
        await fetch(
            self._conn, "insert into taken (id) select unnest(cast(:ids as uuid[])) returning 1", ids=ids
        )  # fmt: skip
        rows = await fetch(
            self._conn,
            "insert into effects (id, ref, n) select * from unnest("
            "cast(:ids as uuid[]), cast(:refs as text[]), cast(:ns as int[])) on conflict do nothing returning id",
            ids=ids, refs=[fact.resource_id for fact in facts], ns=[fact.payload["n"] for fact in facts],
        )  # fmt: skip
        return {row["id"] for row in rows}

    async def ring(self, ref: str) -> None:
        """Note that something became true."""
        await execute(self._conn, "insert into effects (id, ref, n) values (gen_random_uuid(), :ref, 0)", ref=ref)

    async def lock(self, refs: Sequence[str]) -> None:
        """As a handler locks the aggregates that it is about to change."""
        await execute(self._conn, "select from effects where ref = any(:refs) order by ref for update", refs=list(refs))


async def on_facts(batch: Sequence[Received[ActivityRecorded]], work: Work[CountingStore]) -> None:
    """Take the facts; say what is new; a fact whose n is negative can never work."""
    for received in batch:
        if received.message.payload["n"] < 0:
            raise InvalidMessage(f"n is {received.message.payload['n']}, allowed is 0 and more")
    new = await work.store.take([received.message for received in batch])
    for received in batch:
        if received.message.activity_id in new:
            work.publish(progressed(received.message.activity_id, received.message.payload["n"] + 1), cause=received)


def fact(n: int, ref: str = "a", **more: Any) -> dict[str, Any]:
    """A fact with an identity of its own."""
    return {
        "type": "activity.recorded", "activity_id": str(uuid.uuid4()), "tenant": "acme", "resource_type": "test",
        "resource_id": ref, "action": "instance.ready", "payload": {"n": n}, "occurred_at": "2025-01-15T00:00:00Z",
        **more,
    }  # fmt: skip


def progressed(run_id: uuid.UUID, seq: int) -> RunProgressed:
    return RunProgressed(
        tenant="acme", run_id=run_id, instance_id=run_id, status=RunStatus.RUNNING, occurred_at=NOW, seq=seq
    )


class Counting:
    """The service with a topic, a schema and groups of its own; any number of its processes may run in this one."""

    settings: ClassVar[type[ServiceSettings]] = CountingSettings

    def __init__(self, world: World, *, partitions: int = 3, compacted: bool = False) -> None:
        self.world, self.name = world, f"counting_{next(NAMES)}"
        self.topic = Topic(
            name=f"{self.name}.v1", partitions=partitions, retention_ms=None, compacted=compacted, public=False,
            messages=(ActivityRecorded,),
        )  # fmt: skip
        self.group = Consumes(self.topic, on_facts).group(self.name)
        self._running: list[ServiceHarness] = []

    async def open(self) -> Counting:
        admin = topic_admin.admin_for(self.world.settings_of(self.settings).kafka)
        await admin.start()
        try:
            await cluster.apply(admin, prefix=self.world.kafka.prefix, topics=(self.topic,))
        finally:
            await admin.close()
        engine = engine_for(self.world.settings_of(self.settings).postgres, schema=self.name, application="test")
        async with engine.begin() as conn:
            await conn.execute(text(f"create schema {self.name}"))
            statements: list[str] = []
            create_messaging_tables(statements.append)
            statements.append("create table taken (id uuid not null)")
            statements.append("create table effects (id uuid primary key, ref text not null, n int not null)")
            for statement in statements:
                await conn.execute(text(statement))
        await engine.dispose()
        return self

    async def start(
        self, instance: str = "one", *, handler: Handler = on_facts, due: Mapping[str, Any] | None = None,
        lock_due: Any = None, before: Any = None, group_of_its_own: bool = False, saves_at_once: int = 1,
        batch_records: int = 1000,
    ) -> ServiceHarness:  # fmt: skip
        """One process; `instance` keeps its place in the group."""
        settings = self.world.settings_of(self.settings, instance_id=f"{self.world.id}-{instance}")
        kafka = settings.kafka.model_copy(update={"batch_records": batch_records})
        settings = settings.model_copy(update={"kafka": kafka})
        running: Running[Any] = Running(
            Service(
                name=self.name, settings=settings, store=CountingStore, metadata=MetaData(),
                consumers=[Consumes(self.topic, handler, before=before, saves_at_once=saves_at_once)], due=due or {},
                lock_due=lock_due,
            )
        )  # fmt: skip
        if group_of_its_own:
            running._broker = _ForeignGroup(running._broker, instance)
        await running.start()
        self._running.append(ServiceHarness(self.name, self.world, running))
        return self._running[-1]

    async def close(self) -> None:
        for harness in self._running:
            await harness.stop()

    async def send(self, facts: Sequence[object]) -> None:
        await self.world.kafka.send_many(self.topic.name, facts)

    async def fill(self, partition: int, facts: Sequence[object]) -> None:
        """Send to one partition."""
        producer = self.world.kafka._producer
        assert producer is not None
        for value in facts:
            await producer.send(
                self.world.kafka.prefix + self.topic.name, json.dumps(value).encode(), partition=partition
            )
        await producer.flush()

    # -- what can be seen ----------------------------------------------------------------------------------------

    async def rows(self, sql: str, *args: Any) -> list[dict[str, Any]]:
        return await self.world.rows(self.name, sql, *args)

    async def count(self, table: str) -> int:
        return int((await self.rows(f"select count(*) as n from {table}"))[0]["n"])

    async def offsets(self) -> dict[int, int]:
        rows = await self.rows("select partition, next_offset from consumer_offsets")
        return {row["partition"]: row["next_offset"] for row in rows}

    async def at_the_end(self) -> bool:
        """Every partition's row stands where Kafka ends."""
        context = self._running[-1].running.context
        ends = await context.end_offsets(self.topic)
        offsets = await self.offsets()
        return all(offsets.get(partition, 0) == end for partition, end in ends.items())

    async def until_read(self, *, within_seconds: float = 30) -> None:
        await eventually(self.at_the_end, within_seconds=within_seconds, what="the rows at the end of the topic")

    async def said(self) -> list[dict[str, Any]]:
        """What this service announced: the outbox is empty, and this lies in Kafka."""
        await eventually(self._quiet, what="an empty outbox")
        mine = f"/runtide/{self.name}".encode()
        records = await self.world.kafka.records(SAID)
        return [_json(record.value) for record in records if dict(record.headers).get("ce_source") == mine]

    async def _quiet(self) -> bool:
        return await self.count("outbox") == 0

    async def terminate_backends(self, *, only_the_relay: bool = False) -> int:
        """Cut the service's connections to PostgreSQL, as a server that goes down does; says how many."""
        rows = await self.rows(
            """
            select count(pg_terminate_backend(pid)) as n from pg_stat_activity
            where application_name = $1 and datname = current_database()
              and (not $2 or pid in (select pid from pg_locks where locktype = 'advisory'))
            """,
            f"runtide-{self.name}", only_the_relay,
        )  # fmt: skip
        return int(rows[0]["n"])


class _ForeignGroup:
    """A broker whose subscribers join another group of Kafka, while their rows stay the same."""

    def __init__(self, broker: Any, group: str) -> None:
        self._broker, self._group = broker, group

    def subscriber(self, *topics: str, group_id: str, **how: Any) -> Any:
        return self._broker.subscriber(*topics, group_id=f"{group_id}.{self._group}", **how)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._broker, name)


def consumer_of(harness: ServiceHarness) -> BatchConsumer[Any]:
    return next(iter(harness.running.context.consumers.values()))


def partition(counting: Counting, number: int = 0) -> TopicPartition:
    return TopicPartition(counting.world.kafka.prefix + counting.topic.name, number)


def _json(value: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(value)
    return found
