"""From Kafka to Centrifugo: the one consumer without a transaction.

Centrifugo's answer first, then the offset in Kafka, its only offset. While Centrifugo is away Kafka is the buffer: the
batch is read again, and once behind only the newest state of each entity is sent.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from cent import (
    AsyncClient,
    BatchRequest,
    CentApiResponseError,
    CentDecodeError,
    CentError,
    CentTransportError,
    CentUnauthorizedError,
)
from prometheus_client import Counter
from runtide_schemas.topics import Topic

from services.notifier.routing import Publication, coalesced, route
from services.notifier.settings import NotifierSettings
from services.notifier.store import NotifierStore
from shared import failpoints
from shared.errors import InvalidMessage, PushUnavailable
from shared.failpoints import Place
from shared.messaging import dead_letters
from shared.messaging.backoff import Backoff
from shared.messaging.decode import Bad, Received, Record, decode
from shared.service import Context

BEHIND_RECORDS = 100
TRY_AGAIN_CODE = 100
PUSHED = Counter("runtide_push_publications_total", "Publications that Centrifugo took", ["topic"])
REFUSED = Counter("runtide_push_refused_total", "Publications that Centrifugo refused for good", ["topic"])


class Publications(BatchRequest):
    """One /api/batch of publications; the answer has one result or one error per item, in order."""

    @property
    def api_payload(self) -> Any:
        return {"commands": [{"publish": publication} for publication in self.requests], "parallel": False}

    def parse_response(self, content: str) -> Any:
        try:
            return SimpleNamespace(result=json.loads(content).get("replies", []), error=None)
        except ValueError as error:
            raise CentDecodeError(str(error)) from error


class Centrifugo:
    """Publishes batches, one call in flight."""

    def __init__(self, settings: NotifierSettings) -> None:
        self._client = AsyncClient(
            settings.centrifugo.api_url.rstrip("/") + "/api",
            settings.centrifugo.api_key.get_secret_value(),
            timeout=settings.push_timeout_seconds,
        )
        self._most = settings.push_batch
        self._one_at_a_time = asyncio.Lock()

    async def publish(self, publications: Sequence[Publication]) -> list[tuple[Publication, str]]:
        """Send all, in order; answers those that Centrifugo refuses for good, each with its reason.

        Raises:
            PushUnavailable: later may work; what was sent before is harmless to send again.
        """
        refused: list[tuple[Publication, str]] = []
        async with self._one_at_a_time:
            for start in range(0, len(publications), self._most):
                refused += await self._send(publications[start : start + self._most])
        return refused

    async def close(self) -> None:
        await self._client.close()

    async def _send(self, chunk: Sequence[Publication]) -> list[tuple[Publication, str]]:
        try:
            replies: Any = await self._client.batch(Publications.model_construct(requests=[p.command() for p in chunk]))
        except CentUnauthorizedError as error:
            raise PushUnavailable("Centrifugo refuses our API key: check RUNTIDE_CENTRIFUGO_API_KEY") from error
        except CentTransportError as error:
            if error.status_code == 400 and len(chunk) == 1:
                return [(chunk[0], "Centrifugo answered 400 to this publication")]
            if error.status_code == 400:
                middle = len(chunk) // 2
                return await self._send(chunk[:middle]) + await self._send(chunk[middle:])
            raise PushUnavailable(f"Centrifugo answered {error.status_code}") from error
        except (CentApiResponseError, CentError) as error:
            raise PushUnavailable(f"Centrifugo: {type(error).__name__}: {error}") from error
        refused = []
        for publication, reply in zip(chunk, replies, strict=True):
            problem = reply.get("error")
            if problem is None:
                continue
            if problem.get("code") == TRY_AGAIN_CODE:
                raise PushUnavailable(f"Centrifugo could not publish: {problem.get('message')}")
            refused.append((publication, f"Centrifugo answered {problem.get('code')}: {problem.get('message')}"))
        return refused


class Push:
    """Pushes one topic. `on_batch` is what FastStream calls; it never raises."""

    def __init__(self, topic: Topic, ctx: Context[NotifierStore], centrifugo: Centrifugo) -> None:
        self.topic, self.name = topic, f"runtide.notifier-push.{topic.name.rsplit('.', 1)[0].replace('.', '-')}"
        self.wire_topic = ctx.settings.kafka.prefix + topic.name
        self.kafka: AIOKafkaConsumer | None = None
        self._ctx, self._centrifugo, self._backoff = ctx, centrifugo, Backoff()

    async def on_batch(self, raw: Sequence[Any]) -> None:
        records = [
            Record(self.topic.name, r.partition, r.offset, r.timestamp, r.key, r.value, r.headers, r.offset)
            for r in raw
        ]
        try:
            refused = await self._push(records)
            failpoints.reached(Place.PUSHED)
            if refused:
                await self._set_aside(refused)
        except Exception as error:  # noqa: BLE001 the seam to FastStream, which would swallow it
            self._ctx.degrade("centrifugo", str(error))
            self._seek_back(records)
            await asyncio.sleep(self._backoff.next_seconds())
            return
        self._ctx.degrade("centrifugo", None)
        self._backoff.reset()
        await self._commit(records)

    async def replay(self, record: Record) -> None:
        """Push one record again. Raises: InvalidMessage: Centrifugo refuses it still; PushUnavailable."""
        for still in await self._push([record]):
            raise InvalidMessage(still.reason)

    async def _push(self, records: Sequence[Record]) -> list[Bad]:
        sources: dict[int, Record] = {}
        publications: list[Publication] = []
        for item in decode(self.topic, records):
            if isinstance(item, Received):  # what cannot be read is set aside by the ordinary consumer of this topic
                for publication in route(item.message):
                    sources[id(publication)] = item.record
                    publications.append(publication)
        if len(records) > BEHIND_RECORDS:
            publications = coalesced(publications)
        refused = await self._centrifugo.publish(publications)
        PUSHED.labels(self.topic.name).inc(len(publications) - len(refused))
        REFUSED.labels(self.topic.name).inc(len(refused))
        return [
            Bad(f"{p.channel}:{p.entity}:{p.seq}", f"{p.channel}: {reason}", sources[id(p)]) for p, reason in refused
        ]

    async def _set_aside(self, refused: Sequence[Bad]) -> None:
        for bad in refused:
            self._ctx.log.error("publication refused", reason=bad.reason, position=bad.record.position)
        async with self._ctx.engine.begin() as conn:
            await dead_letters.store(conn, consumer=self.name, bad=refused)

    def _seek_back(self, records: Sequence[Record]) -> None:
        if self.kafka is None:
            return
        first: dict[int, int] = {}
        for record in records:
            first[record.partition] = min(record.offset, first.get(record.partition, record.offset))
        for partition, offset in first.items():
            tp = TopicPartition(self.wire_topic, partition)
            if tp in self.kafka.assignment():
                self.kafka.seek(tp, offset)

    async def _commit(self, records: Sequence[Record]) -> None:
        if self.kafka is None:
            return
        ends: dict[TopicPartition, int] = {}
        for record in records:
            tp = TopicPartition(self.wire_topic, record.partition)
            ends[tp] = max(record.offset + 1, ends.get(tp, 0))
        mine = self.kafka.assignment()
        try:
            async with asyncio.timeout(5):
                await self.kafka.commit({tp: offset for tp, offset in ends.items() if tp in mine})
        except (KafkaError, TimeoutError):
            return  # what is read again is published again, which is harmless
