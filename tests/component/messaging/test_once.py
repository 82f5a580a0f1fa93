"""A record of the log takes effect once: over lost answers, cut connections, and everything read again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError

from shared.messaging import consumer as consumers
from shared.messaging.offsets import Fenced
from shared.messaging.work import Work
from shared.postgres import execute
from tests.component.messaging.counting import Counting, fact, partition
from tests.support.eventually import eventually

FACTS = 200


@pytest.fixture
def lost_answers(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The next two batches are committed, and the answer to the commit is lost."""
    lost: list[int] = []
    committed = Work.committed

    def lose(work: Work[Any]) -> None:
        committed(work)
        if len(lost) < 2:
            lost.append(1)
            raise ConnectionResetError("the connection broke after COMMIT was sent")

    monkeypatch.setattr(Work, "committed", lose)
    return lost


async def test_a_batch_whose_commit_went_unanswered_is_read_again_and_takes_effect_once(
    counting: Counting, lost_answers: list[int]
) -> None:
    await counting.start()
    await counting.send([fact(n) for n in range(FACTS)])
    await counting.until_read()
    await counting.send([fact(n) for n in range(FACTS)])
    await counting.until_read()
    assert len(lost_answers) == 2
    assert await counting.count("taken") == await counting.count("effects") == 2 * FACTS
    assert len(await counting.said()) == 2 * FACTS


async def test_control_without_the_fence_the_same_batch_takes_effect_twice(
    counting: Counting, lost_answers: list[int], monkeypatch: pytest.MonkeyPatch, show: Callable[[str], None]
) -> None:
    async def no_fence(conn: Any, *, consumer: str, topic: str, spans: Any) -> dict[int, Fenced]:
        for span in spans:
            await execute(
                conn, "update consumer_offsets set next_offset = :to where partition = :p", to=span.last + 1,
                p=span.partition,
            )  # fmt: skip
        return {span.partition: Fenced(True, span.first) for span in spans}

    monkeypatch.setattr(consumers.offsets, "fence", no_fence)
    await counting.start()
    await counting.send([fact(n) for n in range(FACTS)])
    await eventually(lambda: _more_than(counting, "taken", FACTS), what="some record taken twice")
    show(f"control, fence off: {FACTS} records of the log took effect {await counting.count('taken')} times")


async def _more_than(counting: Counting, table: str, n: int) -> bool:
    return await counting.count(table) > n


async def test_what_may_not_be_saved_yet_is_read_again_and_takes_effect_once(counting: Counting) -> None:
    asked: list[int] = []

    async def half(batch: Sequence[Any]) -> list[Any]:
        asked.append(len(batch))
        return [] if len(asked) % 3 == 1 else list(batch)[: (len(batch) + 1) // 2]

    await counting.send([fact(n) for n in range(FACTS)])
    await counting.start(before=lambda _: half)
    await counting.until_read()
    assert len(asked) > 3
    assert await counting.count("taken") == await counting.count("effects") == FACTS


async def test_connections_cut_under_load_cost_nothing_and_double_nothing(
    counting: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(counting.world.env, "RUNTIDE_KAFKA_BATCH_RECORDS", "50")
    await counting.start()
    sent = 2000
    sending = asyncio.create_task(counting.send([fact(n) for n in range(sent)]))
    for threshold in (0, 400, 800, 1200):
        await eventually(lambda at=threshold: _more_than(counting, "taken", at), every_seconds=0.01)
        await eventually(counting.terminate_backends, every_seconds=0.01, what="a connection to cut")
    await sending
    await counting.until_read()
    assert await counting.count("taken") == await counting.count("effects") == sent
    assert len({message["run_id"] for message in await counting.said()}) == sent


async def test_offsets_in_kafka_set_to_the_beginning_change_nothing(counting: Counting) -> None:
    first = await counting.start()
    await counting.send([fact(n) for n in range(FACTS)])
    await counting.until_read()
    await first.stop()
    await eventually(lambda: _reset(counting), what="a group that can be reset", every_seconds=0.2)
    await counting.start()
    await counting.send([fact(FACTS)])
    await counting.until_read()
    assert await counting.count("taken") == FACTS + 1


async def _reset(counting: Counting) -> bool:
    """Commit 0 for every partition, as `kafka-consumer-groups --reset-offsets --to-earliest` does."""
    kafka = counting.world.kafka
    consumer = AIOKafkaConsumer(
        bootstrap_servers=kafka.bootstrap, group_id=kafka.prefix + counting.group, enable_auto_commit=False
    )
    await consumer.start()
    try:
        tps = [partition(counting, number) for number in range(counting.topic.partitions)]
        consumer.assign(tps)
        await consumer.commit(dict.fromkeys(tps, 0))
        return all([await consumer.committed(tp) == 0 for tp in tps])
    except KafkaError:
        return False  # the member that left is still known
    finally:
        await consumer.stop()


async def test_rows_set_back_by_hand_read_all_again_and_the_natural_key_changes_and_says_nothing(
    counting: Counting,
) -> None:
    first = await counting.start()
    await counting.send([fact(n) for n in range(FACTS)])
    await counting.until_read()
    before, said = await counting.rows("select * from effects order by id"), len(await counting.said())
    await first.stop()
    await counting.rows("update consumer_offsets set next_offset = 0")
    await counting.start()
    await counting.until_read()
    assert await counting.rows("select * from effects order by id") == before
    assert len(await counting.said()) == said == FACTS
    assert await counting.count("taken") == 2 * FACTS  # the control: what has no natural key doubles
