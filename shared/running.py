"""A started service: what runs beside what, in which order it starts, and how it stops.

Absent neighbours never stop a start: consumers, relay, due worker and workers each wait for what they need and say so.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Coroutine
from typing import Any, Generic, TypeVar

import uvicorn
from aiokafka.errors import KafkaError
from runtide_schemas.topics import Topic, topic_named
from sqlalchemy import text

from shared.clock import Clock, utc_now
from shared.messaging import broker as brokers
from shared.messaging.backoff import Backoff
from shared.messaging.consumer import BatchConsumer
from shared.messaging.door import Door, own_token
from shared.messaging.due import DueWorker
from shared.messaging.failure import reason_of, why_away
from shared.messaging.relay import Relay
from shared.messaging.upkeep import Upkeep
from shared.service import Context, Service, Worker

S = TypeVar("S")
_ANY_OUTBOX_ROW = text("select exists (select from outbox)")


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
        self._server = Server(
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


class Server(uvicorn.Server):
    """Uvicorn without its own signal handlers: the process has one owner."""

    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        yield
