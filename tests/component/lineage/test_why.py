"""`why` on real Kafka and PostgreSQL: from the root cause to the symptom, now and at a past instant."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from runtide_schemas.vocabulary import version_id_of

from services.lineage.retention import forget_events
from tests.component.lineage.asking import get, send
from tests.component.lineage.told import Told, text
from tests.support.eventually import eventually


async def why(told: Told, name: str, **params: Any) -> dict[str, Any]:
    return await get(told, f"/v1/why/{name}", **params)


def said(answer: dict[str, Any]) -> list[tuple[str, int | None]]:
    return [(link["name"], link["rule"]) for link in answer["chain"]]


async def stale_chain(told: Told) -> tuple[str, datetime]:
    """prices → momentum → book; all were ready, then ana's run changed prices. Answers that run, and a time before."""
    await told.register("prices", type="DatasetInstance")
    await told.register("momentum", "prices")
    await told.register("book", "momentum")
    await told.snapshot("book")
    first = await told.completed("prices", output="monday")
    below = await told.completed("momentum", read={"prices": first})
    await told.completed("book", read={"momentum": below})
    await told.snapshot("book", status="ready")
    before = datetime.now(UTC)
    run_id = await told.ask("prices")
    await told.decision(run_id)
    await told.completed("prices", run_id, output="tuesday")
    await told.snapshot("book", status="stale")
    return run_id, before


async def test_a_stale_flow_is_explained_from_the_request_that_began_it(told: Told) -> None:
    run_id, _ = await stale_chain(told)
    answer = await why(told, "book")
    assert (answer["status"], answer["freshness"], answer["rule"]) == ("stale", "stale", 5)
    assert said(answer) == [
        ("prices/refresh", None), ("prices/refresh", 7), ("momentum/refresh", 5), ("book/refresh", 5),
    ]  # fmt: skip
    asked, root, between, symptom = answer["chain"]
    assert asked["sentence"] == f"ana@acme asked for run {run_id} of prices/refresh"
    assert {link["run_id"] for link in answer["chain"]} == {run_id}
    assert root["version_id"] == str(version_id_of(UUID(run_id), 1))
    assert "turned from ready to stale: prices/refresh has another version" in between["sentence"]
    assert symptom["sentence"].endswith("momentum/refresh is stale itself")
    assert len({link["message_id"] for link in (root, between, symptom)}) == 1
    assert root["message_id"].startswith("runs.status.v1:")
    assert symptom["at"] == answer["since"]
    assert answer["sentence"].startswith("book/refresh is stale since ")


async def test_at_a_past_instant_it_says_what_was_true_then(told: Told) -> None:
    _, before = await stale_chain(told)
    then = await why(told, "book", at=text(before))
    assert (then["status"], then["rule"], then["at"]) == ("ready", 7, text(before))
    assert then["version"]["verified_at"] is None
    earlier = await why(told, "book", at="2020-01-01T00:00:00Z")
    assert (earlier["status"], earlier["chain"]) == (None, [])
    assert earlier["sentence"] == "nothing is known of book/refresh then"
    ahead = await why(told, "book", at="2099-01-01T00:00:00Z")
    assert ahead["status"] == "stale"


async def test_a_failed_run_is_named_with_who_asked_for_it(told: Told) -> None:
    await told.register("prices", type="DatasetInstance")
    run_id = await told.ask("prices")
    await told.decision(run_id)
    await told.run(run_id, "prices", "failed")
    await told.snapshot("prices", status="not_initialized", flow__last_run_id=run_id)
    good = await told.ask("prices")
    await told.decision(good)
    await told.completed("prices", good)
    await told.snapshot("prices", status="ready")
    bad = await told.ask("prices")
    await told.decision(bad)
    await told.run(bad, "prices", "failed")
    await told.snapshot("prices", status="error")
    answer = await why(told, "prices")
    assert (answer["status"], answer["rule"]) == ("error", 2)
    assert [link["sentence"].split(":")[0] for link in answer["chain"]] == [
        f"ana@acme asked for run {bad} of prices/refresh", f"run {bad} failed",
    ]  # fmt: skip
    assert answer["version"]["run_id"] == good


