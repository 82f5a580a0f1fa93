"""A bare producer and a reader of everything, as any user of Kafka would have them: no code of ours in between."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy
from runtide_schemas import cluster
from runtide_schemas.login import KafkaLogin

from shared.settings import KafkaSettings
from tests.support.eventually import eventually


class Kafka:
    """One cluster behind one prefix."""

    def __init__(self, bootstrap: str, prefix: str = "", login: KafkaLogin | None = None) -> None:
        self.bootstrap, self.prefix = bootstrap, prefix
        self._client = {"bootstrap_servers": bootstrap, **(login or KafkaLogin()).arguments()}
        self._producer: AIOKafkaProducer | None = None

    async def start(self) -> Kafka:
        self._producer = AIOKafkaProducer(**self._client, enable_idempotence=True)
        await self._producer.start()
        return self

    async def stop(self) -> None:
        if self._producer is not None:
            await self._producer.stop()

    async def create_topics(self) -> None:
        admin = AIOKafkaAdminClient(**self._client)
        await admin.start()
        try:
            await cluster.apply(admin, prefix=self.prefix)
        finally:
            await admin.close()

    async def delete_topics(self) -> None:
        admin = AIOKafkaAdminClient(**self._client)
        await admin.start()
        try:
            mine = [name for name in await admin.list_topics() if self.prefix and name.startswith(self.prefix)]
            await admin.delete_topics(mine)
        finally:
            await admin.close()

    async def send(
        self, topic: str, value: object, *, key: bytes | None = None,
        headers: Sequence[tuple[str | bytes, bytes]] = (), timestamp_ms: int | None = None,
    ) -> str:  # fmt: skip
        """Send JSON (or bytes as they are, or None); answers `topic:partition:offset`, as the acknowledgement says.

        A header name may be bytes, as a client in another language may send it. `timestamp_ms`: what it claims.
        """
        assert self._producer is not None
        raw = value if value is None or isinstance(value, bytes) else json.dumps(value).encode()
        if any(isinstance(name, bytes) for name, _ in headers):
            return await self._send_raw_names(topic, raw, key, headers)
        sent = await self._producer.send_and_wait(
            self.prefix + topic, raw, key=key, headers=list(headers), timestamp_ms=timestamp_ms
        )
        return f"{topic}:{sent.partition}:{sent.offset}"

    async def _send_raw_names(
        self, topic: str, value: bytes | None, key: bytes | None, headers: Sequence[tuple[str | bytes, bytes]]
    ) -> str:
        """aiokafka encodes names from text: so its builder in Python gets a text that encodes to these bytes."""
        wire = self.prefix + topic
        named = [(_RawName(os.fsdecode(name)) if isinstance(name, bytes) else name, held) for name, held in headers]
        async with AIOKafkaProducer(**self._client) as producer:
            batch = producer.create_batch()
            batch._builder = _DefaultRecordBatchBuilderPy(2, 0, 0, -1, -1, 0, 2_000_000)
            batch.append(timestamp=None, key=key, value=value, headers=named)
            await producer.client._wait_on_metadata(wire)
            partition = producer._partition(wire, None, None, None, key, value)
            sent = await (await producer.send_batch(batch, wire, partition=partition))
        return f"{topic}:{sent.partition}:{sent.offset}"

    async def send_many(self, topic: str, values: Iterable[object]) -> None:
        assert self._producer is not None
        for value in values:
            raw = value if isinstance(value, bytes) else json.dumps(value).encode()
            await self._producer.send(self.prefix + topic, raw)
        await self._producer.flush()

    async def all(self, topic: str) -> list[dict[str, Any]]:
        """Every JSON value that lies in the topic now; of one key in order."""
        return [json.loads(record.value) for record in await self.records(topic)]

    async def records(self, topic: str) -> list[Any]:
        wire = self.prefix + topic
        consumer = AIOKafkaConsumer(**self._client, enable_auto_commit=False)
        await consumer.start()
        try:
            partitions = await consumer._client.fetch_all_metadata()
            tps = [TopicPartition(wire, p) for p in sorted(partitions.partitions_for_topic(wire) or ())]
            consumer.assign(tps)
            ends = await consumer.end_offsets(tps)
            for tp in tps:
                consumer.seek(tp, 0)
            found: list[Any] = []
            while any([await consumer.position(tp) < ends[tp] for tp in tps]):
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    found += records
            return found
        finally:
            await consumer.stop()

    async def until(
        self, topic: str, wanted: Callable[[dict[str, Any]], bool], *, within_seconds: float = 30.0
    ) -> dict[str, Any]:
        """The first message in the topic that is wanted."""

        async def probe() -> dict[str, Any] | None:
            return next((message for message in await self.all(topic) if wanted(message)), None)

        found = await eventually(probe, within_seconds=within_seconds, every_seconds=0.2, what=f"a message on {topic}")
        assert found is not None
        return found


class _RawName(str):
    """A header's name that may hold any bytes."""

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        return super().encode(encoding, "surrogateescape")


def settings_for(bootstrap: str, prefix: str) -> KafkaSettings:
    return KafkaSettings(bootstrap=bootstrap, prefix=prefix)
