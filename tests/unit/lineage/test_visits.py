"""How often a pass asks each flow how it is: counted, because no clock says it."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from services.lineage.domain import staleness
from services.lineage.domain.graph import FlowKey
from services.lineage.domain.world import World
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
    """Flow → how often it was given an answer."""
    counted: Counter[FlowKey] = Counter()
    answer = staleness._with_answer

    def counting(of: World, key: FlowKey, *rest: Any) -> Any:
        counted[key] += 1
        return answer(of, key, *rest)

    monkeypatch.setattr(staleness, "_with_answer", counting)
    return counted


def test_a_change_asks_the_root_and_each_flow_below_it_once(platform: World, visits: Counter[FlowKey]) -> None:
    after = complete(platform, "n0-0", 5_000)
    below = (LAYERS - 1) * WIDTH + TAIL
    assert len(after.newly_stale[key("n0-0")]) == below
    assert len(visits) == below + 1
    assert set(visits.values()) == {1}


def test_a_second_change_asks_only_who_reads_the_root(platform: World, visits: Counter[FlowKey]) -> None:
    after = complete(platform, "n0-0", 5_000)
    visits.clear()
    complete(after.world, "n0-0", 5_001)
    assert visits == {key("n0-0"): 1} | {key(f"n1-{i}"): 1 for i in range(WIDTH)}


def test_control_a_wave_that_asks_along_each_edge_is_counted(platform: World, visits: Counter[FlowKey]) -> None:
    for edge in platform.graph.edges:
        flow = platform.flow(edge.downstream)
        assert flow is not None
        staleness._with_answer(platform, edge.downstream, flow, None, NOW)
    assert max(visits.values()) == WIDTH
