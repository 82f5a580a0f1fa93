"""A backfill as submission sees it: a request like any other, that says how far it is and never becomes a run."""

from __future__ import annotations

from typing import Any

import pytest

from tests.component.submission.conftest import Submission

RANGE = {"start": "2025-01-06", "end": "2025-01-10", "step": "session", "max_open": 2}
WHOLE = {**RANGE, "order": "oldest_first", "parameter": "data_date", "on_failure": "stop"}
BLOCKER = {"instance_id": "7f1d3c3e-55a5-5d5e-9d4e-4f8e6c2d1b0a", "name": "prices", "status": "ready",
           "reason": "2025-01-06 is open", "flow_kind": "refresh"}  # fmt: skip


def progress(**numbers: Any) -> dict[str, Any]:
    return {"total": 5, "done": 0, "failed": 0, "cancelled": 0, "open": 0, "next": None, **numbers}


async def test_a_range_is_in_every_snapshot_and_how_far_it_is_in_those_that_say_so(submission: Submission) -> None:
    run_id = await submission.submit(backfill=RANGE, gate="wait")
    requested = await submission.until(run_id, "requested")
    assert (requested["backfill"], requested["progress"], requested["trigger"]) == (WHOLE, None, "manual")
    said = {"deployment": "f/d", "flow_kind": "refresh", "run_type": "PipelineRun", "blockers_total": 1}
    for number in (1, 2):
        far = {"progress": progress(done=number - 1, open=1, next="2025-01-08"), "message": f"{number - 1} of 5 done"}
        await submission.decide(run_id, "parked", number=number, blockers=[BLOCKER], **said, **far)
    parked = await submission.until(run_id, "parked", seq=3)
    assert parked["progress"] == progress(done=1, open=1, next="2025-01-08")
    assert (parked["message"], parked["previous_status"], len(parked["blockers"])) == ("1 of 5 done", "parked", 1)
    await submission.decide(run_id, "finished", number=3, progress=progress(done=5), message="5 of 5 done")
    finished = await submission.until(run_id, "finished")
    assert (finished["progress"], finished["blockers"], finished["code"]) == (progress(done=5), [], None)
    assert (await submission.activity(run_id, "request.finished"))["payload"]["message"] == "5 of 5 done"
    await submission.settled()
    assert not await submission.harness.rows("select 1 from launches")
    actions = [a["action"] for a in await submission.kafka.all("activities.v1") if a["resource_id"] == run_id]
    assert sorted(actions) == ["request.finished", "request.parked"]  # not one for each step in between


async def test_an_end_that_says_a_code_is_a_failure(submission: Submission) -> None:
    run_id = await submission.submit(backfill=RANGE)
    await submission.until(run_id, "requested")
    said = {"code": "BACKFILL_INCOMPLETE", "message": "4 of 5 done, 1 failed (2025-01-08)"}
    await submission.decide(run_id, "finished", progress=progress(done=4, failed=1), **said)
    failed = await submission.until(run_id, "failed")
    assert {name: failed[name] for name in said} == said
    await submission.activity(run_id, "request.failed")


async def test_a_cancel_ends_it_at_once_and_what_lineage_says_later_changes_nothing(submission: Submission) -> None:
    run_id = await submission.submit(backfill=RANGE)
    await submission.until(run_id, "requested")
    await submission.decide(run_id, "parked", progress=progress(open=2, next="2025-01-08"))
    await submission.until(run_id, "parked")
    await submission.cancel(run_id, reason="wrong universe")
    cancelled = await submission.until(run_id, "cancelled")
    assert cancelled["progress"] == progress(open=2)
    await submission.decide(run_id, "parked", number=2, progress=progress(done=1, open=1))
    await submission.settled()
    assert await submission.seqs(run_id) == [1, 2, 3]


async def test_only_lineage_says_whose_child_a_request_is(submission: Submission) -> None:
    parent = await submission.submit(backfill=RANGE)
    child = {"trigger": "backfill", "parent_run_id": parent, "parameters": {"data_date": "2025-01-06"}}
    run_id = await submission.submit(f"backfill/{parent}/2025-01-06", actor="system:lineage", **child)
    asked = await submission.until(run_id, "requested")
    assert (asked["trigger"], asked["parent_run_id"]) == ("backfill", parent)
    pretended = await submission.until(await submission.submit(actor="eve@acme", **child), "requested")
    assert (pretended["trigger"], pretended["parent_run_id"]) == ("manual", None)


async def test_over_http_it_is_the_same_request(submission: Submission) -> None:
    body = {"instance": "prices", "backfill": RANGE, "command_id": "http-backfill"}
    answer = await submission.http.post("/v1/requests", json=body, params={"wait_seconds": 0})
    assert answer.status_code == 202, answer.text
    assert answer.json()["backfill"] == WHOLE
    await submission.submit("http-backfill", instance="prices", backfill=RANGE)
    await submission.settled()
    assert await submission.seqs(answer.json()["run_id"]) == [1]


@pytest.mark.parametrize(
    ("backfill", "more", "says"),
    [
        ({**RANGE, "end": "2025-01-01"}, {}, "end 2025-01-01 is before start 2025-01-06"),
        (RANGE, {"gate": "recursive"}, "a backfill takes gate strict, wait or force"),
        ({**RANGE, "colour": "blue"}, {}, "colour"),
    ],
)
async def test_over_http_a_range_that_can_not_be_is_422_by_name(
    submission: Submission, backfill: dict[str, Any], more: dict[str, Any], says: str
) -> None:
    answer = await submission.http.post("/v1/requests", json={"instance": "prices", "backfill": backfill, **more})
    assert answer.status_code == 422
    assert says in answer.text
