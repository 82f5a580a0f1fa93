from __future__ import annotations

from dataclasses import replace

import pytest
from runtide_schemas.vocabulary import FlowKind, OnUpstream

from services.lineage.domain.staleness import Root, blamed, restate
from services.lineage.domain.world import Instance, World
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
    run,
    statuses,
    world,
)

DIAMOND = ("a -> b -> d", "a -> c -> d")


def names(of: World, keys: tuple[object, ...]) -> list[str]:
    return [of.instances[one.instance_id].name for one in keys]  # type: ignore[attr-defined]


def test_a_new_version_makes_every_transitive_reader_stale_and_leaves_the_root_ready() -> None:
    after = complete(all_ready(world(*DIAMOND)), "a", 50)
    assert statuses(after.world) == {"a": "ready", "b": "stale", "c": "stale", "d": "stale"}
    assert names(after.world, after.newly_stale[key("a")]) == ["b", "c", "d"]


def test_a_second_change_finds_the_readers_stale_already() -> None:
    first = complete(all_ready(world(*DIAMOND)), "a", 50)
    second = complete(first.world, "a", 51)
    assert second.newly_stale[key("a")] == ()


def test_the_cause_names_the_root_run_its_version_and_the_path() -> None:
    after = complete(all_ready(world(*DIAMOND)), "a", 50)
    cause = after.causes[id_of("d")]
    version = after.world.flow(key("a"))
    assert version is not None
    assert version.version is not None
    assert (cause.run_id, cause.version_id, cause.instance_id) == (run(50), version.version.version_id, id_of("a"))
    assert cause.path == ("a", "b", "d")


def test_a_reader_is_ready_only_when_all_of_its_paths_are() -> None:
    of = complete(all_ready(world(*DIAMOND)), "a", 50).world
    of = complete(of, "b", 51).world
    assert statuses(of)["d"] == "stale"
    of = complete(of, "c", 52).world
    assert statuses(of)["d"] == "stale"  # it still has the old versions
    assert statuses(complete(of, "d", 53).world) == dict.fromkeys("abcd", "ready")


def test_a_branch_confirmed_unchanged_makes_its_readers_ready_again_without_a_run() -> None:
    of = complete(all_ready(world("a -> b -> d")), "a", 50).world
    assert statuses(of)["d"] == "stale"
    after = complete(of, "b", 51, changed=False)
    assert statuses(after.world) == {"a": "ready", "b": "ready", "d": "ready"}
    assert after.asks == ()


def test_a_run_that_read_the_old_version_is_stale_when_it_completes() -> None:
    ready = all_ready(world("a -> b"))
    old = ready.flow(key("b")).version.reads  # type: ignore[union-attr]
    of = complete(ready, "a", 50).world
    assert statuses(complete(of, "b", 51, reads=old).world)["b"] == "stale"


@pytest.mark.parametrize("reads", [(), None])
def test_a_reader_that_never_read_its_upstream_is_stale_in_doubt(reads: tuple[()] | None) -> None:
    of = complete(world("a -> b"), "b", 1, reads=()).world  # forced, before there was anything to read
    assert statuses(of)["b"] == "ready"
    after = complete(of, "a", 2)
    assert statuses(after.world)["b"] == "stale"
    assert "has not read a/refresh yet" in str(after.world.flow(key("b")).reason)  # type: ignore[union-attr]


def test_a_withdrawn_version_makes_its_readers_stale() -> None:
    of = put(all_ready(world("a -> b")), "a", version=None)
    assert statuses(of) == {"a": "not_initialized", "b": "stale"}


def test_a_failed_run_blocks_by_name_and_stales_nobody() -> None:
    of = put(all_ready(world("a -> b -> c")), "a", newest_end_failed=True)
    assert statuses(of) == {"a": "error", "b": "ready", "c": "ready"}


def test_staleness_travels_through_a_flow_that_shows_an_error() -> None:
    of = put(all_ready(world("a -> b -> c")), "b", newest_end_failed=True)
    of = complete(of, "a", 50).world
    assert statuses(of) == {"a": "ready", "b": "error", "c": "stale"}


def test_a_new_definition_makes_its_flows_and_their_readers_stale_until_they_run() -> None:
    ready = all_ready(world("a -> b"))
    a = replace(ready.instances[id_of("a")], definition_changed_at=at(10))
    of = restate(ready.with_instance(a), {key("a"): Root("x", changed=True)}, NOW)
    assert statuses(of.world) == {"a": "stale", "b": "stale"}
    assert statuses(complete(of.world, "a", 50).world)["a"] == "ready"


def test_running_is_shown_over_the_answer() -> None:
    of = put(all_ready(world("a -> b")), "a", open_run_id=run(9))
    assert statuses(of)["a"] == "running"
    assert of.instances[id_of("a")].freshness == "ready"


