from __future__ import annotations

import random
import time
from dataclasses import replace

import pytest
from runtide_schemas.vocabulary import FlowKind, InstanceType

from services.lineage.domain import view
from services.lineage.domain.view import Direction
from services.lineage.domain.world import World
from tests.unit.lineage.worlds import TENANT, id_of, instance, upstream, world

MONITORED = (FlowKind.REFRESH, FlowKind.MONITORING)


def drawn(of: World, center: str, direction: Direction = "both", max_depth: int = 1) -> dict[str, tuple[str, int, int]]:
    nodes, _ = view.around(of, id_of(center), direction=direction, max_depth=max_depth)
    return {node.name: (node.direction, node.layer, node.order) for node in nodes}


@pytest.mark.parametrize(
    ("direction", "max_depth", "names"),
    [("both", 1, "bcd"), ("both", 9, "abcde"), ("upstream", 9, "abc"), ("downstream", 1, "cd"), ("both", 0, "c")],
)
def test_direction_and_depth_choose_what_is_shown(direction: Direction, max_depth: int, names: str) -> None:
    assert "".join(sorted(drawn(world("a -> b -> c -> d -> e"), "c", direction, max_depth))) == names


def test_a_thousand_nodes_are_laid_out_in_a_tenth_of_a_second() -> None:
    dice = random.Random(1)
    names = [f"n{place}" for place in range(1_000)]
    parts = [
        instance(name, *{names[0], *dice.sample(names[max(0, place - 30) : place], min(place, 3))} if place else ())
        for place, name in enumerate(names)
    ]
    of = World(TENANT, {one.instance_id: one for one in parts})
    assert of.graph.rank  # the graph itself is made once per change, not per answer
    spent = []
    for _ in range(5):
        began = time.process_time()
        nodes, links = view.around(of, id_of("n0"), direction="both", max_depth=1_000)
        spent.append(time.process_time() - began)
    assert (len(nodes), len(links) > 3_000) == (1_000, True)
    assert len({(node.layer, node.order) for node in nodes}) == 1_000
    assert min(spent) < 0.1


def test_each_node_lies_right_of_what_it_reads_and_has_its_own_place() -> None:
    assert drawn(world("a -> b -> d", "a -> c -> d"), "a", max_depth=2) == {
        "a": ("center", 0, 0), "b": ("downstream", 1, 0), "c": ("downstream", 1, 1), "d": ("downstream", 2, 0),
    }  # fmt: skip


def test_a_dataset_that_monitors_itself_still_lies_left_of_its_readers() -> None:
    prices = instance("prices", kinds=MONITORED, type=InstanceType.DATASET)
    own = upstream("prices", flow_kind=FlowKind.REFRESH, flows=(FlowKind.MONITORING,))
    prices = replace(prices, upstreams=(own,))
    of = World(TENANT, {one.instance_id: one for one in (prices, instance("momentum", "prices"))})
    assert {name: place[1] for name, place in drawn(of, "prices").items()} == {"prices": 0, "momentum": 1}


def test_instances_that_read_each_other_through_different_flows_are_drawn_too() -> None:
    prices = instance("prices", kinds=MONITORED, type=InstanceType.DATASET)
    back = upstream("signal", flow_kind=FlowKind.REFRESH, flows=(FlowKind.MONITORING,))
    prices = replace(prices, upstreams=(back,))
    of = World(TENANT, {one.instance_id: one for one in (prices, instance("signal", "prices"))})
    assert of.graph.cycle_through(list(of.flow_keys())) is None
    assert {name: place[1] for name, place in drawn(of, "prices").items()} == {"prices": 0, "signal": 1}


def test_an_instance_that_nobody_registered_is_drawn_by_the_name_that_edges_give_it() -> None:
    of = World(TENANT, {id_of("b"): instance("b", "ghost")})
    nodes, links = view.around(of, id_of("b"), direction="both", max_depth=1)
    assert (nodes[0].name, nodes[0].instance_type, nodes[0].status) == ("ghost", None, "not_initialized")
    assert len(links) == 1
