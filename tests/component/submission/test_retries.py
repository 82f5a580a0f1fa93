"""What lineage says of its own requests is told to everybody, and nobody else may say it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.component.submission.conftest import Submission

SYSTEM = "system:lineage"


def does_over(run_id: str, first: str, number: int) -> dict[str, Any]:
    return {"run_id": run_id, "first_run_id": first, "number": number, "max": 2,
            "not_before": "2025-01-15T09:00:00Z", "reason": "timed_out"}  # fmt: skip


async def test_a_chain_of_retries_is_one_history_wherever_one_looks_into_it(submission: Submission) -> None:
    first = await submission.submit()
    await submission.until(first, "requested")
    assert (await submission.http.get(f"/v1/requests/{first}")).json()["attempts"] == []
    second = await submission.submit(f"retry/{first}", actor=SYSTEM, retries=does_over(first, first, 1))
    third = await submission.submit(f"retry/{second}", actor=SYSTEM, retries=does_over(second, first, 2))
    assert (await submission.until(third, "requested"))["retries"] == does_over(second, first, 2)
    for run_id in (first, second, third):
        attempts = (await submission.http.get(f"/v1/requests/{run_id}")).json()["attempts"]
        assert [(one["number"], one["run_id"], one["retries"], one["retried_by"]) for one in attempts] == [
            (0, first, None, second), (1, second, first, third), (2, third, second, None),
        ]  # fmt: skip
        assert [one["reason"] for one in attempts] == [None, "timed_out", "timed_out"]


async def test_an_instant_of_a_schedule_is_told_with_the_request(submission: Submission) -> None:
    at = "2025-01-08T23:05:00Z"
    run_id = await submission.submit(f"schedule/x/refresh/{at}", actor=SYSTEM, trigger="scheduled", planned_for=at)
    request = await submission.until(run_id, "requested")
    assert (request["trigger"], request["planned_for"]) == ("scheduled", at)
    await submission.submit(f"schedule/x/refresh/{at}", actor=SYSTEM, trigger="scheduled", planned_for=at)
    await submission.settled()
    assert len(await submission.snapshots(run_id)) == 1


@pytest.mark.parametrize("said", [{"planned_for": "2025-01-08T23:05:00Z", "trigger": "scheduled"}, {"retries": None}])
async def test_control_whoever_else_says_so_asks_by_hand(submission: Submission, said: dict[str, Any]) -> None:
    other = await submission.submit()
    said = said if "planned_for" in said else {"retries": does_over(other, other, 1)}
    run_id = await submission.submit(actor="eve@acme", **said)
    request = await submission.until(run_id, "requested")
    assert (request["trigger"], request["planned_for"], request["retries"]) == ("manual", None, None)
    assert (await submission.http.get(f"/v1/requests/{other}")).json()["attempts"] == []
