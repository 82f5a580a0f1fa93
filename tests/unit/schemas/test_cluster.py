"""What differs between a cluster and the list of topics; the cluster is a stand-in for the admin client alone."""

from __future__ import annotations

from collections import namedtuple
from types import SimpleNamespace
from typing import Any

import pytest
from runtide.kafka import partition_of
from runtide_schemas import cluster as topics
from runtide_schemas.cluster import TopicsDiffer
from runtide_schemas.topics import INSTANCES_COMMANDS, INSTANCES_STATUS, RUNS_STATUS, TOPICS

Entry = namedtuple("Entry", "name value read_only source sensitive synonyms")


class Cluster:
    """Topic → (partitions, settings of its own); it does what it is told."""

    def __init__(self, brokers: int = 1, **held: tuple[int, dict[str, str]]) -> None:
        self.brokers = brokers
        self.held = {name.replace("__", ".").replace("_", "-"): value for name, value in held.items()}
        self.created: list[Any] = []

    async def describe_cluster(self) -> dict[str, Any]:
        return {"brokers": [None] * self.brokers}

    async def describe_topics(self, names: list[str]) -> list[dict[str, Any]]:
        replicas = list(range(min(3, self.brokers)))
        return [
            {
                "topic": name,
                "error_code": 0 if name in self.held else 3,
                "partitions": [{"replicas": replicas}] * (self.held[name][0] if name in self.held else 0),
            }
            for name in names
        ]

    async def describe_configs(self, resources: list[Any]) -> list[Any]:
        defaults = {"compression.type": "producer", "message.timestamp.type": "CreateTime"}
        found = []
        for resource in resources:
            own = self.held[resource.name][1]
            entries = [Entry(k, v, False, 5, False, []) for k, v in defaults.items() if k not in own]
            entries += [Entry(k, v, False, 1, False, []) for k, v in own.items()]
            found.append((0, "", 2, resource.name, entries))
        return [SimpleNamespace(resources=found)]

    async def create_topics(self, new: list[Any]) -> Any:
        self.created += new
        self.held |= {topic.name: (topic.num_partitions, dict(topic.topic_configs)) for topic in new}
        return SimpleNamespace(topic_errors=[(topic.name, 0, None) for topic in new])

    async def create_partitions(self, wanted: dict[str, Any]) -> None:
        for name, partitions in wanted.items():
            self.held[name] = (partitions.total_count, self.held[name][1])

    async def alter_configs(self, resources: list[Any]) -> list[Any]:
        for resource in resources:
            self.held[resource.name] = (self.held[resource.name][0], dict(resource.configs))
        return []


def admin(cluster: Cluster) -> Any:
    return cluster


async def test_applying_creates_what_is_missing_and_again_does_nothing() -> None:
    cluster = Cluster()
    changes = await topics.apply(admin(cluster), prefix="t.")
    assert [change.topic for change in changes] == [f"t.{topic.name}" for topic in TOPICS]
    assert await topics.apply(admin(cluster), prefix="t.") == []
    await topics.check(admin(cluster), prefix="t.")


async def test_three_brokers_keep_three_replicas_of_which_two_must_have_it() -> None:
    cluster = Cluster(brokers=5)
    await topics.apply(admin(cluster), (RUNS_STATUS,))
    [created] = cluster.created
    assert created.replication_factor == 3
    assert created.topic_configs["min.insync.replicas"] == "2"


async def test_settings_that_are_not_ours_are_kept() -> None:
    cluster = Cluster(runs__status__v1=(2, {"segment.ms": "1", "retention.ms": "5"}))
    changes = await topics.apply(admin(cluster), (RUNS_STATUS,))
    assert [change.kind for change in changes][:1] == ["add_partitions"]
    partitions, config = cluster.held["runs.status.v1"]
    assert (partitions, config["segment.ms"], config["retention.ms"]) == (12, "1", str(30 * 24 * 3600 * 1000))


async def test_partitions_are_never_added_where_their_order_is_a_promise() -> None:
    cluster = Cluster(instances__commands__v1=(1, topics.expected_config(INSTANCES_COMMANDS, 1)))
    [change] = await topics.apply(admin(cluster), (INSTANCES_COMMANDS,))
    assert change.kind == "by_hand"
    assert cluster.held["instances.commands.v1"][0] == 1


async def test_more_partitions_than_listed_are_left_alone() -> None:
    cluster = Cluster(runs__status__v1=(50, topics.expected_config(RUNS_STATUS, 1)))
    assert await topics.plan(admin(cluster), (RUNS_STATUS,)) == []


async def test_a_missing_topic_or_another_clean_up_policy_is_fatal_and_named() -> None:
    wrong = {**topics.expected_config(INSTANCES_STATUS, 1), "cleanup.policy": "delete"}
    with pytest.raises(TopicsDiffer, match=r"cleanup.policy delete → compact.*runtide topics apply"):
        await topics.check(admin(Cluster(instances__status__v1=(6, wrong))), (INSTANCES_STATUS,))
    with pytest.raises(TopicsDiffer, match="create with 12 partitions"):
        await topics.check(admin(Cluster()), (RUNS_STATUS,))


@pytest.mark.parametrize(("key", "murmur2"), [(b"21", -973932308), (b"foobar", -790332482)])
def test_a_key_lies_in_the_partition_where_java_puts_it(key: bytes, murmur2: int) -> None:
    assert partition_of(key, 100) == (murmur2 & 0x7FFFFFFF) % 100
