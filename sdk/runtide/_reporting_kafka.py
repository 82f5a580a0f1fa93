"""The way of reports to Kafka: one background thread with an event loop and a producer of its own, so that a flow,
sync or async, never waits for a broker except where it asks to.

Records leave one after the other, each acknowledged by all replicas: order holds and nothing is half sent. While no
broker answers, progress is dropped (said once) and everything else waits, for as long as its caller does.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Protocol

from runtide_schemas.login import KafkaLogin

log = logging.getLogger("runtide.flow")

RETRY_SECONDS = 0.25
RETRY_MOST_SECONDS = 4.0
REQUEST_TIMEOUT_MS = 10_000
STOP_SECONDS = 4.0


@dataclass(slots=True)
class Outgoing:
    """One record; `sent` becomes True when the broker has acknowledged it, False when it never will."""

    topic: str
    key: bytes
    value: bytes
    headers: Sequence[tuple[str, bytes]]
    droppable: bool = False
    sent: Future[bool] = field(default_factory=Future)


class Sink(Protocol):
    """Where reports go."""

    def send(self, outgoing: Outgoing) -> None: ...

    def close(self, timeout_seconds: float) -> None: ...


class LogSink:
    """No Kafka is configured: reports are log lines, and count as sent."""

    def send(self, outgoing: Outgoing) -> None:
        log.info("report %s", outgoing.value.decode())
        outgoing.sent.set_result(True)

    def close(self, timeout_seconds: float) -> None:
        return None


class KafkaSink:
    """Lives as long as one `report_run` block."""

    def __init__(self, bootstrap: str, login: KafkaLogin | None = None) -> None:
        self._brokers, self._login = bootstrap.split(","), login or KafkaLogin()
        self._waiting: deque[Outgoing] = deque()
        self._loop = asyncio.new_event_loop()
        self._woken = asyncio.Event()
        self._closing = False
        self._failures = 0
        self._producer: Any = None
        self._pump = self._loop.create_task(self._pump_records())
        self._thread = threading.Thread(target=self._run, name="runtide-reports", daemon=True)
        self._thread.start()

    def send(self, outgoing: Outgoing) -> None:
        try:
            self._loop.call_soon_threadsafe(self._take, outgoing)
        except RuntimeError:
            outgoing.sent.set_result(False)

    def close(self, timeout_seconds: float) -> None:
        """Sends what waits if that takes no longer than the time given; what is left is given up."""
        for call, patience_seconds in ((self._finish, timeout_seconds), (self._give_up, STOP_SECONDS)):
            try:
                self._loop.call_soon_threadsafe(call)
            except RuntimeError:
                return
            self._thread.join(patience_seconds)

    def _take(self, outgoing: Outgoing) -> None:
        self._waiting.append(outgoing)
        self._woken.set()

    def _finish(self) -> None:
        self._closing = True
        self._woken.set()

    def _give_up(self) -> None:
        self._pump.cancel()

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(asyncio.gather(self._pump, return_exceptions=True))
            self._loop.run_until_complete(self._stop())
        finally:
            self._loop.close()
            for outgoing in self._waiting:
                outgoing.sent.set_result(False)

    async def _pump_records(self) -> None:
        while True:
            while self._waiting:
                if await self._settled(self._waiting[0]):
                    self._waiting.popleft()
                else:
                    self._drop_progress()
                    await asyncio.sleep(min(RETRY_SECONDS * 2**self._failures, RETRY_MOST_SECONDS))
            if self._closing:
                return
            self._woken.clear()
            await self._woken.wait()

    async def _settled(self, outgoing: Outgoing) -> bool:
        """Sent, or impossible to send; else it is tried again."""
        from aiokafka.errors import KafkaError, MessageSizeTooLargeError

        try:
            if self._producer is None:
                self._producer = await self._connected()
            await self._producer.send_and_wait(
                outgoing.topic, outgoing.value, key=outgoing.key, headers=list(outgoing.headers)
            )
        except MessageSizeTooLargeError as error:
            log.error("a report is too large and was not sent: %s", error)
            outgoing.sent.set_result(False)
            return True
        except (KafkaError, OSError) as error:
            if self._failures == 0:
                said = await self._refused() or f"{error!r}"
                log.warning("Kafka at %s does not take reports (%s); trying again", ",".join(self._brokers), said)
            self._failures += 1
            if not getattr(error, "retriable", False):
                await self._stop()
            return False
        self._failures = 0
        outgoing.sent.set_result(True)
        return True

    async def _refused(self) -> str | None:
        from runtide_schemas.refusal import refusal

        return await refusal(self._brokers, self._login)

    async def _connected(self) -> Any:
        from aiokafka import AIOKafkaProducer

        producer = AIOKafkaProducer(
            bootstrap_servers=self._brokers,
            **self._login.arguments(),
            client_id="runtide-flow",
            acks="all",
            enable_idempotence=True,
            request_timeout_ms=REQUEST_TIMEOUT_MS,
        )
        try:
            await producer.start()
        except BaseException:
            await producer.stop()
            raise
        return producer

    def _drop_progress(self) -> None:
        """What a run was doing a while ago is worth nothing when the broker is back."""
        kept = [outgoing for outgoing in self._waiting if not outgoing.droppable]
        for outgoing in self._waiting:
            if outgoing.droppable:
                outgoing.sent.set_result(False)
        self._waiting = deque(kept)

    async def _stop(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            try:
                await asyncio.wait_for(producer.stop(), STOP_SECONDS / 2)
            except (TimeoutError, OSError, RuntimeError) as error:
                log.debug("the producer did not stop in order: %r", error)
