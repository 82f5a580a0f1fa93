"""The ACL files on a broker that enforces them: who may write to and read from each topic, asked by doing it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import ClusterAuthorizationFailedError, TopicAuthorizationFailedError
from runtide.doctor import examine
from runtide.errors import TopicsDiffer
from runtide.kafka import partition_counts
from runtide.settings import load
from runtide_schemas.login import KafkaLogin
from runtide_schemas.refusal import refusal
from runtide_schemas.topics import REQUESTS_STATUS, TOPICS, Topic

from deploy.kafka.acls import READERS, SERVICES
from deploy.kafka.acls.apply import allow, rights
from shared.messaging.broker import producer_for
from shared.messaging.topics import admin_of
from shared.settings import KafkaSettings
from tests.component.guarded.users import FILES, USERS, as_user, granted, team
from tests.conftest import ROOT
from tests.support.guarded_kafka import ADMIN, GuardedKafka
from tests.support.harness import World
from tests.support.kafka import Kafka
from tests.unit.deploy.test_acls import writers_of

KEY = b"k"


@pytest.fixture(scope="module")
async def bare(guarded: GuardedKafka) -> AsyncIterator[Kafka]:
    """Topics in which one record each lies, and rights for nobody."""
    env = guarded.env(ADMIN)
    kafka = Kafka(env["RUNTIDE_KAFKA_BOOTSTRAP"], f"m{uuid.uuid4().hex[:8]}.", KafkaLogin.from_environment(env))
    await kafka.start()
    await kafka.create_topics()
    for topic in TOPICS:
        await kafka.send(topic.name, {}, key=KEY)
    yield kafka
    await kafka.stop()


async def test_without_the_files_nobody_may_do_anything(guarded: GuardedKafka, bare: Kafka) -> None:
    """The control: that the broker lets somebody is because of the files."""
    assert await found(may_write, guarded, bare) == {topic.name: set() for topic in TOPICS}
    assert await found(may_read, guarded, bare) == {topic.name: set() for topic in TOPICS}


async def test_a_client_that_may_not_see_the_topics_is_not_told_that_there_are_none(
    guarded: GuardedKafka, bare: Kafka
) -> None:
    environment = {"RUNTIDE_TENANT": "acme", "RUNTIDE_KAFKA_PREFIX": bare.prefix, **guarded.env(USERS["team"])}
    with pytest.raises(TopicsDiffer, match=r"this login may not see \S+requests.status.v1"):
        await partition_counts(load(environment, ROOT / "nowhere"), [REQUESTS_STATUS])


async def test_with_them_each_topic_has_its_writers_and_readers_and_everybody_else_is_refused(
    guarded: GuardedKafka, bare: Kafka
) -> None:
    await granted(guarded, bare.prefix, *FILES)
    assert await found(may_write, guarded, bare) == {topic.name: writers_of(topic) for topic in TOPICS}
    assert await found(may_read, guarded, bare) == {topic.name: readers_of(topic) for topic in TOPICS}


async def test_a_right_that_no_file_gives_opens_what_was_refused(guarded: GuardedKafka, bare: Kafka) -> None:
    """The control: it is the rights that refuse a team the topics of a service, not the topics."""
    door = "requests.status.v1"
    line = f"--add --allow-principal User:{USERS['team']} --operation Write --operation Describe --topic {door}"
    settings = as_user(bare.prefix, guarded, ADMIN)
    async with admin_of(settings) as admin:
        await allow(admin, rights(line, prefix=bare.prefix))
    assert await may_write(as_user(bare.prefix, guarded, USERS["team"]), door)


async def test_a_certificate_is_a_login_too(
    guarded: GuardedKafka, bare: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in guarded.env(USERS["team"], protocol="SSL").items():
        monkeypatch.setenv(name, value)
    by_certificate = KafkaSettings(prefix=bare.prefix)
    assert await may_write(by_certificate, "runs.commands.v1")
    assert not await may_write(by_certificate, "runs.status.v1")
    monkeypatch.delenv("RUNTIDE_KAFKA_SSL_CERT_FILE")
    nobody = KafkaSettings(prefix=bare.prefix)
    assert "a certificate (RUNTIDE_KAFKA_SSL_CERT_FILE)?" in str(await refusal(nobody.brokers, nobody.login()))


async def test_a_team_that_may_not_see_the_settings_of_topics_is_told_so_and_no_fault(
    world: World, guarded: GuardedKafka
) -> None:
    found = {finding.part: finding for finding in await examine(load(team(world, guarded), ROOT / "nowhere"))}
    assert found["kafka"].state == "ok"
    assert (found["topics"].state, found["topics"].said[:22]) == ("skipped", "this login may not see")


def readers_of(topic: Topic) -> set[str]:
    """Who consumes it, and teams what is public and no door."""
    services = {service for service in SERVICES if topic.name in READERS[service]}
    return services | ({"team"} if topic.public and not topic.open_door else set())


async def found(
    may: Callable[[KafkaSettings, str], Awaitable[bool]], guarded: GuardedKafka, bare: Kafka
) -> dict[str, set[str]]:
    """topic → who may, asked by doing it."""
    return {
        topic.name: {name for name, user in USERS.items() if await may(as_user(bare.prefix, guarded, user), topic.name)}
        for topic in TOPICS
    }


async def may_write(user: KafkaSettings, topic: str) -> bool:
    """With the producer that services have."""
    producer = producer_for(user, client_id="test")
    try:
        await producer.start()
        await producer.send_and_wait(user.prefix + topic, b"{}", key=KEY)
    except (TopicAuthorizationFailedError, ClusterAuthorizationFailedError):
        return False
    finally:
        await producer.stop()
    return True


async def may_read(user: KafkaSettings, topic: str) -> bool:
    """A topic that may not even be described is not asked for: aiokafka would ask for ever."""
    async with admin_of(user) as admin:
        [described] = await admin.describe_topics([user.prefix + topic])
    if described["error_code"] == TopicAuthorizationFailedError.errno:
        return False
    tps = [TopicPartition(user.prefix + topic, one["partition"]) for one in described["partitions"]]
    async with AIOKafkaConsumer(**user.client(), auto_offset_reset="earliest") as consumer:
        consumer.assign(tps)
        try:
            return bool(await asyncio.wait_for(consumer.getone(), 60))
        except TopicAuthorizationFailedError:
            return False
