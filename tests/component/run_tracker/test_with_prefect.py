"""The whole service with a real Prefect server: its event stream, its REST, its answers to a cancel.

Flow runs are moved through their states by REST, as a worker would, so nothing has to be executed.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from runtide_schemas.vocabulary import adopted_run_id

from tests.component.run_tracker.stories import START
from tests.support.eventually import eventually
from tests.support.harness import ServiceHarness, World, of


class Prefect:
    """A worker's view of the server."""

    def __init__(self, api_url: str) -> None:
        self.http = httpx.AsyncClient(base_url=api_url, timeout=20)
        self.flow, self.deployment = f"flow-{uuid.uuid4().hex[:8]}", "d"
        self.deployment_id = ""

    async def register(self) -> None:
        flow = (await self.http.post("/flows/", json={"name": self.flow})).json()
        body = {"name": self.deployment, "flow_id": flow["id"]}
        self.deployment_id = (await self.http.post("/deployments/", json=body)).json()["id"]

    async def create(self, *tags: str) -> str:
        answer = await self.http.post(f"/deployments/{self.deployment_id}/create_flow_run", json={"tags": list(tags)})
        return str(answer.json()["id"])

    async def move(self, flow_run_id: str, *types: str, **state: Any) -> None:
        for state_type in types:
            body = {"state": {"type": state_type, "name": state_type.title(), **state}}
            answer = await self.http.post(f"/flow_runs/{flow_run_id}/set_state", json=body)
            assert answer.json()["status"] == "ACCEPT", answer.text

    async def state_of(self, flow_run_id: str) -> str:
        return str((await self.http.get(f"/flow_runs/{flow_run_id}")).json()["state_type"])

    async def delete(self, flow_run_id: str) -> None:
        await self.http.delete(f"/flow_runs/{flow_run_id}")


@pytest.fixture(scope="module")
async def prefect(world: World) -> AsyncIterator[Prefect]:
    server = Prefect(world.env["RUNTIDE_PREFECT_API_URL"])
    await server.register()
    yield server
    await server.http.aclose()


@pytest.fixture(scope="module")
async def tracker(world: World, prefect: Prefect) -> AsyncIterator[ServiceHarness]:
    harness = await world.start(
        "run_tracker", sweep_seconds=2, gone_after_seconds=1, seal_seconds=1, cancel_unconfirmed_seconds=3
    )
    canaries: set[str] = set()

    async def listening() -> bool:
        canaries.add(await prefect.create())
        return any(seen["flow_run_id"] in canaries for seen in await world.kafka.all("prefect.flow-run-states.v1"))

    await eventually(listening, every_seconds=0.5, what="the bridge listens")
    yield harness
    await harness.stop()


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


async def test_the_event_stream_moves_a_run_to_its_end(world: World, prefect: Prefect, tracker: ServiceHarness) -> None:
    run_id, flow_run_id = await launch(world, prefect)
    await until(tracker, run_id, status="pending", sub_state="queued")
    await prefect.move(flow_run_id, "PENDING", "RUNNING")
    await until(tracker, run_id, status="running", attempt=1)
    await prefect.move(flow_run_id, "FAILED", message="boom")

    run = await until(tracker, run_id, status="failed")
    assert run["error"]["message"] == "boom"
    assert run["started_at"] is not None

    async def history() -> bool:
        lines = (await tracker.http.get(f"/v1/runs/{run_id}/history")).json()["history"]
        details = [line["detail"] for line in lines if line["source"] == "prefect"]
        return details == ["Scheduled", "Pending", "Running", "Failed"]

    await eventually(history, what="the whole history, whatever the sweep saw first")


async def test_completed_without_reports_ends_unreported(
    world: World, prefect: Prefect, tracker: ServiceHarness
) -> None:
    run_id, flow_run_id = await launch(world, prefect)
    await prefect.move(flow_run_id, "PENDING", "RUNNING", "COMPLETED")

    run = await until(tracker, run_id, status="completed")
    assert run["outputs"] == "unreported"


