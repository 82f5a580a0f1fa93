"""Which realtime server the tests meet.

By default they build and start the embedded node. Where RUNTIDE_CENTRIFUGO_BIN names the binary of a real Centrifugo,
they start, configure and kill that one; tests about the embedded node alone (`embedded_node`) are then deselected.

With RUNTIDE_TEST_CENTRIFUGO=existing they meet the server at RUNTIDE_CENTRIFUGO_API_URL and RUNTIDE_CENTRIFUGO_WS_URL
(keys in RUNTIDE_CENTRIFUGO_API_KEY and _TOKEN_HMAC_KEY), which must run with tests/golden/centrifugo/config.json; tests
that start, configure or kill a server (`own_realtime`) are then deselected.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from deploy.native.bootstrap import BootstrapFailed, cache_dir
from deploy.native.realtime import realtime_binary
from deploy.native.tools import go
from tests.integration.realtime.node import Api, Node
from tests.support.centrifugo_scenario import API_KEY, TOKEN_KEY, Server

EXISTING = os.environ.get("RUNTIDE_TEST_CENTRIFUGO") == "existing"
REAL_BINARY = os.environ.get("RUNTIDE_CENTRIFUGO_BIN")
StartNode = Callable[..., Awaitable[Node]]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "own_realtime: starts, configures or kills the realtime server it meets")
    config.addinivalue_line("markers", "embedded_node: about the embedded node, in which it differs from Centrifugo")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    foreign = [item for item in items if _is_foreign(item)]
    if foreign:
        config.hook.pytest_deselected(items=foreign)
        items[:] = [item for item in items if item not in foreign]


def _is_foreign(item: pytest.Item) -> bool:
    """Whether it needs another server than the one chosen."""
    started = item.get_closest_marker("own_realtime") or item.get_closest_marker("embedded_node")
    return bool((EXISTING and started) or (REAL_BINARY and item.get_closest_marker("embedded_node")))


@pytest.fixture(scope="session")
async def realtime_bin() -> Path:
    """The program that tests start: a real Centrifugo where one is named, else our node."""
    if REAL_BINARY:
        return Path(REAL_BINARY)
    return await asyncio.to_thread(lambda: realtime_binary(_compiler(), cache_dir()))


def _compiler() -> Path | None:
    """The one the native stack would use, else the one on the machine where no native stack was prepared."""
    try:
        return go()
    except BootstrapFailed:
        found = shutil.which("go")
        return Path(found) if found else None


@pytest.fixture(scope="session")
async def start_node(realtime_bin: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[StartNode]:
    """Start a node with settings of one's own; it is stopped at the end of the session at the latest."""
    started: list[Node] = []

    async def start(**settings: Any) -> Node:
        node = Node(realtime_bin, tmp_path_factory.mktemp("realtime") / "node.log", **settings)
        started.append(node)
        await node.start()
        return node

    yield start
    await asyncio.gather(*(node.stop() for node in started if node.process is not None))


@pytest.fixture(scope="session")
async def own_server(start_node: StartNode) -> Server:
    return (await start_node()).server


@pytest.fixture(scope="session")
def realtime(request: pytest.FixtureRequest) -> Server:
    """A server that runs with the scenario's configuration."""
    if not EXISTING:
        own: Server = request.getfixturevalue("own_server")
        return own
    where = {name: os.environ[f"RUNTIDE_CENTRIFUGO_{name}"] for name in ("API_URL", "WS_URL")}
    return Server(
        where["API_URL"].rstrip("/").removesuffix("/api") + "/api",
        where["WS_URL"],
        os.environ.get("RUNTIDE_CENTRIFUGO_API_KEY", API_KEY),
        os.environ.get("RUNTIDE_CENTRIFUGO_TOKEN_HMAC_KEY", TOKEN_KEY),
    )


@pytest.fixture
async def api(realtime: Server) -> AsyncIterator[Api]:
    caller = Api(realtime)
    yield caller
    await caller.close()
