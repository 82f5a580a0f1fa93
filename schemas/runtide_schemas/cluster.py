"""The cluster's topics as `runtide_schemas.topics` wants them: see what differs, make it so, or insist on it.

With `refusal`, what of this package needs aiokafka (extra `cluster`); services and the command line share it.

The facts not to break: nothing is ever deleted or shrunk, settings that are not ours are kept, and partitions are never
added to `instances.commands.v1`, whose order is a promise: drain it first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import TopicAlreadyExistsError, TopicAuthorizationFailedError, for_code

from runtide_schemas.topics import INSTANCES_COMMANDS, TOPICS, Topic

MAX_RECORD_BYTES = 1024 * 1024
_SET_ON_TOPIC = 1
_SEEN_SECONDS = 10.0
_NOTHING_STARTS_ON = frozenset({"cleanup.policy", "message.timestamp.type"})
Kind = Literal["create", "add_partitions", "set_config", "by_hand"]


class ClusterError(Exception):
    """Kafka did not do what was asked; the text is what it said."""


class NotAllowed(ClusterError):
    """Kafka does not let this login see the topics or their settings; they may be all right."""


class TopicsDiffer(ClusterError):
    """The cluster's topics are not those of this version: nothing should start on them."""

    def __init__(self, message: str, changes: Sequence[Change]) -> None:
        super().__init__(message)
        self.changes = tuple(changes)


@dataclass(frozen=True, slots=True)
class Change:
    """One difference. `fatal`: a service must not start on it; `by_hand`: `apply` leaves it alone."""

    topic: str
    kind: Kind
    what: str
    fatal: bool = False


def expected_config(topic: Topic, replication_factor: int) -> dict[str, str]:
    """A topic's policy as Kafka's settings. Where clients write, times are the broker's: tokens are judged by them."""
    config = {
        "cleanup.policy": "compact" if topic.compacted else "delete",
        "compression.type": "producer",
        "max.message.bytes": str(MAX_RECORD_BYTES),
        "message.timestamp.type": "LogAppendTime" if topic.open_door else "CreateTime",
    }
    if topic.retention_ms is not None:
        config["retention.ms"] = str(topic.retention_ms)
    if replication_factor >= 3:
        config["min.insync.replicas"] = "2"
    return config


async def plan(
    admin: AIOKafkaAdminClient,
    topics: Sequence[Topic] = TOPICS,
    replication_factor: int | None = None,
    prefix: str = "",
) -> list[Change]:
    """What differs from the list; nothing is touched. `replication_factor` None: 3, or as many brokers as there are.

    Raises: NotAllowed, KafkaError.
    """
    wanted = {prefix + topic.name: topic for topic in topics}
    factor = replication_factor or await _default_factor(admin)
    seen = await admin.describe_topics(list(wanted))
    _insist_on_seeing([(found["topic"], found["error_code"]) for found in seen])
    described = {found["topic"]: found["partitions"] for found in seen if not found["error_code"]}
    configs = await _configs(admin, list(described))
    changes: list[Change] = []
    for name, topic in wanted.items():
        if name not in described:
            changes.append(Change(name, "create", f"create with {topic.partitions} partitions", fatal=True))
            continue
        changes += _partitions(name, topic, described[name])
        changes += _config(name, expected_config(topic, len(described[name][0]["replicas"])), configs[name])
        held = len(described[name][0]["replicas"])
        if held < factor:
            changes.append(
                Change(name, "by_hand", f"{held} replicas, wanted {factor}: reassign them with Kafka's tools")
            )
    return changes


async def apply(
    admin: AIOKafkaAdminClient,
    topics: Sequence[Topic] = TOPICS,
    replication_factor: int | None = None,
    prefix: str = "",
) -> list[Change]:
    """Create what is missing, add partitions, set policies; answers what was done or is left to do by hand.

    Applying again does nothing. Raises: ClusterError with what Kafka said.
    """
    factor = replication_factor or await _default_factor(admin)
    changes = await plan(admin, topics, factor, prefix)
    wanted = {prefix + topic.name: topic for topic in topics}
    await _create(admin, [wanted[c.topic] for c in changes if c.kind == "create"], factor, prefix)
    for name in {change.topic: None for change in changes if change.kind == "add_partitions"}:
        await admin.create_partitions({name: NewPartitions(wanted[name].partitions)})
    for name in {change.topic: None for change in changes if change.kind == "set_config"}:
        await _alter(admin, name, wanted[name])
    await _seen(admin, topics, factor, prefix)
    return changes


