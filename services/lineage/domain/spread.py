"""Staleness from above: everything below what turned stale turns too, in one walk.

Most of what a pass comes to was ready, has one flow and no clock. Its answer follows from the flow above it alone, so
no rule is asked again and its status needs no working out (`is_plain` says of which that is so). What is not plain is
asked as ever.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import msgspec
from runtide_schemas.vocabulary import FlowKind, FlowStatus

from services.lineage.domain.graph import PATH_LIMIT, FlowKey
from services.lineage.domain.world import Cause, Flow, Instance, World, changed_copy

_READY, _STALE = FlowStatus.READY, FlowStatus.STALE


Way = tuple[FlowKey, Cause]  # from which root, and the cause that names the instances on it, each once


def led_on(cause: Cause, name: str) -> Cause:
    """The way one instance further; of a long one the root and its last hundred."""
    path = cause.path
    further = (*path, name) if len(path) < PATH_LIMIT else (path[0], *path[2:], name)
    return Cause(cause.run_id, cause.version_id, cause.instance_id, further)


class Turned(msgspec.Struct, frozen=True, gc=False):
    """A plain flow that is stale now, because of the flow `above`. `was`: its instance before."""

    key: FlowKey
    was: Instance
    above: FlowKey
    reason: str
    cause: Cause

    def flow(self) -> Flow:
        return changed_copy(self.was.flows[0], **answer_of(self.reason))


def answer_of(reason: str) -> dict[str, Any]:
    """What the rules say of a plain flow that is stale by version."""
    return {
        "freshness": _STALE, "reason": reason, "stale_by_version": reason, "expected_data_date": None,
        "next_due_at": None,
    }  # fmt: skip


def is_plain(instance: Instance, kind: FlowKind | None) -> bool:
    """It has this flow and no other, ready; if that is stale by version now, its answer is `answer_of` the reason, and
    everybody is told.
    """
    if len(instance.flows) != 1:
        return False
    [flow] = instance.flows
    return (
        flow.freshness is _READY
        and flow.kind is kind
        and flow.stale_by_version is None
        and flow.version is not None
        and not flow.newest_end_failed
        and instance.update_frequency is None
        and instance.delay is None
    )


def is_told_already(instance: Instance, flow: Flow, reason: str) -> bool:
    """It is stale for this very reason, and no clock may give it another answer."""
    return (
        flow.stale_by_version == reason
        and flow.freshness is _STALE
        and flow.reason == reason
        and instance.update_frequency is None
        and instance.delay is None
        and not flow.newest_end_failed
        and flow.next_due_at is None
        and flow.expected_data_date is None
    )


@dataclass(slots=True)
class Below:
    """What a walk came to, by number: `order` and `parents` as of `Reached`; `plain`: those of `is_plain`."""

    order: list[int]
    parents: dict[int, int]
    plain: dict[int, Instance]


NOTHING = Below([], {}, {})


def below(world: World, asked: Mapping[FlowKey, Flow], starts: Iterable[FlowKey], of_roots: Iterable[UUID]) -> Below:
    """All that is not stale and has a version, below flows that turned stale, of which some were `asked` already. No
    flow of a root's instance is plain.
    """
    instances, keys, number, plain = world.instances, world.graph.keys, world.graph.number, dict[int, Instance]()
    kinds = [(one, kind) for one in of_roots if one in instances for kind in instances[one].kinds]
    never = {number.get(key) for key in asked} | {number.get(FlowKey(*each)) for each in kinds}

    def turns(node: int) -> bool:
        key = keys[node]
        instance = instances.get(key[0])
        if node not in never and instance is not None and is_plain(instance, key[1]):
            plain[node] = instance
            return True
        flow = asked.get(key) or world.flow(key)
        return flow is None or (flow.stale_by_version is None and flow.version is not None)

    found = world.graph.walk_below(starts, turns)
    return Below(found.order, dict(found.parents), plain)


class Ways:
    """Node → its way, climbed once. `parents`: node → the one before it; `known`: that of the roots."""

    def __init__(self, world: World, parents: Mapping[int, int], known: dict[int, Way]) -> None:
        self.world, self.parents, self.known = world, parents, known

    def to(self, node: int) -> Way:
        climbed = []
        while node not in self.known:
            climbed.append(node)
            node = self.parents[node]
        root, cause = self.known[node]
        for lower in reversed(climbed):
            name = self.world.name_of_instance(self.world.graph.keys[lower].instance_id)
            cause = cause if name in cause.path else led_on(cause, name)
            self.known[lower] = root, cause
        return root, cause


@dataclass(slots=True)
class Passed:
    """What a walk came to, nearest first. `turned`: what is plain, and `by_root` the same; `others`: what is not, and
    the flow before it.
    """

    turned: list[Turned] = field(default_factory=list)
    others: dict[FlowKey, FlowKey] = field(default_factory=dict)
    by_root: dict[FlowKey, list[FlowKey]] = field(default_factory=dict)


def passed(world: World, found: Below, ways: Ways) -> Passed:
    """How each turned. What is plain has no other flow that could lie above it, so its name is new on its way."""
    keys, plain, parents, known, last = world.graph.keys, found.plain, found.parents, ways.known, -1
    result = Passed()
    turned = result.turned
    for node in found.order:
        instance, key, parent = plain.get(node), keys[node], parents[node]
        if instance is None:
            result.others[key] = keys[parent]
            continue
        if parent != last:
            last, above = parent, keys[parent]
            root, cause = known.get(parent) or ways.to(parent)
            run_id, version_id, began, path = cause.run_id, cause.version_id, cause.instance_id, cause.path
            is_long = len(path) >= PATH_LIMIT
            reason, of_root = because_of(world, above), result.by_root.setdefault(root, [])
        further = (path[0], *path[2:], instance.name) if is_long else (*path, instance.name)
        cause = Cause(run_id, version_id, began, further)
        known[node] = root, cause
        turned.append(Turned(key, instance, above, reason, cause))
        of_root.append(key)
    return result


def because_of(world: World, above: FlowKey) -> str:
    return f"{world.name_of(above)} is stale itself"
