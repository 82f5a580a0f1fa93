"""What a pass came to, in which order, and by which way: what is said of it when all of it is answered."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from functools import cached_property
from uuid import UUID

from runtide_schemas.vocabulary import FlowStatus

from services.lineage.domain.graph import Edge, FlowKey, Reach
from services.lineage.domain.spread import Below, Passed, Turned, Way, Ways, led_on
from services.lineage.domain.world import Cause, Flow, Instance, World

_STALE = FlowStatus.STALE


@dataclass(slots=True)
class Asked:
    """`flows`: those that were asked again, upstreams first; `moved`: those of them that answer otherwise; `plain`: of
    these, those of `is_plain`, and why they are stale. `parents`: flow → what above it made us ask; `by_columns`: the
    same along schema edges, by which not everything is led on.
    """

    of_roots: Set[UUID]
    flows: dict[FlowKey, Flow] = field(default_factory=dict)
    moved: dict[FlowKey, Flow] = field(default_factory=dict)
    plain: dict[FlowKey, tuple[Instance, str]] = field(default_factory=dict)
    parents: dict[FlowKey, FlowKey] = field(default_factory=dict)
    by_columns: dict[FlowKey, FlowKey] = field(default_factory=dict)
    edges: dict[FlowKey, list[Edge]] = field(default_factory=dict)  # along which anything moved


def ways_of(world: World, own: Mapping[FlowKey, Cause], asked: Asked, found: Below) -> Ways:
    """Of what was asked by what made us ask, of the rest by the walk."""
    if not asked.moved:
        return Ways(world, {}, {})
    number, parents = world.graph.number, dict(found.parents)
    spread = set(found.order) if asked.by_columns else set()
    for key, above in asked.by_columns.items():
        if number[key] not in spread:
            parents[number[key]] = number[above]
    for key, above in asked.parents.items():
        parents[number[key]] = number[above]
    known = {number[key]: (key, cause) for key, cause in own.items() if key in number}
    return Ways(world, parents, known)


@dataclass(frozen=True)
class Came:
    """All that a pass came to, and what is to be said of it. `own`: root → the cause that it is, those that changed
    first; `flows`: those that answer otherwise and are not plain.
    """

    world: World
    own: Mapping[FlowKey, Cause]
    asked: Asked
    found: Below
    spread: Passed
    ways: Ways
    flows: Mapping[FlowKey, Flow]

    def turned(self) -> list[Turned]:
        """What is plain: of what was asked, then of what it spread to."""
        asked, turned, last = self.asked, list[Turned](), None
        for key, (instance, reason) in asked.plain.items():
            above = asked.parents.get(key) or asked.by_columns[key]
            if above is not last:
                last, (_, cause) = above, self._way_to(above)
            turned.append(Turned(key, instance, above, reason, led_on(cause, instance.name)))
        return turned + self.spread.turned

    def reach(self) -> Reach:
        """What was asked by versions, what staleness spread to, what was asked by columns alone."""
        asked, keys, above = self.asked, self.world.graph.keys, self.found.parents
        parents = dict(asked.parents)
        for node in self.found.order:
            parents.setdefault(keys[node], keys[above[node]])
        for key, parent in asked.by_columns.items():
            parents.setdefault(key, parent)
        return Reach(frozenset(self.own), parents)

    def causes(self) -> dict[UUID, Cause]:
        """Instance → its cause: its own root first, else the nearest above. Only of roots and of what moved."""
        causes: dict[UUID, Cause] = {}
        for key, cause in self.own.items():
            if key.instance_id in self.world.instances:
                causes.setdefault(key.instance_id, cause)
        moved = {key.instance_id for key in self.flows} - causes.keys()
        for key in self._nearest_first if moved else ():
            if key.instance_id in moved and key.instance_id not in causes:
                causes[key.instance_id] = self._way_to(key)[1]
        return causes

    def newly_stale(self) -> dict[FlowKey, tuple[FlowKey, ...]]:
        affected: dict[FlowKey, list[FlowKey]] = {key: [] for key in self.own}
        turned = self.asked.plain.keys() | {key for key, flow in self.flows.items() if self._turned_stale(key, flow)}
        if not turned and not self.spread.turned:
            pass
        elif self.spread.others or self.asked.by_columns:
            turned |= {one.key for one in self.spread.turned}
            for key in self._nearest_first:
                if key in turned:
                    affected[self._way_to(key)[0]].append(key)
        else:
            for key, above in self.asked.parents.items():
                if key in turned and key not in self.own:
                    affected[self._way_to(above)[0]].append(key)
            for root, keys in self.spread.by_root.items():
                affected[root] += keys
        return {key: tuple(flows) for key, flows in affected.items()}

    def _turned_stale(self, key: FlowKey, now: Flow) -> bool:
        was = self.world.flow(key)
        return was is not None and was.freshness is not _STALE and now.freshness is _STALE

    def _way_to(self, key: FlowKey) -> Way:
        return self.ways.to(self.world.graph.number[key])

    @cached_property
    def _nearest_first(self) -> tuple[FlowKey, ...]:
        """All but the roots; what was asked by columns comes before what it led to."""
        parents, placed = self.reach().parents, dict.fromkeys(self.own)
        for key in parents:
            climbed, here = [], key
            while here not in placed:
                climbed.append(here)
                here = parents[here]
            placed |= dict.fromkeys(reversed(climbed))
        return tuple([key for key in placed if key not in self.own])
