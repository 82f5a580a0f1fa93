"""Batches of different partitions may be saved at the same time; those of one partition never are."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any

import pytest

from shared.messaging.decode import Received
from shared.messaging.work import Work
from tests.component.messaging.counting import Counting, CountingStore, fact, on_facts

FACTS, BATCH = 600, 50


async def test_two_saves_are_in_flight_and_each_partition_keeps_its_order(counting: Counting) -> None:
    inside: set[int] = set()
    together = asyncio.Event()
    saves = most = 0
    order: dict[int, list[int]] = {}

    async def watched(batch: Sequence[Received[Any]], work: Work[CountingStore]) -> None:
        nonlocal saves, most
        mine = {received.record.partition for received in batch}
        assert not mine & inside, f"{mine & inside} are being saved already"
        inside.update(mine)
        saves += 1
        most = max(most, saves)
        if saves == 2:
            together.set()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(together.wait(), 5)
        for received in batch:
            order.setdefault(received.record.partition, []).append(received.record.offset)
        await on_facts(batch, work)
        inside.difference_update(mine)
        saves -= 1

    for number in range(counting.topic.partitions):
        await counting.fill(number, [fact(n) for n in range(FACTS // counting.topic.partitions)])
    await counting.start(handler=watched, saves_at_once=2, batch_records=BATCH)
    await counting.until_read()
    assert await counting.count("taken") == await counting.count("effects") == FACTS
    assert most == 2
    assert all(offsets == sorted(set(offsets)) for offsets in order.values())


async def test_a_save_that_fails_beside_another_is_read_again_and_takes_effect_once(
    counting: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost: list[int] = []
    committed = Work.committed

    def lose(work: Work[Any]) -> None:
        committed(work)
        if len(lost) < 2:
            lost.append(1)
            raise ConnectionResetError("the connection broke after COMMIT was sent")

    monkeypatch.setattr(Work, "committed", lose)
    for number in range(counting.topic.partitions):
        await counting.fill(number, [fact(n) for n in range(FACTS // counting.topic.partitions)])
    await counting.start(saves_at_once=2, batch_records=BATCH)
    await counting.until_read()
    assert len(lost) == 2
    assert await counting.count("taken") == await counting.count("effects") == FACTS
    assert len(await counting.said()) == FACTS
