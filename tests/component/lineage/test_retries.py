"""What failed is run once more, on real Kafka and PostgreSQL: one chain of requests, waited for by whoever waits."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.component.lineage.told import Told, text
from tests.support.harness import of

NOW = {"max": 2, "backoff": "PT0.01S", "on": ["failed", "timed_out"]}
LATER = {"max": 2, "backoff": "PT3H", "backoff_max": "PT3H", "on": ["failed"]}


async def failed(told: Told, name: str, run_id: str, **fields: Any) -> None:
    await told.run(run_id, name, "failed", **{"orchestrator_run_id": str(uuid4()), **fields})


async def retry_of(told: Told, name: str, run_id: str) -> str:
    """Submission says that it has the retry; answers its run id."""
    command = await told.kafka.until("runs.commands.v1", lambda m: m["command_id"] == f"retry/{run_id}")
    said = {field: value for field, value in command.items() if field not in ("type", "tenant", "instance")}
    return await told.ask(name, **{**said, "instance_name": None})


async def admitted(told: Told, name: str, **fields: Any) -> str:
    run_id = await told.ask(name, **fields)
    assert (await told.decision(run_id))["type"] == "request.admitted"
    return run_id


async def commands(told: Told) -> list[dict[str, Any]]:
    return of(await told.about("runs.commands.v1"), type="run.submit")


async def test_a_chain_of_retries_says_what_each_does_over_and_ends(told: Told) -> None:
    await told.register("a", flow={"retry": NOW})
    assert (await told.snapshot("a"))["flows"][0]["retry"]["on"] == ["failed", "timed_out"]
    first = await admitted(told, "a", parameters={"x": 1})
    await failed(told, "a", first)
    second = await retry_of(told, "a", first)
    asked = told.asked_of(second)
    assert (asked["trigger"], asked["gate"], asked["parameters"]) == ("manual", "wait", {"x": 1})
    assert (asked["actor"], asked["on_behalf_of"]) == ("system:lineage", "ana@acme")
    assert asked["retries"] | {"not_before": None} == {
        "run_id": first, "first_run_id": first, "number": 1, "max": 2, "reason": "failed", "not_before": None,
    }  # fmt: skip
    assert (await told.decision(second))["type"] == "request.admitted"
    await failed(told, "a", second, sub_state="timed_out")
    third = await retry_of(told, "a", second)
    retries = told.asked_of(third)["retries"]
    assert (retries["run_id"], retries["first_run_id"], retries["number"]) == (second, first, 2)
    assert (retries["reason"], told.asked_of(third)["on_behalf_of"]) == ("timed_out", "ana@acme")
    assert (await told.decision(third))["type"] == "request.admitted"
    await failed(told, "a", third)
    await told.is_quiet()
    assert len(await commands(told)) == 2


async def test_it_waits_for_its_time_in_sight_and_a_run_that_ends_well_meanwhile_makes_up_for_it(told: Told) -> None:
    await told.register("a", flow={"retry": LATER})
    first = await admitted(told, "a")
    before = datetime.now(UTC)
    await failed(told, "a", first)
    retry = await retry_of(told, "a", first)
    parked = await told.decision(retry)
    assert parked["type"] == "request.parked"
    assert parked["blockers"][0]["reason"].startswith(f"retry 1 of 2 of run {first}, which ended as failed, is due at")
    [row] = await told.lineage.rows("select due_at from due where kind = 'expire' and ref = $1", retry)
    ended = datetime.fromisoformat(str((await told.about("runs.status.v1"))[-1]["ended_at"]))
    assert row["due_at"] == ended + timedelta(hours=3) < before + timedelta(hours=3)
    own = await told.ask("a")  # the flow is free: whoever asks now need not wait for the retry
    assert (await told.decision(own))["type"] == "request.admitted"
    await told.completed("a", own)
    skipped = await told.decision(retry, 2)
    assert (skipped["type"], skipped["message"]) == (
        "request.skipped", f"a run has ended well since run {first} failed")  # fmt: skip


@pytest.mark.parametrize(
    ("how", "fields"),
    [
        ("cancelled", {}),
        ("failed", {"cancel_requested_at": text(datetime.now(UTC))}),
        ("failed", {"sub_state": "lost"}),
        ("failed", {"orchestrator_run_id": None}),
    ],
)
async def test_what_was_cancelled_lost_or_never_launched_is_not_retried(
    told: Told, how: str, fields: dict[str, Any]
) -> None:
    await told.register("a", flow={"retry": NOW})
    run_id = await admitted(told, "a")
    await told.run(run_id, "a", how, **{"orchestrator_run_id": str(uuid4()), **fields})
    await told.is_quiet()
    assert await commands(told) == []
    [row] = await told.lineage.rows("select state from open_requests where run_id = $1", UUID(run_id))
    assert row["state"] == "ended"


async def test_a_failure_told_twice_and_the_end_of_a_run_nobody_asked_for_ask_for_nothing_more(told: Told) -> None:
    await told.register("a", flow={"retry": LATER})
    first = await admitted(told, "a")
    await failed(told, "a", first)
    await failed(told, "a", first, metrics={"rows": 1})
    await failed(told, "a", str(uuid4()), trigger="scheduled")
    await told.is_quiet()
    assert [one["command_id"] for one in await commands(told)] == [f"retry/{first}"]


async def test_a_recursive_request_is_refused_only_when_the_retries_of_what_it_asked_for_are_used_up(
    told: Told,
) -> None:
    await told.register("a", type="DatasetInstance", flow={"retry": {**NOW, "max": 1}})
    await told.register("b", "a")
    target = await told.ask("b", gate="recursive")
    asked = await told.kafka.until("runs.commands.v1", lambda m: m.get("parent_run_id") == target)
    said = {field: value for field, value in asked.items() if field not in ("type", "tenant", "instance")}
    child = await told.ask("a", **said)
    assert (await told.decision(child))["type"] == "request.admitted"
    await failed(told, "a", child)
    retry = await retry_of(told, "a", child)
    assert (told.asked_of(retry)["parent_run_id"], told.asked_of(retry)["on_behalf_of"]) == (target, "ana@acme")
    assert (await told.decision(retry))["type"] == "request.admitted"
    await told.is_quiet()
    answers = [one["type"] for one in await told.about("requests.decisions.v1") if one["run_id"] == target]
    assert set(answers) == {"request.parked"}
    await failed(told, "a", retry)
    refused = await told.decision(target, len(answers) + 1)
    while refused["type"] == "request.parked":
        refused = await told.decision(target, refused["number"] + 1)
    assert (refused["type"], refused["code"]) == ("request.refused", "UPSTREAM_FAILED")
    assert f"run {retry}, which was asked for, ended as failed" in refused["message"]


async def test_a_date_of_a_backfill_fails_only_when_its_retries_are_used_up(told: Told) -> None:
    await told.register("a", flow={"retry": {**NOW, "max": 1}})
    day = {"start": "2025-01-06", "end": "2025-01-06", "step": "day"}
    parent = await told.ask("a", gate="wait", backfill=day)
    asked = await told.kafka.until("runs.commands.v1", lambda m: m.get("parent_run_id") == parent)
    said = {field: value for field, value in asked.items() if field not in ("type", "tenant", "instance")}
    child = await told.ask("a", **said)
    assert (await told.decision(child))["type"] == "request.admitted"
    await failed(told, "a", child, trigger="backfill")
    retry = await retry_of(told, "a", child)
    assert told.asked_of(retry)["parameters"] == {"data_date": "2025-01-06"}
    assert (await told.decision(retry))["type"] == "request.admitted"
    await told.completed("a", retry, trigger="backfill")
    finished = await told.kafka.until(
        "requests.decisions.v1", lambda m: m["run_id"] == parent and m["type"] == "request.finished"
    )
    assert (finished["code"], finished["message"]) == (None, "1 of 1 done")


async def test_while_a_retry_waits_a_change_above_asks_for_nothing_else(told: Told) -> None:
    await told.register("a", type="DatasetInstance")
    await told.register("d", "a", flow={"on_upstream": "refresh", "retry": LATER})
    await told.snapshot("d")
    await told.completed("a")
    command = await told.kafka.until("runs.commands.v1", lambda m: m["instance"] == told.id("d"))
    said = {field: value for field, value in command.items() if field not in ("type", "tenant", "instance")}
    first = await told.ask("d", **said)
    assert (await told.decision(first))["type"] == "request.admitted"
    await failed(told, "d", first, trigger="upstream", input_versions={})
    retry = await retry_of(told, "d", first)
    assert (await told.decision(retry))["type"] == "request.parked"
    await told.completed("a")
    await told.is_quiet()
    assert [one["command_id"] for one in await commands(told)] == [command["command_id"], f"retry/{first}"]


async def test_a_policy_that_makes_no_sense_is_answered_by_name(told: Told) -> None:
    await told.register("a", flow={"retry": {"max": 1, "on": ["timedout"]}})
    refused = await told.kafka.until(
        "activities.v1", lambda m: m["tenant"] == told.tenant and m["action"] == "command.refused"
    )
    assert refused["payload"]["message"].startswith("a/refresh: retry.on names 'timedout'; allowed: failed, timed_out")


async def test_control_without_a_policy_nothing_is_retried(told: Told) -> None:
    await told.register("a")
    run_id = await admitted(told, "a")
    await failed(told, "a", run_id)
    await told.is_quiet()
    assert await commands(told) == []
