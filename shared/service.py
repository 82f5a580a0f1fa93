"""What one service is made of, and what its handlers' neighbours hold on to; `running.py` starts and stops it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, TypeVar

import asyncpg
import httpx
from aiokafka import AIOKafkaConsumer, TopicPartition
from fastapi import APIRouter
from runtide_schemas.topics import Topic
from sqlalchemy import MetaData
from sqlalchemy.ext.asyncio import AsyncConnection

from shared import logs
from shared.clock import Clock, utc_now
from shared.findings import Alarm
from shared.keys import Keys
from shared.messaging.consumer import BatchConsumer
from shared.messaging.consumer import Consumes as Consumes
from shared.messaging.decode import Record
from shared.messaging.due import DueHandler
from shared.messaging.upkeep import Upkeep
from shared.messaging.work import Work
from shared.postgres import engine_for
from shared.reannounce import Reannounce, nothing
from shared.settings import ServiceSettings
from shared.watch import Watch

S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class Worker:
    """Something a service does besides handling messages: launch, push, sweep. Started again when it raises."""

    name: str
    run: Callable[[Context[Any]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Service(Generic[S]):
    """What a service is made of. `app.py` of each service returns one."""

    name: str
    settings: ServiceSettings
    store: Callable[[AsyncConnection], S]
    metadata: MetaData
    consumers: Sequence[Consumes[S]] = ()
    due: Mapping[str, DueHandler[S]] = field(default_factory=dict)
    lock_due: DueHandler[S] | None = None  # takes the locks that the consumers would take, before due rows are taken
    workers: Sequence[Worker] = ()
    alarms: Sequence[Alarm] = ()  # what of its own tables an operator should know
    reannounce: Reannounce = nothing  # a portion of all that it knows, said again
    routers: Sequence[APIRouter] = ()
    mounts: Sequence[Callable[[Any], None]] = ()  # each is given the FastAPI application, last


class Context(Generic[S]):
    """What handlers' neighbours (HTTP, workers) hold on to: engine, clock, log, transactions, wake-ups."""

    def __init__(self, service: Service[S], *, clock: Clock = utc_now) -> None:
        self.service, self.settings, self.clock = service, service.settings, clock
        self.started_at = clock()
        self.log = logs.configure(
            service=service.name, fmt=service.settings.log_format, level=service.settings.log_level
        )
        self.engine = engine_for(
            service.settings.postgres, schema=service.name, application=f"runtide-{service.name}",
            pool_size=len(service.consumers) + 4,
        )  # fmt: skip
        self.http = httpx.AsyncClient(timeout=10.0)
        self.keys = Keys(self.settings.auth, self.http)
        self.consumers: dict[str, BatchConsumer[S]] = {}
        self.upkeeps: dict[str, Upkeep] = {}
        self.degraded: dict[str, tuple[str, datetime]] = {}  # part → (what is wrong, since)
        self.replays: dict[str, Callable[[Record], Awaitable[None]]] = {}  # consumer without a transaction → its replay
        self.watch = Watch(self)
        self._events: dict[str, asyncio.Event] = {}
        self._offsets_reader: AIOKafkaConsumer | None = None
        self._reader_lock = asyncio.Lock()

    # -- transactions --------------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def unit_of_work(self) -> AsyncIterator[Work[S]]:
        """One transaction outside a consumer: flushed and committed at exit, rolled back on an exception."""
        async with self.unit_of_work_on_connection() as (_, work):
            yield work

    @contextlib.asynccontextmanager
    async def unit_of_work_on_connection(self) -> AsyncIterator[tuple[AsyncConnection, Work[S]]]:
        """The same with its connection, for plumbing that reads its own tables in the transaction."""
        async with self.engine.begin() as conn:
            work = Work(conn, self.service.store(conn), now=self.clock(), source=f"/runtide/{self.service.name}")
            yield conn, work
            await work.flush()
        work.committed()

    @contextlib.asynccontextmanager
    async def reading(self) -> AsyncIterator[S]:
        """A store on a connection that is only read from."""
        async with self.engine.connect() as conn:
            yield self.service.store(conn)

    @contextlib.asynccontextmanager
    async def lead(self, name: str) -> AsyncIterator[asyncpg.Connection]:
        """Be the only one who does `name`: waits for a session advisory lock, holds it inside.

        The caller should check `connection.is_closed()` now and then; two leaders at once are harmless, only wasteful.
        """
        connection = await self.connect_raw()
        try:
            lock = f"{self.service.name}.{name}"
            while not await connection.fetchval("select pg_try_advisory_lock(hashtextextended($1, 0))", lock):
                await asyncio.sleep(1)
            yield connection
        finally:
            with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
                await connection.close(timeout=2)

    async def connect_raw(self) -> asyncpg.Connection:
        """A connection outside the pool, for LISTEN and advisory locks."""
        return await asyncpg.connect(
            self.settings.postgres.dsn.get_secret_value(),
            server_settings={"search_path": self.service.name, "application_name": f"runtide-{self.service.name}"},
            timeout=5,
        )

    # -- wake-ups and health -------------------------------------------------------------------------------------

    def wake(self, name: str) -> None:
        """Wake whoever waits in `woken(name)`."""
        self._events.setdefault(name, asyncio.Event()).set()

    async def woken(self, name: str, timeout_seconds: float) -> bool:
        """Wait to be woken, at most so long; says whether it was."""
        event = self._events.setdefault(name, asyncio.Event())
        try:
            async with asyncio.timeout(timeout_seconds):
                await event.wait()
        except TimeoutError:
            return False
        event.clear()
        return True

    def degrade(self, part: str, problem: str | None) -> None:
        """Note that a neighbour is away (or, with None, back); shown in /readyz, never a reason to stop."""
        if problem is None:
            if self.degraded.pop(part, None) is not None:
                self.log.info("back", part=part)
            return
        known = self.degraded.get(part)
        if known is None:
            self.log.warning("away", part=part, problem=problem)
        self.degraded[part] = (problem, known[1] if known else self.clock())

    # -- facts before questions (shared.messaging.facts) ---------------------------------------------------------

    def consumer_name(self, topic: Topic) -> str:
        return next(c for c in self.service.consumers if c.topic is topic).group(self.service.name)

    async def end_offsets(self, topic: Topic) -> dict[int, int]:
        """partition → offset after the last record that Kafka holds now."""
        async with self._reader_lock:
            if self._offsets_reader is None:
                reader = AIOKafkaConsumer(**self.settings.kafka.client(), isolation_level="read_committed")
                await reader.start()
                self._offsets_reader = reader
            wire = self.settings.kafka.prefix + topic.name
            found = self._offsets_reader.partitions_for_topic(wire)
            if not found:
                self._offsets_reader.subscribe([wire])
                await self._offsets_reader._client.force_metadata_update()
                found = self._offsets_reader.partitions_for_topic(wire) or set(range(topic.partitions))
            ends = await self._offsets_reader.end_offsets([TopicPartition(wire, p) for p in sorted(found)])
        return {tp.partition: offset for tp, offset in ends.items()}

    async def wait_saved(self, topics: Sequence[Topic], timeout_seconds: float) -> None:
        """Until one of our consumers of these topics commits a batch, or the time is over."""
        events = [self.consumers[topic.name].saved for topic in topics if topic.name in self.consumers]
        for event in events:
            event.clear()
        waits = [asyncio.ensure_future(event.wait()) for event in events]
        try:
            await asyncio.wait(waits or [asyncio.ensure_future(asyncio.sleep(timeout_seconds))],
                               timeout=timeout_seconds, return_when=asyncio.FIRST_COMPLETED)  # fmt: skip
        finally:
            for wait in waits:
                wait.cancel()

    async def close(self) -> None:
        await self.http.aclose()
        if self._offsets_reader is not None:
            await self._offsets_reader.stop()
        await self.engine.dispose()
