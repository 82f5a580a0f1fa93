"""One notifier, and the snapshots of the other services as they lie in Kafka."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.support.eventually import eventually
from tests.support.harness import ServiceHarness, World

AT = "2025-01-15T09:00:00Z"


def request(run_id: str, seq: int = 1, *, instance_id: str | None, **more: Any) -> dict[str, Any]:
    return {"type": "request.status_changed", "tenant": "acme", "run_id": run_id, "instance_id": instance_id,
            "status": "requested", "occurred_at": AT, "seq": seq, **more}  # fmt: skip


def run(run_id: str, seq: int = 1, *, instance_id: str, **more: Any) -> dict[str, Any]:
    return {"type": "run.status_changed", "tenant": "acme", "run_id": run_id, "run_type": "PipelineRun",
            "instance_id": instance_id, "instance_name": "prices", "flow_kind": "refresh", "status": "running",
            "previous_status": "pending", "occurred_at": AT, "seq": seq, **more}  # fmt: skip


def progress(run_id: str, seq: int, *, instance_id: str, **more: Any) -> dict[str, Any]:
    return {"type": "run.progressed", "tenant": "acme", "run_id": run_id, "instance_id": instance_id,
            "status": "running", "occurred_at": AT, "seq": seq, **more}  # fmt: skip


def instance(instance_id: str, seq: int = 1, **more: Any) -> dict[str, Any]:
    return {"type": "instance.status_changed", "tenant": "acme", "instance_id": instance_id, "name": "prices",
            "instance_type": "DatasetInstance", "status": "ready", "old_status": "stale", "occurred_at": AT,
            "seq": seq, **more}  # fmt: skip


def activity(n: int, **more: Any) -> dict[str, Any]:
    return {"type": "activity.recorded", "activity_id": str(uuid.uuid4()), "tenant": "acme", "actor": "ana@acme",
            "resource_type": "request", "resource_id": f"r{n}", "action": "request.parked", "payload": {"n": n},
            "occurred_at": f"2025-01-15T09:{n:02}:00Z", **more}  # fmt: skip


def new_id() -> str:
    return str(uuid.uuid4())


class Centrifugo:
    """The real node, by its HTTP API."""

    def __init__(self, env: dict[str, str]) -> None:
        self.http = httpx.AsyncClient(
            base_url=env["RUNTIDE_CENTRIFUGO_API_URL"], headers={"X-API-Key": env["RUNTIDE_CENTRIFUGO_API_KEY"]}
        )

    async def history(self, channel: str) -> list[dict[str, Any]]:
        """What was published there, oldest first."""
        answer = (await self.http.post("/api/history", json={"channel": channel, "limit": -1})).json()
        return [publication["data"] for publication in answer["result"]["publications"]]

    async def seqs(self, channel: str) -> list[tuple[str, int]]:
        return [(data["type"], data["seq"]) for data in await self.history(channel)]

    async def until(self, channel: str, count: int) -> list[dict[str, Any]]:
        async def enough() -> list[dict[str, Any]] | None:
            found = await self.history(channel)
            return found if len(found) >= count else None

        found = await eventually(enough, what=f"{count} publications on {channel}")
        assert found is not None
        return found


@pytest.fixture(scope="module")
async def notifier(world: World) -> AsyncIterator[ServiceHarness]:
    harness = await world.start("notifier")
    yield harness
    await harness.stop()


@pytest.fixture(scope="module")
async def centrifugo(world: World) -> AsyncIterator[Centrifugo]:
    opened = Centrifugo(world.env)
    yield opened
    await opened.http.aclose()
