"""Kafka through aiokafka: an idempotent producer, and one consumer without a group for all followers of a client.

The fact not to break: going back in a partition for one follower repeats messages to the others, and that is harmless
because every reader of snapshots compares `seq`. Nothing here commits an offset.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, TypeVar

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError, TopicAuthorizationFailedError
from aiokafka.partitioner import DefaultPartitioner
from pydantic import ValidationError
from runtide_schemas.envelope import Envelope, to_headers
from runtide_schemas.message import Message
from runtide_schemas.refusal import refusal
from runtide_schemas.topics import (
    ACTIVITIES,
    INSTANCES_STATUS,
    REQUESTS_STATUS,
    RUNS_PROGRESS,
    RUNS_STATUS,
    Topic,
    key_of,
    topic_of,
)

from runtide.errors import KafkaUnavailable, TopicsDiffer
from runtide.log import Follow, Follower
from runtide.settings import ClientSettings

SOURCE = "/runtide/sdk"
CLIENT_ID = "runtide-sdk"
FOLLOWED = (REQUESTS_STATUS, RUNS_STATUS, RUNS_PROGRESS, INSTANCES_STATUS, ACTIVITIES)
REQUEST_TIMEOUT_MS = 20_000
T = TypeVar("T")


class Kafka:
    def __init__(self, settings: ClientSettings) -> None:
        self._settings = settings
        self._producer: AIOKafkaProducer | None = None
        self._starting = asyncio.Lock()
        self._feed = Feed(settings)

    async def publish(self, message: Message, *, message_id: str, value: bytes | None = None) -> None:
        headers = to_headers(
            Envelope(id=message_id, type=message.type, source=SOURCE, time=datetime.now(UTC), correlation_id=message_id)
        )
        if token := self._settings.token_for(message):
            headers.append(("authorization", f"Bearer {token}".encode()))
        topic = self._settings.kafka_prefix + topic_of(message).name
        producer = await self._started_producer()
        payload = message.to_json() if value is None else value
        sent = producer.send_and_wait(topic, payload, key=key_of(message), headers=headers)
        await _translated(sent, self._settings, f"nothing was published to {topic}")

    @asynccontextmanager
    async def follow(self, wish: Follow) -> AsyncIterator[Follower]:
        follower = Follower(wish)
        await self._feed.add(follower)
        try:
            yield follower
        finally:
            self._feed.remove(follower)

    async def newest(self, topic: Topic) -> Sequence[Message]:
        """Reads the topic from its beginning to the end that it had when we came."""
        consumer = _consumer(self._settings)
        await _start(consumer, self._settings)
        try:
            counts = await partition_counts(self._settings, (topic,))
            wire = self._settings.kafka_prefix + topic.name
            partitions = [TopicPartition(wire, number) for number in range(counts[topic])]
            consumer.assign(partitions)
            for partition in partitions:
                consumer.seek(partition, 0)
            ends: dict[TopicPartition, int] = await consumer.end_offsets(partitions)
            found: dict[bytes | None, Message] = {}
            behind = {partition for partition in partitions if ends[partition] > 0}
            while behind:
                for partition, records in (await consumer.getmany(*behind, timeout_ms=500)).items():
                    for record in records:
                        if message := decoded(topic, record.value):
                            found[record.key] = message
                    del partition
                behind = {tp for tp in behind if await consumer.position(tp) < ends[tp]}
            return list(found.values())
        finally:
            await consumer.stop()

    async def close(self) -> None:
        await self._feed.close()
        if self._producer is not None:
            await self._producer.stop()
            self._producer = None

    async def _started_producer(self) -> AIOKafkaProducer:
        async with self._starting:
            if self._producer is None:
                producer = AIOKafkaProducer(
                    **self._settings.kafka_client(),
                    client_id=CLIENT_ID,
                    acks="all",
                    enable_idempotence=True,
                    request_timeout_ms=REQUEST_TIMEOUT_MS,
                )
                await _start(producer, self._settings)
                self._producer = producer
            return self._producer


class Feed:
    """One consumer for every follower; only the partitions that somebody follows are fetched."""

    def __init__(self, settings: ClientSettings) -> None:
        self._settings = settings
        self._consumer: AIOKafkaConsumer | None = None
        self._counts: dict[Topic, int] = {}
        self._topics: dict[str, Topic] = {settings.kafka_prefix + topic.name: topic for topic in FOLLOWED}
        self._followers: dict[Follower, frozenset[TopicPartition]] = {}
        self._reader: asyncio.Task[None] | None = None
        self._changing = asyncio.Lock()

    async def add(self, follower: Follower) -> None:
        """From its return on, the follower gets everything from its `since`."""
        async with self._changing:
            consumer = await self._started()
            partitions = self._partitions(follower.wish)
            offsets = await self._offsets(consumer, partitions, follower.wish.since)
            followed = frozenset[TopicPartition]().union(*self._followers.values())
            here = {partition: await consumer.position(partition) for partition in partitions & followed}
            self._followers[follower] = partitions
            for partition in partitions:
                if offsets[partition] < here.get(partition, 2**63) or partition not in here:
                    consumer.seek(partition, offsets[partition])
            consumer.resume(*partitions)

    def remove(self, follower: Follower) -> None:
        partitions = self._followers.pop(follower, frozenset())
        followed = frozenset[TopicPartition]().union(*self._followers.values())
        if self._consumer is not None:
            self._consumer.pause(*(partitions - followed))

    async def close(self) -> None:
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
            self._reader = None
        if self._consumer is not None:
            await self._consumer.stop()
            self._consumer = None
        self._tell_all(KafkaUnavailable("the client was closed"))

    async def _started(self) -> AIOKafkaConsumer:
        if self._reader is not None and self._reader.done():
            await self.close()
        if self._consumer is None:
            self._counts = await partition_counts(self._settings, FOLLOWED)
            consumer = _consumer(self._settings)
            await _start(consumer, self._settings)
            everything = [
                TopicPartition(wire, number)
                for wire, topic in self._topics.items()
                for number in range(self._counts[topic])
            ]
            consumer.assign(everything)
            consumer.pause(*everything)
            for partition in everything:
                consumer.seek(partition, 0)
            self._consumer = consumer
            self._reader = asyncio.create_task(self._read(consumer), name="runtide-feed")
            self._reader.add_done_callback(self._on_stopped)
        return self._consumer

    def _partitions(self, wish: Follow) -> frozenset[TopicPartition]:
        """The one partition of the key in each topic, by the partitioner that the services' producer uses."""
        found: set[TopicPartition] = set()
        for topic in wish.topics:
            wire, numbers = self._settings.kafka_prefix + topic.name, list(range(self._counts[topic]))
            key = wish.key_in(topic)
            wanted = numbers if key is None else [partition_of(key, len(numbers))]
            found |= {TopicPartition(wire, number) for number in wanted}
        return frozenset(found)

    async def _offsets(
        self, consumer: AIOKafkaConsumer, partitions: Iterable[TopicPartition], since: datetime | None
    ) -> dict[TopicPartition, int]:
        """Where each partition reaches `since`: its end if it has not yet, its beginning for None."""
        partitions = list(partitions)
        if since is None:
            return dict.fromkeys(partitions, 0)
        since_ms = int(since.timestamp() * 1000)
        lost = "the place to follow from was not found"
        ends = await _translated(consumer.end_offsets(partitions), self._settings, lost)
        asked = consumer.offsets_for_times(dict.fromkeys(partitions, since_ms))
        found = await _translated(asked, self._settings, lost)
        return {tp: found[tp].offset if found.get(tp) else ends[tp] for tp in partitions}

    async def _read(self, consumer: AIOKafkaConsumer) -> None:
        """Of what lies there together, requests come before runs, so that the story is told in its order."""
        while True:
            found = await consumer.getmany(timeout_ms=500)
            for partition in sorted(found, key=lambda tp: FOLLOWED.index(self._topics[tp.topic])):
                for record in found[partition]:
                    self._hand_out(self._topics[partition.topic], record)

    def _on_stopped(self, reader: asyncio.Task[None]) -> None:
        """Nobody may wait for a reader that is gone; the next follower starts another one."""
        error = None if reader.cancelled() else reader.exception()
        if error is not None:
            self._tell_all(KafkaUnavailable(f"following stopped: {error!r}"))

    def _hand_out(self, topic: Topic, record: Any) -> None:
        wanting = [follower for follower in self._followers if follower.wish.wants(topic, record.key)]
        message = decoded(topic, record.value) if wanting else None
        if message is not None:
            for follower in wanting:
                follower.put(message)

    def _tell_all(self, error: Exception) -> None:
        for follower in self._followers:
            follower.put(error)


