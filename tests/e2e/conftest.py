"""The whole stack, driven by Kafka, HTTP and WebSocket alone."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.e2e.platform import Follower, Platform
from tests.support.kafka import Kafka

FOLLOWED = ("requests.status.v1", "runs.status.v1", "runs.progress.v1", "instances.status.v1", "activities.v1")


@pytest.fixture
async def platform(stack: Any) -> AsyncIterator[Platform]:
    kafka = await Kafka(stack.env["RUNTIDE_KAFKA_BOOTSTRAP"]).start()
    follower = await Follower(stack.env["RUNTIDE_KAFKA_BOOTSTRAP"], FOLLOWED).start()
    platform = Platform(stack.env, kafka, follower)
    yield platform
    await platform.http.aclose()
    await follower.stop()
    await kafka.stop()


@pytest.fixture
def name() -> str:
    """An instance name of this test's own."""
    return f"e2e-{uuid.uuid4().hex[:10]}"
