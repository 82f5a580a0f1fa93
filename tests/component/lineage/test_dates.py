"""What the clock and the calendars do to a running lineage. The clock is the test's: it is told what time it is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from services.lineage.app import build
from shared.running import Running
from tests.component.lineage.test_calendars import body
from tests.component.lineage.told import Told, text
from tests.conftest import Stack
from tests.support.harness import ServiceHarness, World, of

NOON = datetime(2025, 1, 15, 17, tzinfo=UTC)  # Wednesday noon in New York
SIX = datetime(2025, 1, 15, 23, tzinfo=UTC)
AT_SIX = {"frequency": "daily", "business_days_only": True, "calendar": "XNYS", "available_at": "18:00"}


@dataclass
class Clock:
    now: datetime = NOON

    def __call__(self) -> datetime:
        return self.now


@dataclass
class Desk:
    """A lineage that knows XNYS, and its clock."""

    told: Told
    clock: Clock
    lineage: ServiceHarness

    async def prices(self, last: str = "2025-01-14", **rule: Any) -> None:
        """`prices` with a date rule, completed with data to this day."""
        await self.told.register("prices", type="DatasetInstance", update_frequency={**AT_SIX, **rule})
        await self.data(last)

    async def data(self, last: str, **fields: Any) -> str:
        return await self.told.completed("prices", last_data_date=last, **fields)

    async def post(self, path: str, **sent: Any) -> None:
        answer = await self.lineage.http.post(path, json=sent)
        assert answer.is_success, answer.text


CLOCK = Clock()


@pytest.fixture(scope="module")
async def lineage(world: World) -> AsyncIterator[ServiceHarness]:
    """A lineage that knows two calendars, by the test's clock."""
    await world.migrate("lineage")
    running = Running(build(world.settings("lineage")), clock=CLOCK)
    await running.start()
    service = ServiceHarness("lineage", world, running)
    for code in ("XNYS", "XSHORT"):
        await service.http.put(f"/v1/calendars/{code}", json=body())
    yield service
    await service.stop()


@pytest.fixture
def desk(lineage: ServiceHarness) -> Desk:
    CLOCK.now = NOON
    return Desk(Told(lineage), CLOCK, lineage)


async def test_the_snapshot_says_what_is_expected_and_when_that_changes(desk: Desk) -> None:
    await desk.prices()
    snapshot = await desk.told.snapshot("prices", status="ready")
    [flow] = snapshot["flows"]
    assert (flow["expected_data_date"], flow["next_due_at"]) == ("2025-01-14", text(SIX))
    shown = (await desk.lineage.http.get("/v1/instances", params={"limit": 500})).json()
    assert all(one["instance_id"] != snapshot["instance_id"] for one in shown["instances"])  # another tenant's
    [due] = await desk.lineage.rows("select due_at from due where ref = $1", desk.told.id("prices"))
    assert due["due_at"] == SIX


async def test_a_flow_turns_stale_by_the_clock_alone_and_its_readers_do_not(desk: Desk) -> None:
    await desk.prices()
    await desk.told.register("momentum", "prices")
    prices = await desk.told.snapshot("prices", status="ready")
    await desk.told.completed("momentum", read={"prices": prices["flows"][0]["last_run_id"]})
    await desk.told.snapshot("momentum", status="ready")
    desk.clock.now = SIX
    stale = await desk.told.snapshot("prices", status="stale")
    assert stale["flows"][0]["reason"] == "its data goes to 2025-01-14; expected is 2025-01-15"
    assert stale["cause"]["path"] == ["prices"]
    refused = await desk.told.decision(await desk.told.ask("momentum"))
    assert [(one["name"], one["status"]) for one in refused["blockers"]] == [("prices", "stale")]
    assert not of(await desk.told.about("instances.status.v1"), instance_id=desk.told.id("momentum"), status="stale")
    assert of(await desk.told.about("activities.v1"), action="instance.stale", resource_id=desk.told.id("prices"))


async def test_control_without_the_due_worker_it_stays_ready(stack: Stack) -> None:
    world = await World(stack.env).open()
    await world.migrate("lineage")
    clock = Clock()
    running = Running(replace(build(world.settings("lineage")), due={}), clock=clock)
    await running.start()
    desk = Desk(Told(lineage := ServiceHarness("lineage", world, running)), clock, lineage)
    await lineage.http.put("/v1/calendars/XNYS", json=body())
    await desk.prices()
    await desk.told.snapshot("prices", status="ready")
    clock.now = SIX
    await desk.told.is_quiet()
    assert not of(await desk.told.about("instances.status.v1"), status="stale")
    await desk.data("2025-01-14")  # only a message asks again
    await desk.told.snapshot("prices", status="stale")
    await lineage.stop()
    await world.close()


