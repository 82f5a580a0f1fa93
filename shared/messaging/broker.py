"""How FastStream and aiokafka are set up: at least once, from the beginning, our own parser, static membership."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from faststream import AckPolicy
from faststream.kafka import KafkaBroker
from faststream.kafka.message import KafkaAckableMessage
from faststream.security import BaseSecurity, SASLPlaintext, SASLScram256, SASLScram512
from runtide_schemas.login import KafkaLogin
from runtide_schemas.topics import Topic

from shared.messaging.consumer import BatchConsumer
from shared.messaging.header_names import read_patiently
from shared.settings import KafkaSettings


def broker_for(settings: KafkaSettings, *, client_id: str) -> KafkaBroker:
    """A broker that validates nothing and logs nothing per message: we decode and we log. It only consumes: what is
    said goes through the outbox, so it needs no producer and no administration of its own.
    """
    read_patiently()
    return KafkaBroker(
        settings.brokers, client_id=client_id, apply_types=False, logger=None, graceful_timeout=20, consumer_only=True,
        security=_security(settings.login()),
    )  # fmt: skip


def _security(login: KafkaLogin) -> BaseSecurity:
    """The same login in FastStream's words."""
    context = login.arguments().get("ssl_context")
    if not login.by_password:
        return BaseSecurity(ssl_context=context)
    kinds = {"PLAIN": SASLPlaintext, "SCRAM-SHA-256": SASLScram256, "SCRAM-SHA-512": SASLScram512}
    return kinds[login.sasl_mechanism](login.sasl_username or "", login.sasl_password or "", ssl_context=context)


def producer_for(settings: KafkaSettings, *, client_id: str) -> AIOKafkaProducer:
    """Idempotent and acknowledged by all replicas: through an outage each record lands once."""
    return AIOKafkaProducer(
        **settings.client(),
        client_id=client_id,
        enable_idempotence=True,
        acks="all",
        max_batch_size=65_536,
        linger_ms=0,
        request_timeout_ms=20_000,
    )


def subscribe(broker: KafkaBroker, consumer: BatchConsumer[Any], settings: KafkaSettings, *, instance: str) -> Any:
    """Hang a batch consumer into the broker."""
    return _subscribe(broker, consumer, settings, instance=instance, listener=_OnAssignment(consumer))


class WithoutTransaction(Protocol):
    """A consumer whose only offset is Kafka's; it commits and seeks by itself, through `kafka`."""

    topic: Topic
    name: str
    wire_topic: str
    kafka: AIOKafkaConsumer | None

    async def on_batch(self, raw: Sequence[Any]) -> None: ...


def subscribe_without_transaction(
    broker: KafkaBroker, consumer: WithoutTransaction, settings: KafkaSettings, *, instance: str
) -> Any:
    """Hang a consumer into the broker that has no rows in PostgreSQL: the notifier's push."""
    return _subscribe(broker, consumer, settings, instance=f"{instance}.push", listener=_OnlyKnow(consumer))


def _subscribe(
    broker: KafkaBroker, consumer: WithoutTransaction, settings: KafkaSettings, *, instance: str, listener: _Listener
) -> Any:
    subscriber: Any = broker.subscriber(
        consumer.wire_topic,
        group_id=settings.prefix + consumer.name,
        group_instance_id=f"{instance}.{consumer.topic.name}",
        batch=True,
        max_records=settings.batch_records,
        batch_timeout_ms=20,
        fetch_max_wait_ms=settings.fetch_max_wait_ms,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        heartbeat_interval_ms=500,
        session_timeout_ms=settings.session_timeout_ms,
        ack_policy=AckPolicy.MANUAL,
        parser=_hand_over,
        decoder=_raw,
        listener=listener,
    )
    subscriber(consumer.on_batch)
    listener.subscriber = subscriber
    return subscriber


async def _hand_over(records: Sequence[Any]) -> KafkaAckableMessage:
    """FastStream's message around the raw records. Never looks into them, so it never raises."""
    return KafkaAckableMessage(raw_message=tuple(records), body=b"", consumer=_NOBODY)


async def _raw(message: Any) -> Any:
    return message.raw_message


class _Nobody:
    """We never acknowledge through FastStream."""

    async def commit(self) -> None:
        raise AssertionError("offsets live in PostgreSQL")

    def seek(self, partition: TopicPartition, offset: int) -> None:
        raise AssertionError("the consumer seeks by itself")


_NOBODY = _Nobody()


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    """Knows the subscriber whose partitions come and go."""

    subscriber: Any = None

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """Nothing to do."""

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """Nothing to do."""


class _OnlyKnow(_Listener):
    def __init__(self, consumer: WithoutTransaction) -> None:
        self._consumer = consumer

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        self._consumer.kafka = self.subscriber.consumer


class _OnAssignment(_Listener):
    """Seek to our own rows. aiokafka may have fetched before, and swallows errors here: the fence catches both."""

    def __init__(self, consumer: BatchConsumer[Any]) -> None:
        self._consumer = consumer

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        self._consumer.forget({tp.partition for tp in revoked})

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        mine = {tp.partition for tp in assigned}
        self._consumer.watch(self.subscriber.consumer)
        self._consumer.forget(self._consumer.positions.keys() - mine)  # noted again by a save that was in flight
        await self._consumer.adopt(mine)
