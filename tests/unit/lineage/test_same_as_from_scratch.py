"""A pass goes only where something moved. Its answers are those of asking every flow from scratch."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import pytest
from runtide_schemas.vocabulary import FlowKind, InstanceType

from services.lineage.domain import staleness
from services.lineage.domain.graph import FlowKey
from services.lineage.domain.staleness import Root, answered, restate
from services.lineage.domain.world import Flow, Version, World
from tests.unit.lineage.worlds import NOW, TENANT, all_ready, at, current_reads, id_of, instance, key, run, version

WORLDS = 400


def from_scratch(world: World) -> dict[FlowKey, Flow]:
    """Every flow asked, upstreams first, without looking at what was answered before."""
    done: dict[FlowKey, Flow] = {}
    for each in world.graph.sorted(world.flow_keys()):
        flow = world.flow(each)
        assert flow is not None
        done[each] = answered(world, each, flow, done, NOW)
    return done


def some_world(dice: random.Random) -> World:
    parts = []
    for place in range(dice.randint(2, 9)):
        above = [f"n{other}" for other in range(place) if dice.random() < 0.4]
        parts.append(instance(f"n{place}", *above))
    world = World(TENANT, {one.instance_id: one for one in parts})
    return all_ready(world) if dice.random() < 0.7 else world


def step(world: World, dice: random.Random, time: int) -> World:
    """One thing happens to one flow, or to two in one pass."""
    roots: dict[FlowKey, Root] = {}
    for name in dice.sample([one.name for one in world.instances.values()], dice.randint(1, 2)):
        before = world.flow(key(name))
        assert before is not None
        world = _happens(world, name, before, dice, time)
        after = world.flow(key(name))
        assert after is not None
        old, new = (flow.version.version_id if flow.version else None for flow in (before, after))
        redefined = world.instances[id_of(name)].definition_changed_at == at(time)
        roots[key(name)] = Root(f"{name}/{time}", changed=old != new or redefined, run_id=run(time))
    return restate(world, roots, NOW).world


def _happens(world: World, name: str, flow: Flow, dice: random.Random, time: int) -> World:
    def put(**facts: object) -> World:
        return world.with_flows({key(name): replace(flow, **facts)})  # type: ignore[arg-type]

    def confirmed() -> Version | None:
        reads = current_reads(world, name)
        return replace(flow.version, reads=reads, started_at=at(time)) if flow.version else None

    happenings: list[Callable[[], World]] = [
        lambda: put(version=version(time, current_reads(world, name)), newest_end_failed=False),
        lambda: put(version=version(time, flow.version.reads if flow.version else ())),
        lambda: put(version=confirmed()),
        lambda: put(version=None),
        lambda: put(newest_end_failed=True),
        lambda: put(open_run_id=run(time)),
        lambda: world.with_instance(replace(world.instances[id_of(name)], definition_changed_at=at(time))),
    ]
    return dice.choice(happenings)()


def _deviating_seeds() -> list[int]:
    found = []
    for seed in range(WORLDS):
        dice = random.Random(seed)
        world = some_world(dice)
        for time in range(100, 100 + dice.randint(1, 12)):
            world = step(world, dice, time)
        wrong = [
            each
            for each, flow in from_scratch(world).items()
            if (was := world.flow(each)) is None
            or was.freshness is not flow.freshness
            or (was.stale_by_version is None) is not (flow.stale_by_version is None)
        ]
        if wrong:
            found.append(seed)
    return found


def test_a_pass_answers_as_asking_everything_would() -> None:
    assert _deviating_seeds() == []


def test_control_staleness_that_does_not_spread_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def everything(world: World, _: object) -> list[FlowKey]:
        return list(world.flow_keys())

    monkeypatch.setattr(staleness, "_not_to_turn", everything)
    assert _deviating_seeds()


def test_an_upstream_that_appears_with_a_past_is_news_to_those_that_named_it() -> None:
    reader = instance("b", "a")
    world = World(TENANT, {reader.instance_id: reader})
    world = restate(
        world.with_flows({key("b"): replace(reader.flows[0], version=version(1))}),
        {key("b"): Root("x", changed=False)},
        NOW,
    ).world
    a = instance("a", type=InstanceType.SIGNAL, kinds=(FlowKind.REFRESH,))
    a = a.with_flows({FlowKind.REFRESH: replace(a.flows[0], version=version(2))})
    after = restate(world.with_instance(a), {key("a"): Root("y", changed=False, appeared=True)}, NOW).world
    assert from_scratch(after)[key("b")].freshness == after.flow(key("b")).freshness == "stale"  # type: ignore[union-attr]
