"""Counting services in one world; consumers leave their groups quickly."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from tests.component.messaging.counting import Counting
from tests.support.harness import World

Open = Callable[..., Awaitable[Counting]]


@pytest.fixture
async def opened(world: World) -> AsyncIterator[Open]:
    """Open counting services; they are stopped at the end."""
    world.env["RUNTIDE_KAFKA_SESSION_TIMEOUT_MS"] = "3000"
    made: list[Counting] = []

    async def open_one(**how: Any) -> Counting:
        made.append(await Counting(world, **how).open())
        return made[-1]

    yield open_one
    for counting in made:
        await counting.close()


@pytest.fixture
async def counting(opened: Open) -> Counting:
    return await opened()
