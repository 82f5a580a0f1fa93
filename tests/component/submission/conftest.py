"""One submission service for the tests of a file, and small deployments in the real Prefect."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx
import pytest
from runtide_schemas.vocabulary import run_id_of

from tests.support.harness import ServiceHarness, World

COMMANDS, STATUS, DECISIONS, ACTIVITIES = (
    "runs.commands.v1", "requests.status.v1", "requests.decisions.v1", "activities.v1",
)  # fmt: skip


class Submission:
    """The service as its clients see it, with lineage played by hand."""

    def __init__(self, harness: ServiceHarness) -> None:
        self.harness, self.world, self.http = harness, harness.world, harness.http
        self.kafka = harness.world.kafka

    async def submit(self, command_id: str | None = None, *, instance: str = "momentum", **more: Any) -> str:
        """A command as any producer would write it; answers its run id."""
        command_id = command_id or str(uuid.uuid4())
        command = {"type": "run.submit", "command_id": command_id, "tenant": "acme", "instance": instance, **more}
        await self.kafka.send(COMMANDS, command)
        return str(run_id_of(command["tenant"], command_id))

    async def cancel(self, run_id: str, tenant: str = "acme", **more: Any) -> None:
        await self.kafka.send(COMMANDS, {"type": "run.cancel", "tenant": tenant, "run_id": run_id, **more})

    async def decide(self, run_id: str, decision: str, *, number: int = 1, tenant: str = "acme", **more: Any) -> None:
        value = {
            "type": f"request.{decision}", "tenant": tenant, "run_id": run_id, "number": number,
            "occurred_at": "2025-01-15T09:00:00Z", **more,
        }  # fmt: skip
        await self.kafka.send(DECISIONS, value, key=run_id.encode())

    async def until(self, run_id: str, status: str, **more: Any) -> dict[str, Any]:
        """The snapshot of that request in that status, as it was announced."""
        wanted = {"run_id": run_id, "status": status, **more}
        return await self.kafka.until(STATUS, lambda m: all(m.get(name) == value for name, value in wanted.items()))

    async def snapshots(self, run_id: str, tenant: str = "acme") -> list[dict[str, Any]]:
        """All that was announced of a request, in order."""
        return [m for m in await self.kafka.all(STATUS) if m["run_id"] == run_id and m["tenant"] == tenant]

    async def activity(self, run_id: str, action: str) -> dict[str, Any]:
        return await self.kafka.until(ACTIVITIES, lambda m: m["resource_id"] == run_id and m["action"] == action)

    async def dead_letters(self) -> list[dict[str, Any]]:
        return await self.harness.rows("select * from dead_letters order by id")

    async def settled(self) -> None:
        """Everything sent so far has been read and answered."""
        await self.harness.settled()

    async def seqs(self, run_id: str) -> Sequence[int]:
        return [m["seq"] for m in await self.snapshots(run_id)]


class Prefect:
    """The real one, by its REST API alone."""

    def __init__(self, api_url: str, name: str) -> None:
        self.http, self.name = httpx.AsyncClient(base_url=api_url, timeout=30), name

    async def deploy(self, name: str, parameters: Sequence[str] = ("start", "run_id", "mode")) -> str:
        """A deployment without a worker, whose flow takes these parameters; answers `<flow>/<deployment>`."""
        flow = await self._post("/flows/", {"name": self.name})
        schema = {"type": "object", "properties": {p: {"type": "string"} for p in parameters}}
        body = {"name": name, "flow_id": flow["id"], "parameter_openapi_schema": schema,
                "enforce_parameter_schema": True}  # fmt: skip
        await self._post("/deployments/", body)
        return f"{self.name}/{name}"

    async def flow_runs(self, run_id: str) -> list[dict[str, Any]]:
        return await self._post("/flow_runs/filter", {"flow_runs": {"tags": {"all_": [f"run:{run_id}"]}}})

    async def remove(self) -> None:
        for flow in await self._post("/flows/filter", {"flows": {"name": {"any_": [self.name]}}}):
            await self.http.delete(f"/flows/{flow['id']}")
        await self.http.aclose()

    async def _post(self, path: str, body: Any) -> Any:
        answer = await self.http.post(path, content=json.dumps(body), headers={"content-type": "application/json"})
        assert answer.is_success, answer.text
        return answer.json()


@pytest.fixture(scope="module")
async def submission(world: World) -> AsyncIterator[Submission]:
    harness = await world.start("submission", deployment_cache_seconds=0.0, launch_lease_seconds=1.0)
    yield Submission(harness)
    await harness.stop()


@pytest.fixture(scope="module")
async def prefect(world: World) -> AsyncIterator[Prefect]:
    opened = Prefect(world.env["RUNTIDE_PREFECT_API_URL"], f"submission-{world.id}")
    yield opened
    await opened.remove()
