"""Bad input gets an answer, and nothing is lost."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from tests.e2e.platform import Platform, run_id_of
from tests.support.eventually import eventually

POISON: dict[str, tuple[Any, list[tuple[str | bytes, bytes]]]] = {
    "bad JSON": (b'{"type": "run.submit"', []),
    "wrong types": ({"type": "run.submit", "tenant": 5, "instance": []}, []),
    "an unknown type": ({"type": "run.explode", "tenant": "acme"}, []),
    "a header that is not UTF-8": ({"type": "run.submit", "tenant": "acme", "instance": "x"}, [("ce_id", b"\xff\xfe")]),
    "a header name that is not UTF-8": (
        {"type": "run.submit", "tenant": "acme", "instance": "x"},
        [(b"\xff\xfe", b"")],
    ),
    "a tombstone": (None, []),
    "a value of a megabyte": (b'{"type": "run.submit", "pad": "' + b"x" * 1_000_000 + b'"}', []),
}


@pytest.mark.parametrize("poison", POISON)
async def test_is_a_dead_letter_and_the_partition_moves_on(platform: Platform, name: str, poison: str) -> None:
    value, headers = POISON[poison]
    await platform.register(name)
    key = uuid.uuid4().bytes  # one partition for poison and what follows
    position = await platform.kafka.send("runs.commands.v1", value, key=key, headers=headers)
    command = uuid.uuid4().hex
    line = {"type": "run.submit", "tenant": platform.tenant, "instance": name, "command_id": command,
            "parameters": {"seconds": 0.1}}  # fmt: skip
    await platform.say("runs.commands.v1", line, key=key)
    assert (await platform.ended(run_id_of(platform.tenant, command)))["status"] == "completed"

    async def letter() -> dict[str, Any] | None:
        letters = (await platform.get("submission", "/v1/ops/dead-letters?limit=200"))["dead_letters"]
        at = [f"{item['topic']}:{item['partition']}:{item['offset']}" for item in letters]
        return letters[at.index(position)] if position in at else None

    assert (await eventually(letter))["reason"]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"instance": "no-such-instance"}, "UNKNOWN_INSTANCE"),
        ({"flow_kind": "training"}, "UNKNOWN_FLOW"),
        ({"mode": "sideways"}, "INVALID_COMMAND"),
        ({"gate": "sometimes"}, "INVALID_COMMAND"),
        ({"tenant": "globex"}, "UNKNOWN_INSTANCE"),
    ],
)
async def test_a_readable_but_invalid_command_is_refused_by_name(
    platform: Platform, name: str, fields: dict[str, str], code: str
) -> None:
    await platform.register(name)
    request = await platform.ended(
        await platform.submit(**{"instance": name, "command_id": uuid.uuid4().hex, **fields})
    )
    assert request["status"] == "refused"
    assert request["code"] == code
    assert request["message"]


async def test_the_same_id_with_another_body_is_refused_and_changes_nothing(platform: Platform, name: str) -> None:
    await platform.register(name)
    command = uuid.uuid4().hex
    run_id = await platform.submit(name, command_id=command, parameters={"seconds": 0.1})
    await platform.submit(name, command_id=command, parameters={"seconds": 0.2})
    refused = await platform.follower.until(
        "activities.v1", lambda m: m["action"] == "command.refused" and m["resource_id"] == run_id
    )
    assert refused["payload"]["code"] == "COMMAND_CONFLICT"
    assert (await platform.ended(run_id))["parameters"] == {"seconds": 0.1}


async def test_a_missing_deployment_fails_the_run_before_anything_ran(platform: Platform, name: str) -> None:
    await platform.register(name, flow="no-such-flow")
    run = await platform.ended(await platform.submit(name))
    assert run["status"] == "failed"
    assert run["error"]["code"] == "DEPLOYMENT_NOT_FOUND"
    assert "no-such-flow/prod" in run["error"]["message"]
    assert run["started_at"] is None


async def test_a_parameter_that_the_flow_does_not_take_fails_the_run_before_anything_ran(
    platform: Platform, name: str
) -> None:
    await platform.register(name)
    run = await platform.ended(await platform.submit(name, parameters={"colour": "blue"}))
    assert run["status"] == "failed"
    assert run["error"]["code"] == "PARAMETERS_REJECTED"
    assert "colour" in run["error"]["message"]
    assert await platform.flow_runs(run["run_id"]) == []


async def test_another_tenant_sees_nothing(platform: Platform, name: str) -> None:
    instance_id = await platform.register(name)
    run = await platform.ended(await platform.submit(name, parameters={"seconds": 0.1}))
    stranger = {"Authorization": f"Bearer {platform.env['RUNTIDE_TOKEN_OTHER']}"}
    for service, path in (
        ("submission", f"/v1/requests/{run['run_id']}"),
        ("run_tracker", f"/v1/runs/{run['run_id']}"),
        ("lineage", f"/v1/instances/{instance_id}"),
    ):
        assert (await platform.http.get(platform.url(service, path))).status_code == 200
        assert (await platform.http.get(platform.url(service, path), headers=stranger)).status_code == 404
    asked = await platform.http.post(
        platform.url("notifier", "/v1/realtime/subscribe"),
        json={"channel": f"run:{run['run_id']}:progress"},
        headers=stranger,
    )
    assert asked.status_code == 404