def partition_of(key: bytes, partitions: int) -> int:
    """murmur2, as every Kafka producer in Java and aiokafka does it."""
    return int(DefaultPartitioner()(key, list(range(partitions)), []))


def decoded(topic: Topic, value: bytes | None) -> Message | None:
    """None: a tombstone, or a message newer than this client."""
    if value is None:
        return None
    try:
        message = topic.adapter.validate_json(value)
    except ValidationError:
        return None
    return message if isinstance(message, Message) else None


async def partition_counts(settings: ClientSettings, topics: Sequence[Topic]) -> dict[Topic, int]:
    """Raises: TopicsDiffer where one is missing, KafkaUnavailable."""
    wires = {settings.kafka_prefix + topic.name: topic for topic in topics}
    async with opened_admin(settings) as admin:
        described = await _translated(admin.describe_topics(list(wires)), settings, "the topics cannot be read")
    if hidden := [one["topic"] for one in described if one["error_code"] == TopicAuthorizationFailedError.errno]:
        raise TopicsDiffer(f"this login may not see {', '.join(sorted(hidden))}; it needs Describe and Read", hidden)
    counts = {wires[found["topic"]]: len(found["partitions"]) for found in described if not found["error_code"]}
    missing = sorted(wire for wire, topic in wires.items() if not counts.get(topic))
    if missing:
        raise TopicsDiffer(f"no topic {', '.join(missing)} in Kafka; run `runtide topics apply`", missing)
    return counts


