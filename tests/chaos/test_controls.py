"""A producer without idempotence, through an outage of the broker that is longer than it waits: the control of I11."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from tests.chaos.faults import pid_of
from tests.conftest import STATE
from tests.support.harness import World

TOPIC, SENDS, PATIENCE_MS, OUTAGES = "activities.v1", 300, 2000, 5


@contextlib.asynccontextmanager
async def frozen_broker() -> AsyncIterator[Callable[[], None]]:
    pid = pid_of(STATE, "kafka")
    try:
        yield lambda: os.kill(pid, signal.SIGSTOP)
    finally:
        os.kill(pid, signal.SIGCONT)


async def send_until_acknowledged(producer: AIOKafkaProducer, topic: str, n: int) -> int:
    """As the relay does: a send that raises is sent again, the same row. Answers how often it raised."""
    raised = 0
    while True:
        try:
            await producer.send_and_wait(topic, str(n).encode(), partition=0)
            return raised
        except KafkaError:
            raised += 1


async def through_an_outage(producer: AIOKafkaProducer, topic: str) -> int:
    """All sends begun while the broker is frozen for longer than they wait; answers how often they raised."""
    async with frozen_broker() as freeze:
        await send_until_acknowledged(producer, topic, -1)
        freeze()
        sends = [asyncio.create_task(send_until_acknowledged(producer, topic, n)) for n in range(SENDS)]
        await asyncio.wait(sends, timeout=3 * PATIENCE_MS / 1000)
    return sum(await asyncio.gather(*sends))


@pytest.mark.parametrize("idempotent", [True, False])
async def test_each_send_lands_once_through_a_frozen_broker_but_for_the_plain_producer(
    stack: Any, idempotent: bool, show: Callable[[str], None]
) -> None:
    world = await World(stack.env).open()
    topic = world.kafka.prefix + TOPIC
    producer = AIOKafkaProducer(
        bootstrap_servers=stack.env["RUNTIDE_KAFKA_BOOTSTRAP"], enable_idempotence=idempotent, acks="all",
        request_timeout_ms=PATIENCE_MS, linger_ms=0,
    )  # fmt: skip
    await producer.start()
    try:
        for outage in range(1, 2 if idempotent else OUTAGES):
            raised = await through_an_outage(producer, topic)
            counts = Counter(int(record.value) for record in await world.kafka.records(TOPIC))
            assert counts.keys() == set(range(-1, SENDS))
            doubled = sum(1 for count in counts.values() if count > outage)
            if doubled:
                break  # else the broker threw away what it was sent while it stood still
        if idempotent:
            assert doubled == 0
        else:
            assert doubled > 0
            show(
                f"control, plain producer: {raised} sends failed, and {doubled} of {SENDS} lie in the log twice or more"
            )
    finally:
        await producer.stop()
        await world.close()
