"""What a change does to everything below it: one pass, each flow visited once, upstreams before their readers.

Staleness by version is a state, not a wave: a flow is stale while what it read is not what is current above it, or
while something above it is stale by version itself. So nothing is stored that could be lost, and a confirmed version
makes its readers ready again without a run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from uuid import UUID

from runtide_schemas.vocabulary import FlowStatus, InstanceStatus, OnUpstream

from services.lineage.domain.freshness import Evidence, freshness
from services.lineage.domain.graph import Edge, FlowKey, Reach
from services.lineage.domain.world import Cause, Flow, Instance, World


@dataclass(frozen=True, slots=True)
class Root:
    """A flow whose facts moved. `changed`: it has another version or definition than before, so that those below must
    run again; else (it started, failed, was confirmed) they are only asked how they are. `ref` names the change, the
    same whenever it is told.
    """

    ref: str
    changed: bool
    run_id: UUID | None = None
    version_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Ask:
    """A flow that is to be refreshed because of a change above it."""

    flow: FlowKey
    ref: str


@dataclass(frozen=True, slots=True)
class Restated:
    """The world after the pass. `causes`: instance → why it may have moved. `newly_stale`: root → the flows that
    turned stale by it, nearest first. `asks`: every flow with `on_upstream: refresh` below a change, whether it turned
    stale now or was so before.
    """

    world: World
    causes: Mapping[UUID, Cause]
    newly_stale: Mapping[FlowKey, tuple[FlowKey, ...]]
    asks: tuple[Ask, ...]


def restate(world: World, roots: Mapping[FlowKey, Root]) -> Restated:
    """Ask again how the roots and all that is below them are."""
    below_all = world.graph.below(roots)
    below_changes = world.graph.below([key for key, root in roots.items() if root.changed])
    flows: dict[FlowKey, Flow] = {}
    for key in world.graph.sorted({*roots, *below_all.parents}):
        flow = flows.get(key) or world.flow(key)
        if flow is not None:
            flows[key] = answered(world.instances[key.instance_id], flow, key, world, flows)
    after = world.with_flows(flows)
    return Restated(
        world=after,
        causes=_causes(world, roots, below_all),
        newly_stale=_newly_stale(world, after, roots, below_changes),
        asks=tuple(_asks(after, roots, below_changes)),
    )


def blamed(was: Instance | None, now: Instance, cause: Cause | None) -> Cause | None:
    """What the snapshot names. An instance that ran, and is stale all the same, is so because of what made it stale
    before, not because it ran.
    """
    of_itself = cause is not None and cause.instance_id == now.instance_id
    if of_itself and was is not None and was.freshness is now.freshness is InstanceStatus.STALE:
        return was.cause
    return cause


def answered(instance: Instance, flow: Flow, key: FlowKey, world: World, done: Mapping[FlowKey, Flow]) -> Flow:
    """The flow with a fresh answer. `done`: flows that were answered earlier in the same pass."""
    by_version = stale_by_version(instance, flow, key, world, done)
    answer = freshness(
        Evidence(
            has_completed=flow.version is not None,
            newest_end_failed=flow.newest_end_failed,
            has_date_rule=instance.has_date_rule(flow.kind),
            last_data_date=flow.last_data_date,
            stale_by_version=by_version,
        )
    )
    return replace(flow, freshness=answer.status, reason=answer.reason, stale_by_version=by_version)


def stale_by_version(
    instance: Instance, flow: Flow, key: FlowKey, world: World, done: Mapping[FlowKey, Flow]
) -> str | None:
    """Why rule 5 holds, None if it does not. Doubt (a version never read, or not known) makes stale."""
    version = flow.version
    if version is None:
        return None
    changed_at = instance.definition_changed_at
    if changed_at is not None and (version.started_at is None or version.started_at < changed_at):
        return "its definition changed since its newest run"
    read = {one.upstream: one.version_id for one in version.reads}
    for edge in world.graph.into(key):
        reason = _stale_along(edge, read, world, done) if edge.kind.propagates else None
        if reason is not None:
            return reason
    return None


def _stale_along(
    edge: Edge, read: Mapping[FlowKey, UUID | None], world: World, done: Mapping[FlowKey, Flow]
) -> str | None:
    upstream = done.get(edge.upstream) or world.flow(edge.upstream)
    if upstream is None:
        return None
    name, was_read = world.name_of(edge.upstream), read.get(edge.upstream)
    if upstream.stale_by_version is not None:
        return f"{name} is stale itself"
    if upstream.version is None:
        return f"the version of {name} that it read was withdrawn" if was_read else None
    if was_read is None:
        return f"it has not read {name} yet"
    return f"{name} has another version than the one that it read" if was_read != upstream.version.version_id else None


def _causes(world: World, roots: Mapping[FlowKey, Root], reach: Reach) -> dict[UUID, Cause]:
    """Instance → its cause: its own root first, else the nearest above."""
    causes: dict[UUID, Cause] = {}
    for key in (*sorted(roots, key=lambda key: not roots[key].changed), *reach.parents):
        if key.instance_id in causes or key.instance_id not in world.instances:
            continue
        path = (key,) if key in roots else reach.path_to(key)
        root = roots[path[0]]
        causes[key.instance_id] = Cause(root.run_id, root.version_id, path[0].instance_id, _names(world, path))
    return causes


def _names(world: World, path: Iterable[FlowKey]) -> tuple[str, ...]:
    """Each instance once, also where the path goes through two of its flows."""
    return tuple(dict.fromkeys(world.instances[key.instance_id].name for key in path))


def _newly_stale(
    before: World, after: World, roots: Mapping[FlowKey, Root], reach: Reach
) -> dict[FlowKey, tuple[FlowKey, ...]]:
    affected: dict[FlowKey, list[FlowKey]] = {key: [] for key in roots}
    for key in reach.parents:
        was, now = before.flow(key), after.flow(key)
        if was and now and was.freshness is not FlowStatus.STALE and now.freshness is FlowStatus.STALE:
            affected[reach.path_to(key)[0]].append(key)
    return {key: tuple(flows) for key, flows in affected.items()}


def _asks(world: World, roots: Mapping[FlowKey, Root], reach: Reach) -> Iterable[Ask]:
    for key in reach.parents:
        flow, instance = world.flow(key), world.instances.get(key.instance_id)
        live = instance is not None and instance.retired_at is None
        if live and flow is not None and flow.on_upstream is OnUpstream.REFRESH:
            yield Ask(key, roots[reach.path_to(key)[0]].ref)
