"""Prefect as a worker and a person see it, and requests of ours whose flow runs it has."""

import uuid
from datetime import UTC, datetime
from typing import Any

import httpx

from tests.component.run_tracker.stories import START
from tests.support.eventually import eventually
from tests.support.harness import ServiceHarness, World, of


class Prefect:
    """A worker's view of the server."""

    def __init__(self, api_url: str) -> None:
        self.http = httpx.AsyncClient(
            base_url=api_url,
            timeout=20,
            limits=httpx.Limits(max_keepalive_connections=0),  # it closes idle ones
        )
        self.flow, self.deployment = f"flow-{uuid.uuid4().hex[:8]}", "d"
        self.deployment_id = ""

    async def register(self) -> None:
        self.deployment_id = await self.deploy(self.deployment)

    async def deploy(self, name: str) -> str:
        """Another deployment of the flow; answers its id."""
        flow = (await self.http.post("/flows/", json={"name": self.flow})).json()
        return str((await self.http.post("/deployments/", json={"name": name, "flow_id": flow["id"]})).json()["id"])

    async def deployment_of(self, name: str) -> str | None:
        """The id of the flow's deployment of this name, once somebody has made it."""
        answer = await self.http.get(f"/deployments/name/{self.flow}/{name}")
        return str(answer.json()["id"]) if answer.is_success else None

    async def create(self, *tags: str, deployment_id: str | None = None, **more: Any) -> str:
        body = {"tags": list(tags), **more}
        answer = await self.http.post(f"/deployments/{deployment_id or self.deployment_id}/create_flow_run", json=body)
        return str(answer.json()["id"])

    async def flow_runs_of(self, deployment_id: str) -> list[dict[str, Any]]:
        body = {"flow_runs": {"deployment_id": {"any_": [deployment_id]}}}
        return list((await self.http.post("/flow_runs/filter", json=body)).json())

    async def move(self, flow_run_id: str, *types: str, **state: Any) -> None:
        for state_type in types:
            body = {"state": {"type": state_type, "name": state_type.title(), **state}}
            answer = await self.http.post(f"/flow_runs/{flow_run_id}/set_state", json=body)
            assert answer.json()["status"] == "ACCEPT", answer.text

    async def beat(self, flow_run_id: str) -> None:
        """A heartbeat, as the process of a flow sends it."""
        event = {
            "id": str(uuid.uuid4()), "event": "prefect.flow-run.heartbeat", "occurred": datetime.now(UTC).isoformat(),
            "resource": {"prefect.resource.id": f"prefect.flow-run.{flow_run_id}"},
        }  # fmt: skip
        assert (await self.http.post("/events", json=[event])).is_success

    async def state_of(self, flow_run_id: str) -> str:
        return str((await self.http.get(f"/flow_runs/{flow_run_id}")).json()["state_type"])

    async def delete(self, flow_run_id: str) -> None:
        await self.http.delete(f"/flow_runs/{flow_run_id}")


async def launch(world: World, prefect: Prefect, *, requested: str = "launched", **changes: Any) -> tuple[str, str]:
    """A request of ours and its flow run, still scheduled; (run id, flow run id)."""
    run_id = str(uuid.uuid4())
    flow_run_id = await prefect.create(f"run:{run_id}")
    request = {
        "type": "request.status_changed", "tenant": world.env["RUNTIDE_TENANT"], "run_id": run_id, "command_id": run_id,
        "instance_id": str(uuid.uuid4()), "instance_name": "prices", "run_type": "PipelineRun",
        "flow_kind": "refresh", "mode": "incremental", "deployment": f"{prefect.flow}/{prefect.deployment}",
        "status": requested, "orchestrator_run_id": flow_run_id if requested == "launched" else None, "seq": 3,
        "occurred_at": START.isoformat(), **changes,
    }  # fmt: skip
    await world.kafka.send("requests.status.v1", request, key=run_id.encode())
    return run_id, flow_run_id


def registered(prefect: Prefect, tenant: str, name: str) -> dict[str, Any]:
    """The snapshot of an instance whose only flow is the server's deployment."""
    flow = {
        "kind": "refresh", "deployment": f"{prefect.flow}/{prefect.deployment}", "reports": "none",
        "status": "not_initialized", "freshness": "not_initialized",
    }  # fmt: skip
    return {
        "type": "instance.status_changed", "tenant": tenant, "instance_id": str(uuid.uuid4()),
        "name": name, "instance_type": "DatasetInstance", "status": "not_initialized", "flows": [flow],
        "occurred_at": START.isoformat(), "seq": 1,
    }  # fmt: skip


async def ask_cancel(world: World, run_id: str) -> None:
    [last] = of(await world.kafka.all("requests.status.v1"), run_id=run_id)[-1:]
    asked = last | {"seq": last["seq"] + 1, "cancel_requested_at": START.isoformat().replace("+00:00", "Z")}
    await world.kafka.send("requests.status.v1", asked, key=run_id.encode())


async def until(tracker: ServiceHarness, run_id: str, **fields: Any) -> dict[str, Any]:
    """The run, as soon as it looks like that over HTTP."""

    async def probe() -> dict[str, Any] | None:
        answer = await tracker.http.get(f"/v1/runs/{run_id}")
        run: dict[str, Any] = answer.json()
        return run if answer.status_code == 200 and of([run], **fields) else None

    return await eventually(probe, within_seconds=60, what=f"run with {fields}")  # type: ignore[return-value]
