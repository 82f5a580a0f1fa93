"""One pattern for every consumer: a batch is one transaction of fence, state, outbox rows and dead letters.

The offset row in PostgreSQL decides what is read; Kafka's committed offset only feeds lag displays. Saving batch k
overlaps with fetching and decoding batch k+1, at most one save in flight of a partition. Nothing here raises into
FastStream, which would swallow it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from aiokafka import AIOKafkaConsumer, TopicPartition
from runtide_schemas.topics import Topic
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shared import failpoints, telemetry
from shared.clock import Clock
from shared.errors import DataLost
from shared.failpoints import Place
from shared.logs import Log
from shared.messaging import dead_letters, offsets
from shared.messaging.backoff import Backoff
from shared.messaging.decode import Bad, Received, Record, decode
from shared.messaging.door import Door, Unproven
from shared.messaging.failure import reason_of, verdict
from shared.messaging.offsets import Span
from shared.messaging.structs import reader_of
from shared.messaging.work import Work

S = TypeVar("S")
Handler = Callable[[Sequence[Received[Any]], Work[S]], Awaitable[None]]
Refuser = Callable[[Sequence[Unproven], Work[S]], Awaitable[None]]
Decoded = Received[Any] | Bad
ALERT_AFTER_SECONDS = 60


class Precondition(Protocol):
    """Asked before a batch's transaction, holding no lock: the part that may be saved now; the rest is read again."""

    async def __call__(self, batch: Sequence[Decoded]) -> list[Decoded]: ...


@dataclass(frozen=True, slots=True)
class Consumes(Generic[S]):
    """One subscription of a service: which topic, by which handler, after which precondition.

    `as_structs`: the handler only reads its messages' attributes, so that they need not be models (docs/adr/0008).
    `saves_at_once`: how many batches may be saved at the same time; of one partition never more than one.
    `refuser`: answers what comes through an open door without a token that holds; each open door has one.
    """

    topic: Topic
    handler: Handler[S]
    before: Callable[[Any], Precondition] | None = None
    as_structs: bool = False
    saves_at_once: int = 1
    refuser: Refuser[S] | None = None

    def group(self, service: str) -> str:
        """The consumer's name in every table, and its group in Kafka (behind the cluster's prefix)."""
        short = self.topic.name.rsplit(".", 1)[0].replace(".", "-")
        return f"runtide.{service.replace('_', '-')}.{short}"


