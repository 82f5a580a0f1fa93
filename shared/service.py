"""One process of one service: what it is made of, in which order it starts, and how it stops.

Absent neighbours never stop a start: consumers, relay, due worker and workers each wait for what they need and say so.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, TypeVar

import asyncpg
import httpx
import uvicorn
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from fastapi import APIRouter
from runtide_schemas.topics import Topic, topic_named
from sqlalchemy import MetaData, text
from sqlalchemy.ext.asyncio import AsyncConnection

from shared import logs
from shared.clock import Clock, utc_now
from shared.findings import Alarm
from shared.keys import Keys
from shared.messaging import broker as brokers
from shared.messaging.backoff import Backoff
from shared.messaging.consumer import BatchConsumer
from shared.messaging.consumer import Consumes as Consumes
from shared.messaging.decode import Record
from shared.messaging.door import Door, own_token
from shared.messaging.due import DueHandler, DueWorker
from shared.messaging.failure import reason_of, why_away
from shared.messaging.relay import Relay
from shared.messaging.upkeep import Upkeep
from shared.messaging.work import Work
from shared.postgres import engine_for
from shared.reannounce import Reannounce, nothing
from shared.settings import ServiceSettings
from shared.watch import Watch

S = TypeVar("S")
_ANY_OUTBOX_ROW = text("select exists (select from outbox)")


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


class Running(Generic[S]):
    """A started service: consumers, relay, due worker, workers and HTTP, until it is told to stop."""

    def __init__(self, service: Service[S], *, clock: Clock = utc_now) -> None:
        self.service, self.settings = service, service.settings
        self.context = Context(service, clock=clock)
        self._tasks: list[asyncio.Task[None]] = []
        self._subscribers: list[Any] = []
        self._server: uvicorn.Server | None = None
        self._broker = brokers.broker_for(self.settings.kafka, client_id=f"runtide-{service.name}")

    async def start(self) -> None:
        """Everything under way; what is absent is waited for in the background."""
        from shared.application import application

        context, service = self.context, self.service
        for consumes in service.consumers:
            consumer = BatchConsumer(
                consumes, service=service.name, engine=context.engine, store=service.store, clock=context.clock,
                log=context.log, topic_prefix=self.settings.kafka.prefix, door=self._door(consumes.topic),
            )  # fmt: skip
            if consumes.before is not None:
                consumer.precondition = consumes.before(context)
            context.consumers[consumes.topic.name] = consumer
            context.upkeeps[consumes.topic.name] = Upkeep(consumer)
            self._subscribers.append(
                brokers.subscribe(self._broker, consumer, self.settings.kafka, instance=self.settings.instance_id)
            )
        relay = Relay(
            schema=service.name, connect=context.connect_raw, topic_prefix=self.settings.kafka.prefix, log=context.log,
            producer=lambda: brokers.producer_for(self.settings.kafka, client_id=f"runtide-{service.name}-relay"),
            token=self._token,
        )  # fmt: skip
        due = DueWorker(
            service.due, lock=service.lock_due, service=service.name, engine=context.engine, store=service.store,
            clock=context.clock, log=context.log,
        )  # fmt: skip
        self._spawn("consumers", self._start_broker())
        self._spawn("relay", relay.run())
        self._spawn("watch", context.watch.run())
        for upkeep in context.upkeeps.values():
            self._spawn("upkeep", upkeep.run())
        if service.due:
            self._spawn("due", due.run())
        for worker in service.workers:
            self._spawn(worker.name, self._keep(worker))
        self._server = _Server(
            uvicorn.Config(
                application(context),
                host=self.settings.http_host,
                port=self.settings.http_port,
                log_config=None,
                access_log=False,
                lifespan="off",
                timeout_graceful_shutdown=5,
            )
        )
        self._spawn("http", self._server.serve())
        while not self._server.started and not self._tasks[-1].done():
            await asyncio.sleep(0.01)
        if self._tasks[-1].done():
            await self._tasks[-1]
            raise OSError(f"HTTP does not start on {self.settings.http_host}:{self.settings.http_port}")
        context.log.info("started", http=self.http_url)

    def _door(self, topic: Topic) -> Door | None:
        """None: whoever can write to the topic is believed."""
        if not topic.open_door:
            return None
        if self.settings.commands.auth == "open":
            self.context.log.warning("open door", topic=topic.name, said="RUNTIDE_COMMANDS_AUTH=token asks for tokens")
            return None
        return Door(topic, self.context.keys)

    def _token(self, name: str, payload: bytes) -> str | None:
        topic = topic_named(name)
        if self.settings.commands.auth == "open" or not topic.open_door:
            return None
        return own_token(self.context.keys, topic, payload, now=self.context.clock())

    @property
    def http_url(self) -> str:
        assert self._server is not None
        port = self._server.servers[0].sockets[0].getsockname()[1]
        return f"http://{self.settings.http_host}:{port}"

    async def stop(self) -> None:
        """Refuse new HTTP, take no more batches, finish the one in hand, let the relay send what is there."""
        if self._server is not None:
            self._server.should_exit = True
            serving = [task for task in self._tasks if task.get_name() == "http"]
            await asyncio.wait(serving, timeout=6)
        for subscriber in self._subscribers:
            with contextlib.suppress(TimeoutError, KafkaError):
                async with asyncio.timeout(8):
                    await subscriber.stop()
        for consumer in self.context.consumers.values():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(8):
                    await consumer.idle()
        await self._broker.stop()
        await self._drained(timeout_seconds=3)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.context.close()

    async def run(self) -> None:
        """Until SIGTERM, SIGINT, or a part that must not end ends."""
        await self.start()
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        waiting = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait([waiting, *self._tasks], return_when=asyncio.FIRST_COMPLETED)
            broken = [task for task in self._tasks if task.done() and not task.cancelled()]
            self.context.log.info("stopping", because="asked" if stop.is_set() else [t.get_name() for t in broken])
        finally:
            waiting.cancel()
            await self.stop()
        for task in broken:
            if (error := task.exception()) is not None:
                raise error

    def _spawn(self, name: str, coroutine: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.create_task(coroutine, name=name))

    async def _start_broker(self) -> None:
        """Subscribers with retry: started once while Kafka is away, they would never connect."""
        backoff = Backoff()
        await self._broker.connect()
        for subscriber in self._subscribers:
            while True:
                try:
                    await subscriber.start()
                except (KafkaError, OSError) as error:
                    self.context.degrade("kafka", await why_away(self.settings.kafka, error))
                    await subscriber.stop()  # else its consumer stays behind, half open
                    await asyncio.sleep(backoff.next_seconds())
                else:
                    break
        self.context.degrade("kafka", None)
        await asyncio.Event().wait()

    async def _keep(self, worker: Worker) -> None:
        """Run a worker for ever; when it raises, say so and start it again after a while."""
        backoff = Backoff()
        while True:
            try:
                await worker.run(self.context)
            except Exception as error:  # noqa: BLE001 a worker's fault must not end the others
                self.context.log.warning("worker starts again", worker=worker.name, error=reason_of(error))
            await asyncio.sleep(backoff.next_seconds())

    async def _drained(self, timeout_seconds: float) -> None:
        """Give the relay a moment to send what the last batches wrote; what is left is sent by whoever comes next."""
        with contextlib.suppress(Exception):
            async with asyncio.timeout(timeout_seconds), self.context.engine.connect() as conn:
                while await conn.scalar(_ANY_OUTBOX_ROW):
                    await conn.rollback()
                    await asyncio.sleep(0.05)


class _Server(uvicorn.Server):
    """Uvicorn without its own signal handlers: the process has one owner."""

    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        yield
