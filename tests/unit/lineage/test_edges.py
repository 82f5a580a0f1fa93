"""Edges that do not gate: optional ones, and those by which only the columns matter."""

from __future__ import annotations

from dataclasses import replace

import pytest
from runtide_schemas.vocabulary import Basis, EdgeKind, Gate, OnUpstream

from services.lineage.domain import gate
from services.lineage.domain.gate import Admitted, Parked
from services.lineage.domain.staleness import Restated, Root, other_columns, restate
from services.lineage.domain.world import Read, Schema, World
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
    version,
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
    assert set(dict(gate.seen_by(READY, request("d"), admitted(READY)))) == {"d/refresh", "b/refresh"}


def test_a_gating_edge_beside_the_optional_one_waits() -> None:
    of = world_of(instance("a"), instance("c"), instance("d", OPTIONAL, "c"))
    decision = gate.decide(of, request("d", gate=Gate.WAIT), now=NOW)
    assert isinstance(decision, Parked)
    assert [one.name for one in decision.blockers] == ["c"]


SCHEMA = upstream("b", kind=EdgeKind.SCHEMA)
BY_SCHEMA = world_of(
    instance("b"),
    instance("d", SCHEMA, on_upstream=OnUpstream.REFRESH),
    instance("e", "d", on_upstream=OnUpstream.REFRESH),
)
KNOWN = complete(BY_SCHEMA, "b", 1, schema=Schema("s1")).world
KNOWN = complete(complete(KNOWN, "d", 2).world, "e", 3).world


def test_a_schema_edge_never_gates() -> None:
    assert gate.upstream_blockers(put(BY_SCHEMA, "b", newest_end_failed=True), key("d")) == ()
    assert gate.upstream_blockers(World(TENANT, {id_of("d"): instance("d", SCHEMA)}), key("d")) == ()


def test_a_new_version_with_the_same_columns_changes_nothing_for_who_reads_by_schema() -> None:
    after = complete(KNOWN, "b", 50, schema=Schema("s1"))
    assert set(statuses(after.world).values()) == {"ready"}
    assert asked(after) == []


def test_other_columns_make_the_reader_and_all_below_it_stale() -> None:
    after = complete(KNOWN, "b", 50, schema=Schema("s2", run(50)))
    assert statuses(after.world) == {"b": "ready", "d": "stale", "e": "stale"}
    assert asked(after) == ["d", "e"]
    assert after.causes[id_of("e")].path == ("b", "d", "e")
    assert "has other columns" in str(after.world.flow(key("d")).reason)  # type: ignore[union-attr]


def test_other_columns_are_asked_about_for_a_run_on_its_way_too() -> None:
    """It may have read a version whose columns are taken back now."""
    root = Root("x", changed=True, appeared=True, run_id=run(50))
    assert asked(restate(KNOWN, {key("b"): root}, NOW)) == ["d"]
    assert asked(restate(KNOWN, {key("b"): replace(root, appeared=False)}, NOW)) == []


def test_staleness_does_not_travel_by_a_schema_edge() -> None:
    of = all_ready(world_of(instance("a"), instance("b", "a"), instance("d", SCHEMA)))
    assert statuses(complete(of, "a", 50).world) == {"a": "ready", "b": "stale", "d": "ready"}


def test_the_cause_is_not_sought_through_a_schema_edge_that_led_on_nothing() -> None:
    parts = (
        instance("a"),
        instance("b", "a"),
        instance("c", "b"),
        instance("d", "c", upstream("a", kind=EdgeKind.SCHEMA)),
    )
    after = complete(all_ready(world_of(*parts)), "a", 50)
    assert after.causes[id_of("d")].path == ("a", "b", "c", "d")


S1, S2 = Schema("s1"), Schema("s2", run(5))
NEVER_SAID = Schema(None)
SILENT = Schema(None, run(4))  # it said s1 before
AGAIN = Schema("s1", run(4))


@pytest.mark.parametrize(
    ("was", "now", "stale"),
    [
        (S1, S1, False),
        (S1, S2, True),
        (S1, SILENT, True),  # known, then other: silence is doubt
        (S1, AGAIN, False),  # two known digests decide
        (SILENT, AGAIN, False),  # it read while nobody knew, and nothing else was said since
        (SILENT, S2, True),
        (NEVER_SAID, NEVER_SAID, False),
        (NEVER_SAID, S1, False),  # said for the first time: no change is known
        (NEVER_SAID, S2, True),  # s1 became known after it read, and then it changed
        (NEVER_SAID, SILENT, True),
        (None, NEVER_SAID, False),  # a version that nobody knows
        (None, S1, True),
    ],
)
def test_doubt_about_columns_makes_stale_only_where_known_ones_became_others(
    was: Schema | None, now: Schema, stale: bool
) -> None:
    read = Read("b", key("b"), run(1), None, Basis.ADMITTED, was)
    assert other_columns(read, version(9, schema=now)) is stale


def test_a_version_never_read_is_in_doubt_once_the_upstream_says_what_its_columns_are() -> None:
    assert not other_columns(None, version(9, schema=NEVER_SAID))
    assert other_columns(None, version(9, schema=S1))
    current = version(9, schema=S2)
    assert not other_columns(Read("b", key("b"), current.version_id, None, Basis.ADMITTED), current)