class BatchConsumer(Generic[S]):
    """Reads one topic for one service. `on_batch` is what FastStream calls."""

    def __init__(
        self,
        consumes: Consumes[S],
        *,
        service: str,
        engine: AsyncEngine,
        store: Callable[[AsyncConnection], S],
        clock: Clock,
        log: Log,
        topic_prefix: str = "",
        overlap: bool = True,
        door: Door | None = None,
    ) -> None:
        self.topic, self._handler = consumes.topic, consumes.handler
        self._refuser, self._door = consumes.refuser, door
        if door is not None and self._refuser is None:
            raise TypeError(f"{self.topic.name} is kept by tokens: say who answers what is not proven (refuser)")
        self.name = consumes.group(service)
        self._read = reader_of(consumes.topic) if consumes.as_structs else None
        self.engine, self.store, self.clock = engine, store, clock
        self.log = log.bind(consumer=self.name)
        self.wire_topic = topic_prefix + consumes.topic.name
        self.source = f"/runtide/{service}"
        self.precondition: Precondition | None = None
        self.kafka: AIOKafkaConsumer | None = None
        self.saved = asyncio.Event()  # set after each commit: others may wait for our rows
        self.lost: dict[int, str] = {}
        self.positions: dict[int, int] = {}  # partition → next offset, as our last commit left it
        self.delivered: dict[int, int] = {}  # partition → where the next fetch begins: last seek, or last offset + 1
        self.failing_since: float | None = None
        self.failing_because: str | None = None
        self.at_hand_ms: int | None = None  # when the batch read last was written
        self.last_batch_at = time.monotonic()
        self._overlap = overlap
        self._saves_at_once = consumes.saves_at_once
        self._saving: dict[asyncio.Task[None], frozenset[int]] = {}  # a save in flight → its partitions
        self._backoff = Backoff()
        self._begins: dict[int, int] = {}  # partition → where the fetch of the batch at hand began
        self._records = telemetry.RECORDS.labels(self.name)
        self._seconds = telemetry.BATCHES.labels(self.name)

    # -- what FastStream calls ---------------------------------------------------------------------------------

    async def on_batch(self, raw: Sequence[Any]) -> None:
        """Take raw records of any partitions; come back when the next batch may be fetched."""
        name, since = self.topic.name, self._begins
        self._begins = {}
        records = []
        for r in raw:
            begins = since.get(r.partition, r.offset)
            records.append(Record(name, r.partition, r.offset, r.timestamp, r.key, r.value, r.headers, begins))
            since[r.partition] = r.offset + 1
        self._records.inc(len(records))
        self.at_hand_ms = records[0].timestamp_ms if records else None
        decoded = decode(self.topic, records, self._read)
        if not self._overlap or self.precondition is not None:
            await self.idle()
            await self._save(decoded)
            return
        partitions = frozenset(record.partition for record in records)
        await self._room_for(partitions)
        self._saving[asyncio.create_task(self._save(decoded), name=f"save {self.name}")] = partitions
        await asyncio.sleep(0)  # let the statement be sent before the next fetch is waited for

    async def _room_for(self, partitions: frozenset[int]) -> None:
        """Wait until none of these partitions is being saved, and one more save may be in flight."""
        while self._saving:
            same = [task for task, taken in self._saving.items() if taken & partitions]
            if not same and len(self._saving) < self._saves_at_once:
                return
            await self._finish(same or self._saving)

    async def idle(self) -> None:
        """Wait until no save is in flight."""
        while self._saving:
            await self._finish(self._saving)

    async def _finish(self, saves: Collection[asyncio.Task[None]]) -> None:
        done, _ = await asyncio.wait(saves, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            self._saving.pop(task, None)
            task.result()

    # -- one batch ---------------------------------------------------------------------------------------------

    async def _save(self, decoded: list[Decoded]) -> None:
        started = time.monotonic()
        try:
            if self.precondition is not None:
                decoded = await self._ready(decoded, self.precondition)
                if not decoded:
                    return
            await self.learn(decoded)
            await self._refuse_lost(decoded)
            await self._save_or_bisect(decoded)
        except DataLost as error:
            self.log.error("stopped", error=str(error))
            self._seek_back(decoded)
        except Exception as error:  # noqa: BLE001 the seam to FastStream, which would swallow it
            await self._retry_later(decoded, error)
        else:
            self._backoff.reset()
            self.failing_since = None
            self.saved.set()
        finally:
            self.last_batch_at = time.monotonic()
            self._seconds.observe(self.last_batch_at - started)

    async def _ready(self, decoded: list[Decoded], precondition: Precondition) -> list[Decoded]:
        ready = await precondition(decoded)
        kept = {id(item) for item in ready}
        self._seek_back([item for item in decoded if id(item) not in kept])
        return ready

    async def _retry_later(self, decoded: Sequence[Decoded], error: BaseException) -> None:
        now = time.monotonic()
        self.failing_since, self.failing_because = self.failing_since or now, reason_of(error)
        wait = self._backoff.next_seconds()
        say = self.log.error if now - self.failing_since > ALERT_AFTER_SECONDS else self.log.warning
        say("batch will be tried again", error=self.failing_because, records=len(decoded), wait_seconds=round(wait, 1))
        telemetry.RETRIES.labels(self.name).inc()
        self._seek_back(decoded)
        await asyncio.sleep(wait)

    async def _save_or_bisect(self, decoded: list[Decoded], *, poison: str | None = None) -> None:
        """Save all in one transaction; for a data fault, find the one record that causes it and set it aside."""
        try:
            await self._transact(decoded, poison=poison)
        except Exception as error:
            if poison is not None or verdict(error) == "retry":
                raise
            if len(decoded) == 1:
                self.log.error("dead letter", position=decoded[0].record.position, exc_info=error)
                await self._save_or_bisect(decoded, poison=reason_of(error))
                return
            middle = len(decoded) // 2
            by_log = sorted(decoded, key=lambda item: (item.record.partition, item.record.offset))
            await self._save_or_bisect(by_log[:middle])
            await self._save_or_bisect(by_log[middle:])

    async def _transact(self, decoded: list[Decoded], *, poison: str | None) -> None:
        spans = _spans(decoded)
        failpoints.reached(Place.BEFORE_TRANSACTION)
        async with self.engine.begin() as conn:
            fenced = await offsets.fence(conn, consumer=self.name, topic=self.topic.name, spans=list(spans.values()))
            strangers = {p: f.stood_at for p, f in fenced.items() if not f.ours}
            ours = [item for item in decoded if item.record.partition not in strangers] if strangers else decoded
            work = Work(conn, self.store(conn), now=self.clock(), source=self.source)
            await self._effects(conn, ours, work, poison)
            await work.flush()
        failpoints.reached(Place.COMMITTED)
        work.committed()
        for partition, span in spans.items():
            if partition not in strangers:
                self._stands_at(partition, span.last + 1)
            elif (stood_at := strangers[partition]) is not None:
                self._seek(partition, stood_at)
            else:
                await self.adopt({partition})

    async def _effects(self, conn: AsyncConnection, ours: list[Decoded], work: Work[S], poison: str | None) -> None:
        bad = [item for item in ours if isinstance(item, Bad)]
        received = [item for item in ours if isinstance(item, Received)]
        if poison is not None:
            bad += [Bad(item.id, poison, item.record) for item in received]
            received = []
        if bad:
            await dead_letters.store(conn, consumer=self.name, bad=bad)
            telemetry.DEAD_LETTERS.labels(self.name).inc(len(bad))
            for item in bad:
                self.log.warning("dead letter", position=item.record.position, reason=item.reason)
        if received:
            await self.handle(received, work)

    async def handle(self, received: Sequence[Received[Any]], work: Work[S]) -> None:
        """What the messages do, in the caller's transaction; those without a token that holds are only answered."""
        if self._door is None:
            await self._handler(received, work)
            return
        believed, unproven = self._door.judge(received)
        if unproven and self._refuser is not None:  # first, so that it sees what was taken before, and nothing later
            telemetry.UNPROVEN.labels(self.name).inc(len(unproven))
            await self._refuser(unproven, work)
        if believed:
            await self._handler(believed, work)

    async def learn(self, received: Sequence[Decoded]) -> None:
        """Before the transaction: have the keys that these name. Raises: KeysUnavailable."""
        if self._door is not None:
            await self._door.learn(received)

    async def _refuse_lost(self, decoded: Sequence[Decoded]) -> None:
        """Stop a partition when Kafka no longer holds what comes next (it then silently begins anew further on).

        Raises:
            DataLost: the row stands below the partition's beginning.
        """
        gaps = {item.record.partition: item.record for item in decoded if item.record.since < item.record.offset}
        if not gaps or self.kafka is None:
            return
        tps = [TopicPartition(self.wire_topic, partition) for partition in gaps]
        beginnings = await self.kafka.beginning_offsets(tps)
        lost = [tp for tp in tps if self.is_lost(tp, gaps[tp.partition].since, beginnings[tp])]
        if lost:
            raise DataLost("; ".join(self.lost[tp.partition] for tp in lost))

    def is_lost(self, tp: TopicPartition, since: int, beginning: int) -> bool:
        """Whether Kafka begins behind what we read next; then the partition stops until `offsets skip`."""
        if since >= beginning or self.kafka is None:
            return False
        self.lost[tp.partition] = (
            f"{self.name} has read {self.topic.name}/{tp.partition} up to {since}, and Kafka begins at "
            f"{beginning}: {beginning - since} records are gone. Repair what they said; then `offsets skip`."
        )
        self.kafka.pause(tp)
        return True

    # -- positions ---------------------------------------------------------------------------------------------

    def watch(self, kafka: AIOKafkaConsumer) -> None:
        """Note at each fetch where it began, in the same breath in which aiokafka moves its position."""
        if self.kafka is kafka:
            return
        self.kafka = kafka
        fetch = kafka.getmany

        async def getmany(**kwargs: Any) -> Any:
            beside = self._not_being_saved()
            drained = await fetch(*beside, **kwargs | {"timeout_ms": 0}) if beside else {}
            drained = drained or await fetch(**kwargs)
            for tp, records in drained.items():
                if tp.partition in self.delivered:
                    self._begins[tp.partition] = self.delivered[tp.partition]
                self.delivered[tp.partition] = records[-1].offset + 1
            return drained

        kafka.getmany = getmany

    def _not_being_saved(self) -> list[TopicPartition]:
        """What a batch may be made of that needs to wait for nobody; nothing where the question does not arise."""
        if self.kafka is None or self._saves_at_once == 1 or not self._saving:
            return []
        taken = frozenset[int]().union(*self._saving.values())
        return [tp for tp in self.kafka.assignment() if tp.partition not in taken]

    async def adopt(self, partitions: Collection[int]) -> None:
        """Begin at our own rows in these partitions; one that has none gets it at its beginning."""
        if self.kafka is None or not partitions:
            return
        tps = [TopicPartition(self.wire_topic, partition) for partition in partitions]
        beginnings = {tp.partition: at for tp, at in (await self.kafka.beginning_offsets(tps)).items()}
        async with self.engine.begin() as conn:
            rows = await offsets.ensure(conn, consumer=self.name, topic=self.topic.name, beginnings=beginnings)
        for partition in partitions:
            self._seek(partition, rows[partition])
            self._stands_at(partition, rows[partition])

    def forget(self, partitions: Collection[int]) -> None:
        """These are no longer ours."""
        for known in (self.positions, self.delivered, self.lost, self._begins):
            for partition in partitions:
                known.pop(partition, None)

    def _seek_back(self, decoded: Sequence[Decoded]) -> None:
        for span in _spans(decoded).values():
            self._seek(span.partition, span.first)

    def _seek(self, partition: int, offset: int) -> None:
        if self.kafka is not None and self._is_ours(partition):
            self.kafka.seek(TopicPartition(self.wire_topic, partition), offset)
            self.delivered[partition] = offset

    def _stands_at(self, partition: int, offset: int) -> None:
        if self._is_ours(partition):  # else it went to somebody else while we saved
            self.positions[partition] = offset

    def _is_ours(self, partition: int) -> bool:
        return self.kafka is None or TopicPartition(self.wire_topic, partition) in self.kafka.assignment()


def _spans(decoded: Sequence[Decoded]) -> dict[int, Span]:
    bounds: dict[int, tuple[int, int]] = {}
    for item in decoded:
        record = item.record
        first, last = bounds.get(record.partition, (record.since, record.offset))
        bounds[record.partition] = (min(first, record.since), max(last, record.offset))
    return {partition: Span(partition, first, last) for partition, (first, last) in bounds.items()}
