from __future__ import annotations

import pytest

from services.lineage.domain.graph import Graph, batches, layers
from tests.unit.lineage.worlds import key, world


def test_a_diamond_runs_in_three_batches() -> None:
    assert batches({"B": {"A"}, "C": {"A"}, "D": {"B", "C"}}) == [["A"], ["B", "C"], ["D"]]


def test_a_node_is_drawn_right_of_the_rightmost_that_it_reads() -> None:
    assert layers({"b": {"a"}, "c": {"a", "b"}, "a": set()}) == {"a": 0, "b": 1, "c": 2}


def test_a_cycle_is_named_in_the_direction_of_the_data() -> None:
    found = Graph(world("a -> b -> c -> a").graph.edges).cycle_through([key("a")])
    assert found is not None
    assert found[0] == found[-1]
    names = [world("a -> b -> c -> a").name_of(one) for one in found]
    assert "".join(name[0] for name in names) in ("abca", "bcab", "cabc")


def test_no_cycle_is_found_where_there_is_none() -> None:
    assert world("a -> b -> d", "a -> c -> d").graph.cycle_through([key("a"), key("d")]) is None


def test_everything_below_is_reached_once_nearest_first() -> None:
    reach = world("a -> b -> d -> e", "a -> c -> d").graph.below([key("a")])
    assert list(reach.parents) == [key("b"), key("c"), key("d"), key("e")]
    assert reach.path_to(key("e")) == (key("a"), key("b"), key("d"), key("e"))


def test_a_path_begins_at_the_nearest_of_several_roots() -> None:
    reach = world("a -> b -> c").graph.below([key("a"), key("b")])
    assert reach.path_to(key("c")) == (key("b"), key("c"))
    assert reach.path_to(key("b")) == (key("a"), key("b"))  # a root that lies below another is reached too


@pytest.mark.parametrize(("name", "above"), [("a", ""), ("b", "a"), ("d", "bca"), ("e", "dbca")])
def test_everything_above_is_listed_once_without_the_flow_itself(name: str, above: str) -> None:
    graph = world("a -> b -> d -> e", "a -> c -> d").graph
    assert sorted(graph.above(key(name))) == sorted(key(each) for each in above)


def test_a_thousand_fully_connected_nodes_are_each_visited_once() -> None:
    chains = [f"n{layer}-{i} -> n{layer + 1}-{j}" for layer in range(4) for i in range(30) for j in range(30)] + [
        f"n4-0 -> t{i}" for i in range(850)
    ]
    reach = world(*chains).graph.below([key("n0-0")])
    assert len(reach.parents) == 4 * 30 + 850
