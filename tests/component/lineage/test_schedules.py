"""Flows that run by themselves, on real Kafka and PostgreSQL. The clock is the test's: it is told what time it is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from runtide_schemas.vocabulary import run_id_of

from services.lineage.app import build
from services.lineage.schedules import SCHEDULE
from shared.running import Running
from tests.component.lineage.asking import get, send
from tests.component.lineage.test_calendars import body
from tests.component.lineage.told import Told, text
from tests.support.eventually import eventually
from tests.support.harness import ServiceHarness, World, of

NOON = datetime(2025, 1, 15, 17, tzinfo=UTC)  # Wednesday noon in New York
EVENING = datetime(2025, 1, 15, 23, 5, tzinfo=UTC)
NEXT_EVENING = EVENING + timedelta(days=1)
EACH_SESSION = {"sessions": "XNYS", "at": "18:05", "timezone": "America/New_York", "parameter": "data_date"}


@dataclass
class Clock:
    now: datetime = NOON

    def __call__(self) -> datetime:
        return self.now


CLOCK = Clock()


@pytest.fixture(scope="module")
async def lineage(world: World) -> AsyncIterator[ServiceHarness]:
    await world.migrate("lineage")
    running = Running(build(world.settings("lineage")), clock=CLOCK)
    await running.start()
    service = ServiceHarness("lineage", world, running)
    await service.http.put("/v1/calendars/XNYS", json=body())
    yield service
    await service.stop()


@pytest.fixture
def told(lineage: ServiceHarness) -> Told:
    CLOCK.now = NOON
    return Told(lineage)


async def scheduled(told: Told, **schedule: Any) -> dict[str, Any]:
    """`prices`, which runs by itself; answers its snapshot."""
    await told.register("prices", type="DatasetInstance", flow={"schedule": {**EACH_SESSION, **schedule}})
    return await told.snapshot("prices")


async def commands(told: Told) -> list[dict[str, Any]]:
    return of(await told.about("runs.commands.v1"), type="run.submit")


async def asked_for(told: Told, at: datetime, kind: str = "refresh") -> dict[str, Any]:
    """The command for this instant."""
    command_id = f"schedule/{told.id('prices')}/{kind}/{text(at)}"
    return await told.kafka.until("runs.commands.v1", lambda m: m["command_id"] == command_id)


async def requested(told: Told, command: dict[str, Any]) -> str:
    """Submission says that it has the command; answers the run id."""
    said = {name: value for name, value in command.items() if name not in ("type", "tenant", "instance")}
    return await told.ask("prices", **said)


async def shown(told: Told) -> dict[str, Any]:
    [schedule] = (await get(told, "/v1/schedules"))["schedules"]
    return dict(schedule)


async def test_a_session_that_has_come_is_one_request_with_its_date(told: Told) -> None:
    snapshot = await scheduled(told)
    assert snapshot["flows"][0]["schedule"]["sessions"] == "XNYS"
    assert (await shown(told))["next"][0] == {"at": text(EVENING), "data_date": "2025-01-15"}
    CLOCK.now = EVENING
    command = await asked_for(told, EVENING)
    assert command["parameters"] == {"data_date": "2025-01-15"}
    assert (command["actor"], command["trigger"], command["gate"]) == ("system:lineage", "scheduled", "wait")
    assert (command["planned_for"], command["wait_until"]) == (text(EVENING), text(NEXT_EVENING))
    run_id = await requested(told, command)
    admitted = await told.decision(run_id)
    assert (admitted["type"], admitted["parameters"]) == ("request.admitted", {"data_date": "2025-01-15"})
    last = (await shown(told))["last"]
    assert last == {"planned_for": text(EVENING), "run_id": run_id, "status": "admitted"}
    assert len(await commands(told)) == 1


async def test_what_is_told_twice_and_who_dies_in_between_ask_under_the_same_name(told: Told) -> None:
    """The row of the clock comes back, as after a crash before its commit: the same instant, the same command."""
    await scheduled(told)
    CLOCK.now = EVENING
    first = await asked_for(told, EVENING)
    ref = f"{told.id('prices')}/refresh"
    await told.lineage.rows("update schedules set planned_at = $1 where tenant = $2", EVENING, told.tenant)
    await told.lineage.rows("update due set due_at = $1 where kind = $2 and ref = $3", EVENING, SCHEDULE, ref)

    async def planned_again() -> bool:
        rows = await told.lineage.rows("select planned_at from schedules where tenant = $1", told.tenant)
        return bool(rows[0]["planned_at"] == NEXT_EVENING)

    await eventually(planned_again)
    await told.is_quiet()
    assert [one["command_id"] for one in await commands(told)] == [first["command_id"]]
    assert str(run_id_of(told.tenant, first["command_id"])) == (await shown(told))["last"]["run_id"]


async def test_one_that_still_runs_at_the_next_instant_is_in_its_way_by_name_until_the_instant_after(
    told: Told,
) -> None:
    await scheduled(told)
    CLOCK.now = EVENING
    first = await requested(told, await asked_for(told, EVENING))
    assert (await told.decision(first))["type"] == "request.admitted"
    CLOCK.now = NEXT_EVENING
    second = await requested(told, await asked_for(told, NEXT_EVENING))
    parked = await told.decision(second)
    assert parked["type"] == "request.parked"
    assert parked["blockers"][0]["name"] == "prices"
    assert first in parked["blockers"][0]["reason"]
    assert (await shown(told))["last"]["status"] == "parked"
    CLOCK.now = EVENING + timedelta(days=2)
    assert (await told.decision(second, 2))["type"] == "request.expired"


@pytest.mark.parametrize(("missed", "runs"), [("run_once", True), ("skip", False)])
async def test_after_an_outage_the_newest_missed_one_is_run_once_or_none_is(
    told: Told, missed: str, runs: bool
) -> None:
    await scheduled(told, missed=missed)
    CLOCK.now = EVENING + timedelta(days=2, hours=1)  # Friday; Wednesday, Thursday and today were missed

    async def planned() -> bool:
        return bool((await shown(told))["next"][0]["data_date"] == "2025-01-21" and await _is_planned_after(told))

    await eventually(planned)
    await told.is_quiet()
    found = [one["planned_for"] for one in await commands(told)]
    assert found == ([text(EVENING + timedelta(days=2))] if runs else [])
    activities = of(await told.about("activities.v1"), action="schedule.missed")
    assert [one["payload"]["planned_for"] for one in activities] == (
        [] if runs else [text(EVENING + timedelta(days=2))]
    )


async def _is_planned_after(told: Told) -> bool:
    rows = await told.lineage.rows("select planned_at from schedules where tenant = $1", told.tenant)
    return bool(rows[0]["planned_at"] > CLOCK.now)


async def test_a_paused_schedule_asks_for_nothing_and_makes_up_for_nothing(told: Told) -> None:
    await scheduled(told)
    paused = await send(told, "POST", "/v1/schedules/prices/pause")
    assert (paused.status_code, paused.json()["status"], paused.json()["paused_by"]) == (200, "paused", "ana@acme")
    assert paused.json()["next"] == []
    CLOCK.now = EVENING + timedelta(hours=1)
    resumed = (await send(told, "POST", "/v1/schedules/prices/resume", flow_kind="refresh")).json()
    assert (resumed["status"], resumed["next"][0]["at"]) == ("active", text(NEXT_EVENING))
    CLOCK.now = NEXT_EVENING
    await asked_for(told, NEXT_EVENING)
    assert len(await commands(told)) == 1
    actions = [one["action"] for one in await told.about("activities.v1") if one["action"].startswith("schedule.")]
    assert actions == ["schedule.paused", "schedule.resumed"]


async def test_another_definition_holds_at_once_and_a_retired_instance_stops(told: Told) -> None:
    await scheduled(told)
    await scheduled(told, at="19:05")
    later = EVENING + timedelta(hours=1)
    await told.snapshot("prices", seq=2)
    assert (await shown(told))["next"][0]["at"] == text(later)
    CLOCK.now = later
    await requested(told, await asked_for(told, later))
    await told.command("instance.retire", instance="prices")
    await told.snapshot("prices", status="retired")
    assert (await shown(told))["status"] == "retired"
    CLOCK.now = later + timedelta(days=5)
    await told.is_quiet()
    assert not await told.lineage.rows("select from due where kind = $1 and ref like $2", SCHEDULE,
                                       f"{told.id('prices')}/%")  # fmt: skip
    assert len(await commands(told)) == 1


async def test_a_flow_registered_again_without_its_schedule_runs_by_itself_no_more(told: Told) -> None:
    await scheduled(told)
    await told.register("prices", type="DatasetInstance")
    assert (await told.snapshot("prices", seq=2))["flows"][0]["schedule"] is None
    assert (await get(told, "/v1/schedules"))["schedules"] == []
    ref = f"{told.id('prices')}/refresh"
    assert not await told.lineage.rows("select from due where kind = $1 and ref = $2", SCHEDULE, ref)


async def test_a_closure_entered_live_takes_its_instant_away(told: Told) -> None:
    await scheduled(told)
    CLOCK.now = NOON + timedelta(minutes=1)
    entered = {"day": "2025-01-15", "reason": "mourning"}
    assert (await told.lineage.http.post("/v1/calendars/XNYS/closures", json=entered)).is_success

    async def moved() -> bool:
        rows = await told.lineage.rows("select planned_at from schedules where tenant = $1", told.tenant)
        return bool(rows[0]["planned_at"] == NEXT_EVENING)

    await eventually(moved)
    assert (await shown(told))["next"][0]["at"] == text(NEXT_EVENING)
    assert (await told.lineage.http.delete("/v1/calendars/XNYS/closures/2025-01-15")).is_success


async def test_what_makes_no_sense_is_answered_by_name(told: Told) -> None:
    await told.register("prices", type="DatasetInstance", flow={"schedule": {"cron": "61 * * * *"}})
    refused = await told.kafka.until(
        "activities.v1", lambda m: m["tenant"] == told.tenant and m["action"] == "command.refused"
    )
    said = "prices/refresh: cron '61 * * * *': minute is '61'; allowed: 0-59, with * , - and /"
    assert (refused["payload"]["code"], refused["payload"]["message"]) == ("INVALID_COMMAND", said)
    flow = {"kind": "refresh", "deployment": "refresh-prices/prod", "schedule": {"sessions": "XNYE", "at": "18:05"}}
    answer = await send(told, "PUT", "/v1/instances/prices",
                        body={"instance_type": "DatasetInstance", "flows": [flow]})  # fmt: skip
    assert answer.status_code == 422
    assert "calendar 'XNYE' is not known; nearest: XNYS" in answer.json()["detail"]


async def test_another_tenant_sees_and_pauses_nothing_of_it(told: Told) -> None:
    await scheduled(told)
    other = Told(told.lineage)
    assert (await get(other, "/v1/schedules"))["schedules"] == []
    assert (await send(other, "POST", f"/v1/schedules/{told.id('prices')}/pause")).status_code == 404
    assert (await shown(told))["status"] == "active"


async def test_control_without_the_clock_of_schedules_nothing_is_asked_for(own_world: World) -> None:
    await own_world.migrate("lineage")
    service = build(own_world.settings("lineage"))
    due = {kind: handler for kind, handler in service.due.items() if kind != SCHEDULE}
    running = Running(replace(service, due=due), clock=CLOCK)
    await running.start()
    told = Told(lineage := ServiceHarness("lineage", own_world, running))
    CLOCK.now = NOON
    await told.register("prices", type="DatasetInstance", flow={"schedule": {"interval": "PT1H"}})
    await told.snapshot("prices")
    CLOCK.now = NOON + timedelta(days=1)
    await told.is_quiet()
    assert await commands(told) == []
    assert UUID(told.id("prices")) in {
        row["instance_id"] for row in await lineage.rows("select * from schedules where planned_at < $1", CLOCK.now)
    }
    await lineage.stop()
