"""Gate `recursive` on real Kafka and PostgreSQL: submission and run_tracker are played by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from tests.component.lineage.told import Told, text
from tests.support.eventually import eventually


async def chain(told: Told, **flow: Any) -> None:
    """prices → momentum → book, none of which ran yet."""
    await told.register("prices", type="DatasetInstance", flow=flow)
    await told.register("momentum", "prices", flow=flow)
    await told.register("book", "momentum", flow=flow)


async def recursive(told: Told, name: str, **fields: Any) -> str:
    return await told.ask(name, gate="recursive", **fields)


async def commands(told: Told, count: int) -> dict[str, dict[str, Any]]:
    """What lineage asked for, by the instance's id, when it has asked for so much."""

    async def asked() -> list[dict[str, Any]] | None:
        found = await told.about("runs.commands.v1")
        return found if len(found) >= count else None

    found = await eventually(asked)
    assert found is not None
    assert len(found) == count
    return {command["instance"]: command for command in found}


async def submitted(told: Told, name: str, command: dict[str, Any]) -> str:
    """Submission says `requested` for a command of lineage's; answers its run id."""
    passed_on = ("gate", "skip_if_ready", "trigger", "actor", "parent_run_id", "on_behalf_of")
    said = {field: command[field] for field in passed_on}
    return await told.ask(name, command_id=command["command_id"], instance_name=None, **said)


async def last(told: Told, run_id: str, type: str) -> dict[str, Any]:
    return await told.kafka.until("requests.decisions.v1", lambda m: m["run_id"] == run_id and m["type"] == type)


async def test_a_stale_chain_is_asked_for_once_runs_in_order_and_the_target_runs_at_last(told: Told) -> None:
    await chain(told)
    target = await recursive(told, "book")
    parked = await told.decision(target)
    assert parked["type"] == "request.parked"
    assert {b["name"] for b in parked["blockers"]} == {"prices", "momentum"}
    asked = await commands(told, 2)
    command = asked[told.id("prices")]
    assert command["command_id"] == f"recursive/{target}/{told.id('prices')}/refresh"
    assert (command["gate"], command["skip_if_ready"], command["trigger"]) == ("wait", True, "upstream")
    assert (command["parent_run_id"], command["on_behalf_of"], command["actor"]) == (
        target, "ana@acme", "system:lineage",
    )  # fmt: skip
    run_of = {name: await submitted(told, name, asked[told.id(name)]) for name in ("momentum", "prices")}
    assert (await told.decision(run_of["prices"]))["type"] == "request.admitted"
    waits = await told.decision(run_of["momentum"])
    assert (waits["type"], [b["name"] for b in waits["blockers"]]) == ("request.parked", ["prices"])
    prices = await told.completed("prices", run_of["prices"])
    assert (await last(told, run_of["momentum"], "request.admitted"))["run_type"] == "PipelineRun"
    await told.completed("momentum", run_of["momentum"], read={"prices": prices})
    admitted = await last(told, target, "request.admitted")
    assert list(admitted["input_versions"]) == ["momentum"]
    await told.is_quiet()
    assert len(await told.about("runs.commands.v1")) == 2
    said = [m["type"] for m in await told.about("requests.decisions.v1") if m["run_id"] == target]
    assert said.count("request.admitted") == 1
    assert not await told.lineage.rows("select 1 from due where ref = $1", target)


async def test_what_runs_or_waits_already_is_waited_for_and_not_asked_for(told: Told) -> None:
    await chain(told)
    running = await told.ask("prices")
    assert (await told.decision(running))["type"] == "request.admitted"
    waiting = await told.ask("momentum", gate="wait")
    assert (await told.decision(waiting))["type"] == "request.parked"
    target = await recursive(told, "book")
    assert (await told.decision(target))["type"] == "request.parked"
    await told.is_quiet()
    assert not await told.about("runs.commands.v1")
    prices = await told.completed("prices", running)
    assert (await last(told, waiting, "request.admitted"))["number"] == 2
    await told.completed("momentum", waiting, read={"prices": prices})
    await last(told, target, "request.admitted")


async def test_when_somebody_elses_run_or_request_comes_to_nothing_it_is_asked_for_then(told: Told) -> None:
    await chain(told)
    running, waiting = await told.ask("prices"), await told.ask("momentum", gate="wait")
    await told.decision(waiting)
    target = await recursive(told, "book")
    await told.decision(target)
    await told.request(waiting, "cancelled")
    assert list(await commands(told, 1)) == [told.id("momentum")]
    await told.run(running, "prices", "failed")
    assert set(await commands(told, 2)) == {told.id("prices"), told.id("momentum")}