async def test_ready_says_since_when_by_which_run_and_whether_it_was_verified(told: Told) -> None:
    await told.register("prices", type="DatasetInstance")
    await told.snapshot("prices")
    first = await told.completed("prices", output="same")
    await told.snapshot("prices", status="ready")
    made = await why(told, "prices")
    assert (made["version"]["run_id"], made["version"]["verified_at"]) == (first, None)
    await told.completed("prices", output="same")
    await told.is_quiet()
    answer = await why(told, "prices")
    assert (answer["status"], answer["since"]) == ("ready", made["since"])
    assert (answer["version"]["run_id"], answer["version"]["version_id"]) == (first, str(version_id_of(UUID(first), 1)))
    assert answer["version"]["verified_at"] is not None
    assert answer["chain"][-1]["sentence"].startswith(f"run {first} completed with version")


async def test_running_says_which_run_and_who_asked_for_it(told: Told) -> None:
    await told.register("prices", type="DatasetInstance")
    run_id = await told.ask("prices")
    await told.decision(run_id)
    await told.run(run_id, "prices", "running")
    await told.snapshot("prices", status="running")
    answer = await why(told, "prices")
    assert (answer["status"], answer["freshness"], answer["rule"]) == ("running", "not_initialized", 1)
    assert (answer["run"]["run_id"], answer["run"]["actor"], answer["run"]["trigger"]) == (
        run_id, "ana@acme", "manual",
    )  # fmt: skip
    assert answer["run"]["asked_at"] is not None


async def test_what_waits_is_shown_with_what_it_waits_for_and_only_while_it_waits(told: Told) -> None:
    await told.register("prices", type="DatasetInstance")
    await told.register("momentum", "prices")
    run_id = await told.ask("momentum", gate="wait")
    await told.decision(run_id)
    [waiting] = (await why(told, "momentum"))["requests"]
    assert (waiting["run_id"], waiting["actor"], waiting["gate"]) == (run_id, "ana@acme", "wait")
    assert [(b["name"], b["status"]) for b in waiting["blockers"]] == [("prices", "not_initialized")]
    assert waiting["blockers_total"] == 1
    while_it_waited = datetime.now(UTC)
    await told.request(run_id, "cancelled")

    async def gone() -> bool:
        return not (await why(told, "momentum"))["requests"]

    await eventually(gone)
    [then] = (await why(told, "momentum", at=text(while_it_waited)))["requests"]
    assert then["run_id"] == run_id


async def test_an_automatic_run_is_explained_by_what_made_it_necessary(told: Told) -> None:
    """prices changed, so momentum was asked for; momentum's run changed it, so book is stale."""
    await told.register("prices", type="DatasetInstance")
    await told.register("momentum", "prices", flow={"on_upstream": "refresh"})
    await told.register("book", "momentum")
    first = await told.completed("prices", output="monday")
    await told.snapshot("prices", status="ready")
    below = await told.completed("momentum", read={"prices": first}, output="m1")
    await told.completed("book", read={"momentum": below})
    await told.snapshot("book", status="ready")
    root = await told.completed("prices", output="tuesday")
    await told.snapshot("momentum", status="stale")
    commands = await eventually(lambda: told.about("runs.commands.v1"))
    assert commands is not None
    command = commands[-1]
    run_id = await told.ask("momentum", command_id=command["command_id"], gate="wait", trigger="upstream",
                            actor="system:lineage")  # fmt: skip
    await told.decision(run_id)
    await told.completed("momentum", run_id, read={"prices": root}, output="m2", trigger="upstream")
    await told.is_quiet()
    answer = await why(told, "book")
    assert [link["sentence"].split(":")[0] for link in answer["chain"]] == [
        f"run {root} of prices/refresh was not requested here",
        f"run {root} ended",
        "momentum/refresh turned from ready to stale",
        f"run {run_id} of momentum/refresh was asked for because something above it changed",
        f"run {run_id} completed with version {version_id_of(UUID(run_id), 1)}",
        "book/refresh is still stale",
    ]


