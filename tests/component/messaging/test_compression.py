"""A producer in another language compresses as it likes."""

from __future__ import annotations

import json

import pytest
from aiokafka import AIOKafkaProducer

from tests.component.messaging.counting import Counting, fact


@pytest.mark.parametrize("compression", ["gzip", "lz4", "snappy", "zstd"])
async def test_a_compressed_batch_is_read_like_any_other(counting: Counting, compression: str) -> None:
    kafka = counting.world.kafka
    async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, compression_type=compression) as producer:
        for n in range(50):
            await producer.send(kafka.prefix + counting.topic.name, json.dumps(fact(n)).encode())
    await counting.start()
    await counting.until_read()
    assert await counting.count("effects") == await counting.count("taken") == 50
