"""Topics as `runtide_schemas.topics` wants them: plan, apply, check. Auto-creation is off; a service checks at start.

`python -m shared.messaging.topics plan | apply | check`
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from runtide_schemas.topics import TOPICS, Topic

from shared.settings import KafkaSettings


@dataclass(frozen=True, slots=True)
class Change:
    """What differs between Kafka and the list. `fatal`: a service must not start on it."""

    topic: str
    what: str
    fatal: bool


def expected_config(topic: Topic) -> dict[str, str]:
    """The configuration that makes a topic's policy."""
    config = {"cleanup.policy": "compact" if topic.compacted else "delete", "message.timestamp.type": "CreateTime"}
    if topic.retention_ms is not None:
        config["retention.ms"] = str(topic.retention_ms)
    return config


async def plan(admin: AIOKafkaAdminClient, *, prefix: str = "", topics: Sequence[Topic] = TOPICS) -> list[Change]:
    """What `apply` would do, and what it would not do by itself."""
    wire = {prefix + topic.name: topic for topic in topics}
    described = {entry["topic"]: entry for entry in await admin.describe_topics(list(wire)) if not entry["error_code"]}
    changes = [Change(name, "missing", True) for name in wire if name not in described]
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in described]
    configs = await _configs(admin, resources) if resources else {}
    for name, entry in described.items():
        topic, have = wire[name], len(entry["partitions"])
        if have < topic.partitions:
            changes.append(Change(name, f"partitions {have}, wanted {topic.partitions}", False))
        for key, value in expected_config(topic).items():
            if configs.get(name, {}).get(key) != value:
                fatal = key == "cleanup.policy"
                changes.append(Change(name, f"{key} {configs.get(name, {}).get(key)}, wanted {value}", fatal))
    return changes


async def apply(
    admin: AIOKafkaAdminClient, *, replication_factor: int = 1, prefix: str = "", topics: Sequence[Topic] = TOPICS
) -> list[Change]:
    """Create what is missing, add partitions, set policies; answers what was done."""
    changes = await plan(admin, prefix=prefix, topics=topics)
    changed = {change.topic for change in changes}
    missing = {change.topic for change in changes if change.what == "missing"}
    wire = {prefix + topic.name: topic for topic in topics}
    if missing:
        new = [
            NewTopic(name, wire[name].partitions, replication_factor, topic_configs=expected_config(wire[name]))
            for name in sorted(missing)
        ]
        await admin.create_topics(new)
    for name in sorted(changed - missing):
        topic = wire[name]
        if any(change.topic == name and change.what.startswith("partitions") for change in changes):
            await admin.create_partitions({name: NewPartitions(topic.partitions)})
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, configs=expected_config(topic))])
    return changes


async def _configs(admin: AIOKafkaAdminClient, resources: list[ConfigResource]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for answer in await admin.describe_configs(resources):
        for resource in answer.resources:
            name, entries = resource[3], resource[4]
            found[name] = {entry[0]: entry[1] for entry in entries}
    return found


def admin_for(settings: KafkaSettings) -> AIOKafkaAdminClient:
    return AIOKafkaAdminClient(bootstrap_servers=settings.bootstrap.split(","), client_id="runtide-topics")


async def run(verb: str) -> int:
    """One verb of the command line; answers its exit code."""
    settings = KafkaSettings()
    factor = int(os.environ.get("RUNTIDE_KAFKA_REPLICATION_FACTOR", "1"))
    admin: Any = admin_for(settings)
    await admin.start()
    try:
        if verb == "apply":
            changes = await apply(admin, replication_factor=factor, prefix=settings.prefix)
        else:
            changes = await plan(admin, prefix=settings.prefix)
    finally:
        await admin.close()
    for change in changes:
        sys.stdout.write(f"{change.topic}: {change.what}\n")
    sys.stdout.write(f"{len(TOPICS)} topics, {len(changes)} {'changed' if verb == 'apply' else 'to change'}\n")
    return 1 if verb == "check" and any(change.fatal for change in changes) else 0


if __name__ == "__main__":
    arguments = sys.argv[1:]
    if arguments not in (["plan"], ["apply"], ["check"]):
        sys.exit("usage: python -m shared.messaging.topics plan | apply | check")
    sys.exit(asyncio.run(run(arguments[0])))
