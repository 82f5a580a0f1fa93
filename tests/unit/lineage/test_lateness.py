"""Rules 4 and 6 in a world: what the clock does to a flow, and what a delayed source changes about it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from services.lineage.conclusion import DATE, Change, outcome_of
from services.lineage.domain import definition, plan
from services.lineage.domain.gate import upstream_blockers
from services.lineage.domain.staleness import Root, restate
from services.lineage.domain.world import Flow, Instance, World
from services.lineage.mirror import Loaded
from tests.unit.lineage.memory import MemoryStore, MemoryWork
from tests.unit.lineage.sessions import NEW_YORK, XNYS, closed
from tests.unit.lineage.worlds import TENANT, all_ready, id_of, key, version, world

AT_SIX = {"frequency": "daily", "business_days_only": True, "calendar": "XNYS", "available_at": "18:00"}
NOON = datetime(2025, 1, 15, 17, tzinfo=UTC)  # Wednesday noon in New York
SIX = datetime(2025, 1, 15, 23, tzinfo=UTC)
NEXT_SIX = datetime(2025, 1, 16, 23, tzinfo=UTC)


def dated(last: str, now: datetime = NOON, **rule: Any) -> World:
    """`prices` with data to this day, read by `below`; everything has run."""
    of = all_ready(world("prices -> below"))
    prices = replace(of.instances[id_of("prices")], update_frequency=json.dumps({**AT_SIX, **rule}))
    of = of.with_instance(prices).with_calendars({"XNYS": XNYS})
    return facts(of, now, last_data_date=date.fromisoformat(last))


def facts(of: World, now: datetime, **changes: Any) -> World:
    flow = replace(prices(of), **changes)
    return asked(of.with_flows({key("prices"): flow}), now)


def asked(of: World, now: datetime) -> World:
    return restate(of, {key("prices"): Root("x", changed=False)}, now).world


def prices(of: World) -> Flow:
    return of.instances[id_of("prices")].flows[0]


def delayed(of: World, at: datetime, until: datetime | None = None, reason: str | None = "the vendor is late") -> World:
    after = definition.delayed(of, id_of("prices"), until=until, reason=reason, at=at)
    assert isinstance(after, Instance)
    return asked(of.with_instance(after), at)


def said(of: World) -> tuple[str, str | None, datetime | None]:
    flow = prices(of)
    return flow.freshness, str(flow.expected_data_date), flow.next_due_at


def test_data_up_to_what_is_expected_is_ready_until_the_next_publication() -> None:
    of = dated("2025-01-14")
    assert said(of) == ("ready", "2025-01-14", SIX)
    assert said(asked(of, SIX - timedelta(seconds=1))) == ("ready", "2025-01-14", SIX)
    late = asked(of, SIX)
    assert said(late) == ("stale", "2025-01-15", NEXT_SIX)
    assert prices(late).reason == "its data goes to 2025-01-14; expected is 2025-01-15"


def test_staleness_by_date_does_not_travel() -> None:
    late = asked(dated("2025-01-14"), SIX)
    assert late.instances[id_of("below")].flows[0].freshness == "ready"
    assert prices(late).stale_by_version is None


def test_what_is_late_and_has_an_old_version_is_stale_by_version_first() -> None:
    of = dated("2025-01-14")
    instance = replace(of.instances[id_of("prices")], definition_changed_at=NOON + timedelta(days=9999))
    late = asked(of.with_instance(instance), SIX)
    assert "definition" in str(prices(late).reason)


def test_grace_says_how_far_data_must_go_at_least() -> None:
    of = dated("2025-01-10", grace_period_days=1)
    assert prices(of).reason == "its data goes to 2025-01-10; expected is 2025-01-14, at least 2025-01-13"


def test_a_changed_frequency_counts_at_once() -> None:
    of = dated("2025-01-10")
    assert prices(of).freshness == "stale"
    weekly = json.dumps({"frequency": "weekly", "day_of_week": 4})
    of = of.with_instance(replace(of.instances[id_of("prices")], update_frequency=weekly))
    assert said(asked(of, NOON)) == ("ready", "2025-01-10", datetime(2025, 1, 18, tzinfo=UTC))
    none = of.with_instance(replace(of.instances[id_of("prices")], update_frequency=None))
    assert said(asked(none, NOON)) == ("ready", "None", None)


def test_a_closure_entered_live_counts_when_it_is_asked_again() -> None:
    of = dated("2025-01-08", now := datetime(2025, 1, 10, 15, tzinfo=UTC), available_at=None)
    assert said(of)[:2] == ("stale", "2025-01-09")
    of = of.with_calendars({"XNYS": closed(XNYS, "2025-01-09")})
    assert said(asked(of, now))[:2] == ("ready", "2025-01-08")


def test_beyond_the_horizon_it_is_stale_and_says_what_to_run() -> None:
    of = dated("2025-12-31", datetime(2026, 1, 2, 12, tzinfo=UTC))
    assert said(of) == ("stale", "None", None)
    assert prices(of).reason == "calendar XNYS ends on 2025-12-31; run: runtide calendars sync XNYS"


def test_without_its_calendar_it_is_stale_and_says_what_to_run() -> None:
    of = asked(dated("2025-01-14").with_calendars({}), NOON)
    assert prices(of).reason == "calendar XNYS is not known; run: runtide calendars sync XNYS"


def test_a_retired_instance_has_no_clock() -> None:
    of = dated("2025-01-14")
    of = asked(of.with_instance(replace(of.instances[id_of("prices")], retired_at=NOON)), NOON)
    assert prices(of).next_due_at is None


# A delayed source


def test_a_late_source_that_says_so_is_delayed_instead_of_stale() -> None:
    of = delayed(asked(dated("2025-01-14"), SIX), SIX)
    assert prices(of).freshness == "stale_source_delayed"
    assert prices(of).reason == "its source is delayed: the vendor is late"


def test_without_an_end_a_delay_lasts_until_the_data_has_caught_up() -> None:
    of = delayed(asked(dated("2025-01-13"), SIX), SIX)
    of = facts(of, SIX, last_data_date=date(2025, 1, 14))
    assert prices(of).freshness == "stale_source_delayed"  # newer, but not caught up
    of = facts(of, SIX, last_data_date=date(2025, 1, 15))
    assert (prices(of).freshness, of.instances[id_of("prices")].delay) == ("ready", None)
    assert prices(asked(of, NEXT_SIX)).freshness == "stale"  # the next day's lateness is another one


def test_a_delay_said_before_the_data_is_due_waits_for_it() -> None:
    of = delayed(dated("2025-01-14"), NOON)
    assert prices(of).freshness == "ready"
    of = facts(of, NOON, version=version(77))  # a run that brings nothing new has not caught up
    assert prices(asked(of, SIX)).freshness == "stale_source_delayed"


def test_with_an_end_a_delay_holds_until_then_and_the_clock_ends_it() -> None:
    until = SIX + timedelta(hours=2)
    of = delayed(asked(dated("2025-01-14"), SIX), SIX, until)
    assert said(of) == ("stale_source_delayed", "2025-01-15", until)
    assert "until 2025-01-16 01:00Z" in str(prices(of).reason)
    caught_up = facts(of, SIX, last_data_date=date(2025, 1, 15))
    assert prices(caught_up).freshness == "ready"
    over = asked(of, until)
    assert said(over) == ("stale", "2025-01-15", NEXT_SIX)
    assert over.instances[id_of("prices")].delay is None


def test_an_end_that_is_over_takes_the_delay_back() -> None:
    of = delayed(asked(dated("2025-01-14"), SIX), SIX)
    assert prices(delayed(of, SIX, until=SIX)).freshness == "stale"


@pytest.mark.parametrize("rule", [None, {"frequency": "irregular"}])
def test_without_a_date_a_delay_lasts_until_the_next_completion(rule: dict[str, str] | None) -> None:
    of = dated("2025-01-14")
    said = json.dumps(rule) if rule else None
    of = of.with_instance(replace(of.instances[id_of("prices")], update_frequency=said))
    of = facts(of, NOON, version=replace(version(78), ended_at=NOON - timedelta(minutes=1)))
    assert prices(of).freshness == "ready"
    of = delayed(of, NOON)
    assert prices(of).freshness == "stale_source_delayed"
    of = facts(of, NOON, version=replace(version(78), ended_at=NOON + timedelta(minutes=1)))
    assert (prices(of).freshness, of.instances[id_of("prices")].delay) == ("ready", None)


def test_the_zone_of_a_rule_wins_over_the_calendars() -> None:
    of = dated("2025-01-14", timezone="Asia/Tokyo")
    assert XNYS.zone == NEW_YORK
    assert said(of)[2] == datetime(2025, 1, 16, 9, tzinfo=UTC)  # 18:00 of the 16th in Tokyo; the 15th is over there


# An edge that allows some lateness


def reading(max_lag: int | None, now: datetime = SIX, **facts_of_prices: Any) -> World:
    """`prices -> below -> last`; `below` allows `prices` to be late."""
    of = all_ready(world("prices -> below -> last"))
    prices = replace(of.instances[id_of("prices")], update_frequency=json.dumps(AT_SIX))
    edge = replace(of.instances[id_of("below")].upstreams[0], max_lag=max_lag)
    of = of.with_instance(prices).with_instance(replace(of.instances[id_of("below")], upstreams=(edge,)))
    of = of.with_calendars({"XNYS": XNYS})
    return facts(of, now, **{"last_data_date": date(2025, 1, 13), **facts_of_prices})  # two sessions late


def blockers(of: World, name: str) -> list[tuple[str, str]]:
    return [(one.name, one.status.value) for one in upstream_blockers(of, key(name))]


@pytest.mark.parametrize(("max_lag", "blocked"), [(2, False), (3, False), (1, True), (0, True), (None, True)])
def test_an_upstream_that_is_late_by_date_blocks_only_beyond_what_the_edge_allows(
    max_lag: int | None, blocked: bool
) -> None:
    of = reading(max_lag)
    assert prices(of).freshness == "stale"
    assert blockers(of, "below") == ([("prices", "stale")] if blocked else [])


def test_what_the_edge_allows_holds_for_whoever_comes_by_it_and_for_no_other_edge() -> None:
    of = reading(2)
    assert blockers(of, "last") == []
    straight = replace(of.instances[id_of("below")].upstreams[0], max_lag=None)
    last = of.instances[id_of("last")]
    of = of.with_instance(replace(last, upstreams=(*last.upstreams, straight)))
    assert blockers(of, "last") == [("prices", "stale")]
    assert blockers(of, "below") == []


@pytest.mark.parametrize(("max_lag", "said"), [(2, ("skip", "excused")), (1, ("run", "stale"))])
def test_a_plan_leaves_out_what_may_be_late(max_lag: int, said: tuple[str, str]) -> None:
    made = plan.make(reading(max_lag), key("below"), skip_if_ready=False, others={})
    [node] = [node for node in made.nodes if node.name == "prices/refresh"]
    assert (node.action.value, node.reason) == said


def test_a_delayed_source_is_late_too() -> None:
    of = delayed(reading(2), SIX)
    assert prices(of).freshness == "stale_source_delayed"
    assert blockers(of, "below") == []
    assert blockers(delayed(reading(1), SIX), "below") == [("prices", "stale_source_delayed")]


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"newest_end_failed": True}, "error"),
        ({"version": None}, "not_initialized"),
        ({"open_run_id": version(9).run_id}, "running"),
        ({"last_data_date": date(1999, 1, 4)}, "stale"),  # before the calendar begins: nobody knows how late
    ],
)
def test_nothing_but_lateness_is_allowed(changes: dict[str, Any], status: str) -> None:
    assert blockers(reading(5000, **changes), "below") == [("prices", status)]


def test_what_is_stale_by_version_or_beyond_the_horizon_is_not_only_late() -> None:
    of = reading(5000)
    redefined = replace(of.instances[id_of("prices")], definition_changed_at=datetime(2099, 1, 1, tzinfo=UTC))
    assert blockers(asked(of.with_instance(redefined), SIX), "below") == [("prices", "stale")]
    assert blockers(reading(5000, datetime(2026, 1, 2, 12, tzinfo=UTC)), "below") == [("prices", "stale")]


def test_an_instance_whose_row_fell_due_is_called_again_when_its_new_answer_falls_due() -> None:
    change = Change.of(Loaded.of(dated("2025-01-14"), ()))
    change.roots[key("prices")] = Root("x", changed=False)
    change.due.add(id_of("prices"))
    work = MemoryWork(SIX, MemoryStore(TENANT))
    outcome_of(change, work)  # type: ignore[arg-type]
    assert work.due == {(DATE, str(id_of("prices"))): NEXT_SIX}