async def test_a_command_is_the_cause_of_what_it_did(told: Told) -> None:
    await told.register("prices", type="DatasetInstance")
    await told.completed("prices")
    await told.snapshot("prices", status="ready")
    await told.command("instance.change_definition", instance="prices", digest="sha256:new")
    await told.snapshot("prices", status="stale")
    [link] = (await why(told, "prices"))["chain"]
    assert link["message_id"].startswith("instances.commands.v1:")
    assert "turned from ready to stale: its definition changed" in link["sentence"]
    await told.command("instance.retire", instance="prices")
    await told.snapshot("prices", status="retired")
    retired = await why(told, "prices")
    assert (retired["status"], retired["chain"][-1]["sentence"]) == ("retired", "prices/refresh was retired")


async def test_of_several_flows_it_is_about_the_one_that_gives_the_instance_its_status(told: Told) -> None:
    flows = [{"kind": kind, "deployment": f"{kind}-m/prod"} for kind in ("training", "inference")]
    await told.register("m", type="ModelInstance", flows=flows)
    await told.run(str(uuid4()), "m", "completed", flow_kind="training", run_type="TrainingRun")
    await told.is_quiet()
    assert (await why(told, "m"))["flow_kind"] == "inference"
    assert (await why(told, "m", flow_kind="train"))["status"] == "ready"
    unknown = await send(told, "GET", "/v1/why/m", flow_kind="refresh")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "UNKNOWN_FLOW")
    assert (await send(told, "GET", "/v1/why/m", at="yesterday")).status_code == 422


async def test_another_tenants_past_does_not_exist(told: Told) -> None:
    run_id, _ = await stale_chain(told)
    other = Told(told.lineage)
    assert (await send(other, "GET", f"/v1/why/{told.id('book')}")).status_code == 404
    assert (await send(other, "GET", f"/v1/decisions/{run_id}")).status_code == 404
    assert (await send(told, "GET", f"/v1/decisions/{run_id}")).status_code == 200


async def test_every_answer_of_the_gate_is_kept_with_what_it_saw(told: Told) -> None:
    await told.register("prices", type="DatasetInstance")
    await told.register("momentum", "prices")
    run_id = await told.ask("momentum", gate="wait")
    await told.decision(run_id)
    prices = await told.completed("prices")
    await told.decision(run_id, 2)
    parked, admitted = (await get(told, f"/v1/decisions/{run_id}"))["decisions"]
    assert [parked["answer"], admitted["answer"]] == ["request.parked", "request.admitted"]
    assert parked["seen"]["prices/refresh"] == {
        "status": "not_initialized", "version_id": None, "reason": "no run has completed yet",
    }  # fmt: skip
    assert admitted["seen"]["prices/refresh"]["version_id"] == str(version_id_of(UUID(prices), 1))
    assert admitted["said"]["input_versions"]["prices"]["version_id"] == str(version_id_of(UUID(prices), 1))


async def test_a_snapshot_told_twice_is_remembered_once(told: Told) -> None:
    await told.register("prices", type="DatasetInstance")
    await told.snapshot("prices", status="not_initialized")
    snapshot = await told.run(str(uuid4()), "prices", "completed")
    await told.snapshot("prices", status="ready")
    await told.kafka.send("runs.status.v1", snapshot)
    await told.is_quiet()
    rows = await told.lineage.rows("select seq, freshness from status_events where tenant = $1 order by 1", told.tenant)
    assert [(row["seq"], row["freshness"]) for row in rows] == [(1, "not_initialized"), (2, "ready")]


async def test_what_is_old_is_forgotten_but_how_things_were_at_the_limit_stays_known(told: Told) -> None:
    _, before = await stale_chain(told)
    sql = "select freshness from status_events where instance_id = $1 order by seq"
    book = UUID(told.id("book"))
    assert len(await told.lineage.rows(sql, book)) == 3
    async with told.lineage.running.context.engine.begin() as conn:
        assert await forget_events(conn, before) > 0
    assert [row["freshness"] for row in await told.lineage.rows(sql, book)] == ["ready", "stale"]
    assert (await why(told, "book", at=text(before + timedelta(milliseconds=1))))["status"] == "ready"
    assert len((await why(told, "book"))["chain"]) == 4
