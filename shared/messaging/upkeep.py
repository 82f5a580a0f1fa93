"""What a consumer needs besides its batches: lag for displays, rows moved over the empty tail of a partition, liveness,
and a second try at partitions whose rows could not be read when they were assigned.

Kafka's committed offset is only for lag displays; it is written about once a second, with a timeout, never waited for
by a batch. An idle consumer moves its row up to its position, so that a transaction marker at the tail, which no reader
ever sees, holds nobody up who waits for that row.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from shared import telemetry
from shared.messaging import offsets
from shared.messaging.consumer import BatchConsumer
from shared.messaging.failure import reason_of, verdict

EVERY_SECONDS = 1.0
STUCK_AFTER_SECONDS = 60.0


class Upkeep:
    """Looks after one consumer for the life of the process."""

    def __init__(self, consumer: BatchConsumer[Any]) -> None:
        self._consumer = consumer
        self._moved_at = time.monotonic()
        self._last: dict[int, int] = {}
        self.lag: dict[int, int] = {}

    async def run(self) -> None:
        while True:
            await asyncio.sleep(EVERY_SECONDS)
            try:
                async with asyncio.timeout(5):
                    await self._once()
            except (KafkaError, TimeoutError):
                continue  # aiokafka says so itself; a display may lag
            except Exception as error:
                if verdict(error) == "data":
                    raise
                self._consumer.log.debug("upkeep will be tried again", error=reason_of(error))

    async def _once(self) -> None:
        consumer = self._consumer
        kafka = consumer.kafka
        if kafka is None:
            return
        await consumer.adopt({tp.partition for tp in kafka.assignment()} - consumer.positions.keys())
        mine = {tp for tp in kafka.assignment() if tp.partition in consumer.positions}
        for tp in mine:
            await self._step_over_empty_tail(tp)
        mine &= kafka.assignment()  # some may have gone to somebody else meanwhile
        positions = {tp: consumer.positions[tp.partition] for tp in mine if tp.partition in consumer.positions}
        self.lag = {
            tp.partition: max(0, highwater - at)
            for tp, at in positions.items()
            if (highwater := kafka.highwater(tp)) is not None
        }
        telemetry.LAG.labels(consumer.name).set(sum(self.lag.values()))
        moving = {tp.partition: at for tp, at in positions.items()}
        if moving != self._last or not any(self.lag.values()):
            self._moved_at = time.monotonic()
            if moving != self._last and positions:
                await kafka.commit(positions)
        self._last = moving

    async def _step_over_empty_tail(self, tp: TopicPartition) -> None:
        consumer, partition = self._consumer, tp.partition
        row = consumer.positions.get(partition)
        if row is None or consumer.kafka is None or consumer.delivered.get(partition) != row:
            return  # not ours any more, or a batch is in hand
        position = await consumer.kafka.position(tp)
        if position <= row or consumer.delivered.get(partition) != row or partition in consumer.lost:
            return
        beginning = (await consumer.kafka.beginning_offsets([tp]))[tp]
        if consumer.is_lost(tp, row, beginning):
            consumer.log.error("stopped", error=consumer.lost[partition])
            return
        async with consumer.engine.begin() as conn:
            moved = await offsets.move(
                conn, consumer=consumer.name, topic=consumer.topic.name, partition=partition, expected=row, to=position
            )
        if moved and consumer.positions.get(partition) == row:
            consumer.positions[partition] = position
            if consumer.delivered.get(partition) == row:
                consumer.delivered[partition] = position
            consumer.saved.set()

    def problem(self) -> str | None:
        """Why this consumer is not alive, or None: it has an assignment and is at the end or moving."""
        consumer = self._consumer
        if consumer.lost:
            return "; ".join(consumer.lost.values())
        if consumer.failing_since is not None:
            return None  # it tries again by itself; readiness says what is away
        stuck = time.monotonic() - self._moved_at
        if stuck > STUCK_AFTER_SECONDS and any(self.lag.values()):
            return f"{consumer.name} has not moved for {stuck:.0f} s and is {sum(self.lag.values())} records behind"
        return None
