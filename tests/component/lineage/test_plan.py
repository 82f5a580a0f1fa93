"""Plans on real Kafka and PostgreSQL: what is shown, what is kept, and that what was approved is what runs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from runtide_schemas.vocabulary import version_id_of

from services.lineage.retention import forget_plans
from tests.component.lineage.asking import get, send
from tests.component.lineage.told import Told, text
from tests.support.eventually import eventually


async def plan(told: Told, name: str, **body: Any) -> dict[str, Any]:
    answer = await send(told, "POST", "/v1/plan", body={"instance": name, **body})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def platform(told: Told) -> str:
    """prices → momentum, value → book → risk (refreshes itself); prices changed since; answers its run."""
    await told.register("prices", type="DatasetInstance")
    await told.register("momentum", "prices")
    await told.register("value", "prices")
    await told.register("book", "momentum", "value")
    await told.register("risk", "book", flow={"on_upstream": "refresh"})
    monday = await told.completed("prices", output="monday")
    for name in ("momentum", "value"):
        await told.completed(name, read={"prices": monday})
    await told.snapshot("value", status="ready")
    tuesday = await told.completed("prices", output="tuesday")
    await told.snapshot("value", status="stale")
    return tuesday


def nodes(made: dict[str, Any]) -> dict[str, tuple[str, str]]:
    every = [node for batch in made["batches"] for node in batch] + made["aside"]
    return {node["name"]: (node["action"], node["reason"]) for node in every}


async def test_a_plan_shows_batches_reasons_what_follows_and_is_kept(told: Told) -> None:
    prices = await platform(told)
    made = await plan(told, "book")
    assert [[node["name"] for node in batch] for batch in made["batches"]] == [
        ["momentum/refresh", "value/refresh"], ["book/refresh"],
    ]  # fmt: skip
    assert nodes(made) == {
        "momentum/refresh": ("run", "stale"), "value/refresh": ("run", "stale"), "book/refresh": ("run", "target"),
        "prices/refresh": ("skip", "ready"),
    }  # fmt: skip
    assert made["aside"][0]["version_id"] == str(version_id_of(UUID(prices), 1))
    assert [(one["name"], one["effect"], one["below"]) for one in made["blast_radius"]] == [
        ("risk/refresh", "refresh", "book/refresh")
    ]
    assert (made["runs"], made["is_possible"], made["actor"], made["tenant"]) == (3, True, "ana@acme", told.tenant)
    assert (made["instance_name"], made["flow_kind"], made["skip_if_ready"]) == ("book", "refresh", False)
    assert made["as_of"]
    assert await get(told, f"/v1/plan/{made['plan_id']}") == made
    again = await plan(told, "book")
    assert (again["digest"], again["plan_id"] != made["plan_id"]) == (made["digest"], True)


async def test_how_long_it_takes_is_the_median_of_what_was_recorded(told: Told) -> None:
    await told.register("prices", type="DatasetInstance")
    await told.register("momentum", "prices")
    at = datetime(2025, 1, 15, 12, tzinfo=UTC)
    for seconds in (10, 20, 900):
        await told.run(
            str(uuid4()), "prices", "completed", started_at=text(at), ended_at=text(at + timedelta(0, seconds))
        )
    for unlike in ({"mode": "preview"}, {"trigger": "backfill"}):
        await told.run(str(uuid4()), "prices", "completed", started_at=text(at), ended_at=text(at), **unlike)
    await told.run(str(uuid4()), "prices", "failed", started_at=text(at), ended_at=text(at + timedelta(0, 5000)))
    await told.is_quiet()
    made = await plan(told, "momentum")
    seconds = {node["name"]: node["expected_seconds"] for batch in made["batches"] for node in batch}
    assert seconds == {"prices/refresh": 20, "momentum/refresh": None}
    assert (made["expected_seconds"], made["at_least_seconds"]) == (None, 20)
    await told.run(str(uuid4()), "momentum", "completed", started_at=text(at), ended_at=text(at + timedelta(0, 7)))
    await told.is_quiet()
    made = await plan(told, "momentum")
    assert (made["expected_seconds"], made["critical_path"]) == (27, ["prices/refresh", "momentum/refresh"])


async def test_an_approved_plan_that_still_holds_runs_as_recursive(told: Told) -> None:
    await platform(told)
    made = await plan(told, "book")
    run_id = await told.ask("book", gate="recursive", plan_id=made["plan_id"])
    assert (await told.decision(run_id))["type"] == "request.parked"

    async def asked() -> list[dict[str, Any]] | None:
        found = [c for c in await told.about("runs.commands.v1") if c["parent_run_id"] == run_id]
        return found if len(found) == 2 else None

    commands = await eventually(asked)
    assert commands is not None
    assert {command["instance"] for command in commands} == {told.id("momentum"), told.id("value")}


async def test_a_plan_that_no_longer_holds_is_refused_node_by_node_and_asks_for_nothing(told: Told) -> None:
    prices = await platform(told)
    made = await plan(told, "book")
    before = len(await told.about("runs.commands.v1"))
    await told.completed("momentum", read={"prices": prices})
    await told.snapshot("momentum", status="ready")
    refused = await told.decision(await told.ask("book", gate="recursive", plan_id=made["plan_id"]))
    assert (refused["type"], refused["code"]) == ("request.refused", "PLAN_CHANGED")
    assert "momentum/refresh was to run refresh-momentum/prod, and now would be left as it is" in refused["message"]
    await told.is_quiet()
    assert len(await told.about("runs.commands.v1")) == before
    assert (await plan(told, "book"))["digest"] != made["digest"]


async def test_what_was_not_approved_does_not_run_later_either(told: Told) -> None:
    await platform(told)
    made = await plan(told, "book")
    run_id = await told.ask("book", gate="recursive", plan_id=made["plan_id"])
    assert (await told.decision(run_id))["type"] == "request.parked"
    await told.run(str(uuid4()), "prices", "failed")
    refused = await told.kafka.until(
        "requests.decisions.v1", lambda m: m["run_id"] == run_id and m["type"] == "request.refused"
    )
    assert refused["code"] == "PLAN_CHANGED"
    assert "prices/refresh would have to run too" in refused["message"]
    assert not [c for c in await told.about("runs.commands.v1") if c["instance"] == told.id("prices")]


async def test_another_tenants_plan_does_not_exist(told: Told) -> None:
    await platform(told)
    theirs = (await plan(told, "book"))["plan_id"]
    other = Told(told.lineage)
    await platform(other)
    assert (await send(other, "GET", f"/v1/plan/{theirs}")).status_code == 404
    for plan_id in (theirs, str(uuid4())):
        refused = await other.decision(await other.ask("book", gate="recursive", plan_id=plan_id))
        assert refused["code"] == "UNKNOWN_PLAN"
        assert refused["message"] == f"tenant {other.tenant!r} has no plan {plan_id}; POST /v1/plan makes one"


@pytest.mark.parametrize(
    ("asked", "status", "code"),
    [
        ({"instance": "nobody"}, 404, "NOT_FOUND"),
        ({"instance": "prices", "flow_kind": "training"}, 404, "UNKNOWN_FLOW"),
        ({"instance": "model"}, 422, "UNKNOWN_FLOW"),
        ({"instance": "gone"}, 409, "INSTANCE_RETIRED"),
    ],
)
async def test_what_can_not_be_planned_is_a_problem_by_name(
    told: Told, asked: dict[str, Any], status: int, code: str
) -> None:
    await told.register("prices", type="DatasetInstance")
    flows = [{"kind": kind, "deployment": f"{kind}-m/prod"} for kind in ("training", "inference")]
    await told.register("model", type="ModelInstance", flows=flows)
    await told.register("gone")
    await told.command("instance.retire", instance="gone")
    await told.snapshot("gone", status="retired")
    answer = await send(told, "POST", "/v1/plan", body=asked)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_what_stands_in_the_way_is_shown_and_the_plan_says_that_it_is_not_possible(told: Told) -> None:
    await told.register("momentum", "ghost")
    await told.snapshot("momentum")
    made = await plan(told, "momentum")
    assert made["is_possible"] is False
    assert nodes(made)["ghost"] == ("blocked", "not_initialized")
    refused = await told.decision(await told.ask("momentum", gate="recursive", plan_id=made["plan_id"]))
    assert (refused["code"], [b["name"] for b in refused["blockers"]]) == ("UPSTREAM_NOT_READY", ["ghost"])


async def test_old_plans_are_forgotten(told: Told) -> None:
    await told.register("prices", type="DatasetInstance")
    await told.snapshot("prices")
    made = await plan(told, "prices")
    async with told.lineage.running.context.engine.begin() as conn:
        assert await forget_plans(conn, datetime.now(UTC) - timedelta(days=1)) == 0
        assert await forget_plans(conn, datetime.now(UTC) + timedelta(days=1)) > 0
    assert (await send(told, "GET", f"/v1/plan/{made['plan_id']}")).status_code == 404
