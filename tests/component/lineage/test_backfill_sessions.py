"""Which dates a backfill has, by the date rule and the calendar of its instance. The clock is the test's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from services.lineage.app import build
from shared.running import Running
from tests.component.lineage.test_backfills import Backfilled
from tests.component.lineage.test_calendars import body
from tests.support.harness import ServiceHarness, World

NOON = datetime(2025, 1, 15, 17, tzinfo=UTC)  # Wednesday noon in New York: Tuesday's data is the newest expected
RULE = {"frequency": "daily", "business_days_only": True, "calendar": "XNYS", "available_at": "18:00"}


@pytest.fixture(scope="module")
async def lineage(world: World) -> AsyncIterator[ServiceHarness]:
    await world.migrate("lineage")
    running = Running(build(world.settings("lineage")), clock=lambda: NOON)
    await running.start()
    service = ServiceHarness("lineage", world, running)
    await service.http.put("/v1/calendars/XNYS", json=body())
    closed = await service.http.post("/v1/calendars/XNYS/closures", json={"day": "2025-01-09", "reason": "mourning"})
    assert closed.status_code == 201, closed.text
    yield service
    await service.stop()


@pytest.fixture
def told(lineage: ServiceHarness) -> Backfilled:
    return Backfilled(lineage)


async def dates(told: Backfilled, backfill: dict[str, Any], rule: dict[str, Any] | None) -> list[str]:
    """The dates that are begun, of an instance with this rule."""
    await told.register("prices", type="DatasetInstance", update_frequency=rule, flow={"max_open_runs": 100})
    parent = await told.ask("prices", gate="wait", backfill={"max_open": 100, **backfill})
    decision = await told.decision(parent)
    assert decision["type"] == "request.parked", decision.get("message")
    return await told.days_submitted(parent)


async def test_without_a_step_the_dates_are_the_sessions_of_its_calendar_without_closures(told: Backfilled) -> None:
    found = await dates(told, {"start": "2025-01-08", "end": "2025-01-14"}, RULE)
    assert found == ["2025-01-08", "2025-01-10", "2025-01-13", "2025-01-14"]  # closed on the 9th, then a weekend


async def test_without_a_rule_they_are_days_and_a_step_says_otherwise(told: Backfilled) -> None:
    assert await dates(told, {"start": "2025-01-09", "end": "2025-01-12"}, None) == [
        "2025-01-09", "2025-01-10", "2025-01-11", "2025-01-12",
    ]  # fmt: skip


async def test_a_step_wins_over_the_rule(told: Backfilled) -> None:
    assert await dates(told, {"start": "2025-01-09", "end": "2025-01-10", "step": "day"}, RULE) == [
        "2025-01-09", "2025-01-10",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("backfill", "rule", "says"),
    [
        ({"start": "2025-01-13", "end": "2025-01-15"}, RULE, "2025-01-15 lies after 2025-01-14, the newest data date"),
        ({"start": "2025-01-13", "end": "2025-01-16"}, None, "2025-01-16 lies after 2025-01-15, the newest data date"),
        ({"start": "1990-01-02", "end": "2025-01-14"}, RULE, "1990-01-02 lies outside of calendar XNYS"),
        (
            {"start": "2025-01-09", "end": "2025-01-09"},
            RULE,
            "2025-01-09 to 2025-01-09 is empty: no session lies in it",
        ),
    ],
)
async def test_dates_that_there_can_not_be_are_refused_by_name(
    told: Backfilled, backfill: dict[str, str], rule: dict[str, Any] | None, says: str
) -> None:
    await told.register("prices", type="DatasetInstance", update_frequency=rule)
    refused = await told.decision(await told.ask("prices", gate="wait", backfill=backfill))
    assert (refused["type"], refused["code"]) == ("request.refused", "INVALID_COMMAND")
    assert says in refused["message"]
