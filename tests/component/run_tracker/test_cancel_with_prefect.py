"""A cancel in each state that a real Prefect can have a run in: it ends, or says by name why not."""

import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.component.run_tracker.server import Prefect, ask_cancel, launch, until
from tests.support.eventually import eventually
from tests.support.harness import ServiceHarness, World, of


@pytest.fixture(scope="module")
async def tracker(world: World) -> AsyncIterator[ServiceHarness]:
    harness = await world.start(
        "run_tracker", sweep_seconds=1, gone_after_seconds=1, seal_seconds=1, cancel_unconfirmed_seconds=3,
        heartbeat_seconds=1,
    )  # fmt: skip
    yield harness
    await harness.stop()


async def running(world: World, prefect: Prefect, tracker: ServiceHarness) -> tuple[str, str]:
    run_id, flow_run_id = await launch(world, prefect)
    await prefect.move(flow_run_id, "PENDING", "RUNNING")
    await until(tracker, run_id, status="running")
    return run_id, flow_run_id


async def escalated(world: World, run_id: str) -> dict[str, Any]:
    """What a person is told of a run that hangs."""
    found = await world.kafka.until(
        "activities.v1", lambda m: m["resource_id"] == run_id and m["action"] == "pipeline_run.escalated"
    )
    payload: dict[str, Any] = found["payload"]
    return payload


async def refused(world: World, run_id: str) -> dict[str, Any]:
    found = await world.kafka.until(
        "activities.v1", lambda m: m["resource_id"] == run_id and m["action"] == "command.refused"
    )
    payload: dict[str, Any] = found["payload"]
    return payload


async def test_before_it_began_it_ends_at_once(world: World, prefect: Prefect, tracker: ServiceHarness) -> None:
    run_id, flow_run_id = await launch(world, prefect)
    await ask_cancel(world, run_id)

    await until(tracker, run_id, status="cancelled", started_at=None)
    assert await prefect.state_of(flow_run_id) == "CANCELLED"


async def test_a_suspended_run_has_no_process_and_ends_at_once(
    world: World, prefect: Prefect, tracker: ServiceHarness
) -> None:
    run_id, flow_run_id = await running(world, prefect, tracker)
    await prefect.move(flow_run_id, "PAUSED", name="Suspended", state_details={"pause_reschedule": True})
    await until(tracker, run_id, sub_state="suspended")
    await ask_cancel(world, run_id)

    await until(tracker, run_id, status="cancelled")


async def test_a_run_that_waits_for_its_retry_ends_at_once(
    world: World, prefect: Prefect, tracker: ServiceHarness
) -> None:
    run_id, flow_run_id = await running(world, prefect, tracker)
    await prefect.move(flow_run_id, "SCHEDULED", name="AwaitingRetry")
    await until(tracker, run_id, sub_state="waiting_retry")
    await ask_cancel(world, run_id)

    await until(tracker, run_id, status="cancelled")


@pytest.mark.parametrize("state", ["PENDING", "PAUSED"])
async def test_a_run_whose_process_waits_is_asked_and_ended_by_it(
    world: World, prefect: Prefect, tracker: ServiceHarness, state: str
) -> None:
    run_id, flow_run_id = await launch(world, prefect)
    await prefect.move(flow_run_id, *(["PENDING"] if state == "PENDING" else ["PENDING", "RUNNING", "PAUSED"]))
    await until(tracker, run_id, sub_state={"PENDING": "starting", "PAUSED": "paused"}[state])
    await ask_cancel(world, run_id)
    await until(tracker, run_id, sub_state="cancelling")
    await prefect.move(flow_run_id, "CANCELLED")

    await until(tracker, run_id, status="cancelled")


async def test_a_process_that_does_not_obey_is_escalated_with_what_to_do_and_ends_when_it_ends(
    world: World, prefect: Prefect, tracker: ServiceHarness
) -> None:
    run_id, flow_run_id = await running(world, prefect, tracker)
    await ask_cancel(world, run_id)
    await until(tracker, run_id, sub_state="cancel_unconfirmed")

    told = await escalated(world, run_id)
    assert (told["code"], told["orchestrator_run_id"]) == ("CANCEL_UNCONFIRMED", flow_run_id)
    assert "restart what serves its flow" in told["to_do"]
    truth = (await tracker.http.get("/v1/ops/truth")).json()
    assert of(truth["troubles"], code="CANCEL_UNCONFIRMED")
    assert of(truth["hanging"], run_id=run_id, sub_state="cancel_unconfirmed")

    await prefect.move(flow_run_id, "CANCELLED")
    await until(tracker, run_id, status="cancelled", sub_state=None)


