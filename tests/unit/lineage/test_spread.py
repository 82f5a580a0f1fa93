"""What turns stale from above is answered without asking the rules: it must be the very answer that they give, with the
same reason, cause and path, and be announced and stored alike.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from runtide_schemas.vocabulary import EdgeKind, FlowKind, FlowStatus, InstanceStatus, OnUpstream

from services.lineage import rows
from services.lineage.conclusion import Change, outcome_of
from services.lineage.domain import spread, staleness
from services.lineage.domain.graph import FlowKey
from services.lineage.domain.staleness import Root, restate
from services.lineage.domain.world import WORST_FIRST, Delay, Flow, Instance, Schema, World
from services.lineage.mirror import Loaded
from services.lineage.moving import Moved
from tests.unit.lineage.memory import MemoryStore, MemoryWork
from tests.unit.lineage.worlds import (
    NOW,
    TENANT,
    all_ready,
    at,
    complete,
    current_reads,
    id_of,
    instance,
    key,
    put,
    run,
    upstream,
    version,
    world,
    world_of,
)

WORLDS, WORLDS_OF_CONTROLS = 400, 150
KINDS = (FlowKind.TRAINING, FlowKind.INFERENCE, FlowKind.MONITORING)
DAILY = json.dumps({"frequency": "daily"})


def some_instance(place: int, dice: random.Random) -> Instance:
    """Most are plain; some are models, dated, late, retired, or show their flows in an order of their own."""
    edges = [EdgeKind.DATA] * 5 + [EdgeKind.SCHEMA]
    above = [
        upstream(f"n{other}", kind=dice.choice(edges), optional=dice.random() < 0.1)
        for other in range(place)
        if dice.random() < 0.4
    ]
    kinds = KINDS[: dice.randint(1, 3)] if dice.random() < 0.2 else (FlowKind.REFRESH,)
    asked = dice.choice([OnUpstream.NOTIFY, OnUpstream.NOTIFY, OnUpstream.REFRESH])
    one = instance(f"n{place}", *above, kinds=kinds, on_upstream=asked)
    odd: dict[str, Any] = dice.choice([
        {"update_frequency": DAILY}, {"retired_at": NOW}, {"delay": Delay(None, "late", NOW, None)},
        {"status_order": tuple(reversed(WORST_FIRST))}, *[{}] * 12,
    ])  # fmt: skip
    return replace(one, **odd)


def some_world(dice: random.Random) -> World:
    found = world_of(*(some_instance(place, dice) for place in range(dice.randint(3, 12))))
    for number, each in enumerate(found.graph.sorted(found.flow_keys()), start=1):
        if dice.random() < 0.95:
            found = happened(
                found, each, {"version": version(number, reads(found, each)), "last_data_date": NOW.date()}
            )
            found = restate(found, {each: Root("x", changed=True)}, NOW).world
    return found


def reads(of: World, each: FlowKey) -> Any:
    assert each.kind is not None
    return current_reads(of, of.instances[each.instance_id].name, each.kind)


def happened(of: World, each: FlowKey, facts: dict[str, Any]) -> World:
    flow = of.flow(each)
    assert flow is not None
    return of.with_flows({each: replace(flow, **facts)})


def step(of: World, dice: random.Random, time: int) -> tuple[World, dict[FlowKey, Root]]:
    """Something happens to one to three flows, and now and then somebody else's instance gets another owner."""
    roots = {}
    if dice.random() < 0.2:
        one = dice.choice(list(of.instances.values()))
        of = of.with_instance(replace(one, owner=f"desk {time}"))
    for each in dice.sample(list(of.flow_keys()), dice.randint(1, 3)):
        before = of.flow(each)
        assert before is not None
        old = before.version.reads if before.version else ()
        schema = dice.choice([Schema(None), Schema("a", run(1)), Schema("b", run(time))])
        facts: dict[str, Any] = dice.choice([
            {"version": version(time, reads(of, each), schema=schema), "newest_end_failed": False,
             "last_data_date": dice.choice([None, NOW.date(), date(2025, 1, 1)])},
            {"version": version(time, old, schema=schema)}, {"version": version(time, old, schema=schema)},
            {"version": None}, {"newest_end_failed": True}, {"open_run_id": run(time)}, {"superseded": "restated"},
            {"version": replace(before.version, reads=reads(of, each)) if before.version else None},
        ])  # fmt: skip
        of = happened(of, each, facts)
        after = of.flow(each)
        assert after is not None
        changed = (before.version and before.version.version_id) != (after.version and after.version.version_id)
        roots[each] = Root(
            f"{time}/{each}", changed=changed, itself=dice.random() < 0.2, appeared=dice.random() < 0.2,
            run_id=dice.choice([None, run(time)]),
        )  # fmt: skip
    return of, roots


