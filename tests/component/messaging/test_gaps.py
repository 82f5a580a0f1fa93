"""Holes in a partition: those that hold no record are stepped over, those that held some stop the consumer."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from shared.main import _skip
from shared.messaging import consumer as consumers
from shared.messaging import topics as topic_admin
from tests.component.messaging.counting import Counting, consumer_of, fact, partition
from tests.support.eventually import eventually


async def transaction(counting: Counting, count: int, *, commit: bool) -> None:
    """Records of a producer's transaction, committed or aborted."""
    import json

    producer = AIOKafkaProducer(
        bootstrap_servers=counting.world.kafka.bootstrap, transactional_id=f"{counting.world.id}.{counting.name}"
    )
    await producer.start()
    try:
        await producer.begin_transaction()
        tp = partition(counting)
        for n in range(count):
            await producer.send_and_wait(tp.topic, json.dumps(fact(n)).encode(), partition=tp.partition)
        await (producer.commit_transaction() if commit else producer.abort_transaction())
    finally:
        await producer.stop()


async def test_markers_and_aborted_transactions_leave_no_hole_and_the_idle_tail_is_stepped_over(opened: Any) -> None:
    counting = await opened(partitions=1)
    harness = await counting.start()
    await counting.send([fact(n) for n in range(5)])
    await transaction(counting, 5, commit=True)
    await transaction(counting, 7, commit=False)
    await counting.send([fact(n) for n in range(5)])
    await transaction(counting, 3, commit=True)
    await transaction(counting, 7, commit=False)  # the tail: records and a marker that nobody will ever be given
    await counting.until_read()
    assert await counting.offsets() == {0: 5 + 6 + 8 + 5 + 4 + 8}
    assert await counting.count("taken") == await counting.count("effects") == 18
    await harness.stop()
    await counting.start()
    await counting.send([fact(n) for n in range(5)])
    await counting.until_read()
    assert await counting.count("taken") == 23


async def test_control_a_consumer_that_looks_at_its_last_record_only_never_reaches_the_end(
    opened: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from shared.messaging.upkeep import Upkeep

    upkept: list[int] = []

    async def stay(upkeep: Upkeep, tp: Any) -> None:
        upkept.append(tp.partition)

    monkeypatch.setattr(Upkeep, "_step_over_empty_tail", stay)
    counting = await opened(partitions=1)
    await counting.start()
    await transaction(counting, 3, commit=True)
    await eventually(lambda: _offset(counting, 3))
    upkept.clear()
    await eventually(lambda: len(upkept) > 1, what="two rounds of upkeep")
    assert not await counting.at_the_end()


async def _offset(counting: Counting, offset: int) -> bool:
    return await counting.offsets() == {0: offset}


async def test_what_compaction_took_away_is_no_hole(opened: Any) -> None:
    counting = await opened(partitions=1, compacted=True)
    tp, kafka = partition(counting), counting.world.kafka
    admin = topic_admin.admin_for(counting.world.settings_of(counting.settings).kafka)
    await admin.start()
    try:
        config = {"cleanup.policy": "compact", "segment.ms": "50", "min.cleanable.dirty.ratio": "0.001"}
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, tp.topic, configs=config)])
    finally:
        await admin.close()
    for n in range(20):
        await kafka.send(counting.topic.name, fact(n), key=b"same")
    harness = await counting.start()
    await counting.until_read()
    assert await counting.count("taken") == 20
    await harness.stop()
    for n in range(20, 40):
        await kafka.send(counting.topic.name, fact(n), key=b"same")

    async def compacted() -> bool:
        await kafka.send(counting.topic.name, fact(99), key=b"other")  # rolls the segment: only closed ones are cleaned
        return len(await kafka.records(counting.topic.name)) < 20

    await eventually(compacted, within_seconds=60, every_seconds=0.5, what="a compacted segment")
    await counting.start()
    await counting.until_read()
    assert await counting.count("dead_letters") == 0
    kept = {int(row["n"]) for row in await counting.rows("select n from effects")}
    assert {39, 99} <= kept
    assert not consumer_of(harness).lost


@pytest.mark.parametrize("left", [5, 0], ids=["with records left", "with nothing left"])
async def test_records_that_kafka_lost_stop_the_consumer_until_an_operator_skips_them(opened: Any, left: int) -> None:
    counting = await opened(partitions=2)
    tp = partition(counting)
    harness = await counting.start()
    await _send_to(counting, 0, 20)
    await counting.until_read()
    await harness.stop()
    await _send_to(counting, 0, 5 + left)
    await _delete_records(counting, tp, before=25)

    stopped = await counting.start("two")
    await eventually(lambda: consumer_of(stopped).lost, what="a consumer that says what it lost")
    livez = await stopped.http.get("/livez")
    assert livez.status_code == 503
    assert "5 records are gone" in livez.json()["problems"][0]
    assert (await stopped.http.get("/v1/ops/consumers")).json()["consumers"][0]["lost"]
    await _send_to(counting, 1, 3)  # the other partition goes on
    await eventually(lambda: _taken(counting, 23))
    assert (await counting.offsets())[0] == 20
    await stopped.stop()

    said = await _skip(stopped.running.context.engine, counting.topic.name, 0, 25)
    assert said == f"{counting.group} {counting.topic.name}/0: 20 → 25"
    went_on = await counting.start("three")
    await counting.until_read()
    assert await counting.count("taken") == 23 + left
    assert (await went_on.http.get("/livez")).status_code == 200


async def _send_to(counting: Counting, number: int, count: int) -> None:
    import json

    producer = counting.world.kafka._producer
    assert producer is not None
    for n in range(count):
        await producer.send_and_wait(partition(counting).topic, json.dumps(fact(n)).encode(), partition=number)


async def _delete_records(counting: Counting, tp: Any, *, before: int) -> None:
    admin = topic_admin.admin_for(counting.world.settings_of(counting.settings).kafka)
    await admin.start()
    try:
        await admin.delete_records({tp: RecordsToDelete(before)})
    finally:
        await admin.close()


async def _taken(counting: Counting, n: int) -> bool:
    return await counting.count("taken") == n


async def test_rows_that_could_not_be_read_at_assignment_are_taken_up_soon(
    counting: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    ensure, tries = consumers.offsets.ensure, list[int]()

    async def away_at_first(conn: Any, **what: Any) -> dict[int, int]:
        tries.append(1)
        if len(tries) == 1:
            raise ConnectionRefusedError("PostgreSQL is away")
        return await ensure(conn, **what)

    monkeypatch.setattr(consumers.offsets, "ensure", away_at_first)
    harness = await counting.start()
    await eventually(lambda: len(consumer_of(harness).positions) == counting.topic.partitions)
    assert len(tries) >= 2
    await asyncio.gather(*(counting.send([fact(n)]) for n in range(9)))
    await counting.until_read()
    assert await counting.count("taken") == 9
