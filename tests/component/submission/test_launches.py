"""An admitted request becomes one flow run in Prefect, once; what can never become one says why."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from runtide_schemas.vocabulary import RequestStatus

from services.submission.launcher import Launcher
from services.submission.store import SubmissionStore
from shared.auth import verify
from shared.prefect import PrefectClient
from tests.component.submission.conftest import Prefect, Submission
from tests.support.eventually import eventually


async def admitted(submission: Submission, deployment: str, **more: Any) -> str:
    parameters = more.pop("parameters", {})
    run_id = await submission.submit(parameters=parameters)
    await submission.until(run_id, "requested")
    await submission.decide(run_id, "admitted", deployment=deployment, parameters=parameters, **more)
    return run_id


async def test_an_admitted_request_is_launched_with_its_own_id_as_the_key(
    submission: Submission, prefect: Prefect
) -> None:
    deployment = await prefect.deploy("plain")
    version = {"instance_id": str(uuid.uuid4()), "flow_kind": "refresh", "version_id": str(uuid.uuid4()),
               "artifact_version": None, "basis": "admitted"}  # fmt: skip
    run_id = await submission.submit(parameters={"start": "2015-01-02"})
    await submission.until(run_id, "requested")
    await submission.decide(
        run_id, "admitted", deployment=deployment, run_type="PipelineRun", flow_kind="refresh",
        instance_name="momentum", parameters={"start": "2015-01-02"}, input_versions={"prices": version},
    )  # fmt: skip
    request = await submission.until(run_id, "launched")
    assert [m["status"] for m in await submission.snapshots(run_id)] == ["requested", "admitted", "launched"]
    assert (request["run_type"], request["deployment"]) == ("PipelineRun", deployment)
    assert request["input_versions"] == {"prices": version}
    [flow_run] = await prefect.flow_runs(run_id)
    assert flow_run["id"] == request["orchestrator_run_id"]
    assert flow_run["idempotency_key"] == run_id
    assert set(flow_run["tags"]) >= {f"run:{run_id}", "tenant:acme"}
    assert flow_run["parameters"] == {"start": "2015-01-02", "run_id": run_id, "mode": "incremental"}


async def test_run_id_and_mode_go_only_to_a_flow_that_names_them(submission: Submission, prefect: Prefect) -> None:
    run_id = await admitted(submission, await prefect.deploy("bare", parameters=()))
    await submission.until(run_id, "launched")
    [flow_run] = await prefect.flow_runs(run_id)
    assert flow_run["parameters"] == {}


async def test_a_flow_that_takes_it_gets_a_token_of_its_own_that_nobody_else_sees(
    submission: Submission, prefect: Prefect
) -> None:
    run_id = await admitted(submission, await prefect.deploy("reports", parameters=("runtide_token",)))
    await submission.until(run_id, "launched")
    [flow_run] = await prefect.flow_runs(run_id)
    caller = verify(submission.harness.running.settings.auth, flow_run["parameters"]["runtide_token"])
    assert (caller.tenant, str(caller.run_id), caller.scopes) == ("acme", run_id, {"runs:report", "runs:read"})
    assert "runtide_token" not in str(await submission.snapshots(run_id))
    assert (
        await submission.harness.rows("select from requests where to_jsonb(requests)::text like '%runtide_token%'")
        == []
    )


async def test_where_tokens_are_asked_for_other_flows_get_it_in_their_environment(
    submission: Submission, prefect: Prefect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Launcher, "_asks_for_tokens", True)
    run_id = await admitted(submission, await prefect.deploy("plainly", parameters=()))
    await submission.until(run_id, "launched")
    [flow_run] = await prefect.flow_runs(run_id)
    token = flow_run["job_variables"]["env"]["RUNTIDE_RUN_TOKEN"]
    assert str(verify(submission.harness.running.settings.auth, token).run_id) == run_id


@pytest.fixture
def dies_once(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The next launch dies between Prefect's answer and the store; answers which flow runs were forgotten."""
    save, forgotten = SubmissionStore.save, list[str]()

    async def die_once(store: SubmissionStore, changed: Any, *, now: Any) -> None:
        if not forgotten and any(request.status is RequestStatus.LAUNCHED for request in changed):
            forgotten.append(str(next(iter(changed)).orchestrator_run_id))
            raise ConnectionResetError("the process died here")
        await save(store, changed, now=now)

    monkeypatch.setattr(SubmissionStore, "save", die_once)
    return forgotten


