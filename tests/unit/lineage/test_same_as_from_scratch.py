"""A pass goes only where something moved. Its answers are those of asking every flow from scratch."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from runtide_schemas.vocabulary import FlowKind, InstanceType

from services.lineage.domain import definition, staleness
from services.lineage.domain.graph import FlowKey
from services.lineage.domain.spread import NOTHING
from services.lineage.domain.staleness import Root, answered, restate
from services.lineage.domain.world import Flow, Instance, Version, World
from tests.unit.lineage.sessions import XNYS
from tests.unit.lineage.worlds import NOW, TENANT, all_ready, at, current_reads, id_of, instance, key, run, version

WORLDS = 400


def from_scratch(world: World, now: datetime = NOW) -> dict[FlowKey, Flow]:
    """Every flow asked, upstreams first, without looking at what was answered before."""
    done: dict[FlowKey, Flow] = {}
    for each in world.graph.sorted(world.flow_keys()):
        flow = world.flow(each)
        assert flow is not None
        done[each] = answered(world, each, flow, done, now)
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
    monkeypatch.setattr(staleness, "below", lambda *_: NOTHING)
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


RULES = (
    {"frequency": "daily", "business_days_only": True, "calendar": "XNYS", "available_at": "18:00"},
    {"frequency": "daily", "business_days_only": True, "grace_period_days": 1},
    {"frequency": "weekly", "day_of_week": 4, "available_at": "09:30", "timezone": "Asia/Tokyo", "publication_lag": 1},
)


def lived_by_the_clock(seed: int, *, asks_when_due: bool = True) -> tuple[World, datetime]:
    """Three dated flows; days pass, data comes or not, a source is late. Asked is who moved or fell due."""
    dice, now = random.Random(seed), datetime(2025, 3, 3, 12, tzinfo=UTC)
    world = all_ready(World(TENANT, {one.instance_id: one for one in map(instance, "abc")}))
    for name, rule in zip("abc", RULES, strict=True):
        dated = replace(world.instances[id_of(name)], update_frequency=json.dumps(rule))
        world = world.with_instance(dated).with_flows({key(name): replace(dated.flows[0], last_data_date=now.date())})
    world = restate(
        world.with_calendars({"XNYS": XNYS}), {key(name): Root("x", changed=False) for name in "abc"}, now
    ).world
    for _ in range(dice.randint(5, 40)):
        now += timedelta(minutes=dice.randint(1, 2000))
        due = [one for one in world.instances.values() if one.next_due_at is not None and one.next_due_at <= now]
        asked = {key(one.name) for one in due} if asks_when_due else set()
        name = dice.choice("abc")
        match dice.choice(["data", "delay", "nothing", "nothing"]):
            case "data":
                flow = world.instances[id_of(name)].flows[0]
                world = world.with_flows({key(name): replace(flow, last_data_date=now.date())})
                asked.add(key(name))
            case "delay":
                until = now + timedelta(hours=dice.randint(1, 60)) if dice.random() < 0.5 else None
                late = definition.delayed(world, id_of(name), until=until, reason=None, at=now)
                assert isinstance(late, Instance)
                world = world.with_instance(late)
                asked.add(key(name))
        world = restate(world, {each: Root("x", changed=False) for each in asked}, now).world
    return world, now


def _late_answers(*, asks_when_due: bool) -> list[int]:
    lives = ((seed, *lived_by_the_clock(seed, asks_when_due=asks_when_due)) for seed in range(WORLDS))
    return [
        seed
        for seed, world, now in lives
        if any(world.flow(each) != flow for each, flow in from_scratch(world, now).items())
    ]


def test_asking_when_something_falls_due_is_as_good_as_asking_all_the_time() -> None:
    assert _late_answers(asks_when_due=True) == []


def test_control_without_asking_when_due_answers_are_old() -> None:
    assert _late_answers(asks_when_due=False)