async def test_a_terminal_goes_to_kafka_as_confirmed_by_rest(
    world: World, prefect: Prefect, tracker: ServiceHarness
) -> None:
    _, flow_run_id = await launch(world, prefect)
    await prefect.move(flow_run_id, "PENDING", "RUNNING", "COMPLETED")

    seen = await world.kafka.until(
        "prefect.flow-run-states.v1",
        lambda m: (m["flow_run_id"], m["state_type"]) == (flow_run_id, "COMPLETED") and m["source"] != "sweep",
    )
    assert seen["source"] == "confirm"
    assert seen["start_time"] is not None


async def test_a_flow_run_of_a_registered_deployment_is_adopted(
    world: World, prefect: Prefect, tracker: ServiceHarness
) -> None:
    flow = {
        "kind": "refresh", "deployment": f"{prefect.flow}/{prefect.deployment}", "reports": "none",
        "status": "not_initialized", "freshness": "not_initialized",
    }  # fmt: skip
    instance = {
        "type": "instance.status_changed", "tenant": world.env["RUNTIDE_TENANT"], "instance_id": str(uuid.uuid4()),
        "name": "planned", "instance_type": "DatasetInstance", "status": "not_initialized", "flows": [flow],
        "occurred_at": START.isoformat(), "seq": 1,
    }  # fmt: skip
    await world.kafka.send("instances.status.v1", instance, key=instance["instance_id"].encode())
    flow_run_id = await prefect.create()
    await prefect.move(flow_run_id, "PENDING", "RUNNING", "COMPLETED")

    run = await until(tracker, str(adopted_run_id(flow_run_id)), status="completed")
    assert (run["trigger"], run["instance_name"]) == ("scheduled", "planned")


async def test_a_running_run_is_asked_to_cancel_and_confirmed(
    world: World, prefect: Prefect, tracker: ServiceHarness
) -> None:
    run_id, flow_run_id = await launch(world, prefect)
    await prefect.move(flow_run_id, "PENDING", "RUNNING")
    await until(tracker, run_id, status="running")
    await ask_cancel(world, run_id)
    await until(tracker, run_id, sub_state="cancelling")
    await prefect.move(flow_run_id, "CANCELLED")

    run = await until(tracker, run_id, status="cancelled")
    assert run["cancel_requested_at"] is not None


async def test_a_scheduled_run_is_cancelled_at_once(world: World, prefect: Prefect, tracker: ServiceHarness) -> None:
    run_id, flow_run_id = await launch(world, prefect)
    await ask_cancel(world, run_id)

    await until(tracker, run_id, status="cancelled", started_at=None)
    assert await prefect.state_of(flow_run_id) == "CANCELLED"
    assert await tracker.rows("select state from cancel_intents where run_id = $1", uuid.UUID(run_id)) == [
        {"state": "asked"}
    ]


async def test_a_cancel_that_nobody_carries_out_is_escalated(
    world: World, prefect: Prefect, tracker: ServiceHarness
) -> None:
    run_id, flow_run_id = await launch(world, prefect)
    await prefect.move(flow_run_id, "PENDING", "RUNNING")
    await ask_cancel(world, run_id)

    await until(tracker, run_id, sub_state="cancel_unconfirmed")
    assert await prefect.state_of(flow_run_id) == "CANCELLING"


async def test_a_deleted_flow_run_is_lost(world: World, prefect: Prefect, tracker: ServiceHarness) -> None:
    run_id, flow_run_id = await launch(world, prefect)
    await until(tracker, run_id, sub_state="queued")
    await prefect.delete(flow_run_id)

    run = await until(tracker, run_id, status="failed")
    assert run["sub_state"] == "lost"


