"""P7: the outbox relay against a bare drain of thousands, and against a bare NOTIFY-woken relay for one message.

The floor does the same work with nothing around it: SELECT, pipelined idempotent sends, gather, DELETE.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from typing import Any

import asyncpg
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from benchmarks.measuring import Figure, compare
from shared import logs
from shared.messaging.broker import producer_for
from shared.messaging.outbox import OutboxRow, write
from shared.messaging.relay import BATCH, Relay
from shared.migrate import migrate
from shared.postgres import engine_for
from tests.support.harness import World
from tests.support.kafka import settings_for

ROWS, SINGLES = 20_000, 100
TOPIC = "runs.status.v1"
HEADERS = (
    '{"ce_specversion":"1.0","ce_id":"0198c0de-0000-7000-8000-000000000000","ce_type":"run.status_changed",'
    '"ce_source":"/runtide/run_tracker","ce_time":"2026-01-01T00:00:00Z","content-type":"application/json"}'
)
FILL = """
insert into outbox (topic, key, payload, headers)
select $1, convert_to(gen_random_uuid()::text, 'utf8'), convert_to(repeat('x', 600), 'utf8'), $2
from generate_series(1, $3)
"""
_RAW_HEADERS = [("ce_specversion", b"1.0"), ("ce_type", b"run.status_changed"), ("content-type", b"application/json")]


async def figures(world: World) -> list[Figure]:
    """Both figures of P7."""
    settings = world.settings("submission")
    engine = engine_for(settings.postgres, schema="submission", application="bench")
    await migrate(engine, "submission")
    kafka = settings_for(world.env["RUNTIDE_KAFKA_BOOTSTRAP"], world.kafka.prefix)
    log = logs.configure(service="bench", fmt="console", level="WARNING")
    relay = Relay(
        schema="submission", connect=lambda: _connect(world), topic_prefix=kafka.prefix, log=log,
        producer=lambda: producer_for(kafka, client_id="bench-relay"),
    )  # fmt: skip
    connection = await _connect(world)
    producer = producer_for(kafka, client_id="bench")
    await producer.start()
    try:
        drained = await compare(
            "P7", f"outbox drained, {ROWS} rows of 600 B", unit="rows/s", wanted=0.7,
            floor=lambda: _drain(connection, lambda: _raw_drain(connection, producer, kafka.prefix)),
            ours=lambda: _drain(connection, lambda: relay.drain_once(connection, producer)),
        )  # fmt: skip
        woken = await compare(
            "P7", f"commit to consumer, median of {SINGLES}", unit="ms", wanted=1.5, better="lower",
            floor=lambda: _singles(world, engine, _raw_relay(world, kafka.prefix)),
            ours=lambda: _singles(world, engine, relay.run()),
        )  # fmt: skip
    finally:
        await producer.stop()
        await connection.close()
        await engine.dispose()
    return [drained, woken]


async def _connect(world: World) -> asyncpg.Connection:
    return await asyncpg.connect(world.dsn, server_settings={"search_path": "submission"})


async def _drain(connection: asyncpg.Connection, once: Any) -> float:
    await connection.execute(FILL, TOPIC, HEADERS, ROWS)
    began, sent = time.perf_counter(), 0
    while got := await once():
        sent += got
    assert sent == ROWS
    return ROWS / (time.perf_counter() - began)


async def _raw_drain(connection: asyncpg.Connection, producer: AIOKafkaProducer, prefix: str) -> int:
    rows = await connection.fetch("select id, topic, key, payload from outbox order by id limit $1", BATCH)
    if not rows:
        return 0
    sends = [
        await producer.send(prefix + row["topic"], row["payload"], key=row["key"], headers=_RAW_HEADERS) for row in rows
    ]
    await asyncio.gather(*sends)
    await connection.execute("delete from outbox where id = any($1::bigint[])", [row["id"] for row in rows])
    return len(rows)


async def _raw_relay(world: World, prefix: str) -> None:
    """LISTEN, drain when woken; nothing else."""
    connection = await _connect(world)
    producer = AIOKafkaProducer(bootstrap_servers=world.kafka.bootstrap, enable_idempotence=True)
    await producer.start()
    woken = asyncio.Event()
    await connection.add_listener("outbox_submission", lambda *_: woken.set())
    try:
        while True:
            woken.clear()
            while await _raw_drain(connection, producer, prefix):
                pass
            await woken.wait()
    finally:
        await producer.stop()
        await connection.close()


async def _singles(world: World, engine: Any, relaying: Any) -> float:
    """Milliseconds from the commit of one outbox row to a consumer that reads it; the median of many, one by one."""
    task = asyncio.create_task(relaying)
    consumer = AIOKafkaConsumer(bootstrap_servers=world.kafka.bootstrap, enable_auto_commit=False)
    await consumer.start()
    tps = [TopicPartition(world.kafka.prefix + TOPIC, partition) for partition in range(12)]
    consumer.assign(tps)
    for tp, end in (await consumer.end_offsets(tps)).items():
        consumer.seek(tp, end)
    row = OutboxRow(TOPIC, b"key", b'{"n": 1}', HEADERS)
    try:
        waits = []
        for number in range(SINGLES + 10):
            async with engine.begin() as conn:
                await write(conn, [row])
            began = time.perf_counter()
            while not await consumer.getmany(timeout_ms=5000):
                pass
            if number >= 10:
                waits.append(time.perf_counter() - began)
        return statistics.median(waits) * 1000
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await consumer.stop()
