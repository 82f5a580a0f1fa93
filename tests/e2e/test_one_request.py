"""One run request, end to end: a line on Kafka, and what anybody sees of it."""

from __future__ import annotations

import asyncio
import uuid

from tests.e2e.platform import Platform, contiguous, run_id_of


async def test_a_bare_json_line_becomes_a_completed_run(platform: Platform, name: str) -> None:
    await platform.register(name)
    run_id = await platform.submit(name, parameters={"seconds": 0.2, "metrics": {"rows_added": 7}})
    run = await platform.ended(run_id)
    assert run["status"] == "completed", run
    assert run["metrics"]["rows_added"] == 7
    assert run["outputs"] == "sealed"
    assert run["run_type"] == "PipelineRun"
    assert len(await platform.flow_runs(run_id)) == 1
    requests = platform.follower.of_run("requests.status.v1", run_id)
    assert [m["status"] for m in sorted(requests, key=lambda m: m["seq"])] == ["requested", "admitted", "launched"]
    runs = platform.follower.of_run("runs.status.v1", run_id) + platform.follower.of_run("runs.progress.v1", run_id)
    assert contiguous([m["seq"] for m in runs])


async def test_the_same_command_id_starts_nothing_again(platform: Platform, name: str) -> None:
    await platform.register(name)
    command = uuid.uuid4().hex
    first = await platform.submit(name, command_id=command, parameters={"seconds": 0.1})
    again = await platform.submit(name, command_id=command, parameters={"seconds": 0.1})
    assert first == again == run_id_of(platform.tenant, command)
    assert (await platform.ended(first))["status"] == "completed"
    marker = await platform.submit(name, parameters={"seconds": 0.1})  # behind the second line in time
    assert (await platform.ended(marker))["status"] == "completed"
    assert len(await platform.flow_runs(first)) == 1


async def test_two_lines_without_command_id_are_two_runs(platform: Platform, name: str) -> None:
    await platform.register(name, max_open_runs=2)
    one, two = [await platform.submit(name, parameters={"seconds": 0.1}) for _ in range(2)]
    assert one != two
    ends = await asyncio.gather(platform.ended(one), platform.ended(two))
    assert [end["status"] for end in ends] == ["completed", "completed"]


async def test_a_failing_flow_ends_failed_with_its_own_error(platform: Platform, name: str) -> None:
    await platform.register(name)
    run = await platform.ended(await platform.submit(name, parameters={"seconds": 0.1, "fail": True}))
    assert run["status"] == "failed"
    assert run["error"]["type"] == "RuntimeError"
    assert "told to fail" in run["error"]["message"]
    assert run["error"]["traceback_ref"].startswith(f"s3://logs/{run['run_id']}/")


async def test_http_and_kafka_end_in_the_same_request(platform: Platform, name: str) -> None:
    await platform.register(name)
    command = uuid.uuid4().hex
    answer = await platform.http.post(
        platform.url("submission", "/v1/requests"),
        json={"instance": name, "parameters": {"seconds": 0.1}},
        headers={"Idempotency-Key": command},
    )
    assert answer.status_code == 201, answer.text
    run_id = answer.json()["run_id"]
    assert run_id == run_id_of(platform.tenant, command)
    assert (await platform.ended(run_id))["status"] == "completed"
    run = await platform.get("run_tracker", f"/v1/runs/{run_id}")
    assert run["status"] == "completed"
    assert run["as_of"]


async def test_a_running_run_is_cancelled_through_prefect(platform: Platform, name: str) -> None:
    await platform.register(name)
    run_id = await platform.submit(name, parameters={"seconds": 60, "steps": 600})
    await platform.follower.until("runs.status.v1", lambda m: m["run_id"] == run_id and m["status"] == "running")
    cancel = {"type": "run.cancel", "tenant": platform.tenant, "run_id": run_id, "actor": platform.actor,
              "reason": "enough"}  # fmt: skip
    await platform.say("runs.commands.v1", cancel)
    run = await platform.ended(run_id)
    assert run["status"] == "cancelled"
    assert run["cancel_requested_at"]
    [flow_run] = await platform.flow_runs(run_id)
    assert flow_run["state_type"] == "CANCELLED"


async def test_downstream_goes_stale_and_is_refreshed_once(platform: Platform, name: str) -> None:
    below = f"{name}-below"
    await platform.register(name)
    await platform.register(
        below, instance_type="SignalInstance", upstreams=[{"instance": name}], on_upstream="refresh"
    )
    await platform.ended(await platform.submit(name, parameters={"seconds": 0.1}))
    refresh = await platform.follower.until(
        "runs.status.v1",
        lambda m: m["instance_name"] == below and m["status"] == "completed",
    )
    assert refresh["trigger"] == "upstream"
    assert refresh["input_versions"][name]["version_id"]
    ready = await platform.follower.until(
        "instances.status.v1", lambda m: m["name"] == below and m["status"] == "ready", within_seconds=20
    )
    assert ready["flows"][0]["last_run_id"] == refresh["run_id"]
    again = await platform.ended(await platform.submit(name, parameters={"seconds": 0.1}))
    stale = await platform.follower.until(
        "instances.status.v1",
        lambda m: m["name"] == below and (m["cause"] or {}).get("run_id") == again["run_id"],
    )
    assert stale["cause"]["path"] == [name, below]
    completed = await platform.follower.until(
        "activities.v1", lambda m: m["action"] == "pipeline_run.completed" and m["resource_id"] == again["run_id"]
    )
    assert below in str(completed["payload"]["affected_downstream"])
