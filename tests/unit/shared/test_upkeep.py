"""Upkeep lives through a rebalance at any moment: it is a part of the process that must not end."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import asynccontextmanager
from typing import Any

import pytest
import structlog
from aiokafka import TopicPartition

from shared.messaging import upkeep as upkeeps
from shared.messaging.upkeep import Upkeep

ZERO, ONE = TopicPartition("t", 0), TopicPartition("t", 1)


class FakeKafka:
    """Two idle partitions; `while_asked` happens while a position is asked for."""

    def __init__(self) -> None:
        self.assigned, self.positions, self.begins = {ZERO, ONE}, {ZERO: 5, ONE: 5}, {ZERO: 0, ONE: 0}
        self.committed: dict[TopicPartition, int] = {}
        self.paused: list[TopicPartition] = []
        self.while_asked: Callable[[TopicPartition], None] = lambda tp: None

    def assignment(self) -> frozenset[TopicPartition]:
        return frozenset(self.assigned)

    async def position(self, tp: TopicPartition) -> int:
        self.while_asked(tp)
        return self.positions[tp]

    async def beginning_offsets(self, tps: list[TopicPartition]) -> dict[TopicPartition, int]:
        return {tp: self.begins[tp] for tp in tps}

    def highwater(self, tp: TopicPartition) -> int:
        assert tp in self.assigned, "Partition is not assigned"
        return 9

    async def commit(self, positions: dict[TopicPartition, int]) -> None:
        self.committed = positions

    def pause(self, tp: TopicPartition) -> None:
        self.paused.append(tp)


class FakeConsumer:
    """What Upkeep sees of a BatchConsumer."""

    name, wire_topic, log = "c", "t", structlog.get_logger()

    def __init__(self) -> None:
        self.kafka = FakeKafka()
        self.positions, self.delivered = {0: 5, 1: 5}, {0: 5, 1: 5}
        self.lost: dict[int, str] = {}
        self.adopted: list[set[int]] = []
        self.failing_since = None
        self.topic = type("T", (), {"name": "t"})
        self.saved = type("E", (), {"set": lambda self: None})()
        self.engine = self

    @asynccontextmanager
    async def begin(self) -> Any:
        yield None

    async def adopt(self, partitions: Collection[int]) -> None:
        if partitions:
            self.adopted.append(set(partitions))

    def forget(self, partition: int) -> None:
        self.kafka.assigned.discard(TopicPartition("t", partition))
        self.positions.pop(partition, None)
        self.delivered.pop(partition, None)

    def is_lost(self, tp: TopicPartition, since: int, beginning: int) -> bool:
        if since < beginning:
            self.lost[tp.partition] = "gone"
        return since < beginning


@pytest.fixture
def moved(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int, int]]:
    """(partition, from, to) of the rows that were moved."""
    moved: list[tuple[int, int, int]] = []

    async def move(conn: Any, *, partition: int, expected: int, to: int, **_: Any) -> bool:
        moved.append((partition, expected, to))
        return True

    monkeypatch.setattr(upkeeps.offsets, "move", move)
    return moved


def upkeep_of(consumer: FakeConsumer) -> Upkeep:
    return Upkeep(consumer)  # type: ignore[arg-type]


async def test_an_idle_row_is_moved_over_a_tail_that_holds_no_record(moved: list[tuple[int, int, int]]) -> None:
    consumer = FakeConsumer()
    consumer.kafka.positions[ZERO] = 7
    upkeep = upkeep_of(consumer)
    await upkeep._once()
    assert moved == [(0, 5, 7)]
    assert (consumer.positions[0], consumer.delivered[0]) == (7, 7)
    assert upkeep.lag == {0: 2, 1: 4}
    assert consumer.kafka.committed == {ZERO: 7, ONE: 5}


async def test_a_batch_in_hand_is_not_stepped_over(moved: list[tuple[int, int, int]]) -> None:
    consumer = FakeConsumer()
    consumer.kafka.positions[ZERO] = consumer.delivered[0] = 7  # fetched, not saved
    await upkeep_of(consumer)._once()
    assert moved == []


async def test_a_tail_that_was_deleted_is_lost_and_not_stepped_over(moved: list[tuple[int, int, int]]) -> None:
    consumer = FakeConsumer()
    consumer.kafka.positions[ZERO] = consumer.kafka.begins[ZERO] = 7
    await upkeep_of(consumer)._once()
    assert moved == []
    assert consumer.lost == {0: "gone"}


@pytest.mark.parametrize("gone", [0, 1])
async def test_a_partition_that_goes_while_it_is_looked_at_ends_nothing(
    gone: int, moved: list[tuple[int, int, int]]
) -> None:
    consumer = FakeConsumer()
    consumer.kafka.positions = {ZERO: 7, ONE: 7}
    consumer.kafka.while_asked = lambda tp: consumer.forget(gone)
    upkeep = upkeep_of(consumer)
    await upkeep._once()
    assert gone not in upkeep.lag
    assert TopicPartition("t", gone) not in consumer.kafka.committed


async def test_a_partition_whose_row_was_never_read_is_taken_up(moved: list[tuple[int, int, int]]) -> None:
    consumer = FakeConsumer()
    del consumer.positions[1]
    await upkeep_of(consumer)._once()
    assert consumer.adopted == [{1}]
