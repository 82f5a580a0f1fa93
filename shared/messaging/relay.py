"""Sends outbox rows to Kafka in order, one relay per shard, and deletes what Kafka acknowledged.

It holds an advisory lock, reads the lowest ids (never "the last id I saw": ids are taken before commits), sends them
pipelined through an idempotent producer and deletes them after the acknowledgement. A send that fails is sent again,
the same row. Woken by NOTIFY, with a slow poll as a safety net.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import asyncpg
import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from shared import failpoints, telemetry
from shared.failpoints import Place
from shared.logs import Log
from shared.messaging.backoff import Backoff
from shared.messaging.door import HEADER
from shared.messaging.failure import reason_of

BATCH = 2000
POLL_SECONDS = 0.25
SHARD = 0
# The last is what asyncpg says when the connection breaks in the middle of its protocol.
_POSTGRES_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
_decode = msgspec.json.Decoder(dict[str, str]).decode

_TAKE = "select id, topic, key, payload, headers from outbox where shard = $1 order by id limit $2"
_DELETE = "delete from outbox where id = any($1::bigint[])"


class Relay:
    """One ordered relay of one service's outbox."""

    def __init__(
        self,
        *,
        schema: str,
        connect: Callable[[], Any],
        producer: Callable[[], AIOKafkaProducer],
        topic_prefix: str,
        log: Log,
        token: Callable[[str, bytes], str | None] = lambda topic, payload: None,
    ) -> None:
        """`token`: what to carry on this topic with this payload; asked at each send, so that it never waits."""
        self._schema, self._connect, self._producer, self._prefix = schema, connect, producer, topic_prefix
        self._log, self._token = log.bind(worker="relay"), token
        self._woken = asyncio.Event()
        self.leading = False

    async def run(self) -> None:
        """For the life of the process: become leader, drain, wait to be woken, again."""
        backoff = Backoff()
        while True:
            try:
                await self._lead(backoff)
            except (OSError, *_POSTGRES_ERRORS, KafkaError, TimeoutError) as error:
                self._log.warning("relay starts again", error=reason_of(error))
                await asyncio.sleep(backoff.next_seconds())
            finally:
                self.leading = False

    async def _lead(self, backoff: Backoff) -> None:
        connection: asyncpg.Connection = await self._connect()
        producer = self._producer()
        try:
            await connection.add_listener(f"outbox_{self._schema}", lambda *_: self._woken.set())
            lock = f"{self._schema}.relay.{SHARD}"
            while not await connection.fetchval("select pg_try_advisory_lock(hashtextextended($1, 0))", lock):
                await asyncio.sleep(1)
            await producer.start()
            self.leading = True
            while True:
                self._woken.clear()
                while await self.drain_once(connection, producer):
                    backoff.reset()
                try:
                    async with asyncio.timeout(POLL_SECONDS):
                        await self._woken.wait()
                except TimeoutError:
                    if connection.is_closed():
                        raise ConnectionError("the relay's connection to PostgreSQL is closed") from None
        finally:
            await _quietly(producer.stop())
            await _quietly(connection.close(timeout=2))

    async def drain_once(self, connection: asyncpg.Connection, producer: AIOKafkaProducer) -> int:
        """Send the lowest rows, delete what was acknowledged; says how many.

        Raises:
            KafkaError: a send failed; what was acknowledged is deleted first.
        """
        rows = await connection.fetch(_TAKE, SHARD, BATCH)
        if not rows:
            return 0
        sends = [
            await producer.send(
                self._prefix + row["topic"],
                row["payload"],
                key=row["key"],
                headers=self._headers(row),
            )
            for row in rows
        ]
        outcomes = await asyncio.gather(*sends, return_exceptions=True)
        failed = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        sent = [
            row["id"] for row, outcome in zip(rows, outcomes, strict=True) if not isinstance(outcome, BaseException)
        ]
        failpoints.reached(Place.SENT)
        await connection.execute(_DELETE, sent)
        for row, outcome in zip(rows, outcomes, strict=True):
            if not isinstance(outcome, BaseException):
                telemetry.RELAYED.labels(row["topic"]).inc()
        if failed:
            raise failed[0]
        return len(sent)

    def _headers(self, row: Any) -> list[tuple[str, bytes]]:
        headers = [(name, value.encode()) for name, value in _decode(row["headers"]).items()]
        token = self._token(row["topic"], row["payload"])
        return [*headers, (HEADER, f"Bearer {token}".encode())] if token is not None else headers


async def _quietly(stopping: Any) -> None:
    """Stop something that may be broken already; it has ten seconds."""
    try:
        async with asyncio.timeout(10):
            await stopping
    except Exception:  # noqa: BLE001, S110 nothing is lost: rows stay until acknowledged
        pass
