"""One request through four services that have the rights of their ACL files, and no others."""

from __future__ import annotations

import asyncio
import uuid

import pytest
from runtide.client import Runtide
from runtide.errors import RunFailed
from runtide.flow import report_run
from runtide.settings import load

from deploy.kafka.acls import SERVICES
from tests.component.guarded.users import team, works
from tests.conftest import ROOT
from tests.support.eventually import eventually
from tests.support.guarded_kafka import GuardedKafka
from tests.support.harness import ServiceHarness, World

OF_KAFKA = {"kafka_away", "topics_differ", "consumer_failing", "outbox_not_sent", "data_lost"}


async def test_a_teams_request_is_read_decided_launched_and_told_by_services_with_their_own_rights_alone(
    world: World, guarded: GuardedKafka, services: dict[str, ServiceHarness], monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = team(world, guarded)
    async with Runtide(load(environment, ROOT / "nowhere")) as client:
        flows = [{"kind": "refresh", "deployment": "nowhere/at-all"}]
        await client.register("prices", instance_type="DatasetInstance", flows=flows)
        run = await client.submit_run("prices", gate="force")
        with pytest.raises(RunFailed, match="nowhere/at-all"):
            await run.result()
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with report_run(str(uuid.uuid4()), attempt=1, seal_timeout_seconds=30) as report:
        assert await asyncio.to_thread(report.complete)
    for service in services.values():
        await service.settled()
    activities = (await services["notifier"].http.get("/v1/activities")).json()
    assert str(run.id) in str(activities)
    assert await services["run_tracker"].rows("select from reports")


@pytest.mark.parametrize("service", SERVICES)
async def test_a_service_with_its_own_rights_finds_nothing_wrong_with_kafka(
    services: dict[str, ServiceHarness], service: str
) -> None:
    await eventually(lambda: works(services[service].http), what=f"{service} ready")
    findings = (await services[service].http.get("/v1/ops")).json()["findings"]
    assert OF_KAFKA.isdisjoint(finding["name"] for finding in findings)