@pytest.mark.parametrize("end", ["failed", "cancelled", "launch_failed", "refused"])
async def test_a_bad_end_of_what_was_asked_for_refuses_the_target_by_name(told: Told, end: str) -> None:
    await chain(told)
    target = await recursive(told, "book")
    asked = await commands(told, 2)
    child = await submitted(told, "prices", asked[told.id("prices")])
    other = await submitted(told, "momentum", asked[told.id("momentum")])
    await told.decision(child)
    if end == "failed":
        await told.run(child, "prices", "failed")
    else:
        await told.request(child, end)
    refused = await last(told, target, "request.refused")
    assert refused["code"] == "UPSTREAM_FAILED"
    assert [b["name"] for b in refused["blockers"]] == ["prices"]
    assert f"ended as {end}" in refused["message"]
    rows = await told.lineage.rows("select seen from decisions where run_id = $1 order by number", UUID(target))
    assert f'"ended_as": "{end}"' in rows[-1]["seen"]
    # What was asked for besides it goes on, like any other request.
    assert (await told.decision(other))["type"] == "request.parked"
    await told.is_quiet()
    assert not [m for m in await told.about("requests.decisions.v1") if m["run_id"] == other and m["number"] > 1]


async def test_a_run_that_leaves_its_flow_stale_refuses_the_target(told: Told) -> None:
    await told.register("prices", type="DatasetInstance")
    await told.register("momentum", "prices")
    await told.register("book", "momentum")
    old = await told.completed("prices", output="monday")
    await told.completed("prices", output="tuesday")
    target = await recursive(told, "book")
    [command] = (await commands(told, 1)).values()
    child = await submitted(told, "momentum", command)
    await told.decision(child)
    await told.completed("momentum", child, read={"prices": old})  # it read what is not current
    refused = await last(told, target, "request.refused")
    assert refused["code"] == "UPSTREAM_FAILED"
    assert "ended as completed; prices/refresh has another version" in refused["message"]


async def test_what_becomes_stale_by_what_it_asked_for_is_asked_for_too(told: Told) -> None:
    await chain(told)
    first = await told.completed("prices", output="monday")
    await told.completed("momentum", read={"prices": first})
    await told.run(await told.ask("prices"), "prices", "failed")
    await told.snapshot("prices", status="error")
    target = await recursive(told, "book")
    [command] = (await commands(told, 1)).values()
    child = await submitted(told, "prices", command)
    await told.completed("prices", child, output="tuesday")
    assert set(await commands(told, 2)) == {told.id("prices"), told.id("momentum")}
    assert not [m for m in await told.about("requests.decisions.v1")
                if m["run_id"] == target and m["type"] == "request.admitted"]  # fmt: skip


async def test_what_somebody_else_makes_stale_again_is_asked_for_again(told: Told) -> None:
    await told.register("prices", type="DatasetInstance")
    await told.register("momentum", "prices")
    await told.register("slow", type="DatasetInstance")
    await told.register("book", "momentum", "slow")
    monday = await told.completed("prices", output="monday")
    target = await recursive(told, "book")
    asked = await commands(told, 2)
    first = await submitted(told, "momentum", asked[told.id("momentum")])
    await told.decision(first)
    await told.completed("momentum", first, read={"prices": monday})
    await told.snapshot("momentum", status="ready")
    await told.completed("prices", output="tuesday")
    again = (await commands_after(told, asked, 3))[0]
    assert (again["instance"], again["parent_run_id"]) == (told.id("momentum"), target)
    assert again["command_id"] == f"{asked[told.id('momentum')]['command_id']}/2"


async def commands_after(told: Told, asked: dict[str, dict[str, Any]], count: int) -> list[dict[str, Any]]:
    known = {command["command_id"] for command in asked.values()}

    async def others() -> list[dict[str, Any]] | None:
        found = await told.about("runs.commands.v1")
        return [command for command in found if command["command_id"] not in known] if len(found) >= count else None

    found = await eventually(others)
    assert found is not None
    return found


async def test_what_nobody_can_run_refuses_at_once_by_name_and_asks_for_nothing(told: Told) -> None:
    await told.register("prices", type="DatasetInstance")
    await told.register("momentum", "prices", "ghost")
    refused = await told.decision(await recursive(told, "momentum"))
    assert (refused["type"], refused["code"]) == ("request.refused", "UPSTREAM_NOT_READY")
    assert [(b["name"], b["reason"]) for b in refused["blockers"]] == [("ghost", "it is not registered")]
    await told.register("momentum", "prices")
    await told.command("instance.retire", instance="prices")
    refused = await told.decision(await recursive(told, "momentum"))
    assert [(b["name"], b["status"]) for b in refused["blockers"]] == [("prices", "retired")]
    await told.is_quiet()
    assert not await told.about("runs.commands.v1")


