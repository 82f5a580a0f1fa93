"""P9: in which order a million edges let their flows run, against `topological_generations` of rustworkx.

Both have the graph in memory. The service keeps that order per tenant (`Graph.rank`); a plan sorts those that take part
anew, from sets and with the standard library, which is shown as a scale.
"""

from __future__ import annotations

import time

import rustworkx
from runtide_schemas.vocabulary import EdgeKind, FlowKind, instance_id_of

from benchmarks.measuring import Figure, Floor, compare_all
from benchmarks.platforms import TENANT, Platform
from services.lineage.domain.graph import Edge, FlowKey, Graph, batches
from tests.support.harness import World as Place


async def figures(_: Place) -> list[Figure]:
    """The kept order with a verdict, a plan's as a scale."""
    order = Order(Platform(500, 0))
    what = f"order of {order.platform.edges} edges"
    kept = await compare_all(
        "P9", floors=[Floor(f"{what}, as kept", 1.5, order.floor)], ours=order.kept, unit="ms", better="lower"
    )
    planned = await compare_all(
        "P9", floors=[Floor(f"{what}, sorted for a plan", None, order.floor)], ours=order.planned, unit="ms",
        better="lower", rounds=3,
    )  # fmt: skip
    return [*kept, *planned]


class Order:
    """The same graph, for the floor and for ours."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        keys = {name: FlowKey(instance_id_of(TENANT, name), FlowKind.REFRESH) for name in platform.reads}
        self._reads = {keys[name]: {keys[up] for up in above} for name, above in platform.reads.items()}
        self._graph = Graph(Edge(up, key, EdgeKind.DATA, "data") for key, above in self._reads.items() for up in above)
        self._floor, numbers = rustworkx.PyDiGraph(), {}
        for key in self._reads:
            numbers[key] = self._floor.add_node(key)
        self._floor.add_edges_from_no_data(
            [(numbers[edge.upstream], numbers[edge.downstream]) for edge in self._graph.edges]
        )

    async def floor(self) -> float:
        began = time.perf_counter()
        found = list(rustworkx.topological_generations(self._floor))
        assert len(found) == 5
        return (time.perf_counter() - began) * 1000

    async def kept(self) -> float:
        self._graph.__dict__.pop("rank", None)
        began = time.perf_counter()
        assert max(self._graph.rank.values()) == 4
        return (time.perf_counter() - began) * 1000

    async def planned(self) -> float:
        began = time.perf_counter()
        assert len(batches(self._reads)) == 5
        return (time.perf_counter() - began) * 1000
