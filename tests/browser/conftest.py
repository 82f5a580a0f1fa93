"""Real Chromium on the real stack's dashboard."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
from playwright.async_api import Browser, async_playwright

from tests.browser.dashboard import Dashboard
from tests.e2e.platform import Follower, Platform
from tests.support.kafka import Kafka

FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
FOLLOWED = ("requests.status.v1", "runs.status.v1", "instances.status.v1")


@pytest.fixture(scope="session")
async def chromium() -> AsyncIterator[Browser]:
    path = os.environ.get("RUNTIDE_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.fail("no Chromium: apt-get install -y chromium, or set RUNTIDE_CHROMIUM", pytrace=False)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        await browser.close()


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
async def dashboard(stack: Any, chromium: Browser) -> AsyncIterator[Dashboard]:
    """Opens pages, and fails the test for an error that a page did not handle."""
    dashboard = Dashboard(stack.env, chromium)
    yield dashboard
    await dashboard.close()
    assert dashboard.errors == []


@pytest.fixture
def name() -> str:
    """An instance name of this test's own."""
    return f"seen-{uuid.uuid4().hex[:10]}"
