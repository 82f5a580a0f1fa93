from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from runtide_schemas.vocabulary import Code, Gate, OnUpstream

from services.lineage.domain import approval, gate, plan, recursive
from services.lineage.domain.approval import Approved
from services.lineage.domain.gate import Admitted, Decision, Parked, Refused, Skipped
from services.lineage.domain.graph import FlowKey
from services.lineage.domain.plan import Action, Plan
from services.lineage.domain.staleness import Root, restate
from services.lineage.domain.world import World
from tests.unit.lineage.worlds import (
    NOW,
    all_ready,
    complete,
    id_of,
    instance,
    key,
    put,
    request,
    run,
    upstream,
    world,
)

DIAMOND = all_ready(world("a -> b -> d -> e", "a -> c -> d"))
STALE = complete(DIAMOND, "a", 50).world  # b, c, d and e are stale
FAILED = put(DIAMOND, "a", newest_end_failed=True)  # b and c are ready on what was before
NEW = world("a -> b -> d -> e", "a -> c -> d")
NEW = restate(NEW, {flow: Root("x", changed=False) for flow in NEW.flow_keys()}, NOW).world
PLAN = run(900)


def made(of: World, name: str = "d", *, smart: bool = False, others: Mapping[FlowKey, str] | None = None,
         seconds: Mapping[str, float] | None = None) -> Plan:  # fmt: skip
    known = {key(name): value for name, value in (seconds or {}).items()}
    return plan.make(of, key(name), skip_if_ready=smart, others=others or {}, seconds=known)


def short(one: Plan) -> list[list[str]]:
    return [[node.name.split("/")[0] for node in batch] for batch in one.batches]


def reasons(one: Plan) -> dict[str, tuple[Action, str]]:
    return {node.name.split("/")[0]: (node.action, node.reason) for node in one.nodes}


@pytest.mark.parametrize(
    ("of", "name", "batches"),
    [
        (NEW, "d", [["a"], ["b", "c"], ["d"]]),
        (STALE, "d", [["b", "c"], ["d"]]),
        (FAILED, "d", [["a"], ["b", "c"], ["d"]]),  # when a runs, b and c may follow
        (DIAMOND, "d", [["d"]]),
        (NEW, "a", [["a"]]),
        (STALE, "e", [["b", "c"], ["d"], ["e"]]),
        (put(DIAMOND, "b", newest_end_failed=True), "d", [["b"], ["d"]]),
    ],
)
def test_what_runs_is_in_batches_each_after_what_it_reads(of: World, name: str, batches: list[list[str]]) -> None:
    assert short(made(of, name)) == batches


@pytest.mark.parametrize(
    ("of", "others", "name", "said"),
    [
        (STALE, {}, "a", (Action.SKIP, "ready")),
        (STALE, {}, "b", (Action.RUN, "stale")),
        (FAILED, {}, "a", (Action.RUN, "error")),
        (FAILED, {}, "b", (Action.RUN, "follows")),
        (NEW, {}, "c", (Action.RUN, "not_initialized")),
        (STALE, {}, "d", (Action.RUN, "target")),
        (put(STALE, "b", open_run_id=run(9)), {}, "b", (Action.WAIT, "running")),
        (STALE, {key("b"): "running"}, "b", (Action.WAIT, "running")),
        (STALE, {key("b"): "requested"}, "b", (Action.WAIT, "requested")),
        (
            STALE.with_instance(replace(STALE.instances[id_of("c")], retired_at=NOW)),
            {},
            "c",
            (Action.BLOCKED, "retired"),
        ),
        (NEW.with_instance(instance("d", "ghost")), {}, "ghost", (Action.BLOCKED, "not_initialized")),
    ],
)
def test_each_node_says_what_happens_with_it_and_why(
    of: World, others: Mapping[FlowKey, str], name: str, said: tuple[Action, str]
) -> None:
    one = made(of, others=others)
    assert reasons(one)[name] == said
    assert one.is_possible is (said[0] is not Action.BLOCKED)
    assert all(node.because for node in one.nodes)


def test_what_runs_already_is_waited_for_in_its_place() -> None:
    assert short(made(put(FAILED, "a", open_run_id=run(9)))) == [["a"], ["b", "c"], ["d"]]


def with_optional(of: World, name: str, *optional: str) -> World:
    """The instance also reads these, where there is a version of them."""
    known = of.instances[id_of(name)]
    more = tuple(upstream(each, optional=True) for each in optional)
    return of.with_instance(replace(known, upstreams=(*known.upstreams, *more)))