async def check(admin: AIOKafkaAdminClient, topics: Sequence[Topic] = TOPICS, prefix: str = "") -> None:
    """Raises: TopicsDiffer naming every topic on which nothing should start."""
    fatal = [change for change in await plan(admin, topics, 1, prefix) if change.fatal]
    if fatal:
        said = "; ".join(f"{change.topic}: {change.what}" for change in fatal)
        raise TopicsDiffer(f"Kafka's topics differ: {said}; run `runtide topics apply`", fatal)


async def _seen(admin: AIOKafkaAdminClient, topics: Sequence[Topic], factor: int, prefix: str) -> None:
    """Until the cluster shows what it acknowledged: who sends to a topic that is not known yet waits."""
    try:
        async with asyncio.timeout(_SEEN_SECONDS):
            while any(change.kind != "by_hand" for change in await plan(admin, topics, factor, prefix)):
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise ClusterError(f"Kafka took the changes, and does not show them after {_SEEN_SECONDS:g} s") from None


async def _default_factor(admin: AIOKafkaAdminClient) -> int:
    return min(3, len((await admin.describe_cluster())["brokers"]) or 1)


def _partitions(name: str, topic: Topic, held: Sequence[Any]) -> list[Change]:
    have, want = len(held), topic.partitions
    if have >= want:
        return []  # more than the list says is somebody's decision, and readers take what there is
    if topic is INSTANCES_COMMANDS:
        return [Change(name, "by_hand", f"{have} partitions, wanted {want}: drain the topic first, then add them")]
    return [Change(name, "add_partitions", f"partitions {have} → {want}")]


def _config(name: str, expected: Mapping[str, str], held: Mapping[str, tuple[str, int]]) -> list[Change]:
    return [
        Change(name, "set_config", f"{key} {held.get(key, ('unset', 0))[0]} → {value}", fatal=key in _NOTHING_STARTS_ON)
        for key, value in expected.items()
        if held.get(key, ("unset", 0))[0] != value
    ]


async def _create(admin: AIOKafkaAdminClient, topics: Sequence[Topic], factor: int, prefix: str) -> None:
    if not topics:
        return
    new = [
        NewTopic(prefix + topic.name, topic.partitions, factor, topic_configs=expected_config(topic, factor))
        for topic in topics
    ]
    answer = await admin.create_topics(new)
    for name, code, *text in answer.topic_errors:
        if code and for_code(code) is not TopicAlreadyExistsError:
            raise ClusterError(
                f"Kafka did not create {name}: {text[0] if text and text[0] else for_code(code).__name__}"
            )


async def _alter(admin: AIOKafkaAdminClient, name: str, topic: Topic) -> None:
    """Kafka replaces all settings of the topic at once, so those that are set already go with ours."""
    held = (await _configs(admin, [name]))[name]
    kept = {key: value for key, (value, source) in held.items() if source == _SET_ON_TOPIC}
    [described] = await admin.describe_topics([name])
    ours = expected_config(topic, len(described["partitions"][0]["replicas"]))
    resource = ConfigResource(ConfigResourceType.TOPIC, name, configs={**kept, **ours})
    for answer in await admin.alter_configs([resource]):
        for code, text, *_ in answer.resources:
            if code:
                raise ClusterError(f"Kafka did not change {name}: {text or for_code(code).__name__}")


def _insist_on_seeing(answers: Sequence[tuple[str, int]]) -> None:
    hidden = [name for name, code in answers if code == TopicAuthorizationFailedError.errno]
    if hidden:
        raise NotAllowed(f"this login may not see {', '.join(sorted(hidden))}: it needs Describe and DescribeConfigs")


async def _configs(admin: AIOKafkaAdminClient, names: Sequence[str]) -> dict[str, dict[str, tuple[str, int]]]:
    """topic → setting → (value, where Kafka has it from: 1 is the topic itself)."""
    found: dict[str, dict[str, tuple[str, int]]] = {}
    if names:
        resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
        for answer in await admin.describe_configs(resources):
            _insist_on_seeing([(name, code) for code, _, _, name, _ in answer.resources])
            for _, _, _, name, entries in answer.resources:
                found[name] = {entry[0]: (entry[1], entry[3]) for entry in entries}
    return found
