"""A broker that knows its users, and four services that log in to it, each under the name that its ACL file has."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from deploy.kafka.acls import SERVICES
from tests.component.guarded.users import FILES, USERS, as_user, granted
from tests.conftest import Stack
from tests.support.guarded_kafka import ADMIN, GuardedKafka
from tests.support.harness import ServiceHarness, World


@pytest.fixture(scope="package")
async def guarded(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GuardedKafka]:
    kafka = GuardedKafka(tmp_path_factory.mktemp("kafka"), tuple(USERS.values()))
    try:
        yield await kafka.start()
    finally:
        await kafka.stop()


@pytest.fixture(scope="package")
async def world(stack: Stack, guarded: GuardedKafka) -> AsyncIterator[World]:
    """The stack's other parts, and Kafka as its administrator sees it."""
    opened = await World({**stack.env, **guarded.env(ADMIN)}).open()
    await granted(guarded, opened.kafka.prefix, *FILES)
    yield opened
    await opened.close()


@pytest.fixture(scope="package")
async def services(world: World, guarded: GuardedKafka) -> AsyncIterator[dict[str, ServiceHarness]]:
    """Each under the name that its ACL file has."""
    running = {
        name: await world.start(name, kafka=as_user(world.kafka.prefix, guarded, USERS[name])) for name in SERVICES
    }
    yield running
    for service in running.values():
        await service.stop()
