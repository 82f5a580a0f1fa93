"""How often a pass asks each flow how it is: counted, because no clock says it."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from runtide_schemas.vocabulary import FlowKind

from services.lineage.domain import spread, staleness
from services.lineage.domain.graph import FlowKey
from services.lineage.domain.world import Instance, World
from tests.unit.lineage.worlds import NOW, all_ready, complete, key, world

LAYERS, WIDTH, TAIL = 5, 30, 850


@pytest.fixture(scope="module")
def platform() -> World:
    """A thousand instances: five layers, each reading all of the layer before it, and a tail behind one of the last."""
    between = [
        f"n{layer}-{i} -> n{layer + 1}-{j}"
        for layer in range(LAYERS - 1) for i in range(WIDTH) for j in range(WIDTH)
    ]  # fmt: skip
    tail = " -> ".join([f"n{LAYERS - 1}-0", *(f"t{i}" for i in range(TAIL))])
    return all_ready(world(*between, tail))


@pytest.fixture
def visits(monkeypatch: pytest.MonkeyPatch) -> Counter[FlowKey]:
    """Flow → how often it was asked: by the rules, along what moved, or by the walk of staleness."""
    counted: Counter[FlowKey] = Counter()
    answered, along, is_plain = staleness.answered, staleness._asked_along, spread.is_plain

    def by_the_rules(of: World, key: FlowKey, *rest: Any) -> Any:
        counted[key] += 1
        return answered(of, key, *rest)

    def along_what_moved(of: World, key: FlowKey, *rest: Any) -> Any:
        counted[key] += 1
        return along(of, key, *rest)

    def by_the_walk(instance: Instance, kind: FlowKind) -> bool:
        counted[FlowKey(instance.instance_id, kind)] += 1
        return is_plain(instance, kind)

    monkeypatch.setattr(staleness, "answered", by_the_rules)
    monkeypatch.setattr(staleness, "_asked_along", along_what_moved)
    monkeypatch.setattr(spread, "is_plain", by_the_walk)
    return counted


def test_a_change_asks_the_root_and_each_flow_below_it_once(platform: World, visits: Counter[FlowKey]) -> None:
    after = complete(platform, "n0-0", 5_000)
    below = (LAYERS - 1) * WIDTH + TAIL
    assert len(after.newly_stale[key("n0-0")]) == below
    assert len(visits) == below + 1
    assert set(visits.values()) == {1}


def test_a_second_change_asks_the_root_alone_for_its_readers_are_stale_because_of_it_already(
    platform: World, visits: Counter[FlowKey]
) -> None:
    after = complete(platform, "n0-0", 5_000)
    visits.clear()
    complete(after.world, "n0-0", 5_001)
    assert visits == {key("n0-0"): 1}


def test_a_second_change_asks_who_is_stale_for_another_reason(platform: World, visits: Counter[FlowKey]) -> None:
    after = complete(platform, "n0-1", 5_000)
    visits.clear()
    complete(after.world, "n0-0", 5_001)
    assert visits == {key("n0-0"): 1} | {key(f"n1-{i}"): 1 for i in range(WIDTH)}


def test_control_a_wave_that_asks_along_each_edge_is_counted(platform: World, visits: Counter[FlowKey]) -> None:
    for edge in platform.graph.edges:
        flow = platform.flow(edge.downstream)
        assert flow is not None
        staleness.answered(platform, edge.downstream, flow, {}, NOW)
    assert max(visits.values()) == WIDTH
