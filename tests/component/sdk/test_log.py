"""The client's log: one list of behaviours, over the one in memory and over real Kafka."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from runtide.client import Runtide
from runtide.errors import KafkaUnavailable, TopicsDiffer
from runtide.kafka import Kafka, opened_admin
from runtide.log import Follow, Follower, Log
from runtide.platform import Platform
from runtide.settings import ClientSettings
from runtide_schemas import cluster as topics
from runtide_schemas.instances import InstanceStatusChanged
from runtide_schemas.message import Message
from runtide_schemas.requests import RequestStatusChanged
from runtide_schemas.topics import INSTANCES_STATUS, REQUESTS_STATUS, RUNS_STATUS

from tests.support.harness import World
from tests.unit.sdk.memory_log import MemoryLog
from tests.unit.sdk.stories import request, run, snapshot_of
from tests.unit.sdk.test_platform import GOOD

ABOUT_RUNS = (REQUESTS_STATUS, RUNS_STATUS)


@pytest.fixture(params=["memory", "kafka"])
async def log(request: pytest.FixtureRequest, world: World) -> AsyncIterator[Log]:
    if request.param == "memory":
        yield MemoryLog()
        return
    kafka = Kafka(settings_of(world))
    yield kafka
    await kafka.close()


def settings_of(world: World) -> ClientSettings:
    return ClientSettings(tenant="acme", kafka_bootstrap=world.kafka.bootstrap, kafka_prefix=world.kafka.prefix)


async def publish(log: Log, *messages: Message) -> None:
    for message in messages:
        await log.publish(message, message_id=str(uuid4()))


async def taken(follower: Follower, count: int) -> list[Message]:
    found = [await follower.next(20) for _ in range(count)]
    return [message for message in found if message is not None]


def wish(run_id: UUID | None, since: datetime | None) -> Follow:
    return Follow(ABOUT_RUNS, str(run_id).encode() if run_id else None, since)


async def test_a_follower_gets_what_is_about_its_key_alone(log: Log) -> None:
    mine, other = uuid4(), uuid4()
    async with log.follow(wish(mine, datetime.now(UTC))) as follower:
        await publish(log, request("requested", 1, other), request("requested", 1, mine), request("launched", 2, mine))
        seen = await taken(follower, 2)
    assert [(getattr(message, "run_id", None), getattr(message, "seq", None)) for message in seen] == [
        (mine, 1),
        (mine, 2),
    ]


async def test_a_follower_without_a_time_gets_all_that_is_retained(log: Log) -> None:
    mine = uuid4()
    await publish(log, request("requested", 1, mine), run("running", 1, mine))
    async with log.follow(wish(mine, None)) as follower:
        assert {message.type for message in await taken(follower, 2)} == {
            "request.status_changed", "run.status_changed",
        }  # fmt: skip


async def test_what_is_older_than_asked_for_is_not_read(log: Log) -> None:
    mine = uuid4()
    await publish(log, request("requested", 1, mine))
    async with log.follow(wish(mine, datetime.now(UTC) + timedelta(milliseconds=5))) as follower:
        assert await follower.next(0.5) is None


async def test_a_follower_that_goes_back_takes_nothing_from_the_others(log: Log) -> None:
    run_ids = [uuid4() for _ in range(30)]
    await publish(log, *(request("requested", 1, run_id) for run_id in run_ids))
    async with log.follow(wish(None, datetime.now(UTC))) as everything, log.follow(wish(run_ids[0], None)) as one:
        await publish(log, *(request("launched", 2, run_id) for run_id in run_ids))
        assert [message.seq for message in await taken(one, 2) if hasattr(message, "seq")] == [1, 2]
        launched: set[UUID] = set()
        while len(launched) < len(run_ids):
            [message] = await taken(everything, 1)
            if isinstance(message, RequestStatusChanged) and message.seq == 2:
                launched.add(message.run_id)


async def test_the_newest_of_each_key_is_read_to_the_end(log: Log) -> None:
    prices, momentum, _ = Platform.parse(GOOD).registrations(ClientSettings(tenant="acme"))
    await publish(log, snapshot_of(prices, 1), snapshot_of(momentum, 1), snapshot_of(prices, 2))
    found = [m for m in await log.newest(INSTANCES_STATUS) if isinstance(m, InstanceStatusChanged)]
    newest = {snapshot.name: snapshot.seq for snapshot in found}
    assert newest == {"prices": 2, "momentum": 1}


async def test_a_missing_topic_is_named_with_what_to_do(world: World) -> None:
    settings = ClientSettings(tenant="acme", kafka_bootstrap=world.kafka.bootstrap, kafka_prefix=f"{world.id}-no.")
    async with Runtide(settings) as client:
        with pytest.raises(TopicsDiffer, match=r"no topic .*runs\.status\.v1.*run `runtide topics apply`"):
            await client.attach(uuid4()).result(5)


async def test_topics_that_are_there_need_nothing(world: World) -> None:
    async with opened_admin(settings_of(world)) as admin:
        assert await topics.apply(admin, prefix=world.kafka.prefix) == []


async def test_a_broker_that_is_away_is_a_sentence() -> None:
    async with Runtide(ClientSettings(tenant="acme", kafka_bootstrap="127.0.0.1:9")) as client:
        with pytest.raises(KafkaUnavailable, match=r"no broker answers at 127\.0\.0\.1:9"):
            await client.submit_run("momentum")
