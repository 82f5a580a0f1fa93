from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from runtide_schemas.vocabulary import Code, Gate, Mode, Trigger

from services.lineage.domain import gate, recursive
from services.lineage.domain.gate import Admitted, Decision, Parked, Refused, Request, State
from services.lineage.domain.graph import FlowKey
from services.lineage.domain.recursive import Asked
from services.lineage.domain.world import World
from tests.unit.lineage.worlds import NOW, all_ready, complete, id_of, key, put, request, run, world

DIAMOND = all_ready(world("a -> b -> d", "a -> c -> d"))
STALE = complete(DIAMOND, "a", 50).world  # b, c and d are stale
FAILED = put(DIAMOND, "a", newest_end_failed=True)
NEW = world("a -> b -> d", "a -> c -> d")
RETIRED = STALE.with_instance(replace(STALE.instances[id_of("c")], retired_at=NOW))
UNREGISTERED = world("a -> b -> d").with_instance(world("ghost -> d").instances[id_of("d")])
UNREGISTERED = World(UNREGISTERED.tenant, UNREGISTERED.instances)


def said(
    of: World, asking: Request | None = None, others: Mapping[FlowKey, str] | None = None, name: str = "d"
) -> Decision:
    asking = asking or request(name, gate=Gate.RECURSIVE)
    return recursive.decided(of, asking, gate.decide(of, asking, now=NOW), others or {})


def asks(decision: Decision) -> str:
    assert isinstance(decision, Parked)
    return "".join(next(name for name in "abcd" if key(name) == flow) for flow in decision.asks)


def having_asked(**ends: str | None) -> Request:
    asked = tuple(Asked(key(name), run(200 + ord(name)), ended_as) for name, ended_as in ends.items())
    return request("d", gate=Gate.RECURSIVE, asked=asked)


@pytest.mark.parametrize(
    ("of", "others", "asked"),
    [
        (STALE, {}, "bc"),
        (FAILED, {}, "a"),  # b and c are ready on the version before
        (NEW, {}, "abc"),
        (STALE, {key("b"): "requested"}, "c"),  # somebody waits to run it
        (STALE, {key("b"): "running"}, "c"),  # admitted already
        (put(STALE, "b", open_run_id=run(9)), {}, "c"),  # runs already
        (put(STALE, "b", newest_end_failed=True), {}, "bc"),
    ],
)
def test_what_is_not_ready_is_asked_for_unless_it_is_coming_anyway(
    of: World, others: Mapping[FlowKey, str], asked: str
) -> None:
    assert "".join(sorted(asks(said(of, others=others)))) == asked


def test_what_is_read_is_asked_for_before_what_reads_it() -> None:
    assert asks(said(NEW)) in ("abc", "acb")


def test_each_flow_is_asked_for_once_whatever_moves() -> None:
    assert asks(said(STALE, having_asked(b=None))) == "c"
    assert asks(said(STALE, having_asked(b=None, c=None))) == ""


def test_when_all_above_is_ready_it_goes_and_the_flow_itself_is_not_asked_for() -> None:
    assert isinstance(said(DIAMOND, having_asked(b="completed", c="skipped")), Admitted)
    busy = DIAMOND.with_open_runs({key("d"): frozenset({run(8)})})
    assert asks(said(busy)) == ""


@pytest.mark.parametrize("end", ["failed", "cancelled", "refused", "expired", "launch_failed"])
def test_a_bad_end_of_what_it_asked_for_refuses_it_by_name(end: str) -> None:
    refused = said(STALE, having_asked(b=end, c=None))
    assert isinstance(refused, Refused)
    assert refused.code is Code.UPSTREAM_FAILED
    assert [one.name for one in refused.blockers] == ["b"]
    assert f"b is stale (run {run(200 + ord('b'))}, which was asked for, ended as {end}" in refused.message
    assert set(refused.statuses) == {"a/refresh", "b/refresh", "c/refresh"}


def test_a_bad_end_is_no_matter_when_the_flow_is_ready_all_the_same() -> None:
    assert isinstance(said(DIAMOND, having_asked(b="cancelled")), Admitted)
    one_left = put(DIAMOND, "c", newest_end_failed=True)
    assert asks(said(one_left, having_asked(b="cancelled"))) == "c"