async def test_when_many_vanish_at_once_nothing_is_marked_as_lost(
    world: World, prefect: Prefect, tracker: ServiceHarness
) -> None:
    gone = [str(uuid.uuid4()) for _ in range(12)]
    launches = (launch(world, prefect, orchestrator_run_id=flow_run_id) for flow_run_id in gone)
    runs = [run_id for run_id, _ in await asyncio.gather(*launches)]  # at once: between two sweeps

    async def refused() -> bool:
        [marked] = await tracker.rows("select refused from sweeps")
        return marked["refused"] is not None and "at once" in marked["refused"]

    await eventually(refused, within_seconds=60, what="the sweep refuses to believe it")
    statuses = {(await tracker.http.get(f"/v1/runs/{run_id}")).json()["status"] for run_id in runs}
    assert statuses == {"pending"}
    await world.rows("run_tracker", "update runs set settled = true where orchestrator_run_id::text = any($1)", gone)


async def test_the_sweep_finds_what_the_event_stream_lost(
    world: World, prefect: Prefect, tracker: ServiceHarness
) -> None:
    flow_run_id = await prefect.create(f"run:{uuid.uuid4()}")
    await prefect.move(flow_run_id, "PENDING", "RUNNING", "COMPLETED")

    async def seen() -> bool:
        return len(of(await world.kafka.all("prefect.flow-run-states.v1"), flow_run_id=flow_run_id)) >= 4

    await eventually(seen, what="the flow run's states")
    await tracker.settled()
    # As if no event had ever come: the run is linked after its states were forgotten.
    await world.rows("run_tracker", "delete from observations where flow_run_id = $1", uuid.UUID(flow_run_id))
    run_id, _ = await launch(world, prefect, orchestrator_run_id=flow_run_id)

    await until(tracker, run_id, status="completed")
    assert await tracker.rows("select source from observations where flow_run_id = $1", uuid.UUID(flow_run_id)) == [
        {"source": "sweep"}
    ]


async def test_another_tenants_run_does_not_exist(world: World, prefect: Prefect, tracker: ServiceHarness) -> None:
    run_id, _ = await launch(world, prefect)
    await until(tracker, run_id, status="pending")
    other = {"Authorization": f"Bearer {world.env['RUNTIDE_TOKEN_OTHER']}"}

    for path in ("", "/history", "/artifacts", "/artifacts/x"):
        foreign = await tracker.http.get(f"/v1/runs/{run_id}{path}", headers=other)
        unknown = await tracker.http.get(f"/v1/runs/{uuid.uuid4()}{path}", headers=other)
        assert (foreign.status_code, foreign.json()["code"]) == (404, "NOT_FOUND")
        assert unknown.json()["code"] == foreign.json()["code"]
    assert (await tracker.http.get("/v1/runs", headers=other)).json()["runs"] == []


async def test_a_request_without_a_run_is_not_a_run_yet(
    world: World, prefect: Prefect, tracker: ServiceHarness
) -> None:
    run_id, _ = await launch(world, prefect, requested="parked")

    async def probe() -> bool:
        answer = await tracker.http.get(f"/v1/runs/{run_id}")
        return answer.status_code == 404 and answer.json()["code"] == "NOT_A_RUN_YET"

    await eventually(probe)
    assert (await tracker.http.get(f"/v1/runs/{run_id}")).json()["request_url"].endswith(f"/v1/requests/{run_id}")


async def test_the_list_is_paged_and_filtered(world: World, prefect: Prefect, tracker: ServiceHarness) -> None:
    instance_id = str(uuid.uuid4())
    wanted = {(await launch(world, prefect, instance_id=instance_id))[0] for _ in range(5)}

    async def all_there() -> bool:
        return len((await tracker.http.get("/v1/runs", params={"instance": instance_id})).json()["runs"]) == 5

    await eventually(all_there)
    found: list[str] = []
    cursor: str | None = None
    for _ in range(4):
        params = {"instance": instance_id, "limit": "2"} | ({"cursor": cursor} if cursor else {})
        page = (await tracker.http.get("/v1/runs", params=params)).json()
        found += [run["run_id"] for run in page["runs"]]
        cursor = page["cursor"]
        if cursor is None:
            break
    assert sorted(found) == sorted(wanted)
    assert (await tracker.http.get("/v1/runs", params={"instance": instance_id, "status": "failed"})).json()[
        "runs"
    ] == []
    assert (await tracker.http.get("/v1/runs", params={"cursor": "nonsense"})).status_code == 422
