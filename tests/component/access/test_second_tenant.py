"""A second tenant asks every path of every service for what is the first one's, and finds nothing."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx
import pytest
from runtide_schemas.vocabulary import instance_id_of, run_id_of

from services.notifier.store import NotifierStore
from services.run_tracker.reading import Reading
from shared.auth import SCOPES, mint
from tests.component.access.fuzzing import PART, Operation, operations, told_apart
from tests.support.eventually import eventually
from tests.support.harness import ServiceHarness, World

SERVICES = ("submission", "lineage", "run_tracker", "notifier")
OF_NOBODY = {"GET /v1/calendars/{code}"}  # calendars are everybody's


@dataclass(frozen=True)
class Platform:
    """The first tenant's things, each with a twin that is nowhere."""

    services: dict[str, ServiceHarness]
    pairs: dict[str, str]

    def token(self, tenant: str) -> str:
        auth = self.services["lineage"].running.settings.auth
        scopes = tuple(scope for scope in SCOPES if scope != "ops")  # operators are of no tenant
        return mint(auth, tenant=tenant, actor=f"eve@{tenant}", scopes=scopes, valid=timedelta(hours=1))

    async def found(self, service: str, tenant: str, *, only: str = "") -> dict[str, str]:
        http = self.services[service].http
        asked = [one for one in await operations(http) if only in str(one)]
        return await told_apart(http, asked, self.pairs, self.token(tenant))


@pytest.fixture(scope="module")
async def platform(world: World) -> AsyncIterator[Platform]:
    services = {name: await world.start(name) for name in SERVICES}
    yield Platform(services, await seeded(world, services))
    for service in services.values():
        await service.stop()


async def seeded(world: World, services: dict[str, ServiceHarness]) -> dict[str, str]:
    """One of each thing that has an id, for tenant acme."""
    name, command_id = f"n{uuid.uuid4().hex[:8]}", f"c{uuid.uuid4().hex[:8]}"
    lineage, instance_id, run_id = services["lineage"].http, instance_id_of("acme", name), run_id_of("acme", command_id)
    definition = {"instance_type": "DatasetInstance", "flows": [{"kind": "refresh", "deployment": "nowhere/at-all"}]}
    await expect(lineage.put(f"/v1/instances/{name}", json=definition))
    asked = {"instance": name, "command_id": command_id, "gate": "force"}
    await services["submission"].http.post("/v1/requests", json=asked)
    plan = await expect(lineage.post("/v1/plan", json={"instance": name}))
    wrong = {"first_data_date": "2025-01-02", "last_data_date": "2025-01-03", "reason": "wrong"}
    restated = await expect(lineage.post(f"/v1/instances/{name}/supersede", json=wrong))
    tracker = services["run_tracker"].http
    await eventually(lambda: _answers(tracker, f"/v1/runs/{run_id}"), what="the run")
    artifact = {"type": "run.artifact_reported", "tenant": "acme", "run_id": str(run_id), "attempt": 1, "n": 1,
                "name": PART, "ref": f"s3://runs/{run_id}/x.json"}  # fmt: skip
    await world.kafka.send("runs.reports.v1", artifact)
    await eventually(lambda: _answers(tracker, f"/v1/runs/{run_id}/artifacts/{PART}", 307), what="the artifact")
    channels = [f"run:{run_id}:progress", f"instance:{instance_id}:status"]
    notifier = services["notifier"].http

    async def owned() -> bool:
        return (await notifier.post("/v1/realtime/subscribe", json={"channels": channels})).status_code == 200

    await eventually(owned, what="the owners")
    ids = [str(instance_id), str(run_id), plan["plan_id"], restated["restatement_id"]]
    twins = {value: str(uuid.uuid4()) for value in ids}
    named = {name: f"n{uuid.uuid4().hex[:8]}", "tenant:acme:feed": "tenant:acmx:feed", "lineage:acme": "lineage:acmx"}
    return twins | named | {one: _with_twins(one, twins) for one in channels}


def _with_twins(channel: str, twins: dict[str, str]) -> str:
    for value, twin in twins.items():
        channel = channel.replace(value, twin)
    return channel


async def expect(asking: Any) -> Any:
    answer = await asking
    assert answer.is_success, answer.text
    return answer.json()


async def _answers(http: httpx.AsyncClient, path: str, status: int = 200) -> bool:
    return (await http.get(path)).status_code == status


@pytest.mark.parametrize("service", SERVICES)
async def test_a_second_tenant_cannot_tell_what_is_there_from_what_is_nowhere(platform: Platform, service: str) -> None:
    stranger = "globex-" + service.replace("_", "-")  # each its own, so that what one asked for is not read by another
    assert await platform.found(service, stranger) == {}


@pytest.mark.parametrize("service", SERVICES)
async def test_the_owner_can_by_every_path_that_reads_by_an_id(platform: Platform, service: str) -> None:
    """The control: what was asked for is there. A new path needs something to find: add it to `seeded`."""
    asked: list[Operation] = await operations(platform.services[service].http)
    reads = {str(one) for one in asked if one.method == "GET" and one.takes_an_id and "/v1/ops" not in one.path}
    found = await platform.found(service, "acme", only="GET ")
    assert reads - OF_NOBODY <= found.keys()


async def test_a_path_without_its_check_is_found(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: the tenant is looked at no more."""
    run = Reading.run
    monkeypatch.setattr(Reading, "run", lambda self, tenant, run_id: run(self, "acme", run_id))
    found = await platform.found("run_tracker", "globex", only="/v1/runs/{run_id}")
    assert {path.rpartition("}")[2] for path in found} >= {"", "/history", "/artifacts", "/uploads"}


async def test_a_channel_without_its_check_is_found(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    owned_by = NotifierStore.owned_by
    monkeypatch.setattr(NotifierStore, "owned_by", lambda self, tenant, kind, ids: owned_by(self, "acme", kind, ids))
    assert "POST /v1/realtime/subscribe" in await platform.found("notifier", "globex")