async def test_a_killed_process_is_shown_as_unresponsive_and_a_cancel_ends_it_by_itself(
    world: World, prefect: Prefect, tracker: ServiceHarness
) -> None:
    run_id, flow_run_id = await running(world, prefect, tracker)
    await prefect.beat(flow_run_id)
    silent = await until(tracker, run_id, status="running", sub_state="unresponsive")
    assert silent["ended_at"] is None
    assert (await escalated(world, run_id))["code"] == "UNRESPONSIVE"
    assert of((await tracker.http.get("/v1/ops/truth")).json()["troubles"], code="UNRESPONSIVE")
    assert await prefect.state_of(flow_run_id) == "RUNNING"

    await ask_cancel(world, run_id)

    await until(tracker, run_id, status="cancelled")
    assert await prefect.state_of(flow_run_id) == "CANCELLED"


async def test_a_process_that_is_heard_again_runs_on(world: World, prefect: Prefect, tracker: ServiceHarness) -> None:
    run_id, flow_run_id = await running(world, prefect, tracker)
    await prefect.beat(flow_run_id)
    await until(tracker, run_id, sub_state="unresponsive")

    async def heard() -> bool:
        await prefect.beat(flow_run_id)
        run = (await tracker.http.get(f"/v1/runs/{run_id}")).json()
        return (run["status"], run["sub_state"]) == ("running", None)

    await eventually(heard, within_seconds=60, every_seconds=0.5, what="the run is heard again")
    await prefect.move(flow_run_id, "COMPLETED")
    await until(tracker, run_id, status="completed")


async def test_a_process_that_dies_while_it_is_asked_to_end_is_ended_without_it(
    world: World, prefect: Prefect, tracker: ServiceHarness
) -> None:
    run_id, flow_run_id = await running(world, prefect, tracker)
    await ask_cancel(world, run_id)
    await until(tracker, run_id, cancel_requested_at="2026-11-23T02:35:00Z")
    await prefect.beat(flow_run_id)

    ended = await until(tracker, run_id, status="cancelled")
    assert ended["cancel_requested_at"] is not None
    details = [line["detail"] for line in (await tracker.http.get(f"/v1/runs/{run_id}/history")).json()["history"]]
    assert [detail for detail in details if detail in ("Cancelling", "Cancelled")] == ["Cancelling", "Cancelled"]


async def test_a_completion_that_wins_stays_completed_and_the_sender_is_told(
    world: World, prefect: Prefect, tracker: ServiceHarness
) -> None:
    run_id, flow_run_id = await running(world, prefect, tracker)
    await prefect.move(flow_run_id, "COMPLETED")
    await ask_cancel(world, run_id)

    assert (await refused(world, run_id))["code"] == "TOO_LATE"
    await until(tracker, run_id, status="completed")
    assert await prefect.state_of(flow_run_id) == "COMPLETED"


async def test_a_cancel_that_came_while_the_launch_was_under_way_reaches_the_flow_run(
    world: World, prefect: Prefect, tracker: ServiceHarness
) -> None:
    run_id, flow_run_id = await launch(world, prefect, requested="admitted")
    await ask_cancel(world, run_id)
    await until(tracker, run_id, cancel_requested_at="2026-11-23T02:35:00Z")
    [last] = of(await world.kafka.all("requests.status.v1"), run_id=run_id)[-1:]
    launched = last | {"status": "launched", "orchestrator_run_id": flow_run_id, "seq": 5}
    await world.kafka.send("requests.status.v1", launched, key=run_id.encode())

    await until(tracker, run_id, status="cancelled")
    intents = await tracker.rows("select state from cancel_intents where run_id = $1", uuid.UUID(run_id))
    assert intents == [{"state": "asked"}]