async def test_a_stale_flow_goes_on_saying_what_is_expected(desk: Desk) -> None:
    await desk.prices()
    await desk.told.snapshot("prices", status="ready")
    for day in (15, 16):
        desk.clock.now = datetime(2025, 1, day, 23, tzinfo=UTC)
        snapshot = await desk.told.snapshot("prices", status="stale", flow__expected_data_date=f"2025-01-{day}")
    assert snapshot["flows"][0]["next_due_at"] == "2025-01-17T23:00:00Z"


async def test_the_day_after_labor_day_friday_is_what_is_expected(desk: Desk) -> None:
    desk.clock.now = datetime(2025, 9, 2, 12, tzinfo=UTC)
    await desk.prices("2025-08-29", available_at=None)
    snapshot = await desk.told.snapshot("prices", status="ready")
    assert snapshot["flows"][0]["expected_data_date"] == "2025-08-29"


async def test_a_closure_entered_live_counts_at_once_for_every_tenant(desk: Desk) -> None:
    desk.clock.now = datetime(2025, 1, 10, 15, tzinfo=UTC)
    other = replace(desk, told=Told(desk.lineage))
    for one in (desk, other):
        await one.prices("2025-01-08", available_at=None)
        await one.told.snapshot("prices", status="stale")
    await desk.post("/v1/calendars/XNYS/closures", day="2025-01-09", reason="day of mourning")
    for one in (desk, other):
        ready = await one.told.snapshot("prices", status="ready")
        assert ready["flows"][0]["expected_data_date"] == "2025-01-08"
    await desk.lineage.http.delete("/v1/calendars/XNYS/closures/2025-01-09")
    for one in (desk, other):
        seq = (await one.told.snapshot("prices", status="ready"))["seq"]
        await one.told.snapshot("prices", status="stale", seq=seq + 1)


async def test_beyond_the_horizon_it_is_stale_until_the_calendar_is_synced(desk: Desk) -> None:
    desk.clock.now = datetime(2025, 6, 30, 23, tzinfo=UTC)
    short = body(last_day="2025-06-30", sessions=[day for day in body()["sessions"] if day <= "2025-06-30"])
    assert (await desk.lineage.http.put("/v1/calendars/XSHORT", json=short)).is_success
    await desk.prices("2025-06-30", calendar="XSHORT")
    ready = await desk.told.snapshot("prices", status="ready")
    assert ready["flows"][0]["next_due_at"] == "2025-07-01T04:00:00Z"  # midnight in New York
    desk.clock.now += timedelta(hours=6)
    stale = await desk.told.snapshot("prices", status="stale")
    assert stale["flows"][0]["reason"] == "calendar XSHORT ends on 2025-06-30; run: runtide calendars sync XSHORT"
    assert (await desk.lineage.http.put("/v1/calendars/XSHORT", json=body())).is_success
    again = await desk.told.snapshot("prices", status="ready", old_status="stale")
    assert again["flows"][0]["next_due_at"] == "2025-07-01T22:00:00Z"


async def test_a_delayed_source_is_shown_as_such_until_the_data_has_caught_up(desk: Desk) -> None:
    desk.clock.now = SIX
    await desk.prices()
    await desk.told.snapshot("prices", status="stale")
    await desk.told.command("instance.delay_source", instance="prices", reason="the vendor is late")
    delayed = await desk.told.snapshot("prices", status="stale_source_delayed")
    assert delayed["flows"][0]["reason"] == "its source is delayed: the vendor is late"
    assert delayed["source_delay"]["reason"] == "the vendor is late"
    refused = await desk.told.decision(await desk.told.ask("prices", skip_if_ready=True))
    assert refused["type"] == "request.admitted"  # not ready, so not skipped
    await desk.data("2025-01-15")
    caught_up = await desk.told.snapshot("prices", status="ready")
    assert caught_up["source_delay"] is None


async def test_a_delay_with_an_end_is_over_by_the_clock_alone(desk: Desk) -> None:
    desk.clock.now = SIX
    await desk.prices()
    await desk.told.snapshot("prices", status="stale")
    until = SIX + timedelta(hours=2)
    path = f"/v1/instances/{desk.told.id('prices')}/delay"
    assert (await desk.lineage.http.post(path, json={"until": text(until)})).status_code == 404  # another tenant's
    await desk.told.command("instance.delay_source", instance="prices", until=text(until))
    delayed = await desk.told.snapshot("prices", status="stale_source_delayed")
    assert delayed["flows"][0]["next_due_at"] == text(until)
    desk.clock.now = until
    over = await desk.told.snapshot("prices", status="stale", old_status="stale_source_delayed")
    assert over["source_delay"] is None


