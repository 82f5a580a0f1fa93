"""Who reads whom: edges between flows, the order that they force, and what lies above and below.

The fact not to break: edges have no cycle. `cycle()` is asked before an edge is kept; everything else relies on it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from typing import NamedTuple, TypeVar
from uuid import UUID

from runtide_schemas.vocabulary import EdgeKind, FlowKind

N = TypeVar("N")


class FlowKey(NamedTuple):
    """A flow of the graph. `kind` None: the main flow of an instance that is not registered yet."""

    instance_id: UUID
    kind: FlowKind | None


@dataclass(frozen=True, slots=True)
class Edge:
    """`downstream` reads a version of `upstream` in the role `role`."""

    upstream: FlowKey
    downstream: FlowKey
    kind: EdgeKind
    role: str


@dataclass(frozen=True, slots=True)
class Reach:
    """What lies below some roots. `parents`: each flow reached → the flow that it was reached from, in breadth-first
    order; a root is in it only if it also lies below another root.
    """

    roots: frozenset[FlowKey]
    parents: Mapping[FlowKey, FlowKey]

    def path_to(self, key: FlowKey) -> tuple[FlowKey, ...]:
        """From the nearest root to the flow, both included."""
        path = [key]
        while True:
            parent = self.parents.get(path[-1])
            if parent is None:
                break
            path.append(parent)
            if parent in self.roots:
                break
        return tuple(reversed(path))


class Graph:
    """The edges of one tenant, indexed both ways. Costs O(edges) to build."""

    def __init__(self, edges: Iterable[Edge]) -> None:
        self.edges: tuple[Edge, ...] = tuple(edges)
        above: dict[FlowKey, list[Edge]] = {}
        below: dict[FlowKey, list[Edge]] = {}
        for edge in self.edges:
            above.setdefault(edge.downstream, []).append(edge)
            below.setdefault(edge.upstream, []).append(edge)
        self._above, self._below = above, below

    def into(self, key: FlowKey) -> Sequence[Edge]:
        """The edges that the flow reads, in the order of registration."""
        return self._above.get(key, ())

    def out_of(self, key: FlowKey) -> Sequence[Edge]:
        """The edges of those that read the flow."""
        return self._below.get(key, ())

    def cycle(self) -> tuple[FlowKey, ...] | None:
        """One cycle in the direction of the data, its first flow again at its end; None if there is none."""
        try:
            self._sorter().prepare()
        except CycleError as error:
            found: list[FlowKey] = error.args[1]
            return tuple(found)
        return None

    @cached_property
    def rank(self) -> Mapping[FlowKey, int]:
        """Flow → its place in one topological order; only of flows that have an edge."""
        return {key: place for place, key in enumerate(self._sorter().static_order())}

    def sorted(self, keys: Iterable[FlowKey]) -> list[FlowKey]:
        """Upstreams before those that read them."""
        return sorted(keys, key=lambda key: self.rank.get(key, -1))

    def below(self, roots: Collection[FlowKey]) -> Reach:
        """Everything below the roots along propagating edges, each visited once, nearest first."""
        parents: dict[FlowKey, FlowKey] = {}
        start = frozenset(roots)
        waiting = deque(roots)
        while waiting:
            key = waiting.popleft()
            for edge in self.out_of(key):
                if edge.kind.propagates and edge.downstream not in parents:
                    parents[edge.downstream] = key
                    if edge.downstream not in start:
                        waiting.append(edge.downstream)
        return Reach(start, parents)

    def above(self, key: FlowKey) -> list[FlowKey]:
        """Every flow upstream of this one through gating edges, each once, nearest first, without the flow itself."""
        seen: dict[FlowKey, None] = {}
        waiting = deque([key])
        while waiting:
            for edge in self.into(waiting.popleft()):
                if edge.kind.gates and edge.upstream not in seen and edge.upstream != key:
                    seen[edge.upstream] = None
                    waiting.append(edge.upstream)
        return list(seen)

    def _sorter(self) -> TopologicalSorter[FlowKey]:
        sorter: TopologicalSorter[FlowKey] = TopologicalSorter()
        for edge in self.edges:
            sorter.add(edge.downstream, edge.upstream)
        return sorter


def batches(readers: Mapping[N, Collection[N]]) -> list[list[N]]:
    """Kahn: node → what it reads, to batches that can run side by side: a diamond is [[A], [B, C], [D]]."""
    sorter: TopologicalSorter[N] = TopologicalSorter(readers)
    sorter.prepare()
    result: list[list[N]] = []
    while sorter.is_active():
        ready = sorted(sorter.get_ready(), key=str)
        result.append(ready)
        sorter.done(*ready)
    return result


def layers(readers: Mapping[N, Collection[N]]) -> dict[N, int]:
    """Node → its layer for drawing: one right of the rightmost that it reads, counted from 0."""
    return {node: layer for layer, batch in enumerate(batches(readers)) for node in batch}
