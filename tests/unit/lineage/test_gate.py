from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from runtide_schemas.vocabulary import Code, FlowKind, Gate

from services.lineage.domain import gate
from services.lineage.domain.gate import Admitted, Decision, Expired, Parked, Refused, Skipped, State
from services.lineage.domain.world import World
from tests.unit.lineage.worlds import (
    NOW,
    TENANT,
    all_ready,
    at,
    complete,
    id_of,
    instance,
    key,
    put,
    request,
    run,
    world,
)

READY = all_ready(world("a -> b -> c"))
STALE = complete(READY, "a", 50).world  # b and c are stale
FAILED = put(READY, "a", newest_end_failed=True)
RUNNING = put(READY, "b", open_run_id=run(9))
BUSY = READY.with_open_runs({key("c"): frozenset({run(8)})})
RETIRED = READY.with_instance(replace(READY.instances[id_of("a")], retired_at=NOW))


def said(of: World, name: str = "c", **fields: object) -> Decision:
    return gate.decide(of, request(name, **fields), now=NOW)


def blockers(decision: Decision) -> list[tuple[str, str]]:
    assert isinstance(decision, Refused | Parked | Expired)
    return [(one.name, one.status.value) for one in decision.blockers]


@pytest.mark.parametrize(
    ("of", "name", "fields", "answer"),
    [
        (READY, "c", {}, Admitted),
        (READY, "a", {}, Admitted),  # no upstreams: ready
        (READY, "c", {"gate": Gate.WAIT}, Admitted),
        (STALE, "c", {}, Refused),
        (STALE, "b", {}, Admitted),  # its own staleness is what a run is for
        (STALE, "c", {"gate": Gate.WAIT}, Parked),
        (STALE, "c", {"gate": Gate.FORCE}, Admitted),
        (FAILED, "c", {}, Refused),
        (RUNNING, "c", {}, Refused),  # running is not ready
        (BUSY, "c", {}, Refused),
        (BUSY, "c", {"gate": Gate.WAIT}, Parked),
        (BUSY, "c", {"gate": Gate.FORCE}, Refused),  # the limit of open runs holds for everybody
        (READY, "c", {"skip_if_ready": True}, Skipped),
        (READY, "c", {"skip_if_ready": True, "gate": Gate.FORCE}, Skipped),
        (STALE, "b", {"skip_if_ready": True}, Admitted),
        (STALE, "c", {"skip_if_ready": True}, Refused),
        (READY, "c", {"gate": Gate.RECURSIVE}, Admitted),
        (STALE, "c", {"gate": Gate.RECURSIVE}, Parked),
        (STALE, "c", {"gate": Gate.RECURSIVE, "wait_until": NOW}, Expired),
        (BUSY, "c", {"gate": Gate.RECURSIVE}, Parked),
        (STALE, "c", {"gate": Gate.WAIT, "wait_until": NOW}, Expired),
        (STALE, "c", {"gate": Gate.WAIT, "wait_until": NOW + timedelta(seconds=1)}, Parked),
        (READY, "c", {"gate": Gate.WAIT, "wait_until": NOW}, Admitted),  # free at its deadline: it goes
    ],
)
def test_a_request_gets_one_answer(of: World, name: str, fields: dict[str, object], answer: type) -> None:
    assert isinstance(said(of, name, **fields), answer)


@pytest.mark.parametrize(
    ("of", "fields", "named"),
    [
        (STALE, {}, [("b", "stale")]),
        (FAILED, {}, [("a", "error")]),
        (RUNNING, {}, [("b", "running")]),
        (BUSY, {}, [("c", "ready")]),
        (RETIRED, {}, [("a", "retired")]),
        (STALE.with_open_runs({key("c"): frozenset({run(8)})}), {}, [("b", "stale"), ("c", "stale")]),
    ],
)
def test_every_blocker_is_named_once_with_its_status(
    of: World, fields: dict[str, object], named: list[tuple[str, str]]
) -> None:
    decision = said(of, **fields)
    assert blockers(decision) == named
    assert all(name in decision.message for name, _ in named)  # type: ignore[union-attr]


