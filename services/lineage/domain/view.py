"""The graph around one instance, for drawing: nodes are instances, and each has its place."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from graphlib import CycleError
from typing import Literal
from uuid import UUID

from runtide_schemas.vocabulary import EdgeKind, InstanceStatus, InstanceType

from services.lineage.domain.graph import layers
from services.lineage.domain.world import World

Direction = Literal["both", "upstream", "downstream"]


@dataclass(frozen=True, slots=True)
class Node:
    """`instance_type` None: an instance that edges name and nobody has registered."""

    instance_id: UUID
    name: str
    instance_type: InstanceType | None
    status: InstanceStatus
    direction: Literal["upstream", "center", "downstream"]
    layer: int
    order: int


@dataclass(frozen=True, slots=True)
class Link:
    source: UUID
    target: UUID
    kind: EdgeKind


def around(world: World, center: UUID, *, direction: Direction, max_depth: int) -> tuple[list[Node], list[Link]]:
    """Nodes by layer and order, and the edges between them. A node above is not looked for below again."""
    links = {
        Link(edge.upstream.instance_id, edge.downstream.instance_id, edge.kind)
        for edge in world.graph.edges
        if edge.upstream.instance_id != edge.downstream.instance_id
    }
    sources: dict[UUID, list[UUID]] = {}
    targets: dict[UUID, list[UUID]] = {}
    for link in links:
        sources.setdefault(link.target, []).append(link.source)
        targets.setdefault(link.source, []).append(link.target)
    above = _within(sources, center, max_depth) if direction != "downstream" else set()
    below = _within(targets, center, max_depth) - above if direction != "upstream" else set()
    shown = {center, *above, *below}
    layer_of = _layers(world, shown, sources)
    nodes, places = [], dict[int, int]()
    for instance_id in sorted(shown, key=lambda one: (layer_of[one], _name(world, one))):
        layer = layer_of[instance_id]
        order = places.get(layer, 0)
        places[layer] = order + 1
        known = world.instances.get(instance_id)
        nodes.append(
            Node(
                instance_id=instance_id,
                name=_name(world, instance_id),
                instance_type=known.instance_type if known else None,
                status=known.status if known else InstanceStatus.NOT_INITIALIZED,
                direction="center" if instance_id == center else "upstream" if instance_id in above else "downstream",
                layer=layer,
                order=order,
            )
        )
    between = (link for link in links if link.source in shown and link.target in shown)
    return nodes, sorted(between, key=lambda link: (link.source.int, link.target.int, link.kind))


def _within(neighbours: Mapping[UUID, list[UUID]], center: UUID, max_depth: int) -> set[UUID]:
    depths = {center: 0}
    waiting = deque([center])
    while waiting:
        node = waiting.popleft()
        if depths[node] < max_depth:
            for neighbour in neighbours.get(node, ()):
                if neighbour not in depths:
                    depths[neighbour] = depths[node] + 1
                    waiting.append(neighbour)
    return depths.keys() - {center}


def _layers(world: World, shown: set[UUID], sources: Mapping[UUID, list[UUID]]) -> dict[UUID, int]:
    """Instance → its layer. Only flows are free of cycles: where instances read each other in a ring, the leftmost of
    their flows gives the place.
    """
    try:
        return layers({one: shown.intersection(sources.get(one, ())) for one in shown})
    except CycleError:
        pass
    readers = {
        key: {edge.upstream for edge in world.graph.into(key) if edge.upstream.instance_id in shown}
        for key in {*world.flow_keys(), *(edge.upstream for edge in world.graph.edges)}
        if key.instance_id in shown
    }
    found: dict[UUID, int] = {}
    for key, layer in layers(readers).items():
        found[key.instance_id] = min(found.get(key.instance_id, layer), layer)
    used = sorted(set(found.values()))
    return {instance_id: used.index(layer) for instance_id, layer in found.items()}


def _name(world: World, instance_id: UUID) -> str:
    known = world.instances.get(instance_id)
    return known.name if known else world.names_of_unregistered.get(instance_id, str(instance_id))
