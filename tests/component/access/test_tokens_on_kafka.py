"""RUNTIDE_COMMANDS_AUTH=token on the real parts: what is not proven changes nothing, and is answered."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from pydantic import SecretStr
from runtide_schemas.vocabulary import instance_id_of, run_id_of

from shared.auth import RUN_SCOPES, SCOPES, mint
from shared.clock import utc_now
from shared.settings import AuthSettings, CommandsSettings
from tests.support.harness import ServiceHarness, World

OLD, NEW = "a:" + "old-" * 10, "b:" + "new-" * 10
KEYS = AuthSettings(hmac_keys=SecretStr(OLD))
SERVICES = ("submission", "lineage", "run_tracker")
COMMANDS, WIRING, REPORTS, ACTIVITIES = "runs.commands.v1", "instances.commands.v1", "runs.reports.v1", "activities.v1"
MOMENT = timedelta(minutes=5)
Services = dict[str, ServiceHarness]


async def started(world: World, keys: str = OLD, *, migrated: bool = False) -> Services:
    changes = {"commands": CommandsSettings(auth="token"), "auth": AuthSettings(hmac_keys=SecretStr(keys))}
    return {name: await world.start(name, migrated=migrated, **changes) for name in SERVICES}


@pytest.fixture(scope="module")
async def services(world: World) -> AsyncIterator[Services]:
    running = await started(world)
    yield running
    for service in running.values():
        await service.stop()


def bearer(*, tenant: str = "acme", actor: str = "ana@acme", **more: Any) -> list[tuple[str | bytes, bytes]]:
    token = mint(KEYS, tenant=tenant, actor=actor, **{"valid": MOMENT, "scopes": SCOPES, **more})
    return [("authorization", f"Bearer {token}".encode())]


async def refused(world: World, what: str, tenant: str = "acme") -> dict[str, Any]:
    """The answer to the command with this id."""
    return await world.kafka.until(
        ACTIVITIES,
        lambda m: m["action"] == "command.refused" and m["payload"]["command_id"] == what and m["tenant"] == tenant,
    )


async def register(world: World, name: str, *upstreams: str) -> None:
    command = {"type": "instance.register", "tenant": "acme", "name": name,
               "instance_type": "SignalInstance" if upstreams else "DatasetInstance",
               "flows": [{"kind": "refresh", "deployment": "nowhere/at-all"}],
               "upstreams": [{"instance": one} for one in upstreams]}  # fmt: skip
    await world.kafka.send(WIRING, command, key=b"acme", headers=bearer())
    instance_id = str(instance_id_of("acme", name))
    await world.kafka.until("instances.status.v1", lambda m: m["instance_id"] == instance_id)


def submit(command_id: str, instance: str = "prices", **more: Any) -> dict[str, Any]:
    return {"type": "run.submit", "tenant": "acme", "command_id": command_id, "instance": instance, **more}


async def status(world: World, command_id: str, wanted: str) -> dict[str, Any]:
    run_id = str(run_id_of("acme", command_id))
    return await world.kafka.until("requests.status.v1", lambda m: m["run_id"] == run_id and m["status"] == wanted)


async def test_a_proven_command_is_done_in_the_tokens_name_and_so_is_what_lineage_asks_for_it(
    world: World, services: Services
) -> None:
    await register(world, "prices")
    await register(world, "momentum", "prices")
    await world.kafka.send(COMMANDS, submit("smart", "momentum", gate="recursive"), headers=bearer())
    parked = await status(world, "smart", "parked")
    assert parked["actor"] == "ana@acme"
    child = f"recursive/{parked['run_id']}/{instance_id_of('acme', 'prices')}/refresh"
    assert (await status(world, child, "admitted"))["actor"] == "system:lineage"
    stored = await services["lineage"].rows("select count(*) as n from outbox where headers::text like '%Bearer%'")
    assert stored == [{"n": 0}]


async def test_what_is_not_proven_is_answered_and_its_id_stays_free(world: World, services: Services) -> None:
    cases: dict[str, tuple[list[tuple[str | bytes, bytes]], dict[str, Any], str]] = {
        "missing": ([], {}, "UNAUTHENTICATED"),
        "forged": ([("authorization", b"Bearer a.b.c")], {}, "UNAUTHENTICATED"),
        "expired": (bearer(valid=-MOMENT), {}, "UNAUTHENTICATED"),
        "foreign": (bearer(), {"tenant": "globex"}, "TENANT_MISMATCH"),
        "pretender": (bearer(), {"actor": "system:lineage"}, "TENANT_MISMATCH"),
        "reader": (bearer(scopes=("runs:read",)), {}, "FORBIDDEN"),
    }
    for command_id, (headers, changes, _) in cases.items():
        await world.kafka.send(COMMANDS, submit(command_id) | changes, headers=headers)
    found = {command_id: (await refused(world, command_id))["payload"]["code"] for command_id in cases}
    assert found == {command_id: code for command_id, (_, _, code) in cases.items()}
    rows = await services["submission"].rows("select command_id from requests where command_id = any($1)", list(cases))
    assert rows == []
    assert await services["submission"].rows("select * from dead_letters") == []
    await world.kafka.send(COMMANDS, submit("missing"), headers=bearer())
    assert (await status(world, "missing", "requested"))["actor"] == "ana@acme"


async def test_a_sender_cannot_say_when_it_sent(world: World, services: Services) -> None:
    """The token was good an hour ago, and the record claims to be that old; the broker knows better."""
    an_hour_ago = utc_now() - timedelta(hours=1)
    await world.kafka.send(
        COMMANDS, submit("backdated"), headers=bearer(now=an_hour_ago),
        timestamp_ms=int(an_hour_ago.timestamp() * 1000) + 1000,
    )  # fmt: skip
    assert "expired" in (await refused(world, "backdated"))["payload"]["message"]


async def test_an_unproven_registration_and_cancel_change_nothing(world: World, services: Services) -> None:
    await register(world, "stays")
    instance = {"type": "instance.retire", "tenant": "acme", "instance": "stays", "command_id": "retire"}
    await world.kafka.send(WIRING, instance, key=b"acme", headers=bearer(scopes=("requests:write",)))
    answer = await refused(world, "retire")
    assert answer["payload"]["code"] == "FORBIDDEN"
    assert "instances:write" in answer["payload"]["message"]
    assert answer["resource_id"] == str(instance_id_of("acme", "stays"))
    cancel = {"type": "run.cancel", "tenant": "acme", "run_id": str(uuid.uuid4()), "command_id": "cancel"}
    await world.kafka.send(COMMANDS, cancel)
    assert (await refused(world, "cancel"))["payload"]["command"] == "run.cancel"
    assert await services["submission"].rows("select from requests where run_id = $1", cancel["run_id"]) == []


async def test_a_run_reports_by_its_own_token_and_of_no_other_run(world: World, services: Services) -> None:
    mine, other, third = (str(uuid.uuid4()) for _ in range(3))
    own = bearer(actor=f"run:{mine}", scopes=RUN_SCOPES, run_id=uuid.UUID(mine))
    said = {"type": "run.metrics_reported", "tenant": "acme", "attempt": 1, "metrics": {"rows_added": 1}}
    for run_id, n, headers in ((mine, 1, own), (other, 2, own), (third, 3, [])):
        ids = [("ce_id", f"{run_id}/{n}".encode())]
        await world.kafka.send(REPORTS, said | {"run_id": run_id, "n": n}, headers=[*ids, *headers])
    await world.kafka.send(COMMANDS, submit("by-a-run"), headers=own)
    codes = [(await refused(world, what))["payload"]["code"] for what in (f"{other}/2", f"{third}/3", "by-a-run")]
    assert codes == ["FORBIDDEN", "UNAUTHENTICATED", "FORBIDDEN"]
    await services["run_tracker"].settled()
    kept = await services["run_tracker"].rows(
        "select run_id, n from reports where run_id = any($1)", [mine, other, third]
    )
    assert [(str(row["run_id"]), row["n"]) for row in kept] == [(mine, 1)]


async def test_reading_all_again_under_keys_that_prove_none_of_it_takes_nothing_back(
    world: World, services: Services
) -> None:
    """A restore after the rotation: the old tokens hold no more, and what they had done stays done."""
    await register(world, "kept")
    await world.kafka.send(COMMANDS, submit("taken", "kept"), headers=bearer())
    await status(world, "taken", "admitted")
    await world.kafka.send(COMMANDS, submit("never"), headers=[])
    before = len([m for m in await world.kafka.all(ACTIVITIES) if _of(m, "never")])
    for service in services.values():
        await service.settled()
        await service.stop()
        await world.rows(service.name, "update consumer_offsets set next_offset = 0 where topic = any($1)", DOORS)
    services |= await started(world, NEW, migrated=True)
    for service in services.values():
        await service.settled()
    said = [m for m in await world.kafka.all(ACTIVITIES) if m["action"] == "command.refused"]
    assert not [m for m in said if _of(m, "taken") or m["resource_id"] == str(instance_id_of("acme", "kept"))]
    assert len([m for m in said if _of(m, "never")]) >= max(1, before)  # the control: the same reading does answer
    assert len({m["activity_id"] for m in said if _of(m, "never")}) == 1
    rows = await services["submission"].rows("select status from requests where command_id = 'taken'")
    assert rows[0]["status"] not in ("refused", "requested")


DOORS = [COMMANDS, WIRING, REPORTS]


def _of(message: dict[str, Any], command_id: str) -> bool:
    return bool(message["payload"].get("command_id") == command_id)