@pytest.mark.parametrize("end", ["completed", "skipped"])
def test_a_good_end_that_leaves_the_flow_stale_refuses_it_unless_somebody_runs_it_again(end: str) -> None:
    refused = said(STALE, having_asked(b=end, c=None))
    assert isinstance(refused, Refused)
    assert (refused.code, [one.name for one in refused.blockers]) == (Code.UPSTREAM_FAILED, ["b"])
    assert asks(said(STALE, having_asked(b=end, c=None), others={key("b"): "requested"})) == ""


@pytest.mark.parametrize(
    ("of", "name", "says"),
    [
        (RETIRED, "c", "c is retired (it is retired)"),
        (UNREGISTERED, "ghost", "ghost is not_initialized (it is not registered)"),
    ],
)
def test_what_nobody_can_run_refuses_it_at_once_by_name(of: World, name: str, says: str) -> None:
    refused = said(of)
    assert isinstance(refused, Refused)
    assert refused.code is Code.UPSTREAM_NOT_READY
    assert [one.name for one in refused.blockers] == [name]
    assert says in refused.message


def test_an_upstream_without_the_flow_that_is_read_refuses_it_at_once_by_name() -> None:
    without = STALE.with_instance(replace(STALE.instances[id_of("c")], flows=()))
    refused = said(without)
    assert isinstance(refused, Refused)
    assert "it has no flow refresh" in refused.message


@pytest.mark.parametrize("of", [STALE, RETIRED])
@pytest.mark.parametrize("gate_of", [Gate.WAIT, Gate.STRICT])
def test_other_gates_ask_for_nothing(of: World, gate_of: Gate) -> None:
    asking = request("d", gate=gate_of)
    decision = gate.decide(of, asking, now=NOW)
    assert recursive.decided(of, asking, decision, {}) is decision
    assert not isinstance(decision, Parked) or decision.asks == ()


def test_what_was_ready_in_between_is_asked_for_again_when_somebody_made_it_stale() -> None:
    asking = having_asked(b="completed", c="completed")
    one_left = put(DIAMOND, "c", newest_end_failed=True)
    after = recursive.served(asking, gate.decide(one_left, asking, now=NOW))
    assert [one.ended_as for one in after.asked] == ["ready", "completed"]
    assert isinstance(said(STALE, asking), Refused)  # the control: it was never ready
    again = after.but(asked=after.asked[:1])
    assert asks(said(STALE, again)) == "bc"
    assert asks(said(STALE, again, others={key("b"): "requested"})) == "c"


def test_it_remembers_how_what_it_asked_for_ended_and_the_first_end_stays() -> None:
    asking = having_asked(b=None, c=None)
    child = gate.ended(request("b", 200 + ord("b")), "failed")
    after = recursive.told(asking, child)
    assert [one.ended_as for one in after.asked] == ["failed", None]
    assert recursive.told(after, gate.ended(child, "cancelled")) == after
    assert recursive.told(asking, gate.ended(request("b", 1), "failed")) == asking


def test_what_others_run_or_wait_to_run_is_coming_but_what_makes_nothing_ready_is_not() -> None:
    waiting, admitted = request("b", 1, gate=Gate.WAIT), request("c", 2, state=State.ADMITTED)
    over = gate.ended(request("a", 3), "completed")
    backfill = request("a", 4, state=State.ADMITTED, trigger=Trigger.BACKFILL)
    preview = request("a", 6, gate=Gate.WAIT, mode=Mode.PREVIEW)
    asked = [waiting, admitted, over, backfill, preview]
    assert recursive.coming(STALE, asked) == {key("b"): "requested", key("c"): "running"}
    both = [request("b", 5, state=State.ADMITTED), waiting]
    assert recursive.coming(STALE, both) == {key("b"): "running"}


def test_what_was_asked_for_is_among_what_the_decision_saw() -> None:
    seen = dict(gate.seen_by(STALE.with_open_runs({key("d"): frozenset({run(8)})}), having_asked(b="failed")))
    assert seen["b/refresh"]["asked"] == {"run_id": str(run(200 + ord("b"))), "ended_as": "failed"}
    assert seen["d/refresh"]["open_runs"] == [str(run(8))]
    assert "another version" in seen["b/refresh"]["reason"]
