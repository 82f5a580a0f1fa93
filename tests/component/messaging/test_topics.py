"""Topics are as the one list wants them, or nothing starts and the difference is named."""

from __future__ import annotations

from dataclasses import replace

import pytest
from runtide_schemas import cluster
from runtide_schemas.cluster import TopicsDiffer
from runtide_schemas.topics import ACTIVITIES, INSTANCES_STATUS

from shared.messaging import topics
from shared.settings import KafkaSettings
from tests.component.messaging.counting import CountingSettings
from tests.support.harness import World


async def test_apply_makes_the_topics_once_and_plan_names_every_difference(world: World) -> None:
    prefix = world.kafka.prefix
    async with topics.admin_of(world.settings_of(CountingSettings).kafka) as admin:
        assert await cluster.plan(admin, prefix=prefix) == []
        assert await cluster.apply(admin, prefix=prefix) == []

        wider = replace(ACTIVITIES, partitions=ACTIVITIES.partitions + 1)
        [grown] = await cluster.plan(admin, prefix=prefix, topics=(wider,))
        assert (grown.kind, grown.fatal) == ("add_partitions", False)
        await cluster.apply(admin, prefix=prefix, topics=(wider,))
        assert await cluster.plan(admin, prefix=prefix, topics=(wider,)) == []
        assert await cluster.plan(admin, prefix=prefix) == []  # more than wanted is no fault

        [policy] = await cluster.plan(admin, prefix=prefix, topics=(replace(INSTANCES_STATUS, compacted=False),))
        assert policy.fatal
        assert "cleanup.policy" in policy.what


async def test_a_missing_topic_is_named_and_nothing_should_start(world: World) -> None:
    prefix = f"{world.kafka.prefix}nobody."
    settings = KafkaSettings(bootstrap=world.kafka.bootstrap, prefix=prefix)
    with pytest.raises(TopicsDiffer, match=f"{prefix}{ACTIVITIES.name}: create"):
        await topics.insist(settings)
    await topics.insist(world.settings_of(CountingSettings).kafka)  # and the world's own are there