def test_the_status_map_holds_everything_above_and_not_the_flow_itself() -> None:
    decision = said(complete(READY, "a", 50).world)
    assert isinstance(decision, Refused)
    assert decision.code is Code.UPSTREAM_NOT_READY
    assert decision.statuses == {"a/refresh": "ready", "b/refresh": "stale"}


def test_a_join_lists_a_shared_root_once() -> None:
    of = put(all_ready(world("a -> b -> d", "a -> c -> d")), "a", newest_end_failed=True)
    assert blockers(said(of, "d")) == [("a", "error")]


def test_an_upstream_that_nobody_registered_blocks_by_its_name() -> None:
    of = World(TENANT, {id_of("b"): instance("b", "ghost")})
    decision = said(of, "b")
    assert blockers(decision) == [("ghost", "not_initialized")]
    assert "it is not registered" in decision.message  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("of", "name", "fields", "code", "says"),
    [
        (READY, "nobody", {}, Code.UNKNOWN_INSTANCE, "'nobody'"),
        (RETIRED, "a", {}, Code.INSTANCE_RETIRED, "registering it again"),
        (READY, "c", {"kind": FlowKind.TRAINING}, Code.UNKNOWN_FLOW, "it has: refresh"),
    ],
)
def test_what_can_not_be_asked_for_is_refused_by_name(
    of: World, name: str, fields: dict[str, object], code: Code, says: str
) -> None:
    decision = said(of, name, **fields)
    assert isinstance(decision, Refused)
    assert decision.code is code
    assert says in decision.message


def test_the_only_flow_need_not_be_named_and_one_of_several_must() -> None:
    assert isinstance(said(READY, kind=None), Admitted)
    kinds = (FlowKind.TRAINING, FlowKind.INFERENCE)
    model = World(TENANT, {id_of("m"): instance("m", kinds=kinds)})
    decision = said(model, "m", kind=None)
    assert isinstance(decision, Refused)
    assert decision.code is Code.UNKNOWN_FLOW
    assert "name one: training, inference" in decision.message


def test_an_admission_carries_the_current_version_of_each_input_by_role() -> None:
    decision = said(READY)
    assert isinstance(decision, Admitted)
    b = READY.flow(key("b"))
    assert b is not None
    assert b.version is not None
    assert {read.role: read.version_id for read in decision.reads} == {"b": b.version.version_id}


def test_a_forced_run_is_warned_of_what_it_passed() -> None:
    decision = said(STALE, gate=Gate.FORCE)
    assert isinstance(decision, Admitted)
    assert "b is stale" in str(decision.warning)
    unforced = said(READY, gate=Gate.FORCE)
    assert isinstance(unforced, Admitted)
    assert unforced.warning is None


def test_two_requests_can_not_both_pass() -> None:
    first = request("c", 100)
    admitted = gate.decide(READY, first, now=NOW)
    assert isinstance(admitted, Admitted)
    assert isinstance(gate.decide(READY, request("c", 101), now=NOW), Admitted)  # the control: not yet counted
    after = READY.with_open_runs({key("c"): frozenset({first.run_id})})
    assert blockers(gate.decide(after, request("c", 101), now=NOW)) == [("c", "ready")]


def test_a_parked_request_is_told_again_only_when_its_blockers_change() -> None:
    waiting = request("c", gate=Gate.WAIT)
    parked = gate.decide(STALE, waiting, now=NOW)
    assert gate.is_news(waiting, parked)
    told = gate.answered(waiting, parked)
    assert (told.state, told.number) == (State.PARKED, 1)
    assert not gate.is_news(told, gate.decide(STALE, told, now=at(5)))
    assert gate.is_news(told, gate.decide(FAILED, told, now=at(5)))
    assert gate.is_news(told, gate.decide(READY, told, now=at(5)))


def test_what_a_decision_saw_is_kept_with_status_and_version() -> None:
    seen = dict(gate.seen_by(STALE, request("c"), said(STALE)))
    assert {name: one["status"] for name, one in seen.items()} == {
        "c/refresh": "stale", "b/refresh": "stale", "a/refresh": "ready",
    }  # fmt: skip
    assert all(one["version_id"] for one in seen.values())