async def test_http_delays_a_source(desk: Desk) -> None:
    name = f"prices-{uuid4().hex[:6]}"
    made = {"instance_type": "DatasetInstance", "flows": [{"kind": "refresh", "deployment": "refresh-x/prod"}],
            "update_frequency": AT_SIX}  # fmt: skip
    assert (await desk.lineage.http.put(f"/v1/instances/{name}", json=made)).status_code == 201
    answer = await desk.lineage.http.post(f"/v1/instances/{name}/delay", json={"reason": "late", "until": text(SIX)})
    assert answer.json()["source_delay"] == {"until": text(SIX), "reason": "late", "since": text(NOON)}
    assert (await desk.lineage.http.post("/v1/instances/nobody/delay", json={})).status_code == 404


async def test_a_changed_frequency_counts_at_once(desk: Desk) -> None:
    await desk.prices("2025-01-10")
    await desk.told.snapshot("prices", status="stale")
    weekly = {"frequency": "weekly", "day_of_week": 4}
    await desk.told.command("instance.register", name="prices", update_frequency=weekly)
    ready = await desk.told.snapshot("prices", status="ready")
    assert ready["flows"][0]["next_due_at"] == "2025-01-18T00:00:00Z"


async def test_a_backfill_and_a_run_without_new_rows_never_move_the_date_back(desk: Desk) -> None:
    await desk.prices("2025-01-14")
    await desk.data("2019-12-31", trigger="backfill")
    await desk.told.completed("prices")
    await desk.told.is_quiet()
    snapshots = of(await desk.told.about("instances.status.v1"), name="prices")
    assert snapshots[-1]["status"] == "ready"
    assert snapshots[-1]["flows"][0]["last_data_date"] == "2025-01-14"


async def test_an_edge_may_allow_its_upstream_to_be_late(desk: Desk) -> None:
    desk.clock.now = SIX
    await desk.prices("2025-01-14")
    for name in ("patient", "patient-too"):
        await desk.told.register(name, upstreams=[{"instance": "prices", "max_lag": 1}])
    await desk.told.register("strict", "prices")
    await desk.told.snapshot("prices", status="stale")
    assert (await desk.told.decision(await desk.told.ask("patient")))["type"] == "request.admitted"
    assert (await desk.told.decision(await desk.told.ask("strict")))["code"] == "UPSTREAM_NOT_READY"
    desk.clock.now += timedelta(days=1)
    await desk.told.snapshot("prices", status="stale", flow__expected_data_date="2025-01-16")
    refused = await desk.told.decision(await desk.told.ask("patient-too"))
    assert [(one["name"], one["status"]) for one in refused["blockers"]] == [("prices", "stale")]


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ({"calendar": "XNYZ"}, "nearest: XNYS; run: runtide calendars sync XNYZ"),
        ({"timezone": "Amerika/New_York"}, "nearest: America/New_York"),
    ],
)
async def test_a_rule_on_days_that_nobody_knows_is_refused(desk: Desk, rule: dict[str, str], says: str) -> None:
    await desk.told.register("prices", update_frequency={**AT_SIX, **rule})
    refused = await desk.told.kafka.until(
        "activities.v1", lambda m: m["tenant"] == desk.told.tenant and m["action"] == "command.refused"
    )
    assert says in refused["payload"]["message"]


async def test_a_rule_that_was_kept_before_anybody_asked_it_is_asked_after_the_migration(desk: Desk) -> None:
    """As older code and the migration leave it: an answer without dates, and a row that is due."""
    await desk.prices()
    ready = await desk.told.snapshot("prices", status="ready")
    await desk.lineage.rows("update tenants set revision = revision + 1 where tenant = $1", desk.told.tenant)
    older = """
    update standings s set revision = t.revision, answers = '{"refresh": ["ready", null, null, null]}'
    from tenants t where t.tenant = s.tenant and s.tenant = $1
    """
    await desk.lineage.rows(older, desk.told.tenant)
    await desk.lineage.rows("update due set due_at = '2020-01-01Z' where ref = $1", desk.told.id("prices"))
    again = await desk.told.snapshot("prices", seq=ready["seq"] + 1)
    assert again["flows"][0]["next_due_at"] == text(SIX)
    [due] = await desk.lineage.rows("select due_at from due where ref = $1", desk.told.id("prices"))
    assert due["due_at"] == SIX
