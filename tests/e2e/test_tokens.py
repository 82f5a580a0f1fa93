"""Who is believed on Kafka: the whole stack in `RUNTIDE_COMMANDS_AUTH=token`, as `make test` starts it."""

from __future__ import annotations

import uuid

import pytest

from tests.e2e.platform import Platform, bearer, run_id_of


async def test_a_command_without_its_tenants_token_is_refused_by_name_and_starts_nothing(
    platform: Platform, name: str
) -> None:
    """The control is the same line with the token: it runs, as if the others had never come."""
    if platform.env.get("RUNTIDE_COMMANDS_AUTH") != "token":
        pytest.fail("this stack believes everybody: RUNTIDE_COMMANDS_AUTH=token make up", pytrace=False)
    await platform.register(name)
    command, other = uuid.uuid4().hex, platform.env["RUNTIDE_TOKEN_OTHER"]
    run_id, key = run_id_of(platform.tenant, command), uuid.uuid4().bytes
    line = {"type": "run.submit", "tenant": platform.tenant, "instance": name, "command_id": command,
            "parameters": {"seconds": 0.1}}  # fmt: skip
    for headers, code in (([], "UNAUTHENTICATED"), (bearer(other), "TENANT_MISMATCH")):
        await platform.kafka.send("runs.commands.v1", line, key=key, headers=headers)
        refused = await platform.follower.until(
            "activities.v1", lambda m, code=code: m["resource_id"] == run_id and m["payload"].get("code") == code
        )
        assert (refused["action"], refused["payload"]["command_id"]) == ("command.refused", command)
    asked = await platform.http.get(platform.url("submission", f"/v1/requests/{run_id}"))
    assert (asked.status_code, await platform.flow_runs(run_id)) == (404, [])
    await platform.say("runs.commands.v1", line, key=key)
    assert (await platform.ended(run_id))["status"] == "completed"
    told = sorted(platform.follower.of_run("requests.status.v1", run_id), key=lambda m: m["seq"])
    assert [(m["status"], m["seq"]) for m in told] == [("requested", 1), ("admitted", 2), ("launched", 3)]
    assert len(await platform.flow_runs(run_id)) == 1
