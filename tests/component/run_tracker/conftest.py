"""A desk per test: the tracker's handlers on an empty database of this file's world; and a Prefect to move runs in."""

from collections.abc import AsyncIterator

import pytest

from tests.component.run_tracker.desk import Desk
from tests.component.run_tracker.server import Prefect
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


@pytest.fixture(scope="module")
async def prefect(world: World) -> AsyncIterator[Prefect]:
    server = Prefect(world.env["RUNTIDE_PREFECT_API_URL"])
    await server.register()
    yield server
    await server.http.aclose()