def concluded(
    stored: World, after: World, roots: dict[FlowKey, Root], turned: list[int]
) -> tuple[World, dict[str, object]]:
    """The world after the pass, and all that is told and stored of it."""
    change = Change.of(Loaded.of(stored, ()))
    change.world, change.roots = after, dict(roots)
    outcome = outcome_of(change, MemoryWork(NOW, MemoryStore(TENANT)))  # type: ignore[arg-type]
    restated = outcome.restated
    turned.append(len(restated.turned))
    moved = sorted(outcome.moved, key=lambda one: one.instance_id)
    return change.world, {
        "answers": restated.world.instances,
        "causes": dict(restated.causes),
        "newly stale": dict(restated.newly_stale),
        "asks": restated.asks,
        "came by": dict(restated.reach.parents),
        "stored": rows.standing_columns(moved),
        "told": {now.instance_id: was for was, now in outcome.announced},
        "world": change.world.instances,
    }


def lived(seed: int, turned: list[int]) -> Iterator[dict[str, object]]:
    dice = random.Random(seed)
    of = some_world(dice)
    for time in range(100, 100 + dice.randint(1, 6)):
        after, roots = step(of, dice, time)
        of, said = concluded(of, after, roots, turned)
        yield said


def deviating(worlds: int, turned: list[int] | None = None) -> list[int]:
    """The worlds in which it makes a difference whether anything is taken for plain."""
    found = []
    for seed in range(worlds):
        shortly = list(lived(seed, [] if turned is None else turned))
        with pytest.MonkeyPatch.context() as patched:
            for module in (spread, staleness):
                patched.setattr(module, "is_plain", lambda *_: False)
            at_length = list(lived(seed, []))
        if shortly != at_length:
            found.append(seed)
    return found


def test_what_turns_stale_from_above_is_answered_told_and_stored_as_if_every_rule_were_asked(
    show: Callable[[str], None],
) -> None:
    turned: list[int] = []
    assert deviating(WORLDS, turned) == []
    show(f"spread: {sum(turned)} flows of {WORLDS} random worlds turned stale without asking the rules")
    assert sum(turned) > WORLDS


CARELESS: dict[str, Callable[[Instance, Flow], Instance]] = {
    "the newest run failed": lambda one, flow: _with(
        one, flow, newest_end_failed=False, freshness=FlowStatus.READY if flow.newest_end_failed else flow.freshness
    ),
    "a clock may answer": lambda one, flow: replace(one, update_frequency=None),
    "it never made a version": lambda one, flow: _with(one, flow, version=version(1), freshness=FlowStatus.READY),
}


def _with(one: Instance, flow: Flow, **facts: Any) -> Instance:
    return one.with_flows({flow.kind: replace(flow, **facts)})


@pytest.mark.parametrize("forgotten", CARELESS)
def test_control_what_is_taken_for_plain_and_is_not_is_noticed(
    forgotten: str, monkeypatch: pytest.MonkeyPatch, show: Callable[[str], None]
) -> None:
    is_plain, careless = spread.is_plain, CARELESS[forgotten]

    def taken_for_plain(one: Instance, kind: FlowKind | None) -> bool:
        return len(one.flows) == 1 and is_plain(careless(one, one.flows[0]), kind)

    for module in (spread, staleness):
        monkeypatch.setattr(module, "is_plain", taken_for_plain)
    found = deviating(WORLDS_OF_CONTROLS)
    show(f"spread, control: {forgotten}, and nobody asked: {len(found)} of {WORLDS_OF_CONTROLS} worlds deviate")
    assert found


def test_a_long_way_is_named_by_its_root_and_its_last_hundred() -> None:
    chain = all_ready(world(" -> ".join(f"n{place}" for place in range(130))))
    after = complete(chain, "n0", 5_000)
    path = after.causes[id_of("n129")].path
    assert len(path) == 100
    assert (path[0], path[1], path[-1]) == ("n0", "n31", "n129")


def test_what_shows_more_than_that_it_is_stale_is_written_by_its_own_words() -> None:
    ready = all_ready(world("a -> b", "a -> c", "a -> d"))
    ready = ready.with_instance(replace(ready.instances[id_of("c")], status_order=tuple(reversed(WORST_FIRST))))
    ready = put(ready, "d", open_run_id=run(9))
    change = Change.of(Loaded.of(ready, ()))
    after = complete(ready, "a", 50)
    change.world = ready.with_instance(after.base.instances[id_of("a")])
    change.roots[key("a")] = Root("x", changed=True, run_id=run(50))
    outcome = outcome_of(change, MemoryWork(at(50), MemoryStore(TENANT)))  # type: ignore[arg-type]
    moved = Moved.of([now for _, now in outcome.instances], [now for _, now in outcome.turned.values()])
    assert [one.name for one in moved.turned] == ["b"]
    assert {one.name: (one.old_status, one.status) for one in moved.others} == {
        "a": (InstanceStatus.READY, InstanceStatus.READY),
        "c": (InstanceStatus.READY, InstanceStatus.STALE),
        "d": (InstanceStatus.RUNNING, InstanceStatus.RUNNING),
    }
