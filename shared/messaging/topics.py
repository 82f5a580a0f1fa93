"""Topics at deploy and at start: made by a job, insisted on by every service. `runtide_schemas.cluster` does the work.

`python -m shared.messaging.topics plan | apply | check`
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from runtide_schemas import cluster
from runtide_schemas.cluster import ClusterError, TopicsDiffer
from runtide_schemas.topics import TOPICS

from shared.messaging.failure import why_away
from shared.settings import KafkaSettings

VERBS = ("plan", "apply", "check")


def admin_for(settings: KafkaSettings) -> AIOKafkaAdminClient:
    return AIOKafkaAdminClient(**settings.client(), client_id="runtide-topics")


@asynccontextmanager
async def admin_of(settings: KafkaSettings) -> AsyncIterator[AIOKafkaAdminClient]:
    """An admin client, for as long as the context."""
    admin = admin_for(settings)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


@asynccontextmanager
async def admin_or_reason(settings: KafkaSettings) -> AsyncIterator[AIOKafkaAdminClient]:
    """Raises: ClusterError saying why nobody answers."""
    try:
        async with admin_of(settings) as admin:
            yield admin
    except (KafkaError, OSError) as error:
        raise ClusterError(f"Kafka at {settings.bootstrap}: {await why_away(settings, error)}") from error


async def insist(settings: KafkaSettings) -> None:
    """Raises: TopicsDiffer naming every topic that is missing or has another policy; KafkaError where it is away."""
    async with admin_of(settings) as admin:
        await cluster.check(admin, prefix=settings.prefix)


async def run(verb: str) -> int:
    """One verb of the command line; answers its exit code."""
    settings = KafkaSettings()
    factor = int(os.environ.get("RUNTIDE_KAFKA_REPLICATION_FACTOR", "0")) or None
    async with admin_or_reason(settings) as admin:
        if verb == "check":
            try:
                await cluster.check(admin, prefix=settings.prefix)
            except TopicsDiffer as error:
                sys.stderr.write(f"{error}\n")
                return 1
            return 0
        changes = await (cluster.apply if verb == "apply" else cluster.plan)(
            admin, replication_factor=factor, prefix=settings.prefix
        )
    for change in changes:
        sys.stdout.write(f"{change.topic}: {change.what}\n")
    sys.stdout.write(f"{len(TOPICS)} topics, {len(changes)} {'changed' if verb == 'apply' else 'to change'}\n")
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in VERBS:
        sys.exit(f"usage: python -m shared.messaging.topics {' | '.join(VERBS)}")
    try:
        sys.exit(asyncio.run(run(sys.argv[1])))
    except ClusterError as error:
        sys.exit(str(error))
