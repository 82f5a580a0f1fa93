"""Artifacts without keys: an address from run_tracker, bytes into real S3, and the same bytes back."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import httpx
import pytest
from runtide._reporting_artifacts import ArtifactNotStored
from runtide.flow import report_run
from runtide_schemas.vocabulary import version_id_of

from shared.auth import RUN_SCOPES, mint
from tests.support.eventually import eventually
from tests.support.harness import ServiceHarness, World

AT = "2025-01-15T09:00:00Z"


@pytest.fixture(scope="module")
async def tracker(world: World) -> AsyncIterator[ServiceHarness]:
    harness = await world.start("run_tracker")
    yield harness
    await harness.stop()


@pytest.fixture
async def run_id(world: World, tracker: ServiceHarness) -> str:
    """A run that was launched a moment ago."""
    run_id = str(uuid.uuid4())
    await launched(world, run_id)

    async def known() -> bool:
        return (await tracker.http.get(f"/v1/runs/{run_id}")).status_code == 200

    await eventually(known, what="the run")
    return run_id


async def launched(world: World, run_id: str, **more: Any) -> None:
    request = {
        "type": "request.status_changed", "tenant": world.env["RUNTIDE_TENANT"], "run_id": run_id, "command_id": run_id,
        "instance_id": str(uuid.uuid4()), "instance_name": "prices", "run_type": "PipelineRun",
        "flow_kind": "refresh", "mode": "incremental", "deployment": "f/d", "status": "launched",
        "orchestrator_run_id": str(uuid.uuid4()), "seq": 3, "occurred_at": AT, **more,
    }  # fmt: skip
    await world.kafka.send("requests.status.v1", request, key=run_id.encode())


async def seen(tracker: ServiceHarness, run_id: str) -> dict[str, Any]:
    return dict((await tracker.http.get(f"/v1/runs/{run_id}")).json())


async def ask(tracker: ServiceHarness, run_id: str, token: str | None = None, **wanted: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {token}"} if token else None
    return await tracker.http.post(f"/v1/runs/{run_id}/uploads", json={"name": "x.json", **wanted}, headers=headers)


async def tell(world: World, run_id: str, kind: str, attempt: int, **fields: Any) -> None:
    message = {"type": kind, "tenant": world.env["RUNTIDE_TENANT"], "run_id": run_id, "attempt": attempt, **fields}
    await world.kafka.send("runs.reports.v1", message | {"n": 900, "occurred_at": AT}, key=run_id.encode())


async def answers(tracker: ServiceHarness, run_id: str, status: int, **wanted: Any) -> httpx.Response:
    """The answer, as soon as it has that status."""

    async def probe() -> httpx.Response | None:
        answer = await ask(tracker, run_id, **wanted)
        return answer if answer.status_code == status else None

    found = await eventually(probe, what=f"an answer {status}")
    assert found is not None
    return found


@pytest.fixture
def without_keys(world: World, tracker: ServiceHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of a flow that has a token and no keys of the object store."""
    for name in ("S3_ENDPOINT", "S3_ACCESS_KEY", "S3_SECRET_KEY"):
        monkeypatch.delenv(f"RUNTIDE_{name}", raising=False)
    for name in ("KAFKA_BOOTSTRAP", "KAFKA_PREFIX", "TENANT", "TOKEN"):
        monkeypatch.setenv(f"RUNTIDE_{name}", world.env[f"RUNTIDE_{name}"])
    monkeypatch.setenv("RUNTIDE_RUN_TRACKER_URL", tracker.running.http_url)


@pytest.mark.usefixtures("without_keys")
async def test_a_flow_without_keys_stores_an_artifact_that_readers_get_back(
    tracker: ServiceHarness, run_id: str
) -> None:
    def flow() -> str | None:
        with report_run(run_id, attempt=2) as run:
            stored = run.artifact("summary", {"rows": 3})
            run.complete()
        return stored.ref

    assert await asyncio.to_thread(flow) == f"s3://runs/{run_id}/attempt-2/summary.json"

    async def listed() -> bool:
        return (await tracker.http.get(f"/v1/runs/{run_id}/artifacts")).json()["artifacts"] != []

    await eventually(listed, what="the artifact")
    link = (await tracker.http.get(f"/v1/runs/{run_id}/artifacts/summary")).headers["location"]
    async with httpx.AsyncClient() as anybody:
        assert (await anybody.get(link)).json() == {"rows": 3}


@pytest.mark.usefixtures("without_keys")
async def test_a_flow_without_keys_leaves_its_traceback_among_the_logs(world: World, run_id: str) -> None:
    def flow() -> None:
        with report_run(run_id, attempt=1):
            raise ValueError("boom")

    with pytest.raises(ValueError, match="boom"):
        await asyncio.to_thread(flow)
    [error] = [m for m in await world.kafka.all("runs.reports.v1") if m["run_id"] == run_id]
    assert error["error"]["traceback_ref"] == f"s3://logs/{run_id}/traceback.txt"


@pytest.mark.usefixtures("without_keys")
async def test_a_flow_whose_token_may_not_report_fails_with_what_it_lacks(tracker: ServiceHarness, run_id: str) -> None:
    token = _token(tracker, scopes=("runs:read",))

    def flow() -> None:
        with report_run(run_id, attempt=1, token=token) as run:
            run.artifact("summary", {"rows": 3})

    with pytest.raises(ArtifactNotStored, match=r"run_tracker answered 403: .*runs:report"):
        await asyncio.to_thread(flow)


