"""A lineage of one's own for the tests of a file, and a tenant's story for each; files that need another say so."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.component.lineage.told import Told
from tests.support.harness import ServiceHarness, World


@pytest.fixture(scope="module")
async def lineage(world: World) -> AsyncIterator[ServiceHarness]:
    service = await world.start("lineage")
    yield service
    await service.stop()


@pytest.fixture
def told(lineage: ServiceHarness) -> Told:
    return Told(lineage)


@pytest.fixture
async def own_world(world: World) -> AsyncIterator[World]:
    """Beside the file's own: for what stops its lineage or sets it back."""
    opened = await World({**world.env, "RUNTIDE_POSTGRES_DSN": world.dsn}).open()
    yield opened
    await opened.close()