def test_an_optional_upstream_is_left_out_and_may_lie_below_what_runs() -> None:
    of = with_optional(all_ready(world("a -> b -> d", "a -> x", "y")), "d", "x", "y", "ghost")
    of = put(of, "a", newest_end_failed=True)
    one = made(of)
    assert short(one) == [["a"], ["b"], ["d"]]
    assert {name: said for name, said in reasons(one).items() if name in ("x", "y", "ghost")} == dict.fromkeys(
        ("x", "y", "ghost"), (Action.SKIP, "optional")
    )
    assert one.is_possible
    assert [(each.name, each.effect) for each in one.affected] == [("x/refresh", "stale")]
    approved = approved_of(of)
    assert isinstance(decided(of, approved), Parked)
    assert isinstance(decided(complete(of, "y", 70).world, approved), Parked)  # its versions may come and go
    refused = decided(with_optional(all_ready(world("a -> b -> d", "a -> x", "y")), "d", "x"), approved)
    assert isinstance(refused, Refused)
    assert "y/refresh was to be left as it is, and now would have no part in it" in refused.message


def test_a_ready_target_asked_smartly_does_nothing_at_all() -> None:
    one = made(FAILED, smart=True)
    assert one.batches == ()
    assert {reason for _, reason in reasons(one).values()} == {"ready", "not_needed"}
    assert (one.expected_seconds, one.affected) == (0.0, ())
    assert isinstance(gate.decide(FAILED, request("d", skip_if_ready=True, gate=Gate.RECURSIVE), now=NOW), Skipped)


def test_a_busy_target_says_what_it_waits_for() -> None:
    busy = STALE.with_open_runs({key("d"): frozenset({run(8)})})
    [target] = [node for node in made(busy).nodes if node.reason == "target"]
    assert str(run(8)) in target.because