async def test_an_address_takes_one_key_and_no_other(tracker: ServiceHarness, run_id: str) -> None:
    given = (await ask(tracker, run_id, name="a.bin")).json()
    assert given["ref"] == f"s3://runs/{run_id}/a.bin"
    elsewhere = urlsplit(given["url"])._replace(path=f"/runs/{uuid.uuid4()}/a.bin").geturl()
    async with httpx.AsyncClient() as flow:
        assert (await flow.put(given["url"], content=b"bytes")).status_code == 200
        assert (await flow.put(elsewhere, content=b"bytes")).status_code == 403


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../x", "a/b", "/x", "..\\x", "a\\b", "%2e%2e%2fx", ".hidden", "x\n", "a b", "ü", "x" * 161],
)
async def test_a_name_that_is_no_plain_file_name_is_refused(tracker: ServiceHarness, run_id: str, name: str) -> None:
    answer = await ask(tracker, run_id, name=name)
    assert answer.status_code == 422
    assert "url" not in answer.json()


async def test_another_tenants_run_has_no_addresses(world: World, tracker: ServiceHarness, run_id: str) -> None:
    foreign = await ask(tracker, run_id, token=world.env["RUNTIDE_TOKEN_OTHER"])
    unknown = await ask(tracker, str(uuid.uuid4()))
    assert [(a.status_code, a.json()["code"]) for a in (foreign, unknown)] == [(404, "NOT_FOUND")] * 2


async def test_a_runs_own_token_reads_it_and_what_it_reads_and_opens_nothing_else(
    world: World, tracker: ServiceHarness, run_id: str
) -> None:
    reader, stranger = str(uuid.uuid4()), str(uuid.uuid4())
    version = {
        "instance_id": str(uuid.uuid4()),
        "flow_kind": "refresh",
        "basis": "admitted",
        "version_id": str(version_id_of(UUID(run_id), 1)),
    }
    await launched(world, reader, input_versions={"prices": version})
    await launched(world, stranger)
    await answers(tracker, stranger, 200)
    await answers(tracker, reader, 200)
    own = {"Authorization": f"Bearer {_token(tracker, RUN_SCOPES, run_id=UUID(reader))}"}

    async def status(path: str, method: str = "GET", **more: Any) -> int:
        return (await tracker.http.request(method, path, headers=own, **more)).status_code

    assert await status(f"/v1/runs/{reader}") == 200
    assert await status(f"/v1/runs/{run_id}/artifacts") == 200  # whose version it reads
    foreign, unknown = [await tracker.http.get(f"/v1/runs/{one}", headers=own) for one in (stranger, uuid.uuid4())]
    assert (foreign.status_code, foreign.json()["code"]) == (unknown.status_code, unknown.json()["code"])
    assert foreign.status_code == 404
    assert await status(f"/v1/runs/{reader}/uploads", "POST", json={"name": "x"}) == 200
    for other in (run_id, stranger):
        assert await status(f"/v1/runs/{other}/uploads", "POST", json={"name": "x"}) == 404
    assert [await status(path) for path in ("/v1/runs", "/v1/ops/consumers")] == [403, 403]


async def test_an_attempt_that_is_over_puts_nothing_more(world: World, tracker: ServiceHarness, run_id: str) -> None:
    assert (await ask(tracker, run_id, attempt=1)).status_code == 200
    await tell(world, run_id, "run.metrics_reported", 2, metrics={})
    refused = await answers(tracker, run_id, 409, attempt=1)
    assert refused.json()["code"] == "TOO_LATE"
    assert (await ask(tracker, run_id)).json()["ref"] == f"s3://runs/{run_id}/attempt-2/x.json"


async def test_sealed_outputs_take_no_artifact_but_a_traceback_until_prefect_says_completed(
    world: World, tracker: ServiceHarness, run_id: str
) -> None:
    await tell(world, run_id, "run.output_reported", 1)
    assert (await answers(tracker, run_id, 409)).json()["code"] == "TOO_LATE"
    assert (await ask(tracker, run_id, kind="traceback")).json()["ref"] == f"s3://logs/{run_id}/x.json"
    completed = {
        "type": "prefect.flow_run_state_observed", "flow_run_id": (await seen(tracker, run_id))["orchestrator_run_id"],
        "state_id": str(uuid.uuid4()), "state_type": "COMPLETED", "state_name": "Completed", "state_timestamp": AT,
        "run_count": 1, "source": "event", "observed_at": AT,
    }  # fmt: skip
    await world.kafka.send("prefect.flow-run-states.v1", completed)
    assert (await answers(tracker, run_id, 409, kind="traceback")).json()["code"] == "TOO_LATE"


def _token(tracker: ServiceHarness, scopes: tuple[str, ...], run_id: UUID | None = None) -> str:
    settings, tenant = tracker.running.service.settings.auth, tracker.world.env["RUNTIDE_TENANT"]
    return mint(settings, tenant=tenant, actor="flow", scopes=scopes, valid=timedelta(hours=1), run_id=run_id)