async def test_an_upstream_that_is_retired_meanwhile_refuses_the_target(told: Told) -> None:
    await chain(told)
    target = await recursive(told, "book")
    await told.decision(target)
    await told.command("instance.retire", instance="prices")
    refused = await last(told, target, "request.refused")
    assert [(b["name"], b["status"]) for b in refused["blockers"]] == [("prices", "retired")]


async def test_the_deadline_holds_and_what_was_asked_for_goes_on(told: Told) -> None:
    await chain(told)
    target = await recursive(told, "book", wait_until=text(datetime.now(UTC) + timedelta(seconds=3)))
    child = await submitted(told, "prices", (await commands(told, 2))[told.id("prices")])
    assert (await told.decision(child))["type"] == "request.admitted"
    expired = await last(told, target, "request.expired")
    assert {b["name"] for b in expired["blockers"]} == {"prices", "momentum"}
    await told.is_quiet()
    assert [m["type"] for m in await told.about("requests.decisions.v1") if m["run_id"] == child] == [
        "request.admitted"
    ]  # fmt: skip


async def test_a_cancel_of_the_target_leaves_what_others_wait_for(told: Told) -> None:
    await chain(told)
    target, other = await recursive(told, "book"), await recursive(told, "book")
    await told.decision(other)
    asked = await commands(told, 2)  # once for both
    assert {command["parent_run_id"] for command in asked.values()} == {target}
    child = await submitted(told, "prices", asked[told.id("prices")])
    await told.request(target, "cancelled")
    sql = "select 1 from open_requests where run_id = $1 and ended_as = 'cancelled'"
    await eventually(lambda: told.lineage.rows(sql, UUID(target)))
    await told.decision(child)
    grandchild = await submitted(told, "momentum", asked[told.id("momentum")])
    prices = await told.completed("prices", child)
    await last(told, grandchild, "request.admitted")
    await told.completed("momentum", grandchild, read={"prices": prices})
    await last(told, other, "request.admitted")
    assert [m["type"] for m in await told.about("requests.decisions.v1") if m["run_id"] == target] == ["request.parked"]


async def test_the_limit_of_open_runs_holds_for_the_target_too(told: Told) -> None:
    await told.register("prices", type="DatasetInstance")
    first = await told.ask("prices")
    await told.decision(first)
    target = await recursive(told, "prices")
    parked = await told.decision(target)
    assert (parked["type"], [b["name"] for b in parked["blockers"]]) == ("request.parked", ["prices"])
    await told.completed("prices", first)
    assert (await told.decision(target, 2))["type"] == "request.admitted"
    assert not await told.about("runs.commands.v1")


async def test_a_ready_target_is_skipped_at_its_release_when_asked_smartly(told: Told) -> None:
    await told.register("prices", type="DatasetInstance")
    await told.register("momentum", "prices")
    target = await recursive(told, "momentum", skip_if_ready=True)
    child = await submitted(told, "prices", (await commands(told, 1))[told.id("prices")])
    await told.decision(child)
    prices = await told.completed("prices", child)
    assert (await last(told, target, "request.admitted"))["number"] == 2  # it never ran, so it is not ready
    await told.completed("momentum", target, read={"prices": prices})
    again = await told.decision(await recursive(told, "momentum", skip_if_ready=True))
    assert again["type"] == "request.skipped"


async def test_automatic_refreshes_are_not_asked_for_a_second_time(told: Told) -> None:
    await chain(told, on_upstream="refresh")
    target = await recursive(told, "book")
    asked = await commands(told, 2)
    child = await submitted(told, "prices", asked[told.id("prices")])
    await told.decision(child)
    await told.completed("prices", child, output="monday")
    await told.snapshot("prices", status="ready")
    await told.is_quiet()
    found = await told.about("runs.commands.v1")
    assert [c["command_id"].split("/")[0] for c in found if c["instance"] == told.id("momentum")] == ["recursive"]
    assert {c["instance"] for c in found} == {told.id("prices"), told.id("momentum")}
    assert target


async def test_what_submission_has_not_announced_is_asked_for_again_with_the_same_words(told: Told) -> None:
    await told.register("prices", type="DatasetInstance")
    await told.register("momentum", "prices")
    target = await recursive(told, "momentum")
    first = (await commands(told, 1))[told.id("prices")]
    ours = f"{told.tenant}/%"
    await told.lineage.rows("update due set due_at = now() where kind = 'ask_again' and ref like $1", ours)

    async def twice() -> list[dict[str, Any]] | None:
        found = await told.about("runs.commands.v1")
        return found if len(found) == 2 else None

    assert await eventually(twice) == [first, first]
    child = await submitted(told, "prices", first)
    assert (await told.decision(child))["type"] == "request.admitted"
    assert not await told.lineage.rows("select 1 from due where kind = 'ask_again' and ref like $1", ours)
    assert first["parent_run_id"] == target
