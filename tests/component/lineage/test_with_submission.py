"""A recursive request through submission and lineage, both real: nobody plays the other's part."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from runtide_schemas.vocabulary import run_id_of

from tests.component.lineage.told import Told
from tests.support.harness import ServiceHarness, World


@pytest.fixture(scope="module")
async def lineage(world: World) -> AsyncIterator[ServiceHarness]:
    submission = await world.start("submission")
    service = await world.start("lineage")
    yield service
    await service.stop()
    await submission.stop()


async def request(told: Told, run_id: str, status: str) -> dict[str, Any]:
    return await told.kafka.until("requests.status.v1", lambda m: m["run_id"] == run_id and m["status"] == status)


async def test_what_can_not_be_launched_upstream_refuses_the_target_that_asked_for_it(told: Told) -> None:
    await told.register("prices", type="DatasetInstance", flow={"deployment": "nowhere/at-all"})
    await told.register("momentum", "prices")
    command = {"type": "run.submit", "tenant": told.tenant, "command_id": "smart", "actor": "ana@acme",
               "instance": "momentum", "gate": "recursive"}  # fmt: skip
    await told.kafka.send("runs.commands.v1", command)
    target = str(run_id_of(told.tenant, "smart"))
    parked = await request(told, target, "parked")
    assert [blocker["name"] for blocker in parked["blockers"]] == ["prices"]
    child = str(run_id_of(told.tenant, f"recursive/{target}/{told.id('prices')}/refresh"))
    admitted = await request(told, child, "admitted")
    assert {name: admitted[name] for name in ("trigger", "parent_run_id", "on_behalf_of", "actor", "gate")} == {
        "trigger": "upstream", "parent_run_id": target, "on_behalf_of": "ana@acme", "actor": "system:lineage",
        "gate": "wait",
    }  # fmt: skip
    await request(told, child, "launch_failed")  # no such deployment in Prefect
    refused = await request(told, target, "refused")
    assert (refused["code"], [blocker["name"] for blocker in refused["blockers"]]) == ("UPSTREAM_FAILED", ["prices"])
    assert "ended as launch_failed" in refused["message"]


async def test_a_cancelled_child_refuses_the_target_and_a_plan_travels_with_its_request(told: Told) -> None:
    await told.register("a", type="DatasetInstance", flow={"deployment": "nowhere/at-all"})
    await told.register("b", "a")
    await told.register("c", "b")
    plan_id = "3d6ff2f5-1d0a-4a43-8a8e-6f0f4f2f7c10"
    command = {"type": "run.submit", "tenant": told.tenant, "command_id": "planned", "instance": "c"}
    await told.kafka.send("runs.commands.v1", {**command, "plan_id": plan_id})
    refused = await request(told, str(run_id_of(told.tenant, "planned")), "refused")
    assert (refused["code"], refused["plan_id"], refused["gate"]) == ("UNKNOWN_PLAN", plan_id, "recursive")
    await told.kafka.send("runs.commands.v1", {**command, "command_id": "again", "gate": "recursive"})
    target = str(run_id_of(told.tenant, "again"))
    child = str(run_id_of(told.tenant, f"recursive/{target}/{told.id('b')}/refresh"))
    await request(told, child, "parked")
    await told.kafka.send("runs.commands.v1", {"type": "run.cancel", "tenant": told.tenant, "run_id": child})
    refused = await request(told, target, "refused")
    assert refused["code"] == "UPSTREAM_FAILED"
