"""What becomes of a command from Kafka: a request, a refusal to its sender, or a dead letter; never nothing."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from runtide_schemas.vocabulary import run_id_of

from tests.component.submission.conftest import COMMANDS, DECISIONS, STATUS, Prefect, Submission


async def test_a_bare_json_line_is_a_request_named_by_its_position(submission: Submission) -> None:
    position = await submission.kafka.send(COMMANDS, b'{"type":"run.submit","tenant":"acme","instance":"momentum"}')
    request = await submission.until(str(run_id_of("acme", position)), "requested")
    assert (request["command_id"], request["seq"], request["previous_status"]) == (position, 1, None)
    assert (request["instance_name"], request["gate"], request["mode"]) == ("momentum", "strict", "incremental")
    assert (request["actor"], request["trigger"], request["parameters"]) == ("unknown", "manual", {})
    assert [request[name] for name in ("run_type", "deployment", "orchestrator_run_id", "flow_kind")] == [None] * 4


async def test_what_is_announced_carries_its_cause_in_headers(submission: Submission) -> None:
    command_id = str(uuid.uuid4())
    value = {"type": "run.submit", "tenant": "acme", "instance": "momentum", "command_id": command_id}
    trace = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    headers = [("ce_id", b"mine"), ("ce_correlationid", b"story"), ("traceparent", trace)]
    await submission.kafka.send(COMMANDS, value, headers=headers)
    run_id = str(run_id_of("acme", command_id))
    await submission.until(run_id, "requested")
    records = await submission.kafka.records(STATUS)
    [record] = [r for r in records if json.loads(r.value)["run_id"] == run_id]
    said = {name: text.decode() for name, text in record.headers}
    assert record.key == run_id.encode()
    assert (said["ce_type"], said["ce_subject"]) == ("request.status_changed", run_id)
    assert (said["ce_source"], said["content-type"]) == ("/runtide/submission", "application/json")
    assert (said["ce_correlationid"], said["ce_causationid"]) == ("story", "mine")
    assert said["traceparent"].startswith("00-0af7651916cd43dd8448eb211c80319c-")


async def test_the_same_command_twice_is_one_request_also_beside_others(submission: Submission) -> None:
    run_id = await submission.submit("twice", parameters={"a": 1}, actor="ana@acme")
    other = await submission.submit()
    await submission.submit("twice", parameters={"a": 1}, actor="bob@acme", gate="strict")
    await submission.until(other, "requested")
    await submission.settled()
    assert [m["seq"] for m in await submission.snapshots(run_id)] == [1]
    assert len(await submission.harness.rows("select from requests where run_id = $1", uuid.UUID(run_id))) == 1


async def test_the_same_id_with_another_body_changes_nothing_and_its_sender_is_told(submission: Submission) -> None:
    run_id = await submission.submit("conflict", parameters={"a": 1}, actor="ana@acme")
    await submission.until(run_id, "requested")
    await submission.submit("conflict", parameters={"a": 2}, actor="bob@acme")
    told = await submission.activity(run_id, "command.refused")
    assert (told["payload"]["code"], told["payload"]["sender"]) == ("COMMAND_CONFLICT", "bob@acme")
    assert told["payload"]["command_id"] == "conflict"
    [request] = await submission.snapshots(run_id)
    assert request["parameters"] == {"a": 1}


async def test_the_same_command_id_of_two_tenants_is_two_requests(submission: Submission) -> None:
    ours = await submission.submit("shared-id")
    theirs = await submission.submit("shared-id", tenant="globex")
    assert ours != theirs
    assert (await submission.until(ours, "requested"))["tenant"] == "acme"
    assert (await submission.until(theirs, "requested"))["tenant"] == "globex"


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ({"gate": "open"}, "gate"),
        ({"mode": 7}, "mode"),
        ({"flow_kind": "nonsense"}, "flow_kind"),
        ({"parameters": []}, "parameters"),
        ({"parameters": {"x": "y" * 70_000}}, "parameters"),
        ({"wait_until": "tomorrow"}, "wait_until"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
async def test_a_readable_but_invalid_command_is_a_refused_request_with_its_reason(
    submission: Submission, fault: dict[str, Any], says: str
) -> None:
    request = await submission.until(await submission.submit(**fault), "refused")
    assert (request["seq"], request["code"], request["instance_name"]) == (1, "INVALID_COMMAND", "momentum")
    assert says in request["message"]
    assert (await submission.activity(request["run_id"], "request.refused"))["payload"]["code"] == "INVALID_COMMAND"


async def test_what_cannot_be_read_is_a_dead_letter_and_the_partition_keeps_moving(submission: Submission) -> None:
    good = b'{"type":"run.submit","tenant":"acme","instance":"momentum"}'
    before = len(await submission.dead_letters())
    bad: list[tuple[bytes | None, list[tuple[str, bytes]]]] = [
        (b"{not json", []), (None, []), (good, [("x", b"\xff\xfe")]), (b"x" * 1_000_000, []),
        (b'{"type":"run.submit","instance":"momentum"}', []), (b'{"type":"run.start","tenant":"acme"}', []),
        (good, [("ce_id", b"i" * 300)]),  # stands for a command id, and is too long for one
        (good[:-1] + b',"command_id":"c"}', [("ce_correlationid", b"c" * 900_000)]),  # would not fit into what we say
    ]  # fmt: skip
    for value, headers in bad:
        await submission.kafka.send(COMMANDS, value, key=b"one partition", headers=headers)
    last = await submission.kafka.send(COMMANDS, good, key=b"one partition")
    await submission.until(str(run_id_of("acme", last)), "requested")
    stored = (await submission.dead_letters())[before:]
    assert [row["value"] for row in stored] == [value for value, _ in bad]
    assert all(row["reason"] and row["status"] == "new" for row in stored)


PARENT, PLAN = str(uuid.uuid4()), str(uuid.uuid4())


async def test_what_lineage_asks_for_says_whose_it_is_and_nobody_else_can(submission: Submission) -> None:
    said = {"trigger": "upstream", "parent_run_id": PARENT, "on_behalf_of": "ana@acme", "gate": "wait"}
    asked = await submission.until(await submission.submit(actor="system:lineage", **said), "requested")
    assert {name: asked[name] for name in said} == said
    claimed = await submission.until(await submission.submit(actor="bob@acme", **said), "requested")
    assert (claimed["trigger"], claimed["parent_run_id"], claimed["on_behalf_of"]) == ("manual", None, None)
    listed = (await submission.http.get("/v1/requests", params={"parent_run_id": PARENT})).json()["requests"]
    assert [request["run_id"] for request in listed] == [asked["run_id"]]


async def test_a_plan_is_run_by_the_recursive_gate(submission: Submission) -> None:
    request = await submission.until(await submission.submit(plan_id=PLAN), "requested")
    assert (request["plan_id"], request["gate"]) == (PLAN, "recursive")


# -- cancel ----------------------------------------------------------------------------------------------------------


async def test_a_cancel_that_comes_first_makes_the_later_submit_cancelled(submission: Submission) -> None:
    run_id = str(run_id_of("acme", "cancelled-ahead"))
    await submission.cancel(run_id, reason="wrong universe", actor="ana@acme")
    ahead = await submission.until(run_id, "cancelled")
    assert (ahead["seq"], ahead["instance_id"], ahead["command_id"]) == (1, None, None)
    assert ahead["cancel_requested_at"] is not None
    await submission.submit("cancelled-ahead")
    after = await submission.until(run_id, "cancelled", seq=2)
    assert (after["instance_name"], after["command_id"]) == ("momentum", "cancelled-ahead")
    await submission.decide(run_id, "admitted", deployment="a/b")
    await submission.settled()
    assert await submission.seqs(run_id) == [1, 2]
    assert await submission.harness.rows("select from launches where run_id = $1", uuid.UUID(run_id)) == []


async def test_a_cancel_of_another_tenant_changes_nothing_of_ours(submission: Submission) -> None:
    run_id = await submission.submit()
    await submission.until(run_id, "requested")
    await submission.cancel(run_id, tenant="globex")
    await submission.settled()
    await submission.decide(run_id, "skipped", message="ready already")
    request = await submission.until(run_id, "skipped")
    assert (request["tenant"], request["seq"], request["cancel_requested_at"]) == ("acme", 2, None)
    [theirs] = await submission.snapshots(run_id, "globex")  # an id of theirs that nobody has submitted yet
    assert (theirs["status"], theirs["instance_id"], theirs["actor"]) == ("cancelled", None, None)


async def test_a_cancel_ends_what_is_not_launched_and_comes_too_late_for_an_end(submission: Submission) -> None:
    run_id = await submission.submit()
    await submission.until(run_id, "requested")
    await submission.cancel(run_id, reason="wrong universe")
    request = await submission.until(run_id, "cancelled")
    assert (request["previous_status"], request["message"]) == ("requested", "cancelled: wrong universe")
    assert (await submission.activity(run_id, "request.cancelled"))["payload"]["message"] == request["message"]
    ended = await submission.submit()
    await submission.decide(ended, "skipped", message="ready already")
    await submission.until(ended, "skipped")
    for cancelled_or_ended in (run_id, ended):
        await submission.cancel(cancelled_or_ended, actor="bob@acme")
    told = await submission.activity(ended, "command.refused")
    assert (told["payload"]["code"], told["payload"]["command"]) == ("TOO_LATE", "run.cancel")
    await submission.settled()
    assert len(await submission.snapshots(run_id)) == 2


# -- lineage's answers -----------------------------------------------------------------------------------------------


async def test_a_parked_request_names_its_blockers_and_is_released(submission: Submission) -> None:
    run_id = await submission.submit(gate="wait")
    await submission.until(run_id, "requested")
    blocker = {"instance_id": str(uuid.uuid4()), "name": "prices", "flow_kind": "refresh", "status": "stale",
               "reason": "prices is stale"}  # fmt: skip
    parked = {"blockers": [blocker], "blockers_total": 1, "wait_until": "2030-01-01T00:00:00Z"}
    await submission.decide(run_id, "parked", number=1, **parked)
    request = await submission.until(run_id, "parked")
    assert (request["blockers"], request["blockers_total"]) == ([blocker], 1)
    assert request["wait_until"] == "2030-01-01T00:00:00Z"
    assert (await submission.activity(run_id, "request.parked"))["payload"]["blockers"] == ["prices"]
    await submission.decide(
        run_id, "expired", number=2, blockers=[blocker], blockers_total=1, message="waited too long"
    )
    await submission.until(run_id, "expired")
    await submission.decide(run_id, "admitted", number=3, deployment="a/b")  # too late: it ended
    await submission.decide(run_id, "parked", number=1)  # read again
    await submission.settled()
    assert await submission.seqs(run_id) == [1, 2, 3]


async def test_a_decision_for_nobody_and_one_of_another_tenant_say_nothing(submission: Submission) -> None:
    run_id = await submission.submit()
    await submission.until(run_id, "requested")
    letters = len(await submission.dead_letters())
    await submission.decide(run_id, "admitted", tenant="globex", deployment="a/b")
    await submission.decide(str(uuid.uuid4()), "admitted", deployment="a/b")
    await submission.kafka.send(DECISIONS, b"{")
    await submission.settled()
    assert await submission.seqs(run_id) == [1]
    assert len(await submission.dead_letters()) == letters + 1


async def test_a_decision_that_comes_before_its_request_waits_for_it(submission: Submission) -> None:
    run_id = str(run_id_of("acme", "decided-ahead"))
    blocker = {"instance_id": str(uuid.uuid4()), "name": "prices", "flow_kind": "refresh", "status": "stale",
               "reason": None}  # fmt: skip
    parked = {"blockers": [blocker], "blockers_total": 1, "wait_until": "2030-01-01T00:00:00Z"}
    for _ in range(2):
        await submission.decide(run_id, "skipped", number=2, message="ready already")
        await submission.decide(run_id, "parked", number=1, **parked)
    await submission.settled()
    assert await submission.snapshots(run_id) == []
    assert (await submission.http.get(f"/v1/requests/{run_id}")).status_code == 404
    assert (await submission.http.post(f"/v1/requests/{run_id}/cancel")).status_code == 404

    await submission.submit("decided-ahead", gate="wait")
    ended = await submission.until(run_id, "skipped")
    assert (ended["instance_name"], ended["message"]) == ("momentum", "ready already")
    assert [(m["seq"], m["status"]) for m in await submission.snapshots(run_id)] == [
        (1, "requested"), (2, "parked"), (3, "skipped"),
    ]  # fmt: skip


async def test_a_request_over_http_that_was_admitted_ahead_is_launched_at_once(
    submission: Submission, prefect: Prefect
) -> None:
    run_id = str(run_id_of("acme", "admitted-ahead"))
    await submission.decide(run_id, "admitted", deployment=await prefect.deploy("ahead"))
    await submission.settled()
    body = {"instance": "momentum", "command_id": "admitted-ahead"}
    assert (await submission.http.post("/v1/requests", json=body)).status_code == 201
    await submission.until(run_id, "launched")
    assert len(await prefect.flow_runs(run_id)) == 1


async def test_a_cancel_after_a_decision_that_came_ahead_still_wins(submission: Submission) -> None:
    run_id = str(run_id_of("acme", "cancelled-after-decided"))
    await submission.decide(run_id, "admitted", deployment="a/b")
    await submission.settled()
    await submission.cancel(run_id)
    await submission.until(run_id, "cancelled")
    await submission.submit("cancelled-after-decided")
    await submission.settled()
    assert [m["status"] for m in await submission.snapshots(run_id)] == ["cancelled", "cancelled"]
    assert await submission.harness.rows("select from launches where run_id = $1", uuid.UUID(run_id)) == []