@asynccontextmanager
async def opened_admin(settings: ClientSettings) -> AsyncIterator[AIOKafkaAdminClient]:
    """Raises: KafkaUnavailable."""
    admin = AIOKafkaAdminClient(**settings.kafka_client(), client_id=CLIENT_ID, request_timeout_ms=REQUEST_TIMEOUT_MS)
    await _start(admin, settings)
    try:
        yield admin
    finally:
        await admin.close()


def _consumer(settings: ClientSettings) -> AIOKafkaConsumer:
    return AIOKafkaConsumer(
        **settings.kafka_client(), client_id=CLIENT_ID, group_id=None, enable_auto_commit=False,
        auto_offset_reset="earliest", isolation_level="read_committed", fetch_max_wait_ms=250,
        request_timeout_ms=REQUEST_TIMEOUT_MS,
    )  # fmt: skip


async def _start(part: AIOKafkaProducer | AIOKafkaConsumer | AIOKafkaAdminClient, settings: ClientSettings) -> None:
    try:
        await part.start()
    except (KafkaError, OSError) as error:
        await (part.close() if isinstance(part, AIOKafkaAdminClient) else part.stop())
        refused = await refusal(settings.brokers, settings.kafka_login())
        said = refused or f"no broker answers at {','.join(settings.brokers)}: {_said(error)}"
        raise KafkaUnavailable(said) from error


async def _translated(call: Awaitable[T], settings: ClientSettings, consequence: str) -> T:
    try:
        return await call
    except KafkaError as error:
        raise KafkaUnavailable(f"{consequence}; Kafka at {','.join(settings.brokers)}: {_said(error)}") from error


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__
