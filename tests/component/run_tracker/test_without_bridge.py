"""No event arrives, for as long as it likes: the sweep alone brings every run to its true end, and says that it did."""

import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from runtide_schemas.vocabulary import adopted_run_id

from tests.component.run_tracker.server import Prefect, launch, registered, until
from tests.support.eventually import eventually
from tests.support.harness import ServiceHarness, World

QUICK: dict[str, Any] = {"sweep_seconds": 1, "look_around_seconds": 1, "seal_seconds": 1}


@pytest.fixture(scope="module")
async def deaf(world: World) -> AsyncIterator[ServiceHarness]:
    """A tracker whose bridge is dead."""
    harness = await world.start("run_tracker", without=["bridge"], **QUICK)
    yield harness
    await harness.stop()


@pytest.fixture(scope="module")
async def watched(world: World, prefect: Prefect, deaf: ServiceHarness) -> str:
    """An instance whose flow the server's deployment is; answers its name."""
    instance = registered(prefect, world.env["RUNTIDE_TENANT"], "watched")
    await world.kafka.send("instances.status.v1", instance, key=instance["instance_id"].encode())
    await eventually(lambda: deaf.rows("select 1 from known_flows"), what="the tracker knows the instance")
    return "watched"


async def test_a_run_that_nobody_requested_is_found_while_it_runs_and_when_it_has_ended(
    prefect: Prefect, deaf: ServiceHarness, watched: str
) -> None:
    running, ended, never_began, waits = [await prefect.create() for _ in range(4)]
    await prefect.move(waits, "PENDING", "RUNNING")
    await prefect.move(waits, "SCHEDULED", name="AwaitingRetry")
    await prefect.move(ended, "PENDING", "RUNNING", "FAILED", message="boom")
    await prefect.move(running, "PENDING", "RUNNING")
    await prefect.move(never_began, "CANCELLED")

    failed = await until(deaf, str(adopted_run_id(ended)), status="failed")
    assert (failed["trigger"], failed["instance_name"], failed["error"]["message"]) == ("scheduled", watched, "boom")
    assert failed["started_at"] is not None
    await until(deaf, str(adopted_run_id(running)), status="running")
    await until(deaf, str(adopted_run_id(waits)), status="running", sub_state="waiting_retry")
    await until(deaf, str(adopted_run_id(never_began)), status="cancelled", started_at=None)
    await prefect.move(running, "COMPLETED")
    await until(deaf, str(adopted_run_id(running)), status="completed")


async def test_planned_runs_of_a_schedule_are_not_runs(
    world: World, prefect: Prefect, deaf: ServiceHarness, watched: str
) -> None:
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    state = {"type": "SCHEDULED", "name": "Scheduled", "state_details": {"scheduled_time": tomorrow}}
    planned = await prefect.create(state=state)
    begun = await prefect.create()
    await prefect.move(begun, "PENDING", "RUNNING")

    await until(deaf, str(adopted_run_id(begun)), status="running")
    assert (await deaf.http.get(f"/v1/runs/{adopted_run_id(planned)}")).status_code == 404
    assert await deaf.rows("select 1 from observations where flow_run_id = $1", uuid.UUID(planned)) == []


async def test_a_run_that_was_settled_long_ago_and_starts_again_is_followed_again(
    world: World, prefect: Prefect, deaf: ServiceHarness
) -> None:
    run_id, flow_run_id = await launch(world, prefect)
    await prefect.move(flow_run_id, "PENDING", "RUNNING", "FAILED")
    await until(deaf, run_id, status="failed")
    await world.rows("run_tracker", "update runs set settled = true where run_id = $1", uuid.UUID(run_id))

    await prefect.move(flow_run_id, "RUNNING")

    again = await until(deaf, run_id, status="running", attempt=2)
    assert again["supersedes"] is not None
    await prefect.move(flow_run_id, "COMPLETED")
    await until(deaf, run_id, status="completed", attempt=2)


async def test_what_only_the_sweep_saw_is_counted_and_the_missing_bridge_is_named(
    world: World, prefect: Prefect, deaf: ServiceHarness
) -> None:
    run_id, flow_run_id = await launch(world, prefect)
    await prefect.move(flow_run_id, "PENDING", "RUNNING", "COMPLETED")
    await until(deaf, run_id, status="completed")

    truth = (await deaf.http.get("/v1/ops/truth")).json()
    seen = await deaf.rows("select count(*) as states from observations where source = 'sweep' and not gone")
    assert truth["drift"]["states"] == seen[0]["states"] > 0
    assert {"BRIDGE_AWAY", "DRIFT"} <= {one["code"] for one in truth["troubles"]}
    assert truth["bridged_at"] is None

    found = {one["name"] for one in (await deaf.http.get("/v1/ops")).json()["findings"]}
    assert {"bridge_away", "drift"} <= found
