"""Prefect away: the launch waits, the request says so, the service stays ready, and it goes on when Prefect is back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from services.submission.store import SubmissionStore
from tests.component.submission.conftest import STATUS, Prefect, Submission
from tests.support.eventually import eventually
from tests.support.harness import World
from tests.support.wire import Wire


@pytest.fixture
async def wire(world: World) -> AsyncIterator[Wire]:
    opened = await Wire(world.env["RUNTIDE_PREFECT_API_URL"]).open()
    yield opened
    await opened.close()


@pytest.fixture
async def without_prefect(world: World, wire: Wire, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Submission]:
    monkeypatch.setitem(world.env, "RUNTIDE_PREFECT_API_URL", wire.url)
    harness = await world.start("submission", deployment_cache_seconds=600.0)
    yield Submission(harness)
    await harness.stop()


async def test_a_launch_waits_for_prefect_says_so_once_and_goes_on_when_it_is_back(
    without_prefect: Submission, wire: Wire, prefect: Prefect
) -> None:
    submission, deployment = without_prefect, await prefect.deploy("patient")
    run_id = await submission.submit()
    await submission.until(run_id, "requested")
    await submission.decide(run_id, "admitted", deployment=deployment)
    waits = await submission.until(run_id, "admitted", previous_status="admitted")
    assert waits["message"] == "waits for Prefect, which is away"

    ready = await submission.http.get("/readyz")
    assert ready.status_code == 200, ready.json()
    assert "Prefect" in ready.json()["degraded"]["prefect"]["problem"]
    assert (await submission.http.get("/livez")).status_code == 200

    async def tried_again() -> bool:
        [row] = await submission.harness.rows("select waits_seconds from launches")
        return bool(row["waits_seconds"] > 1)

    await eventually(tried_again, what="a second try")
    assert await submission.seqs(run_id) == [1, 2, 3]  # said once, not at every try

    await wire.mend()
    launched = await submission.until(run_id, "launched")
    assert launched["message"] is None
    [flow_run] = await prefect.flow_runs(run_id)
    assert flow_run["id"] == launched["orchestrator_run_id"]
    assert (await submission.http.get("/readyz")).json()["degraded"] == {}


async def test_a_launch_that_never_reached_prefect_can_still_be_cancelled(
    without_prefect: Submission, wire: Wire, prefect: Prefect
) -> None:
    submission = without_prefect
    run_id = await submission.submit()
    await submission.until(run_id, "requested")
    await submission.decide(run_id, "admitted", deployment=await prefect.deploy("never"))
    await submission.until(run_id, "admitted", previous_status="admitted")

    async def given_back() -> bool:
        [row] = await submission.harness.rows("select in_doubt from launches")
        return not row["in_doubt"]

    await eventually(given_back)
    await submission.cancel(run_id)
    await submission.until(run_id, "cancelled")
    await wire.mend()
    assert await submission.harness.rows("select from launches") == []
    assert await prefect.flow_runs(run_id) == []


async def cancelled_unheard(submission: Submission, wire: Wire, prefect: Prefect) -> tuple[str, dict[str, Any]]:
    """A launch whose answer was lost, tried again in vain, and cancelled then; its run id, and what the cancel made."""
    deployment = await prefect.deploy("unheard")
    await wire.mend()
    known = await submission.submit()
    await submission.until(known, "requested")
    await submission.decide(known, "admitted", deployment=deployment)
    await submission.until(known, "launched")  # from now on its deployment is known

    wire.swallows_answers = True
    run_id = await submission.submit()
    await submission.until(run_id, "requested")
    await submission.decide(run_id, "admitted", deployment=deployment)
    await eventually(lambda: prefect.flow_runs(run_id), what="the flow run that nobody heard of")
    await wire.cut()

    async def refused_since() -> bool:
        [row] = await submission.harness.rows("select waits_seconds, lease_owner from launches")
        return bool(row["waits_seconds"] > 1 and row["lease_owner"] is None)

    await eventually(refused_since, what="a later try that did not even reach Prefect")
    await submission.cancel(run_id)
    said = await submission.kafka.until(STATUS, lambda m: m["run_id"] == run_id and m["cancel_requested_at"])
    wire.swallows_answers = False
    await wire.mend()
    return run_id, said


async def test_a_launch_whose_answer_was_lost_is_never_cancelled_behind_its_flow_runs_back(
    without_prefect: Submission, wire: Wire, prefect: Prefect
) -> None:
    run_id, said = await cancelled_unheard(without_prefect, wire, prefect)
    assert said["status"] == "admitted"

    launched = await without_prefect.until(run_id, "launched")
    [flow_run] = await prefect.flow_runs(run_id)
    assert launched["orchestrator_run_id"] == flow_run["id"]
    assert launched["cancel_requested_at"] is not None


async def test_control_a_launcher_that_forgets_its_doubt_leaves_a_flow_run_that_nobody_ends(
    without_prefect: Submission, wire: Wire, prefect: Prefect, monkeypatch: pytest.MonkeyPatch
) -> None:
    postpone = SubmissionStore.postpone

    async def forgetful(store: SubmissionStore, key: Any, **more: Any) -> None:
        await postpone(store, key, **(more | {"in_doubt": False}))

    monkeypatch.setattr(SubmissionStore, "postpone", forgetful)
    run_id, said = await cancelled_unheard(without_prefect, wire, prefect)

    assert said["status"] == "cancelled"
    assert len(await prefect.flow_runs(run_id)) == 1
