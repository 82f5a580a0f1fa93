"""The same wishes over HTTP: the codes of the contract, problems as RFC 9457, and nothing of another tenant."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest
from runtide_schemas.vocabulary import run_id_of

from shared.auth import mint
from tests.component.submission.conftest import Submission

BLOCKER = {"instance_id": str(uuid.uuid4()), "name": "prices", "flow_kind": "refresh", "status": "stale",
           "reason": "prices is stale"}  # fmt: skip


async def post(submission: Submission, wait_seconds: float = 0, key: str | None = None, **body: Any) -> httpx.Response:
    headers = {"Idempotency-Key": key} if key else {}
    return await submission.http.post(
        f"/v1/requests?wait_seconds={wait_seconds}", json={"instance": "momentum", **body}, headers=headers
    )


async def decided(submission: Submission, decision: str, **more: Any) -> httpx.Response:
    """Post, and let lineage decide while the caller waits."""
    command_id = str(uuid.uuid4())
    run_id = str(run_id_of("acme", command_id))
    answer = asyncio.create_task(post(submission, 20, command_id=command_id))
    await submission.until(run_id, "requested")
    await submission.decide(run_id, decision, **more)
    return await answer


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert (body["status"], body["code"]) == (status, code)
    assert body["title"]
    return body


@pytest.mark.parametrize(("code", "status"), [("UPSTREAM_FAILED", 409), ("PLAN_CHANGED", 409), ("UNKNOWN_PLAN", 404)])
async def test_what_a_recursive_request_is_refused_for_has_a_status_of_its_own(
    submission: Submission, code: str, status: int
) -> None:
    answer = await decided(submission, "refused", code=code, message="prices/refresh failed")
    problem(answer, status, code)


async def test_a_plan_over_http_is_run_by_the_recursive_gate(submission: Submission) -> None:
    plan_id = str(uuid.uuid4())
    body = (await post(submission, plan_id=plan_id)).json()
    assert (body["plan_id"], body["gate"]) == (plan_id, "recursive")
    assert (await post(submission, plan_id=plan_id, gate="wait")).status_code == 422


async def test_not_decided_in_time_is_202_with_the_snapshot(submission: Submission) -> None:
    answer = await post(submission, key="http-1", parameters={"a": 1})
    assert answer.status_code == 202
    body = answer.json()
    assert (body["status"], body["seq"], body["command_id"]) == ("requested", 1, "http-1")
    assert (body["run_id"], body["tenant"]) == (str(run_id_of("acme", "http-1")), "acme")
    assert body["actor"] not in (None, "unknown")
    assert body["as_of"]
    assert (await submission.until(body["run_id"], "requested"))["parameters"] == {"a": 1}


async def test_the_same_request_again_is_200_and_one_request_also_from_kafka(submission: Submission) -> None:
    first = await post(submission, key="http-2")
    again = await post(submission, command_id="http-2")
    assert (first.status_code, again.status_code) == (202, 200)
    await submission.submit("http-2")
    await submission.settled()
    assert await submission.seqs(first.json()["run_id"]) == [1]


async def test_the_same_id_with_another_body_is_409(submission: Submission) -> None:
    await post(submission, key="http-3", parameters={"a": 1})
    body = problem(await post(submission, key="http-3", parameters={"a": 2}), 409, "COMMAND_CONFLICT")
    assert body["run_id"] == str(run_id_of("acme", "http-3"))
    await submission.activity(body["run_id"], "command.refused")


@pytest.mark.parametrize(
    ("decision", "more", "status"),
    [
        ("admitted", {"deployment": "nowhere/at-all"}, 201),
        ("parked", {"blockers": [BLOCKER], "blockers_total": 1}, 202),
        ("skipped", {"message": "ready already"}, 200),
    ],
)
async def test_the_decision_is_waited_for(
    submission: Submission, decision: str, more: dict[str, Any], status: int
) -> None:
    answer = await decided(submission, decision, **more)
    assert answer.status_code == status
    assert answer.json()["status"] in (decision, "launch_failed")


async def test_refused_for_its_upstreams_is_409_with_the_blocking_resources(submission: Submission) -> None:
    answer = await decided(
        submission, "refused", code="UPSTREAM_NOT_READY", message="prices is stale", blockers=[BLOCKER],
        blockers_total=1,
    )  # fmt: skip
    body = problem(answer, 409, "UPSTREAM_NOT_READY")
    assert body["blocking_resources"] == [BLOCKER]
    assert body["detail"] == "prices is stale"
    one = (await submission.http.get(f"/v1/requests/{body['run_id']}")).json()
    assert one["blocking_resources"] == [BLOCKER]


@pytest.mark.parametrize("code", ["UNKNOWN_INSTANCE", "UNKNOWN_FLOW"])
async def test_refused_for_what_nobody_knows_is_404(submission: Submission, code: str) -> None:
    problem(await decided(submission, "refused", code=code, message="no such thing"), 404, code)


@pytest.mark.parametrize(
    "body",
    [
        {"gate": "open"}, {"instance": "no/name"}, {"instance": ""}, {"parameters": {"x": "y" * 70_000}},
        {"wait_until": "tomorrow"}, {"unknown_field": 1}, {"tenant": "globex"}, {"parameters": []},
        {"command_id": "x" * 201}, {"flow_kind": "nonsense"},
    ],
    ids=lambda body: next(iter(body)),
)  # fmt: skip
async def test_an_invalid_body_is_422_and_no_request(submission: Submission, body: dict[str, Any]) -> None:
    before = await submission.harness.rows("select count(*) from requests")
    found = problem(await post(submission, **body), 422, "INVALID_COMMAND")
    assert next(iter(body)) in found["detail"]
    assert await submission.harness.rows("select count(*) from requests") == before


async def test_bytes_that_are_no_json_are_422(submission: Submission) -> None:
    answer = await submission.http.post("/v1/requests", content=b"{", headers={"content-type": "application/json"})
    problem(answer, 422, "INVALID_COMMAND")


async def test_a_cancel_is_202_and_too_late_409(submission: Submission) -> None:
    run_id = (await post(submission)).json()["run_id"]
    answer = await submission.http.post(f"/v1/requests/{run_id}/cancel", json={"reason": "wrong universe"})
    assert answer.status_code == 202
    assert answer.json()["status"] == "cancelled"
    assert (await submission.until(run_id, "cancelled"))["message"] == "cancelled: wrong universe"
    again = await submission.http.post(f"/v1/requests/{run_id}/cancel")
    assert (again.status_code, again.json()["status"]) == (202, "cancelled")
    ended = (await post(submission)).json()["run_id"]
    await submission.decide(ended, "skipped", message="ready already")
    await submission.until(ended, "skipped")
    late = problem(await submission.http.post(f"/v1/requests/{ended}/cancel"), 409, "TOO_LATE")
    assert late["run_id"] == ended


async def test_what_ended_before_it_was_submitted_is_not_said_to_be_created(submission: Submission) -> None:
    run_id = str(run_id_of("acme", "http-ended"))
    await submission.cancel(run_id)
    await submission.until(run_id, "cancelled")
    answer = await post(submission, key="http-ended")
    assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")


async def test_another_tenants_request_is_404_as_if_it_did_not_exist(submission: Submission) -> None:
    run_id = (await post(submission)).json()["run_id"]
    other = {"Authorization": f"Bearer {submission.world.env['RUNTIDE_TOKEN_OTHER']}"}
    nobody = str(uuid.uuid4())
    calls: list[Callable[[str], Any]] = [
        lambda run: submission.http.get(f"/v1/requests/{run}", headers=other),
        lambda run: submission.http.post(f"/v1/requests/{run}/cancel", headers=other),
    ]
    for call in calls:
        theirs, none = problem(await call(run_id), 404, "NOT_FOUND"), problem(await call(nobody), 404, "NOT_FOUND")
        assert theirs["detail"].replace(run_id, nobody) == none["detail"]
    listed = (await submission.http.get("/v1/requests?limit=500", headers=other)).json()["requests"]
    assert run_id not in {request["run_id"] for request in listed}
    assert (await submission.http.get(f"/v1/requests/{run_id}")).json()["status"] == "requested"


async def test_without_a_token_is_401_and_without_the_scope_403(submission: Submission) -> None:
    auth = submission.harness.running.settings.auth
    readonly = mint(auth, tenant="acme", actor="eve@acme", scopes=("runs:read",), valid=timedelta(minutes=5))
    expired = mint(auth, tenant="acme", actor="eve@acme", valid=timedelta(minutes=-5))
    async with httpx.AsyncClient(base_url=submission.harness.running.http_url) as bare:
        problem(await bare.get("/v1/requests"), 401, "UNAUTHENTICATED")
        for token, status, code in ((readonly, 403, "FORBIDDEN"), (expired, 401, "UNAUTHENTICATED")):
            headers = {"Authorization": f"Bearer {token}"}
            problem(await bare.post("/v1/requests", json={"instance": "x"}, headers=headers), status, code)
        assert (await bare.get("/v1/requests", headers={"Authorization": f"Bearer {readonly}"})).status_code == 200


async def test_the_list_is_paged_newest_first_and_filtered(submission: Submission) -> None:
    for _ in range(5):
        await post(submission, instance="paged")
    cancelled = (await post(submission, instance="paged")).json()["run_id"]
    await submission.http.post(f"/v1/requests/{cancelled}/cancel")
    seen: list[dict[str, Any]] = []
    cursor = ""
    while cursor is not None:
        page = (
            await submission.http.get(f"/v1/requests?instance=paged&limit=2{cursor and '&cursor=' + cursor}")
        ).json()
        assert page["as_of"]
        seen += page["requests"]
        cursor = page["cursor"]
    assert len(seen) == len({request["run_id"] for request in seen}) == 6
    assert seen[0]["run_id"] == cancelled
    listed = (await submission.http.get("/v1/requests?instance=paged&status=cancelled,parked&status=refused")).json()
    assert [request["run_id"] for request in listed["requests"]] == [cancelled]
    problem(await submission.http.get("/v1/requests?status=happy"), 422, "INVALID_COMMAND")
    for cursor in ("x", "é", "MjAyNS0wMS0wMXx4", "MjAyNS0wMS0wMXwwYjlmM2Y1Mi03YjFjLTVkMmEtOWM0ZS0wYTFiMmMzZDRlNWY="):
        answer = await submission.http.get("/v1/requests", params={"cursor": cursor})
        assert answer.status_code in (200, 422), answer.text


async def test_every_service_shows_its_health_its_version_and_its_operations(submission: Submission) -> None:
    assert (await submission.http.get("/livez")).json() == {"alive": True, "problems": []}
    ready = (await submission.http.get("/readyz")).json()
    assert ready["ready"], ready
    assert set(ready["checks"]["consumers"]["topics"]) == {"runs.commands.v1", "requests.decisions.v1"}
    assert (await submission.http.get("/version")).json()["service"] == "submission"
    metrics = (await submission.http.get("/metrics")).text
    assert 'runtide_consumer_records_total{consumer="runtide.submission.runs-commands"}' in metrics
    assert str(run_id_of("acme", "http-1")) not in metrics  # no ids as labels
    assert (await submission.http.get("/v1/ops/outbox")).json()["rows"] >= 0
    names = {c["consumer"] for c in (await submission.http.get("/v1/ops/consumers")).json()["consumers"]}
    assert names == {"runtide.submission.runs-commands", "runtide.submission.requests-decisions"}
    assert "/v1/requests/{run_id}" in (await submission.http.get("/openapi.json")).json()["paths"]
    problem(await submission.http.get("/nowhere"), 404, "NOT_FOUND")


async def test_a_request_says_when_it_changed_and_not_when_it_was_read(submission: Submission) -> None:
    command_id = str(uuid.uuid4())
    posted = (await post(submission, 0, command_id=command_id)).json()
    told = await submission.until(posted["run_id"], "requested")
    for _ in range(2):
        read = (await submission.http.get(f"/v1/requests/{posted['run_id']}")).json()
        assert (read["seq"], read["occurred_at"]) == (told["seq"], told["occurred_at"])
    assert read["as_of"] > read["occurred_at"]
