"""Who reads whom: edges between flows, the order that they force, and what lies above and below.

The fact not to break: edges have no cycle. `cycle_through` is asked before an edge is kept; everything else relies on
it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from graphlib import TopologicalSorter
from typing import NamedTuple, TypeVar
from uuid import UUID

import numpy as np
from runtide_schemas.vocabulary import EdgeKind, FlowKind

from services.lineage.domain.reach import Arrows, Reached

N = TypeVar("N")
PATH_LIMIT = 100
ABOVE_REMEMBERED = 50


class FlowKey(NamedTuple):
    """A flow of the graph. `kind` None: the main flow of an instance that is not registered yet."""

    instance_id: UUID
    kind: FlowKind | None


@dataclass(frozen=True, slots=True)
class Edge:
    """`downstream` reads a version of `upstream` in the role `role`; an `optional` one is read where there is one.
    `max_lag`: so many sessions late, and no more, the upstream's data may be.
    """

    upstream: FlowKey
    downstream: FlowKey
    kind: EdgeKind
    role: str
    optional: bool = False
    max_lag: int | None = None

    @property
    def gates(self) -> bool:
        """The upstream must be ready before the downstream may run."""
        return not self.optional and self.kind.gates

    @property
    def propagates(self) -> bool:
        """What makes the upstream stale by version makes the downstream so too."""
        return self.kind.propagates


@dataclass(frozen=True, slots=True)
class Reach:
    """What lies below some roots. `parents`: each flow reached → the flow that it was reached from, nearest first; a
    root is in it only if it also lies below another root.
    """

    roots: frozenset[FlowKey]
    parents: Mapping[FlowKey, FlowKey]

    def path_to(self, key: FlowKey) -> tuple[FlowKey, ...]:
        """From the nearest root to the flow, both included; of a long way the root and its last hundred."""
        path = [key]
        while (parent := self.parents.get(path[-1])) is not None:
            path.append(parent)
            if parent in self.roots:
                break
        path.reverse()
        return tuple(path) if len(path) <= PATH_LIMIT else (path[0], *path[1 - PATH_LIMIT :])


class Graph:
    """The edges of one tenant, indexed both ways. Building costs O(edges); `rewired` what it touches."""

    def __init__(self, edges: Iterable[Edge]) -> None:
        into: dict[FlowKey, list[Edge]] = {}
        for edge in edges:
            into.setdefault(edge.downstream, []).append(edge)
        self._into: dict[FlowKey, tuple[Edge, ...]] = {key: tuple(above) for key, above in into.items()}
        self._out_of = _turned_round(self._into)
        self._found_above: dict[bytes, tuple[FlowKey, ...]] = {}  # the last few
        self._last_above: tuple[FlowKey | None, tuple[FlowKey, ...]] = (None, ())  # a decision asks for it again

    @property
    def edges(self) -> Iterator[Edge]:
        for above in self._into.values():
            yield from above

    def into(self, key: FlowKey) -> Sequence[Edge]:
        """The edges that the flow reads, in the order of registration."""
        return self._into.get(key, ())

    def out_of(self, key: FlowKey) -> Sequence[Edge]:
        """The edges of those that read the flow."""
        return self._out_of.get(key, ())

    def not_waited_for(self, key: FlowKey) -> Sequence[FlowKey]:
        """What the flow reads as it is, in the order of registration."""
        return self._not_waited_for.get(key, ())

    def rewired(self, into: Mapping[FlowKey, Sequence[Edge]]) -> Graph:
        """The same with other edges into these flows."""
        graph = Graph(())
        graph._into, graph._out_of = dict(self._into), dict(self._out_of)
        gone = [edge for key in into for edge in self.into(key)]
        for upstream in {edge.upstream for edge in gone}:
            left = tuple(edge for edge in self.out_of(upstream) if edge.downstream not in into)
            _put(graph._out_of, upstream, left)
        for key, edges in into.items():
            _put(graph._into, key, tuple(edges))
        for upstream, new in _turned_round({key: tuple(edges) for key, edges in into.items()}).items():
            graph._out_of[upstream] = (*graph._out_of.get(upstream, ()), *new)
        return graph

    def cycle_through(self, keys: Collection[FlowKey]) -> tuple[FlowKey, ...] | None:
        """A cycle that these flows are on, in the direction of the data, its first flow again at its end."""
        for key in keys:
            parents: dict[FlowKey, FlowKey] = {}
            waiting = [key]
            while waiting:
                here = waiting.pop()
                for edge in self.out_of(here):
                    if edge.downstream == key:
                        return (*reversed(_climbed(parents, here)), key)
                    if edge.downstream not in parents:
                        parents[edge.downstream] = here
                        waiting.append(edge.downstream)
        return None

    @cached_property
    def rank(self) -> Mapping[FlowKey, int]:
        """Flow → how many flows lie one after the other above it; only of flows that have an edge."""
        return {self.keys[node]: depth for depth, layer in enumerate(self._all.layers()) for node in layer}

    def sorted(self, keys: Iterable[FlowKey]) -> list[FlowKey]:
        """Upstreams before those that read them."""
        return sorted(keys, key=lambda key: self.rank.get(key, -1))

    def below(self, roots: Collection[FlowKey], passes: Callable[[FlowKey], bool] | None = None) -> Reach:
        """Everything below the roots along propagating edges, each visited once, nearest first; a flow that does not
        pass is not reached, nor what only lies below it.
        """
        keys = self.keys
        return self._reach(self.walk_below(roots, None if passes is None else lambda node: passes(keys[node])), roots)

    def walk_below(self, roots: Iterable[FlowKey], passes: Callable[[int], bool] | None = None) -> Reached:
        """The same by number, for who asks thousands."""
        number = self.number
        return self._readers.walk([number[key] for key in roots if key in number], passes)

    def _reach(self, found: Reached, roots: Collection[FlowKey]) -> Reach:
        keys, parents = self.keys, found.parents
        return Reach(frozenset(roots), {keys[node]: keys[parents[node]] for node in found.order})

    def above(self, key: FlowKey) -> Sequence[FlowKey]:
        """Every flow upstream of this one through gating edges, each once, nearest first, without the flow itself.
        Flows that wait for the same ones get the same answer, as long as it is among the last few.
        """
        if key is self._last_above[0]:
            return self._last_above[1]
        node = self.number.get(key)
        if node is None:
            return ()
        named = self._gates.below(node).tobytes()
        found = self._found_above.get(named)
        if found is None:
            found = tuple([self.keys[node] for node in self._gates.walk([node]).order])
            if len(self._found_above) >= ABOVE_REMEMBERED:
                self._found_above.clear()
            self._found_above[named] = found
        self._last_above = key, found
        return found

    def gated_by(self, keys: Collection[FlowKey]) -> set[FlowKey]:
        """These flows, and every flow that may have to wait for one of them."""
        return {*keys, *self.waiting_for(keys).parents}

    def waiting_for(self, keys: Collection[FlowKey]) -> Reach:
        """Every flow that may have to wait for one of these, nearest first."""
        return self._reach(self._gated.walk([self.number[key] for key in keys if key in self.number]), keys)

    # -- as arrays -----------------------------------------------------------------------------------------------

    @cached_property
    def keys(self) -> list[FlowKey]:
        """Number → flow, of flows that have an edge."""
        return list(dict.fromkeys([*self._out_of, *self._into]))

    @cached_property
    def _not_waited_for(self) -> dict[FlowKey, list[FlowKey]]:
        found: dict[FlowKey, list[FlowKey]] = {}
        for edge in self.edges:
            if not edge.gates:
                found.setdefault(edge.downstream, []).append(edge.upstream)
        return found

    @cached_property
    def number(self) -> dict[FlowKey, int]:
        return {key: number for number, key in enumerate(self.keys)}

    @cached_property
    def _readers(self) -> Arrows:
        return self._arrows([edge for edge in self.edges if edge.propagates])

    @cached_property
    def _gates(self) -> Arrows:
        return self._arrows([edge for edge in self.edges if edge.gates], upwards=True)

    @cached_property
    def _gated(self) -> Arrows:
        return self._arrows([edge for edge in self.edges if edge.gates])

    @cached_property
    def _all(self) -> Arrows:
        return self._arrows(list(self.edges))

    def _arrows(self, edges: Sequence[Edge], *, upwards: bool = False) -> Arrows:
        number = self.number
        sources = np.fromiter((number[edge.upstream] for edge in edges), dtype=np.intp, count=len(edges))
        targets = np.fromiter((number[edge.downstream] for edge in edges), dtype=np.intp, count=len(edges))
        return Arrows(len(number), targets, sources) if upwards else Arrows(len(number), sources, targets)


def _turned_round(into: Mapping[FlowKey, Sequence[Edge]]) -> dict[FlowKey, tuple[Edge, ...]]:
    found: dict[FlowKey, list[Edge]] = {}
    for edges in into.values():
        for edge in edges:
            found.setdefault(edge.upstream, []).append(edge)
    return {key: tuple(edges) for key, edges in found.items()}


def _put(index: dict[FlowKey, tuple[Edge, ...]], key: FlowKey, edges: tuple[Edge, ...]) -> None:
    if edges:
        index[key] = edges
    else:
        index.pop(key, None)


def _climbed(parents: Mapping[FlowKey, FlowKey], key: FlowKey) -> list[FlowKey]:
    path = [key]
    while path[-1] in parents:
        path.append(parents[path[-1]])
    return path


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
