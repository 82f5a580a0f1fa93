"""A backfill on the whole stack: ordered, limited, told as one, cancelled as one, and without effect on today."""

from __future__ import annotations

import uuid
from typing import Any

from tests.e2e.platform import Platform, contiguous, run_id_of

WEEK = ("2025-01-06", "2025-01-07", "2025-01-08", "2025-01-09", "2025-01-10")
RANGE = {"start": WEEK[0], "end": WEEK[-1], "step": "session", "max_open": 2}


def children(platform: Platform, parent: str) -> list[str]:
    return [run_id_of(platform.tenant, f"backfill/{parent}/{day}") for day in WEEK]


async def ready(platform: Platform, name: str) -> dict[str, Any]:
    """An instance whose flow may have three runs open, and that is fresh; answers the flow of its newest snapshot."""
    await platform.register(name, max_open_runs=3)
    today = {"seconds": 0.1, "last_data_date": "2025-06-02"}
    assert (await platform.ended(await platform.submit(name, parameters=today)))["status"] == "completed"
    return await newest_flow(platform, name)


async def newest_flow(platform: Platform, name: str) -> dict[str, Any]:
    async def is_ready() -> dict[str, Any] | None:
        flow: dict[str, Any] = (await platform.get("lineage", f"/v1/instances/{name}"))["flows"][0]
        return flow if flow["status"] == "ready" else None

    found = await platform.eventually(is_ready)
    assert found is not None
    return dict(found)


async def test_five_sessions_two_at_a_time_run_in_order_and_end_as_one(platform: Platform, name: str) -> None:
    today = await ready(platform, name)
    parent = await platform.submit(
        name, command_id=uuid.uuid4().hex, gate="wait", parameters={"seconds": 0.4}, backfill=RANGE
    )
    finished = await platform.ended(parent, within_seconds=240)
    assert (finished["status"], finished["code"], finished["message"]) == ("finished", None, "5 of 5 done")
    assert (finished["progress"]["done"], finished["orchestrator_run_id"]) == (5, None)
    told = platform.follower.of_run("requests.status.v1", parent)
    assert contiguous([snapshot["seq"] for snapshot in told])
    progress = [snapshot["progress"] for snapshot in told if snapshot["progress"]]
    assert [p["done"] for p in progress] == sorted(p["done"] for p in progress)
    assert max(p["open"] for p in progress) == 2
    for day, run_id in zip(WEEK, children(platform, parent), strict=True):
        run = await platform.ended(run_id)
        assert (run["status"], run["trigger"], run["parameters"]["data_date"]) == ("completed", "backfill", day)
        assert len(await platform.flow_runs(run_id)) == 1
        asked = platform.follower.of_run("requests.status.v1", run_id)[0]
        assert (asked["parent_run_id"], asked["actor"]) == (parent, "system:lineage")
    asked_at = [
        platform.follower.of_run("requests.status.v1", run)[0]["occurred_at"] for run in children(platform, parent)
    ]
    assert asked_at == sorted(asked_at)
    after = await newest_flow(platform, name)
    unmoved = ("version_id", "last_data_date", "freshness", "verified_at")
    assert {field: after[field] for field in unmoved} == {field: today[field] for field in unmoved}


async def test_kill_9_of_lineage_and_submission_in_the_middle_begins_no_date_twice(
    platform: Platform, name: str, stack: Any
) -> None:
    await ready(platform, name)
    parent = await platform.submit(name, gate="wait", parameters={"seconds": 0.4}, backfill=RANGE)
    for done, victim in enumerate(("lineage", "submission"), start=1):
        await platform.follower.until(
            "requests.status.v1",
            lambda m, done=done: m["run_id"] == parent and m["progress"] and m["progress"]["done"] >= done,
        )
        await stack.kill(victim)
        await stack.start(victim)
    finished = await platform.ended(parent, within_seconds=240)
    assert (finished["status"], finished["message"]) == ("finished", "5 of 5 done")
    for run_id in (parent, *children(platform, parent)):
        told = platform.follower.of_run("requests.status.v1", run_id)
        assert contiguous([snapshot["seq"] for snapshot in told])
    for run_id in children(platform, parent):
        assert len(await platform.flow_runs(run_id)) == 1


async def test_a_failed_date_ends_the_whole_as_failed_and_is_no_error_of_today(platform: Platform, name: str) -> None:
    await ready(platform, name)
    parameters = {"seconds": 0.1, "fail_on": [WEEK[1]]}
    parent = await platform.submit(name, gate="wait", parameters=parameters, backfill={**RANGE, "max_open": 1})
    failed = await platform.ended(parent, within_seconds=120)
    assert (failed["status"], failed["code"]) == ("failed", "BACKFILL_INCOMPLETE")
    assert failed["message"] == "1 of 5 done, 1 failed (2025-01-07), 3 not begun"
    assert (await newest_flow(platform, name))["freshness"] == "ready"


async def test_a_cancel_of_the_whole_stops_what_runs_and_begins_nothing_more(platform: Platform, name: str) -> None:
    await ready(platform, name)
    parent = await platform.submit(name, gate="wait", parameters={"seconds": 120, "steps": 240}, backfill=RANGE)
    first, second, *others = children(platform, parent)
    for run_id in (first, second):
        await platform.follower.until(
            "runs.status.v1", lambda m, run_id=run_id: m["run_id"] == run_id and m["status"] == "running"
        )
    answer = await platform.http.post(
        platform.url("submission", f"/v1/requests/{parent}/cancel"), json={"reason": "enough"}
    )
    assert answer.status_code == 202
    assert (await platform.ended(parent))["status"] == "cancelled"
    for run_id in (first, second):
        assert (await platform.ended(run_id, within_seconds=120))["status"] == "cancelled"
    for run_id in others:
        assert platform.follower.of_run("requests.status.v1", run_id) == []
        assert await platform.flow_runs(run_id) == []
    assert (await newest_flow(platform, name))["freshness"] == "ready"
