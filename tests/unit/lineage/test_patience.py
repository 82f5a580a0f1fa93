"""How long an automatic refresh waits, what it is excused, and how far apart refreshes lie."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from runtide_schemas.vocabulary import Gate, Mode, Trigger

from services.lineage.domain import gate
from services.lineage.domain.gate import Admitted, Decision, Parked, Request, Skipped, State
from services.lineage.domain.world import World
from tests.unit.lineage.worlds import NOW, all_ready, at, complete, instance, key, put, request, run, upstream, world_of

HOUR = timedelta(hours=1)
PATIENT = all_ready(world_of(instance("a"), instance("b", "a"), instance("d", "b")))
IMPATIENT = put(PATIENT, "d", max_wait=HOUR)
STALE = complete(IMPATIENT, "a", 50).world  # b and d are stale


def automatic(**fields: object) -> Request:
    return request("d", gate=Gate.WAIT, skip_if_ready=True, trigger=Trigger.UPSTREAM, **fields)


def said(of: World, now: datetime = NOW, asked: Request | None = None) -> Decision:
    return gate.decide(of, asked or automatic(), now=now)


def admitted(decision: Decision) -> Admitted:
    assert isinstance(decision, Admitted)
    return decision


def parked(decision: Decision) -> Parked:
    assert isinstance(decision, Parked)
    return decision


def test_an_automatic_refresh_waits_and_is_looked_at_when_its_patience_ends() -> None:
    assert parked(said(STALE)).due_at == NOW + HOUR
    assert parked(said(complete(PATIENT, "a", 50).world)).due_at is None


@pytest.mark.parametrize(
    "of",
    [
        STALE,
        put(STALE, "b", newest_end_failed=True),
        put(STALE, "b", open_run_id=run(9)),
        STALE.with_instance(replace(STALE.instances[key("b").instance_id], retired_at=NOW)),
    ],
    ids=["stale", "error", "running", "retired"],
)
def test_after_max_wait_it_runs_on_the_versions_at_hand_and_says_what_it_excused(of: World) -> None:
    decision = admitted(said(of, NOW + HOUR))
    b = of.flow(key("b"))
    assert b is not None
    assert b.version is not None
    assert {read.role: read.version_id for read in decision.reads} == {"b": b.version.version_id}
    assert str(decision.warning).startswith("after waiting for 1:00:00 although b is ")
    assert [one.name for one in decision.excused] == ["b"]
    seen = dict(gate.seen_by(of, automatic(), decision))
    assert [name for name, one in seen.items() if one.get("excused")] == ["b/refresh"]


def test_what_is_not_in_the_way_is_not_excused() -> None:
    decision = admitted(said(put(IMPATIENT, "d", newest_end_failed=True), NOW + HOUR))
    assert (decision.warning, decision.excused) == (None, ())


def test_only_an_automatic_refresh_loses_its_patience() -> None:
    assert isinstance(said(STALE, NOW + 2 * HOUR, automatic(asked_at=NOW + HOUR)), Admitted)
    manual = request("d", gate=Gate.WAIT, asked_at=NOW)
    assert isinstance(said(STALE, NOW + 2 * HOUR, manual), Parked)


def test_max_wait_never_passes_the_flows_own_limit_of_open_runs() -> None:
    busy = STALE.with_open_runs({key("d"): frozenset({run(8)})})
    assert [one.name for one in parked(said(busy, NOW + HOUR)).blockers] == ["b", "d"]


def test_max_wait_never_passes_an_upstream_without_any_version() -> None:
    nothing = put(STALE, "b", version=None)
    assert parked(said(nothing, NOW + HOUR)).due_at is None
    absent = put(world_of(instance("d", "ghost")), "d", max_wait=HOUR)
    assert isinstance(said(absent, NOW + HOUR), Parked)
    optional = put(world_of(instance("a"), instance("d", "a", upstream("ghost", optional=True))), "d", max_wait=HOUR)
    optional = put(complete(optional, "a", 50).world, "a", newest_end_failed=True)
    assert isinstance(said(optional, NOW + HOUR), Admitted)


RECENT = put(complete(PATIENT, "b", 50).world, "d", min_interval=HOUR, last_admitted_at=NOW)


def test_refreshes_lie_apart_and_say_until_when() -> None:
    decision = parked(said(RECENT, at(60)))
    [blocked] = decision.blockers
    assert (blocked.name, decision.due_at) == ("d", NOW + HOUR)
    assert blocked.reason == (
        "it was admitted at 2026-01-05 12:00:00 UTC; its min_interval ends at 2026-01-05 13:00:00 UTC"
    )
    assert isinstance(said(RECENT, NOW + HOUR), Admitted)


def test_only_automatic_refreshes_lie_apart() -> None:
    assert isinstance(said(RECENT, at(60), request("d")), Admitted)


def test_max_wait_does_not_shorten_the_interval() -> None:
    of = put(complete(RECENT, "a", 60).world, "d", max_wait=timedelta(minutes=1))
    assert parked(said(of, at(120))).due_at == NOW + HOUR
    assert isinstance(said(of, NOW + HOUR), Admitted)


def test_another_time_to_wait_for_is_news() -> None:
    told = gate.answered(automatic(), said(RECENT, at(60)))
    later = put(RECENT, "d", last_admitted_at=at(30))
    assert gate.is_news(told, said(later, at(60)))
    assert not gate.is_news(told, said(RECENT, at(90)))


def test_an_automatic_refresh_waits_for_a_run_above_that_is_admitted_and_has_not_started() -> None:
    of = complete(PATIENT, "b", 50).world.with_open_runs({key("a"): frozenset({run(7)})})
    [blocked] = parked(said(of)).blockers
    assert (blocked.name, blocked.reason) == ("a", f"run {run(7)} is admitted")
    assert isinstance(said(of, asked=request("d")), Admitted)  # who asks for it himself is told by status alone


def test_a_backfill_above_is_not_waited_for() -> None:
    of = complete(PATIENT, "b", 50).world.with_open_runs({key("a"): frozenset({run(7)})})
    assert isinstance(said(replace(of, about_the_past=frozenset({run(7)}))), Admitted)


def test_an_automatic_refresh_is_not_skipped_while_a_run_may_have_read_what_is_old() -> None:
    assert isinstance(said(PATIENT), Skipped)
    assert isinstance(said(PATIENT.with_open_runs({key("d"): frozenset({run(7)})})), Parked)


def test_an_automatic_refresh_also_waits_for_a_run_of_its_own_that_nobody_asked_for() -> None:
    of = put(complete(PATIENT, "b", 50).world, "d", open_run_id=run(9))
    assert [one.name for one in parked(said(of)).blockers] == ["d"]
    assert isinstance(said(of, asked=request("d")), Admitted)


def test_a_preview_does_not_stand_for_a_refresh() -> None:
    waiting = automatic().but(state=State.PARKED)
    assert waiting.will_refresh
    assert not waiting.but(mode=Mode.PREVIEW).will_refresh
    assert not waiting.but(state=State.ADMITTED).will_refresh
