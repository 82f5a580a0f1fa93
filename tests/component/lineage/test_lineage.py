"""The whole service on real Kafka and PostgreSQL, told only by messages."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from runtide_schemas.vocabulary import version_id_of

from services.lineage import handlers
from services.lineage.app import build
from services.lineage.store import LineageStore
from services.lineage.tables import metadata
from shared.postgres import execute
from shared.running import Running
from tests.component.lineage.told import Told, text
from tests.support.eventually import eventually
from tests.support.harness import ServiceHarness, World, of


async def test_a_registration_is_answered_by_a_snapshot(told: Told) -> None:
    await told.register("prices", type="DatasetInstance", owner="data@acme")
    snapshot = await told.snapshot("prices")
    assert snapshot["seq"] == 1
    assert snapshot["status"] == "not_initialized"
    assert snapshot["flows"][0]["max_open_runs"] == 1
    await told.is_quiet()
    [activity] = of(await told.about("activities.v1"), action="instance.registered")
    assert activity["actor"] == "ana@acme"


async def test_registering_the_same_again_says_nothing_and_naming_less_keeps_the_rest(told: Told) -> None:
    await told.register("prices", type="DatasetInstance")
    await told.snapshot("prices")
    await told.register("prices", type="DatasetInstance")
    await told.command("instance.register", name="prices", owner="desk@acme")
    snapshot = await told.snapshot("prices", owner="desk@acme")
    assert snapshot["seq"] == 2
    assert snapshot["flows"][0]["deployment"] == "refresh-prices/prod"


async def test_the_order_in_which_an_instance_shows_its_flows_is_overridable(told: Told) -> None:
    order = ["ready", "running", "stale_source_delayed", "stale", "not_initialized", "error"]
    flows = [{"kind": "refresh", "deployment": "a/prod"}, {"kind": "monitoring", "deployment": "b/prod"}]
    await told.register("prices", type="DatasetInstance", flows=flows)
    await told.completed("prices")
    await told.snapshot("prices", flow__status="ready", status="not_initialized")
    await told.command("instance.register", name="prices", status_order=order)
    assert (await told.snapshot("prices", status="ready"))["status_order"] == order
    await told.command("instance.register", name="prices", status_order=order[1:])
    refused = await told.kafka.until(
        "activities.v1", lambda m: m["tenant"] == told.tenant and m["action"] == "command.refused"
    )
    assert "status_order names each of" in refused["payload"]["message"]


async def test_register_then_submit_needs_no_grace_period(told: Told) -> None:
    await told.register("prices", type="DatasetInstance")
    run_id = await told.ask("prices")
    assert (await told.decision(run_id))["type"] == "request.admitted"


async def test_an_admission_carries_the_deployment_and_the_versions_that_satisfied_it(told: Told) -> None:
    await told.register("prices", type="DatasetInstance")
    await told.register("momentum", "prices")
    prices = await told.completed("prices")
    run_id = await told.ask("momentum", parameters={"window": 20})
    admitted = await told.decision(run_id)
    assert admitted["type"] == "request.admitted"
    assert admitted["deployment"] == "refresh-momentum/prod"
    assert admitted["parameters"] == {"window": 20}
    assert admitted["run_type"] == "PipelineRun"
    assert admitted["input_versions"]["prices"] == {
        "instance_id": told.id("prices"), "flow_kind": "refresh", "artifact_version": None, "basis": "admitted",
        "version_id": str(version_id_of(UUID(prices), 1)),
    }  # fmt: skip
    [row] = await told.lineage.rows("select * from decisions where run_id = $1", UUID(run_id))
    assert row["answer"] == "request.admitted"
    assert "prices/refresh" in row["seen"]


async def test_a_strict_request_is_refused_with_every_blocker_by_name(told: Told) -> None:
    await told.register("prices", type="DatasetInstance")
    await told.register("momentum", "prices", "fundamentals")
    refused = await told.decision(await told.ask("momentum"))
    assert refused["type"] == "request.refused"
    assert refused["code"] == "UPSTREAM_NOT_READY"
    assert {(b["name"], b["status"]) for b in refused["blockers"]} == {
        ("prices", "not_initialized"), ("fundamentals", "not_initialized"),
    }  # fmt: skip
    assert refused["status_map"] == {"prices/refresh": "not_initialized", "fundamentals": "not_initialized"}


@pytest.mark.parametrize(
    ("asked", "code", "says"),
    [
        ({"name": "nobody"}, "UNKNOWN_INSTANCE", "nobody"),
        ({"name": "prices", "flow_kind": "training"}, "UNKNOWN_FLOW", "it has: refresh"),
    ],
)
async def test_what_can_not_be_asked_for_is_refused_by_name(
    told: Told, asked: dict[str, Any], code: str, says: str
) -> None:
    await told.register("prices", type="DatasetInstance")
    refused = await told.decision(await told.ask(**asked))
    assert refused["code"] == code
    assert says in refused["message"]


async def test_a_forced_run_goes_ahead_with_a_warning(told: Told) -> None:
    await told.register("momentum", "prices")
    admitted = await told.decision(await told.ask("momentum", gate="force"))
    assert admitted["type"] == "request.admitted"
    assert "prices is not_initialized" in admitted["warning"]


async def test_a_completion_makes_everything_below_stale_once_and_says_why(told: Told) -> None:
    await told.register("prices", type="DatasetInstance")
    await told.register("momentum", "prices")
    await told.register("backtest-like", "momentum")
    first = await told.completed("prices", output="monday")
    below = await told.completed("momentum", read={"prices": first})
    await told.completed("backtest-like", read={"momentum": below})
    await told.snapshot("backtest-like", status="ready")
    root = await told.completed("prices", output="tuesday", metrics={"rows_added": 7})
    stale = await told.snapshot("backtest-like", status="stale")
    assert stale["old_status"] == "ready"
    assert stale["cause"] == {
        "run_id": root, "version_id": str(version_id_of(UUID(root), 1)), "instance_id": told.id("prices"),
        "path": ["prices", "momentum", "backtest-like"],
    }  # fmt: skip
    await told.completed("prices", output="wednesday")
    await told.is_quiet()
    snapshots = await told.about("instances.status.v1")
    assert len(of(snapshots, instance_id=told.id("backtest-like"), status="stale")) == 1
    [activity] = of(await told.about("activities.v1"), action="pipeline_run.completed", resource_id=root)
    assert [one["name"] for one in activity["payload"]["affected_downstream"]] == ["momentum", "backtest-like"]
    assert activity["payload"]["metrics"] == {"rows_added": 7}


async def test_an_unchanged_output_confirms_the_version_and_its_readers_stay_ready(told: Told) -> None:
    await told.register("prices", type="DatasetInstance")
    await told.register("momentum", "prices")
    first = await told.completed("prices", output="same")
    await told.completed("momentum", read={"prices": first})
    await told.snapshot("momentum", status="ready")
    await told.completed("prices", output="same")
    confirmed = await eventually(lambda: told.snapshot("prices", flow__version_id=str(version_id_of(UUID(first), 1))))
    assert confirmed["status"] == "ready"
    await told.is_quiet()
    prices = of(await told.about("instances.status.v1"), instance_id=told.id("prices"))[-1]
    assert prices["flows"][0]["verified_at"] is not None
    assert not of(await told.about("instances.status.v1"), instance_id=told.id("momentum"), status="stale")


async def test_running_is_shown_over_the_answer_and_a_cancel_brings_it_back(told: Told) -> None:
    await told.register("prices", type="DatasetInstance")
    await told.completed("prices")
    await told.snapshot("prices", status="ready")
    run_id = str(uuid4())
    await told.run(run_id, "prices", "running")
    running = await told.snapshot("prices", status="running")
    assert running["flows"][0]["freshness"] == "ready"
    assert running["flows"][0]["open_run_id"] == run_id
    await told.run(run_id, "prices", "cancelled")
    back = await told.snapshot("prices", status="ready", old_status="running")
    assert back["flows"][0]["last_run_id"] == run_id


async def test_after_a_cancel_the_last_good_version_is_what_downstream_is_admitted_with(told: Told) -> None:
    await told.register("prices", type="DatasetInstance")
    await told.register("momentum", "prices")
    good = await told.completed("prices")
    await told.snapshot("prices", status="ready")
    cancelled = str(uuid4())
    await told.run(cancelled, "prices", "running")
    await told.run(cancelled, "prices", "cancelled")
    await told.snapshot("prices", status="ready", flow__last_run_id=cancelled)

    admitted = await told.decision(await told.ask("momentum"))

    assert admitted["type"] == "request.admitted"
    assert admitted["input_versions"]["prices"]["version_id"] == str(version_id_of(UUID(good), 1))


async def test_a_failed_run_is_an_error_that_blocks_by_name_and_keeps_the_version(told: Told) -> None:
    await told.register("prices", type="DatasetInstance")
    await told.register("momentum", "prices")
    good = await told.completed("prices")
    await told.completed("momentum", read={"prices": good})
    await told.snapshot("momentum", status="ready")
    await told.run(str(uuid4()), "prices", "failed")
    failed = await told.snapshot("prices", status="error")
    assert failed["flows"][0]["version_id"] == str(version_id_of(UUID(good), 1))
    refused = await told.decision(await told.ask("momentum"))
    assert [(b["name"], b["status"]) for b in refused["blockers"]] == [("prices", "error")]
    assert not of(await told.about("instances.status.v1"), instance_id=told.id("momentum"), status="stale")


async def test_a_completion_corrected_to_failed_withdraws_its_version(told: Told) -> None:
    await told.register("prices", type="DatasetInstance")
    await told.register("momentum", "prices")
    monday = await told.completed("prices", output="monday")
    tuesday = await told.completed("prices", output="tuesday")
    await told.completed("momentum", read={"prices": tuesday})
    await told.snapshot("momentum", status="ready")
    await told.run(tuesday, "prices", "failed", supersedes=1)
    withdrawn = await told.snapshot("prices", status="error")
    assert withdrawn["flows"][0]["version_id"] == str(version_id_of(UUID(monday), 1))
    assert (await told.snapshot("momentum", status="stale"))["cause"]["run_id"] == tuesday


async def test_a_waiting_request_is_released_when_its_last_blocker_is_gone(told: Told) -> None:
    await told.register("prices", type="DatasetInstance")
    await told.register("momentum", "prices")
    run_id = await told.ask("momentum", gate="wait")
    parked = await told.decision(run_id)
    assert parked["type"] == "request.parked"
    assert [b["name"] for b in parked["blockers"]] == ["prices"]
    assert parked["wait_until"] is not None
    await told.completed("prices")
    assert (await told.decision(run_id, 2))["type"] == "request.admitted"
    assert not await told.lineage.rows("select * from due")


async def test_a_waiting_request_expires_at_its_deadline_by_name(told: Told) -> None:
    await told.register("momentum", "prices")
    soon = (told.tick()).replace(year=2020).isoformat().replace("+00:00", "Z")
    run_id = await told.ask("momentum", gate="wait", wait_until=soon)
    expired = await told.decision(run_id)
    assert expired["type"] == "request.expired"
    assert [b["name"] for b in expired["blockers"]] == ["prices"]


async def test_a_parked_request_expires_by_the_clock_alone(told: Told) -> None:
    from datetime import UTC, datetime, timedelta

    await told.register("momentum", "prices")
    soon = (datetime.now(UTC) + timedelta(seconds=2)).isoformat().replace("+00:00", "Z")
    run_id = await told.ask("momentum", gate="wait", wait_until=soon)
    assert (await told.decision(run_id))["type"] == "request.parked"
    assert (await told.decision(run_id, 2))["type"] == "request.expired"


async def test_a_deadline_is_taken_only_under_the_lock_of_its_tenant(told: Told) -> None:
    await told.register("momentum", "prices")
    run_id = await told.ask("momentum", gate="wait")
    await told.decision(run_id)
    async with told.lineage.running.context.engine.begin() as consumer:
        await LineageStore(consumer).lock({told.tenant})
        await told.lineage.rows("update due set due_at = now() where ref = $1", run_id)
        await eventually(lambda: _waits(told), what="a due worker that waits for the tenant")
        assert await execute(consumer, "delete from due where ref = :ref", ref=run_id) == 1
    await told.is_quiet()
    assert [one["number"] for one in of(await told.about("requests.decisions.v1"), run_id=run_id)] == [1]


async def _waits(told: Told) -> bool:
    sql = "select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
    return bool(await told.lineage.rows(sql))


async def test_two_requests_of_one_flow_can_not_both_pass_and_an_end_frees_the_place(told: Told) -> None:
    await told.register("prices", type="DatasetInstance")
    first = await told.ask("prices", gate="wait")
    second = await told.ask("prices", gate="wait")
    answers = {run_id: await told.decision(run_id) for run_id in (first, second)}
    assert sorted(one["type"] for one in answers.values()) == ["request.admitted", "request.parked"]
    [admitted, parked] = sorted(answers, key=lambda run_id: answers[run_id]["type"])
    assert "1 of at most 1 runs are open" in answers[parked]["blockers"][0]["reason"]
    await told.request(admitted, "cancelled")
    assert (await told.decision(parked, 2))["type"] == "request.admitted"
    await told.request(parked, "launched")
    third = await told.decision(await told.ask("prices", gate="force"))
    assert third["type"] == "request.refused"  # the flow itself blocks a forced run too
    await told.completed("prices", parked)
    assert (await told.decision(await told.ask("prices")))["type"] == "request.admitted"


async def test_a_ready_target_is_skipped_when_asked_smartly(told: Told) -> None:
    await told.register("prices", type="DatasetInstance")
    run_id = await told.completed("prices")
    skipped = await told.decision(await told.ask("prices", skip_if_ready=True))
    assert skipped["type"] == "request.skipped"
    assert skipped["version_id"] == str(version_id_of(UUID(run_id), 1))


async def test_a_diamond_asks_for_one_refresh_of_each_and_the_join_waits_for_both(told: Told) -> None:
    refresh = {"on_upstream": "refresh"}
    await told.register("a", type="DatasetInstance")
    await told.register("b", "a", flow=refresh)
    await told.register("c", "a", flow=refresh)
    await told.register("d", "b", "c", flow=refresh)
    await told.is_quiet()
    root = await told.completed("a", output="monday")
    asked = await eventually(lambda: _submits(told, 3))
    assert {command["instance"] for command in asked} == {told.id(name) for name in "bcd"}
    assert {(c["gate"], c["skip_if_ready"], c["trigger"], c["actor"]) for c in asked} == {
        ("wait", True, "upstream", "system:lineage")
    }
    run_of = {}
    for command in asked:
        name = next(name for name in "bcd" if told.id(name) == command["instance"])
        run_of[name] = await told.ask(name, command_id=command["command_id"], instance_name=None, gate="wait",
                                      skip_if_ready=True, trigger="upstream")  # fmt: skip
    parked = await told.decision(run_of["d"])
    assert parked["wait_until"] is None
    assert {b["name"] for b in parked["blockers"]} == {"b", "c"}
    b = await told.completed("b", run_of["b"], read={"a": root})
    await told.is_quiet()
    c = await told.completed("c", run_of["c"], read={"a": root})
    released = await told.kafka.until(
        "requests.decisions.v1", lambda m: m["run_id"] == run_of["d"] and m["type"] == "request.admitted"
    )
    assert {role: one["version_id"] for role, one in released["input_versions"].items()} == {
        "b": str(version_id_of(UUID(b), 1)), "c": str(version_id_of(UUID(c), 1)),
    }  # fmt: skip
    await told.completed("d", run_of["d"], read={"b": b, "c": c})
    await told.snapshot("d", status="ready")
    assert len(await told.about("runs.commands.v1")) == 3


async def test_what_submission_never_announces_is_asked_for_again_until_it_does(told: Told) -> None:
    await told.register("prices", type="DatasetInstance")
    await told.register("momentum", "prices", flow={"on_upstream": "refresh"})
    await told.is_quiet()
    await told.completed("prices")
    [asked] = await eventually(lambda: _submits(told, 1))
    await told.lineage.rows("update due set due_at = now() where ref like $1", f"{told.tenant}/%")
    first, second = await eventually(lambda: _submits(told, 2))
    assert first == second == asked
    await told.ask("momentum", command_id=asked["command_id"], gate="wait", trigger="upstream")
    await told.is_quiet()
    assert not await told.lineage.rows("select from due where ref like $1", f"{told.tenant}/%")
    assert len(await told.about("runs.commands.v1")) == 2


async def _submits(told: Told, count: int) -> list[dict[str, Any]]:
    found = await told.about("runs.commands.v1")
    return found if len(found) >= count else []


async def test_a_cycle_is_refused_by_name(told: Told) -> None:
    await told.register("a", "c")
    await told.register("b", "a")
    await told.register("c", "b")
    refused = await told.kafka.until(
        "activities.v1", lambda m: m["tenant"] == told.tenant and m["action"] == "command.refused"
    )
    assert refused["payload"]["code"] == "INVALID_COMMAND"
    assert "cycle: " in refused["payload"]["message"]
    assert "a/refresh" in refused["payload"]["message"]
    assert not of(await told.about("instances.status.v1"), name="c")


async def test_a_retired_instance_refuses_its_waiting_requests_and_blocks_by_name(told: Told) -> None:
    await told.register("prices", type="DatasetInstance")
    await told.register("momentum", "prices")
    await told.register("below", "momentum")
    run_id = await told.ask("momentum", gate="wait")
    assert (await told.decision(run_id))["type"] == "request.parked"
    await told.command("instance.retire", instance="momentum")
    assert (await told.decision(run_id, 2))["code"] == "INSTANCE_RETIRED"
    assert (await told.snapshot("momentum", status="retired"))["old_status"] == "not_initialized"
    refused = await told.decision(await told.ask("below"))
    assert ("momentum", "retired") in {(b["name"], b["status"]) for b in refused["blockers"]}
    await told.register("momentum", "prices")
    assert (await told.snapshot("momentum", status="not_initialized", old_status="retired"))["seq"] == 3


async def test_a_new_definition_makes_stale_and_asks_below(told: Told) -> None:
    await told.register("prices", type="DatasetInstance")
    await told.register("momentum", "prices", flow={"on_upstream": "refresh"})
    await told.is_quiet()
    first = await told.completed("prices")
    await told.completed("momentum", read={"prices": first})
    await told.snapshot("momentum", status="ready")
    run_id = await told.asked("momentum")
    await told.request(run_id, "cancelled")
    await eventually(lambda: _is_over(told, run_id))
    await told.command("instance.change_definition", instance="prices", digest="sha256:new")
    assert "definition" in (await told.snapshot("prices", status="stale"))["flows"][0]["reason"]
    await told.snapshot("momentum", status="stale")
    await told.asked("momentum")
    assert len(await told.about("runs.commands.v1")) == 2


async def _is_over(told: Told, run_id: str) -> bool:
    sql = "select 1 from open_requests where run_id = $1 and state = 'ended'"
    return bool(await told.lineage.rows(sql, UUID(run_id)))


async def test_a_run_that_was_there_before_its_instance_counts_when_it_is_registered(told: Told) -> None:
    run_id = await told.completed("prices")
    await told.is_quiet()
    await told.register("prices", type="DatasetInstance")
    snapshot = await told.snapshot("prices", status="ready")
    assert snapshot["flows"][0]["last_run_id"] == run_id


async def test_another_tenants_instance_does_not_exist(told: Told) -> None:
    await told.register("prices", type="DatasetInstance")
    await told.snapshot("prices")
    other = Told(told.lineage)
    refused = await other.decision(await other.ask("theirs", instance_id=told.id("prices"), instance_name=None))
    assert refused["code"] == "UNKNOWN_INSTANCE"
    await other.command("instance.retire", instance=told.id("prices"))
    await other.is_quiet()
    [activity] = of(await other.about("activities.v1"), action="command.refused")
    assert activity["payload"]["code"] == "UNKNOWN_INSTANCE"
    [row] = await told.lineage.rows("select status from standings where instance_id = $1", UUID(told.id("prices")))
    assert row["status"] == "not_initialized"


async def test_a_second_identical_snapshot_changes_nothing_and_says_nothing(told: Told) -> None:
    await told.register("prices", type="DatasetInstance")
    await told.register("momentum", "prices", flow={"on_upstream": "refresh"})
    await told.is_quiet()
    snapshot = await told.run(str(uuid4()), "prices", "completed")
    await told.snapshot("prices", status="ready")
    await told.is_quiet()
    before = await _everything(told)
    await told.kafka.send("runs.status.v1", snapshot)
    assert await _everything(told) == before
    await told.kafka.send("runs.status.v1", {**snapshot, "seq": 2, "status": "failed"})  # the control: this one counts
    await told.snapshot("prices", status="not_initialized", old_status="ready")
    assert await _everything(told) != before


async def _everything(told: Told) -> dict[str, Any]:
    """All that lineage said and stored of this tenant, once it has answered everything."""
    await told.is_quiet()
    said = {
        topic: len(await told.about(topic))
        for topic in ("instances.status.v1", "activities.v1", "runs.commands.v1", "requests.decisions.v1")
    }
    stored = {
        table: await told.lineage.rows(f"select * from {table} where tenant = $1 order by 1, 2", told.tenant)
        for table in (
            "instances",
            "flows",
            "edges",
            "standings",
            "versions",
            "runs",
            "open_requests",
            "decisions",
        )
    }
    return {"said": said, "stored": stored}


async def test_reading_the_log_again_from_the_start_changes_no_table_and_sends_nothing(own_world: World) -> None:
    lineage = await own_world.start("lineage")
    told = Told(lineage)
    await told.register("prices", type="DatasetInstance")
    await told.register("momentum", "prices", flow={"on_upstream": "refresh"})
    await told.register("momentum", "prices", "other", flow={"on_upstream": "notify"})
    await told.register("momentum", "momentum")
    await told.command("instance.change_definition", instance="prices", digest="sha256:1")
    first = await told.completed("prices", output="monday", started_at="2030-01-01T00:00:00Z")
    parked = await told.ask("momentum", gate="wait")
    await told.decision(parked)
    await told.completed("prices", output="monday", started_at="2030-01-02T00:00:00Z")
    await told.run(first, "prices", "failed")
    await told.ask("prices")
    before = await _everything(told)
    await lineage.stop()
    await lineage.rows("update consumer_offsets set next_offset = 0")
    again = told.lineage = await own_world.start("lineage", migrated=True)
    assert await _everything(told) == before
    await again.stop()


async def test_the_beginning_of_a_request_whose_end_was_heard_first_is_not_decided(told: Told) -> None:
    await told.register("prices", type="DatasetInstance")
    decided = await told.ask("prices")
    await told.decision(decided)
    run_id = str(uuid4())
    begins = {
        **told.asked_of(decided), "type": "request.status_changed", "tenant": told.tenant, "run_id": run_id,
        "command_id": uuid4().hex, "status": "requested", "occurred_at": text(datetime.now(UTC)), "seq": 1,
    }  # fmt: skip
    for snapshot in (begins | {"status": "cancelled", "seq": 2}, begins):
        await told.kafka.send("requests.status.v1", snapshot, key=run_id.encode())
        await told.is_quiet()
    assert [one["run_id"] for one in await told.about("requests.decisions.v1")] == [decided]


async def test_http_registers_and_shows_the_same_snapshot(lineage: ServiceHarness) -> None:
    name = f"http-{uuid4().hex[:8]}"
    body = {"instance_type": "DatasetInstance", "flows": [{"kind": "refresh", "deployment": "refresh-x/prod"}]}
    made = await lineage.http.put(f"/v1/instances/{name}", json=body)
    assert made.status_code == 201, made.text
    assert (await lineage.http.put(f"/v1/instances/{name}", json=body)).status_code == 200
    below = await lineage.http.put(f"/v1/instances/{name}-below", json={
        "instance_type": "SignalInstance", "upstreams": [{"instance": name}],
        "flows": [{"kind": "refresh", "deployment": "refresh-y/prod"}],
    })  # fmt: skip
    assert below.status_code == 201
    one = (await lineage.http.get(f"/v1/instances/{name}")).json()
    assert one["seq"] == 1
    assert one["instance_id"] == made.json()["instance_id"]
    listed = (await lineage.http.get("/v1/instances", params={"limit": 1})).json()
    assert len(listed["instances"]) == 1
    assert listed["cursor"] == listed["instances"][0]["name"]
    graph = (await lineage.http.get(f"/v1/lineage/{name}")).json()
    assert (graph["center_id"], graph["direction"], graph["max_depth"]) == (one["instance_id"], "both", 1)
    assert set(graph["nodes"][0]) == {"id", "name", "type", "status", "direction", "layer", "order"}
    assert [(n["name"], n["direction"], n["layer"], n["order"]) for n in graph["nodes"]] == [
        (name, "center", 0, 0), (f"{name}-below", "downstream", 1, 0),
    ]  # fmt: skip
    assert [edge["kind"] for edge in graph["edges"]] == ["data_dependency"]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (
            {"instance_type": "DatasetInstance", "flows": [{"kind": "training", "deployment": "a/b"}]},
            "allowed: refresh",
        ),
        ({"instance_type": "DatasetInstance"}, "name its instance_type and flows"),
        ({"flows": [{"kind": "refresh", "deployment": "nonsense"}]}, "flows.0.deployment"),
        ({"surprise": 1}, "surprise"),
        (
            {
                "instance_type": "SignalInstance",
                "flows": [{"kind": "refresh", "deployment": "a/b"}],
                "upstreams": [{"instance": "self"}],
            },
            "can not read itself",
        ),
    ],
)
async def test_http_refuses_by_name(lineage: ServiceHarness, body: dict[str, Any], says: str) -> None:
    answer = await lineage.http.put("/v1/instances/self", json=body)
    assert answer.status_code == 422
    assert says in answer.text
    assert (await lineage.http.get("/v1/instances/self")).status_code == 404


async def test_http_shows_another_tenant_nothing(lineage: ServiceHarness, told: Told) -> None:
    await told.register("prices", type="DatasetInstance")
    await told.snapshot("prices")
    assert (await lineage.http.get(f"/v1/instances/{told.id('prices')}")).status_code == 404
    assert (await lineage.http.get(f"/v1/lineage/{told.id('prices')}")).status_code == 404


async def test_an_unreadable_line_is_a_dead_letter_and_the_next_one_counts(told: Told) -> None:
    await told.kafka.send("instances.commands.v1", b"{", key=told.tenant.encode())
    await told.register("prices", type="DatasetInstance")
    await told.snapshot("prices")
    await told.is_quiet()
    assert await told.lineage.rows("select 1 from dead_letters where value = $1", b"{")


@pytest.mark.parametrize("facts_first", [True, False], ids=["facts first", "control: without the precondition"])
async def test_a_question_waits_for_the_facts_that_kafka_already_held(own_world: World, facts_first: bool) -> None:
    """The registration lies in Kafka, not read yet: it is waited for. Without the precondition nobody knows it."""
    await own_world.migrate("lineage")
    service = build(own_world.settings("lineage"))
    may_read, came = asyncio.Event(), asyncio.Event()

    async def held(batch: Any, work: Any) -> None:
        await may_read.wait()
        await handlers.on_instances_commands(batch, work)

    commands, runs, requests = service.consumers
    assert requests.before is not None
    real = requests.before

    def seen(context: Any) -> Any:
        precondition = real(context)

        async def asked(batch: Any) -> list[Any]:
            came.set()
            return await precondition(batch)

        return asked

    consumers = [replace(commands, handler=held), runs, replace(requests, before=seen if facts_first else None)]
    running = Running(replace(service, consumers=consumers))
    await running.start()
    told = Told(ServiceHarness("lineage", own_world, running))
    await told.register("prices", type="DatasetInstance")
    run_id = await told.ask("prices")
    if facts_first:
        await came.wait()
        assert not await told.about("requests.decisions.v1")
        may_read.set()
        assert (await told.decision(run_id))["type"] == "request.admitted"
    else:
        assert (await told.decision(run_id))["code"] == "UNKNOWN_INSTANCE"
        may_read.set()
    await told.lineage.stop()


async def test_the_migrated_tables_are_those_of_the_code(world: World, lineage: ServiceHarness) -> None:
    columns = await lineage.rows(
        """
        select table_name, column_name, is_nullable = 'YES' as nullable from information_schema.columns
        where table_schema = 'lineage' and table_name <> 'schema_version'
        """
    )
    indexes = await lineage.rows("select indexname from pg_indexes where schemaname = 'lineage'")
    wanted = {
        (table.name, column.name, bool(column.nullable)) for table in metadata.sorted_tables for column in table.columns
    }
    assert {(row["table_name"], row["column_name"], row["nullable"]) for row in columns} == wanted
    assert {str(index.name) for table in metadata.sorted_tables for index in table.indexes} <= {
        row["indexname"] for row in indexes
    }
