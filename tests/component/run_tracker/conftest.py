"""A desk per test: the tracker's handlers on an empty database of this file's world."""

from collections.abc import AsyncIterator

import pytest

from tests.component.run_tracker.desk import Desk
from tests.support.harness import World


@pytest.fixture(scope="module")
async def opened(world: World) -> AsyncIterator[Desk]:
    desk = await Desk.open(world)
    yield desk
    await desk.engine.dispose()


@pytest.fixture
async def desk(opened: Desk) -> Desk:
    await opened.reset()
    return opened