def test_what_lies_below_becomes_stale_or_refreshes_itself() -> None:
    of = all_ready(world("a -> b -> d -> e -> f", "a -> c -> d", "a -> x", on_upstream=OnUpstream.NOTIFY))
    refreshing = replace(of.instances[id_of("e")].flows[0], on_upstream=OnUpstream.REFRESH)
    of = put(of.with_flows({key("e"): refreshing}), "a", newest_end_failed=True)
    assert [(one.name, one.effect, one.below) for one in made(of).affected] == [
        ("e/refresh", "refresh", "d/refresh"), ("f/refresh", "stale", "d/refresh"), ("x/refresh", "stale", "a/refresh"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("seconds", "expected", "at_least", "path"),
    [
        ({"a": 10, "b": 5, "c": 60, "d": 1}, 71, 71, "acd"),
        ({"a": 10, "b": 90, "c": 60, "d": 1}, 101, 101, "abd"),
        ({"a": 10, "b": 5, "d": 1}, None, 16, "abd"),
        ({}, None, 0, None),
    ],
)
def test_the_longest_way_decides_how_long_it_takes(
    seconds: dict[str, float], expected: float | None, at_least: float, path: str | None
) -> None:
    one = made(NEW, seconds=seconds)
    assert (one.expected_seconds, one.at_least_seconds) == (expected, at_least)
    assert path is None or "".join(name[0] for name in one.critical_path) == path


def decided(
    of: World, approved: Approved | None, *, others: Mapping[FlowKey, str] | None = None, decided_before: int = 0
) -> Decision:
    """As the service asks: the gate, the plan, the recursion, the plan again."""
    asking = request("d", gate=Gate.RECURSIVE, plan_id=PLAN).but(number=decided_before)
    decision = gate.decide(of, asking, now=NOW)
    decision = approval.broken(of, asking, decision, approved, others or {}) or recursive.decided(
        of, asking, decision, others or {}
    )
    return approval.within(of, decision, approved)


def approved_of(
    of: World, name: str = "d", *, smart: bool = False, others: Mapping[FlowKey, str] | None = None
) -> Approved:
    return Approved(key(name), smart, plan.promises(made(of, name, smart=smart, others=others)))


@pytest.mark.parametrize(("of", "answer"), [(STALE, Parked), (NEW, Parked), (FAILED, Parked), (DIAMOND, Admitted)])
def test_a_plan_that_holds_goes_on_as_recursive(of: World, answer: type) -> None:
    assert isinstance(decided(of, approved_of(of)), answer)


def without_c(of: World) -> World:
    return of.with_instance(instance("d", "b"))


@pytest.mark.parametrize(
    ("before", "now", "says"),
    [
        (STALE, complete(STALE, "b", 60).world, "b/refresh was to run refresh-b/prod, and now would be left as it is"),
        (DIAMOND, STALE, "b/refresh was to be left as it is with version"),
        (STALE, put(STALE, "b", open_run_id=run(9)), "b/refresh was to run refresh-b/prod, and now would be waited fo"),
        (STALE, complete(complete(STALE, "a", 60).world, "a", 61).world, "a/refresh was to be left as it is with vers"),
        (NEW, without_c(NEW), "c/refresh was to run refresh-c/prod after a/refresh, and now would become stale"),
        (without_c(NEW), NEW, "c/refresh was to become stale, and now would run refresh-c/prod after a/refresh"),
        (
            STALE,
            STALE.with_instance(instance("d", "b")),
            "c/refresh was to run refresh-c/prod, and now would have no p",
        ),
        (
            STALE,
            STALE.with_flows({key("b"): replace(STALE.instances[id_of("b")].flows[0], deployment="other/prod")}),
            "b/refresh was to run refresh-b/prod, and now would run other/prod",
        ),
        (
            STALE,
            STALE.with_flows({key("e"): replace(STALE.instances[id_of("e")].flows[0], on_upstream=OnUpstream.REFRESH)}),
            "e/refresh was to become stale, and now would refresh itself",
        ),
        (
            STALE,
            STALE.with_instance(replace(STALE.instances[id_of("c")], retired_at=NOW)),
            "c/refresh was to run refresh-c/prod, and now would stand in the way",
        ),
    ],
)
def test_a_plan_that_no_longer_holds_is_refused_node_by_node(before: World, now: World, says: str) -> None:
    refused = decided(now, approved_of(before))
    assert isinstance(refused, Refused)
    assert refused.code is Code.PLAN_CHANGED
    assert says in refused.message
    assert isinstance(decided(now, approved_of(now)), Parked | Admitted | Refused)


def test_who_waits_is_part_of_the_plan() -> None:
    assert isinstance(
        decided(STALE, approved_of(STALE, others={key("b"): "requested"}), others={key("b"): "requested"}), Parked
    )
    refused = decided(STALE, approved_of(STALE), others={key("b"): "requested"})
    assert isinstance(refused, Refused)
    assert "b/refresh was to run refresh-b/prod, and now would be waited for" in refused.message


@pytest.mark.parametrize(
    ("approved", "code", "says"),
    [
        (None, Code.UNKNOWN_PLAN, f"tenant 'acme' has no plan {PLAN}"),
        (approved_of(STALE, "e"), Code.PLAN_CHANGED, "it is of e/refresh, not of d/refresh"),
        (approved_of(STALE, smart=True), Code.PLAN_CHANGED, "it says skip_if_ready True, the request False"),
    ],
)
def test_a_plan_that_is_not_there_or_of_something_else_is_refused(
    approved: Approved | None, code: Code, says: str
) -> None:
    refused = decided(STALE, approved)
    assert isinstance(refused, Refused)
    assert refused.code is code
    assert says in refused.message


def test_a_request_that_has_begun_may_find_things_moved_but_asks_for_nothing_that_was_not_approved() -> None:
    approved = approved_of(STALE)
    moved = complete(STALE, "b", 60).world
    assert isinstance(decided(moved, approved, decided_before=1), Parked)
    worse = put(STALE, "a", newest_end_failed=True)
    refused = decided(worse, approved, decided_before=1)
    assert isinstance(refused, Refused)
    assert (refused.code, "a/refresh would have to run too" in refused.message) == (Code.PLAN_CHANGED, True)
    assert isinstance(decided(worse, None, decided_before=1), Parked)  # the control: nobody knows what was approved


def test_what_the_gate_refuses_anyway_is_refused_by_its_own_words() -> None:
    retired = STALE.with_instance(replace(STALE.instances[id_of("d")], retired_at=NOW))
    refused = decided(retired, None)
    assert isinstance(refused, Refused)
    assert refused.code is Code.INSTANCE_RETIRED


def test_many_changes_are_cut_to_the_first() -> None:
    names = [f"n{place}" for place in range(30)]
    of = world(*(f"{name} -> d" for name in names))
    refused = decided(all_ready(of), approved_of(of))
    assert isinstance(refused, Refused)
    assert "; and 11 more" in refused.message