def test_a_models_inference_reads_its_training_without_saying_so() -> None:
    kinds = (FlowKind.TRAINING, FlowKind.INFERENCE)
    model = instance("ridge", "prices", kinds=kinds)
    of = all_ready(World(TENANT, {one.instance_id: one for one in (instance("prices"), model)}))
    assert {flow.status for flow in of.instances[id_of("ridge")].flows} == {"ready"}
    after = complete(of, "ridge", 50, kind=FlowKind.TRAINING)
    flow = after.world.flow(key("ridge", FlowKind.INFERENCE))
    assert flow is not None
    assert (flow.status, flow.reason) == ("stale", "ridge/training has another version than the one that it read")
    assert after.causes[id_of("ridge")].path == ("ridge",)


def asks(*chains: str, before: str = "", number: int = 50) -> list[str]:
    of = all_ready(world(*chains, on_upstream=OnUpstream.REFRESH))
    if before:
        of = put(of, before, newest_end_failed=True)
    after = complete(of, "a", number)
    assert {ask.ref for ask in after.asks} <= {f"{run(number)}/1"}
    return names(after.world, tuple(ask.flow for ask in after.asks))


def test_a_change_asks_every_refresh_flow_below_once() -> None:
    assert asks(*DIAMOND) == ["b", "c", "d"]


def test_yesterdays_failure_does_not_stop_today() -> None:
    assert asks(*DIAMOND, before="b") == ["b", "c", "d"]


def test_a_flow_that_is_stale_already_is_asked_again() -> None:
    of = all_ready(world("a -> b", on_upstream=OnUpstream.REFRESH))
    of = complete(of, "a", 50).world
    assert len(complete(of, "a", 51).asks) == 1


def test_a_flow_with_notify_is_not_asked_nor_a_retired_one() -> None:
    refresh, notify = OnUpstream.REFRESH, OnUpstream.NOTIFY
    parts: list[Instance] = [
        instance("a"),
        instance("b", "a", on_upstream=notify),
        instance("c", "a", on_upstream=refresh),
    ]
    of = all_ready(World(TENANT, {one.instance_id: one for one in parts}))
    assert names(of, tuple(ask.flow for ask in complete(of, "a", 50).asks)) == ["c"]
    retired = of.with_instance(replace(of.instances[id_of("c")], retired_at=at(0)))
    assert complete(retired, "a", 50).asks == ()


def test_two_roots_in_one_pass_each_have_their_own_readers() -> None:
    of = all_ready(world("a -> b", "x -> y"))
    changes = {}
    for number, name in ((50, "a"), (51, "x")):
        after = complete(of, name, number)
        of = replace(of, instances={**of.instances, id_of(name): after.world.instances[id_of(name)]})
        changes[key(name)] = Root(str(number), changed=True, run_id=run(number))
    both = restate(of, changes, NOW)
    assert names(of, both.newly_stale[key("a")]) == ["b"]
    assert names(of, both.newly_stale[key("x")]) == ["y"]


def test_what_ran_and_is_stale_all_the_same_still_names_what_made_it_stale() -> None:
    first = complete(all_ready(world("a -> b -> c")), "a", 50)
    before = replace(first.world.instances[id_of("c")], cause=first.causes[id_of("c")])
    again = complete(first.world, "c", 51)
    now = again.world.instances[id_of("c")]
    assert again.causes[id_of("c")].path == ("c",)
    said = blamed(before, now, again.causes[id_of("c")])
    assert said is not None
    assert said.path == ("a", "b", "c")


REFRESHED = all_ready(world("a -> b -> c", on_upstream=OnUpstream.REFRESH))
A_CHANGED = complete(REFRESHED, "a", 50).world  # b and c are stale


def asked_by(of: World, name: str, root: Root) -> list[str]:
    return names(of, tuple(ask.flow for ask in restate(of, {key(name): root}, NOW).asks))


@pytest.mark.parametrize(
    ("of", "root", "asked"),
    [
        (A_CHANGED, Root("x", changed=False), []),  # it is only asked how it is
        (A_CHANGED, Root("x", changed=False, itself=True), ["b", "c"]),  # defined or wired otherwise, and stale
        (REFRESHED, Root("x", changed=False, itself=True), []),  # that made nothing stale
        (A_CHANGED, Root("x", changed=True, run_id=run(51)), ["c"]),  # no run makes its own flow run again
        (A_CHANGED, Root("x", changed=True, itself=True, run_id=run(51)), ["b", "c"]),  # its version was taken back
        (put(A_CHANGED, "b", newest_end_failed=True), Root("x", changed=True, itself=True, run_id=run(51)), ["c"]),
        (put(A_CHANGED, "b", version=None), Root("x", changed=True, itself=True, run_id=run(51)), ["b", "c"]),
        (put(A_CHANGED, "b", version=None), Root("x", changed=False, itself=True), []),  # it never ran
        # a run on its way began before: it will end stale
        (put(REFRESHED, "b", open_run_id=run(9)), Root("x", changed=False, itself=True), ["b"]),
        (REFRESHED.with_open_runs({key("b"): frozenset({run(9)})}), Root("x", changed=False, itself=True), ["b"]),
    ],
)
def test_a_flow_must_run_itself_where_no_run_of_its_own_made_it_stale(of: World, root: Root, asked: list[str]) -> None:
    assert asked_by(of, "b", root) == asked