async def test_a_process_that_dies_between_prefects_answer_and_its_own_store_makes_no_second_run(
    submission: Submission, prefect: Prefect, dies_once: list[str]
) -> None:
    run_id = await admitted(submission, await prefect.deploy("dies"))
    request = await submission.until(run_id, "launched")
    [flow_run] = await prefect.flow_runs(run_id)
    assert dies_once == [flow_run["id"]] == [request["orchestrator_run_id"]]


async def test_control_without_the_key_the_same_death_makes_two_runs(
    submission: Submission, prefect: Prefect, dies_once: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    create = PrefectClient.create_flow_run

    async def keyless(client: PrefectClient, *args: Any, idempotency_key: str, **more: Any) -> Any:
        return await create(client, *args, idempotency_key=str(uuid.uuid4()), **more)

    monkeypatch.setattr(PrefectClient, "create_flow_run", keyless)
    run_id = await admitted(submission, await prefect.deploy("keyless"))
    request = await submission.until(run_id, "launched")
    assert {run["id"] for run in await prefect.flow_runs(run_id)} == {*dies_once, request["orchestrator_run_id"]}
    assert dies_once != [request["orchestrator_run_id"]]


@pytest.mark.parametrize("deployment", ["nowhere/at-all", "no-slash", "sl/a/sh", "ünknown/ß"])
async def test_a_deployment_that_prefect_does_not_have_is_launch_failed(
    submission: Submission, deployment: str
) -> None:
    run_id = await admitted(submission, deployment)
    request = await submission.until(run_id, "launch_failed")
    assert request["code"] == "DEPLOYMENT_NOT_FOUND"
    assert repr(deployment) in request["message"]
    assert await submission.harness.rows("select from launches where run_id = $1", uuid.UUID(run_id)) == []


async def test_a_parameter_that_the_flow_does_not_take_is_launch_failed_by_name(
    submission: Submission, prefect: Prefect
) -> None:
    deployment = await prefect.deploy("strict", parameters=("start",))
    run_id = await admitted(submission, deployment, parameters={"stat": "2015"})
    request = await submission.until(run_id, "launch_failed")
    assert request["code"] == "PARAMETERS_REJECTED"
    assert request["message"] == f"{deployment} does not take stat; it takes: start"
    assert await prefect.flow_runs(run_id) == []


async def test_a_parameter_of_the_wrong_type_is_launch_failed_with_prefects_reason(
    submission: Submission, prefect: Prefect
) -> None:
    run_id = await admitted(submission, await prefect.deploy("typed"), parameters={"start": 7})
    request = await submission.until(run_id, "launch_failed")
    assert request["code"] == "PARAMETERS_REJECTED"
    assert "start" in request["message"]


async def test_a_launched_request_carries_a_later_cancel_in_the_same_status(
    submission: Submission, prefect: Prefect
) -> None:
    run_id = await admitted(submission, await prefect.deploy("cancelled"))
    await submission.until(run_id, "launched")
    answer = await submission.http.post(f"/v1/requests/{run_id}/cancel", json={"reason": "wrong universe"})
    assert answer.status_code == 202
    assert answer.json()["status"] == "launched"
    again = await submission.until(run_id, "launched", previous_status="launched")
    assert again["cancel_requested_at"] is not None
    assert again["message"] == "cancelled: wrong universe"
    assert (await submission.http.post(f"/v1/requests/{run_id}/cancel")).status_code == 202
    await submission.settled()
    assert await submission.seqs(run_id) == [1, 2, 3, 4]


async def test_all_of_a_burst_is_launched_once_whatever_the_limits(submission: Submission, prefect: Prefect) -> None:
    deployment = await prefect.deploy("burst")
    run_ids = [await submission.submit() for _ in range(12)]
    await submission.settled()
    for run_id in run_ids:
        await submission.decide(run_id, "admitted", deployment=deployment)

    async def all_launched() -> bool:
        rows = await submission.harness.rows("select run_id::text as id from requests where status = 'launched'")
        return set(run_ids) <= {row["id"] for row in rows}

    await eventually(all_launched, every_seconds=0.2)
    for run_id in run_ids:
        assert len(await prefect.flow_runs(run_id)) == 1
