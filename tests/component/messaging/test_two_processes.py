"""Two processes share a group: while one joins and one leaves nothing is taken twice, and nothing is lost."""

from __future__ import annotations

import asyncio

import pytest

from tests.component.messaging.counting import Counting, consumer_of, fact
from tests.support.eventually import eventually
from tests.support.harness import ServiceHarness


async def has_taken(counting: Counting, n: int) -> bool:
    return await counting.count("taken") >= n


def reads(*harnesses: ServiceHarness) -> list[int]:
    return [len(consumer_of(harness).positions) for harness in harnesses]


async def test_a_process_joins_and_another_leaves_under_load_and_each_record_is_taken_once(
    counting: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(counting.world.env, "RUNTIDE_KAFKA_BATCH_RECORDS", "40")
    first = await counting.start("first")
    sent, halves = 2400, [asyncio.Event(), asyncio.Event()]

    async def load() -> None:
        for part in range(24):
            if part in (8, 16):
                await halves[part // 8 - 1].wait()
            await counting.send([fact(n) for n in range(100)])

    sending = asyncio.create_task(load())
    await eventually(lambda: has_taken(counting, 100))
    second = await counting.start("second")
    halves[0].set()
    await eventually(
        lambda: all(reads(first, second)) and sum(reads(first, second)) == counting.topic.partitions,
        what="partitions for both",
    )
    halves[1].set()
    await first.stop()
    await sending
    await counting.until_read()
    await eventually(lambda: reads(second) == [counting.topic.partitions], what="all partitions for the second")
    assert await counting.count("taken") == await counting.count("effects") == sent
    said = await counting.said()
    assert len(said) == len({message["run_id"] for message in said}) == sent


async def test_two_that_believe_to_own_the_same_partitions_still_take_each_record_once(opened: object) -> None:
    """As after a rebalance that one of them has not noticed: the same rows, two groups in Kafka."""
    counting: Counting = await opened(partitions=2)  # type: ignore[operator]
    first = await counting.start("first")
    prefix = counting.world.env["RUNTIDE_KAFKA_PREFIX"]
    second = await counting.start("second", group_of_its_own=True)
    assert consumer_of(second).wire_topic == consumer_of(first).wire_topic == prefix + counting.topic.name
    for n in range(20):
        await counting.send([fact(n) for n in range(50)])
    await counting.until_read()
    assert await counting.count("taken") == await counting.count("effects") == 1000
    assert reads(first, second) == [2, 2]
