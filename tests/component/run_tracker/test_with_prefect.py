"""The whole service with a real Prefect server: its event stream, its REST, its answers to a cancel.

Flow runs are moved through their states by REST, as a worker would, so nothing has to be executed.
"""

import asyncio
import os
import sys
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from runtide_schemas.vocabulary import adopted_run_id

from tests.component.run_tracker.server import Prefect, ask_cancel, launch, registered, until
from tests.support.eventually import eventually
from tests.support.harness import ServiceHarness, World, of


@pytest.fixture(scope="module")
async def tracker(world: World, prefect: Prefect) -> AsyncIterator[ServiceHarness]:
    harness = await world.start(
        "run_tracker",
        sweep_seconds=2,
        look_around_seconds=2,
        gone_after_seconds=1,
        seal_seconds=1,
        cancel_unconfirmed_seconds=3,
        recheck_first_seconds=2,
    )
    canaries: set[str] = set()

    async def listening() -> bool:
        canaries.add(await prefect.create())
        return any(seen["flow_run_id"] in canaries for seen in await world.kafka.all("prefect.flow-run-states.v1"))

    await eventually(listening, every_seconds=0.5, what="the bridge listens")
    yield harness
    await harness.stop()


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


async def test_names_are_free_text_and_those_that_mean_something_are_shown(
    world: World, prefect: Prefect, tracker: ServiceHarness
) -> None:
    run_id, flow_run_id = await launch(world, prefect)
    await prefect.move(flow_run_id, "PENDING", name="Submitting")
    await until(tracker, run_id, status="pending", sub_state="starting")
    await prefect.move(flow_run_id, "RUNNING", name="Cancelled")
    await until(tracker, run_id, status="running", sub_state=None)
    await prefect.move(flow_run_id, "FAILED", name="TimedOut", message="took too long")
    await until(tracker, run_id, status="failed", sub_state="timed_out")

    run_id, flow_run_id = await launch(world, prefect)
    await prefect.move(flow_run_id, "PENDING", "RUNNING")
    await prefect.move(flow_run_id, "COMPLETED", name="Cached")
    await until(tracker, run_id, status="completed", sub_state="cached")


async def test_a_run_that_no_worker_takes_is_named(world: World, prefect: Prefect, tracker: ServiceHarness) -> None:
    run_id, _ = await launch(world, prefect)  # of a request of long ago
    await until(tracker, run_id, sub_state="queued")

    truth = (await tracker.http.get("/v1/ops/truth")).json()

    [waits] = of(truth["troubles"], code="LAUNCH_WAITS")
    assert "worker" in waits["to_do"]
    assert of(truth["hanging"], run_id=run_id, status="pending")


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
    instance = registered(prefect, world.env["RUNTIDE_TENANT"], "planned")
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


async def test_a_flow_run_that_prefect_knows_again_after_it_was_lost_goes_on(
    world: World, prefect: Prefect, tracker: ServiceHarness
) -> None:
    run_id, flow_run_id = await launch(world, prefect)
    await prefect.move(flow_run_id, "PENDING", "RUNNING")
    await until(tracker, run_id, status="running")
    # As a sweep would have said it that met a wrong server for a while.
    now = datetime.now(UTC).isoformat()
    gone = {
        "type": "prefect.flow_run_state_observed", "flow_run_id": flow_run_id, "state_id": str(uuid.uuid4()),
        "state_type": "CRASHED", "state_name": "Gone", "state_timestamp": now, "observed_at": now, "source": "sweep",
        "gone": True,
    }  # fmt: skip
    await world.kafka.send("prefect.flow-run-states.v1", gone, key=flow_run_id.encode())
    await world.kafka.until("runs.status.v1", lambda m: (m["run_id"], m["sub_state"]) == (run_id, "lost"))

    back = await until(tracker, run_id, status="running", sub_state=None)
    assert back["previous_status"] == "failed"
    assert back["supersedes"] is not None
    await prefect.move(flow_run_id, "COMPLETED")
    await until(tracker, run_id, status="completed")


async def test_when_many_vanish_at_once_nothing_is_marked_as_lost(
    world: World, prefect: Prefect, tracker: ServiceHarness
) -> None:
    gone = [str(uuid.uuid4()) for _ in range(12)]
    launches = (launch(world, prefect, orchestrator_run_id=flow_run_id) for flow_run_id in gone)
    runs = [run_id for run_id, _ in await asyncio.gather(*launches)]  # at once: between two sweeps

    async def refused() -> bool:
        [marked] = await tracker.rows("select refused from sweeps where name = 'sweep'")
        return marked["refused"] is not None and "at once" in marked["refused"]

    await eventually(refused, within_seconds=60, what="the sweep refuses to believe it")
    statuses = {(await tracker.http.get(f"/v1/runs/{run_id}")).json()["status"] for run_id in runs}
    assert statuses == {"pending"}
    truth = (await tracker.http.get("/v1/ops/truth")).json()
    [trouble] = [one for one in truth["troubles"] if one["code"] == "LOSS_REFUSED"]
    assert "12 of" in trouble["said"]

    said = await command(world, "sweep", "confirm-loss")
    assert "12 of" in said
    for run_id in runs:
        await until(tracker, run_id, status="failed", sub_state="lost")
    truth = (await tracker.http.get("/v1/ops/truth")).json()
    assert [one["code"] for one in truth["troubles"] if one["code"] == "LOSS_REFUSED"] == []


async def command(world: World, *words: str) -> str:
    """What an operator's command of the service says."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.run_tracker", *words, env=dict(os.environ) | dict(world.env),
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    said, _ = await process.communicate()
    assert process.returncode == 0
    return said.decode()


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
