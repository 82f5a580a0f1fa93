"""Edges that do not gate: optional ones."""

from __future__ import annotations

from dataclasses import replace

import pytest
from runtide_schemas.vocabulary import Gate, OnUpstream

from services.lineage.domain import gate
from services.lineage.domain.gate import Admitted, Parked
from services.lineage.domain.staleness import Restated
from services.lineage.domain.world import World
from tests.unit.lineage.worlds import (
    NOW,
    TENANT,
    all_ready,
    complete,
    id_of,
    instance,
    key,
    put,
    request,
    run,
    statuses,
    upstream,
    world_of,
)

OPTIONAL = upstream("b", optional=True)
WITHOUT = World(TENANT, {id_of("d"): instance("d", OPTIONAL, on_upstream=OnUpstream.REFRESH)})
READY = all_ready(
    world_of(
        instance("a"),
        instance("b", "a", on_upstream=OnUpstream.REFRESH),
        instance("d", OPTIONAL, on_upstream=OnUpstream.REFRESH),
        instance("e", "d", on_upstream=OnUpstream.REFRESH),
    )
)


def admitted(of: World) -> Admitted:
    decision = gate.decide(of, request("d"), now=NOW)
    assert isinstance(decision, Admitted)
    return decision


def asked(after: Restated) -> list[str]:
    return [after.world.instances[ask.flow.instance_id].name for ask in after.asks]


@pytest.mark.parametrize(
    "of",
    [
        WITHOUT,
        World(TENANT, {**WITHOUT.instances, id_of("b"): instance("b")}),
        put(READY, "b", newest_end_failed=True),
        put(READY, "b", open_run_id=run(9)),
        READY.with_instance(replace(READY.instances[id_of("b")], retired_at=NOW)),
    ],
    ids=["absent", "not initialized", "failed", "running", "retired"],
)
def test_an_optional_upstream_never_gates(of: World) -> None:
    assert gate.upstream_blockers(of, key("d")) == ()
    reads = {read.role: read.version_id for read in admitted(of).reads}
    b = of.flow(key("b"))
    assert reads == ({"b": b.version.version_id} if b and b.version else {})


def test_what_lies_above_an_optional_upstream_does_not_gate_either() -> None:
    assert gate.upstream_blockers(put(READY, "a", newest_end_failed=True), key("e")) == ()
    assert [one.name for one in gate.upstream_blockers(put(READY, "d", newest_end_failed=True), key("e"))] == ["d"]


def test_a_new_version_of_an_optional_upstream_makes_stale_like_any_other() -> None:
    after = complete(READY, "b", 50)
    assert statuses(after.world) == {"a": "ready", "b": "ready", "d": "stale", "e": "stale"}
    assert asked(after) == ["d", "e"]


def test_the_first_version_of_an_optional_upstream_is_a_change_too() -> None:
    of = complete(WITHOUT, "d", 1).world
    assert statuses(of) == {"d": "ready"}
    with_b = World(TENANT, {**of.instances, id_of("b"): instance("b")})
    assert asked(complete(with_b, "b", 2)) == ["d"]


def test_a_reader_that_does_not_wait_is_asked_when_there_is_something_new_to_read() -> None:
    first = complete(READY, "a", 50)
    assert statuses(first.world)["d"] == "stale"
    assert asked(first) == ["b"]  # d would run at once, and read what it has read already
    assert asked(complete(first.world, "b", 51)) == ["d", "e"]
    confirmed = complete(first.world, "b", 51, changed=False)
    assert asked(confirmed) == []
    assert set(statuses(confirmed.world).values()) == {"ready"}


def test_a_decision_also_shows_what_is_read_without_waiting_for_it() -> None:
    assert set(dict(gate.seen_by(READY, request("d", gate=Gate.WAIT)))) == {"d/refresh", "b/refresh"}


def test_a_gating_edge_beside_the_optional_one_waits() -> None:
    of = world_of(instance("a"), instance("c"), instance("d", OPTIONAL, "c"))
    decision = gate.decide(of, request("d", gate=Gate.WAIT), now=NOW)
    assert isinstance(decision, Parked)
    assert [one.name for one in decision.blockers] == ["c"]
