"""What a change does to everything below it: one pass, each flow visited once, upstreams before their readers.

Staleness by version is a state, not a wave: a flow is stale while what it read is not what is current above it, or
while something above it is stale by version itself. So nothing is stored that could be lost, and a confirmed version
makes its readers ready again without a run.

Who is asked to run again follows from the state too: whoever has something new to read now, and whoever waits for one
of those through a gating edge. A reader that does not wait (its edge is optional) is asked when there is a new version,
a reader by a schema edge when there are other columns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from heapq import heapify, heappop, heappush
from itertools import islice
from typing import NamedTuple
from uuid import UUID

from runtide_schemas.vocabulary import EdgeKind, FlowStatus, InstanceStatus

from services.lineage.domain.freshness import Evidence, freshness
from services.lineage.domain.graph import PATH_LIMIT, Edge, FlowKey, Reach
from services.lineage.domain.lateness import lateness
from services.lineage.domain.world import Cause, Flow, Instance, Read, Version, World, changed_copy


@dataclass(frozen=True, slots=True)
class Root:
    """A flow whose facts moved. `changed`: it has another version than before, so that those below must run again.
    `itself`: it is defined or wired otherwise, or its version was taken back; if that makes it stale, it must run again
    too. `appeared`: it was not there before, or not with these columns, and those that name it are asked how they are.
    Else (it started, failed,
    was confirmed) they are asked only if it is no longer stale. `run_id`: the run that moved it, if one did. `ref`
    names the change, the same whenever it is told.
    """

    ref: str
    changed: bool
    itself: bool = False
    appeared: bool = False
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
    turned stale by it, nearest first. `asks`: every flow with `on_upstream: refresh` that a change makes run again,
    whether it turned stale now or was so before. `reach`: by which flow it came to each.
    """

    world: World
    causes: Mapping[UUID, Cause]
    newly_stale: Mapping[FlowKey, tuple[FlowKey, ...]]
    asks: tuple[Ask, ...]
    reach: Reach


def restate(world: World, roots: Mapping[FlowKey, Root], now: datetime) -> Restated:
    """Ask again how the roots are at this instant, and those below whose answer may have moved with theirs.

    First upstreams before their readers, as far as versions moved or staleness went away; then staleness spreads, and
    stops at what is stale already. So the cost is that of the edges out of what moved.
    """
    turned = _asked_again(world, roots, now)
    graph = world.graph
    starts = [key for key, flow in turned.flows.items() if _is_stale(flow) and not _is_stale(world.flow(key))]
    spread = graph.below(starts, _turned_from_above(world, turned.flows)) if starts else Reach(frozenset(), {})
    flows = dict(turned.flows)
    for key, parent in spread.parents.items():
        flow = flows.get(key) or world.flow(key)
        if flow is not None:
            flows[key] = _with_answer(world, key, flow, f"{world.name_of(parent)} is stale itself", now)
    further = {key: parent for key, parent in spread.parents.items() if key not in turned.parents}
    parents = turned.parents | further
    besides = {key: parent for key, parent in turned.by_columns.items() if key not in parents}
    reach = Reach(frozenset(roots), parents | besides)
    after = _without_ended_delays(world.with_flows(flows), roots, now)
    ways = _ways(after, roots, reach)
    return Restated(
        world=after,
        causes=_causes(world, after, roots, ways),
        newly_stale=_newly_stale(world, flows, roots, ways),
        asks=tuple(_asks(after, roots)),
        reach=reach,
    )


@dataclass(slots=True)
class _Turned:
    """`flows`: those that were asked again, upstreams first. `parents`: flow → what above it made us ask; `by_columns`:
    the same along schema edges, by which not everything is led on.
    """

    flows: dict[FlowKey, Flow] = field(default_factory=dict)
    parents: dict[FlowKey, FlowKey] = field(default_factory=dict)
    by_columns: dict[FlowKey, FlowKey] = field(default_factory=dict)


def _asked_again(world: World, roots: Mapping[FlowKey, Root], now: datetime) -> _Turned:
    turned, rank = _Turned(), world.graph.rank
    moved_above: dict[FlowKey, list[Edge]] = {key: [] for key in roots}
    waiting = [(rank.get(key, -1), key) for key in roots]
    heapify(waiting)
    while waiting:
        _, key = heappop(waiting)
        flow, root = world.flow(key), roots.get(key)
        if flow is None or key in turned.flows:
            continue
        after = turned.flows[key] = _asked(world, key, flow, turned.flows, None if root else moved_above[key], now)
        cleared = _is_stale(flow) and not _is_stale(after)
        if not (cleared or (root is not None and (root.changed or root.appeared))):
            continue
        for edge in world.graph.out_of(key):
            if edge.downstream not in moved_above:
                moved_above[edge.downstream] = []
                heappush(waiting, (rank[edge.downstream], edge.downstream))
            moved_above[edge.downstream].append(edge)
            (turned.parents if edge.propagates else turned.by_columns).setdefault(edge.downstream, key)
    return turned


def _asked(
    world: World, key: FlowKey, flow: Flow, done: Mapping[FlowKey, Flow], moved: Sequence[Edge] | None, now: datetime
) -> Flow:
    """The flow with a fresh answer. `moved`: only along these edges anything moved (None: anything may have)."""
    if moved is None:
        return answered(world, key, flow, done, now)
    reason = _first_reason(moved, flow.version, world, done)
    if reason is None and _is_stale(flow):
        return answered(world, key, flow, done, now)
    return _with_answer(world, key, flow, reason, now)


def _is_stale(flow: Flow | None) -> bool:
    return flow is not None and flow.stale_by_version is not None


def _turned_from_above(world: World, asked: Mapping[FlowKey, Flow]) -> Callable[[FlowKey], bool]:
    """Whether staleness from above turns a flow: not one that is stale already, nor one that never made a version."""

    def is_turned(key: FlowKey) -> bool:
        flow = asked.get(key) or world.flow(key)
        return flow is None or (flow.stale_by_version is None and flow.version is not None)

    return is_turned


def _without_ended_delays(world: World, roots: Mapping[FlowKey, Root], now: datetime) -> World:
    """Only what moved at a root, or its clock, ends a delay."""
    over = []
    for key in roots:
        instance, flow = world.instances.get(key.instance_id), world.flow(key)
        if instance is None or instance.delay is None or flow is None:
            continue
        if lateness(instance, flow, world.calendars, now).delay_is_over:
            over.append(key.instance_id)
    return world.without_delays(over)


def blamed(was: Instance | None, now: Instance, cause: Cause | None) -> Cause | None:
    """What the snapshot names. An instance that ran, and is stale all the same, is so because of what made it stale
    before, not because it ran.
    """
    of_itself = cause is not None and cause.instance_id == now.instance_id
    if of_itself and was is not None and was.freshness is now.freshness is InstanceStatus.STALE:
        return was.cause
    return cause


def answered(world: World, key: FlowKey, flow: Flow, done: Mapping[FlowKey, Flow], now: datetime) -> Flow:
    """The flow with a fresh answer, from scratch. `done`: flows that were answered earlier in the same pass."""
    return _with_answer(world, key, flow, stale_by_version(world, key, flow, done), now)


def _with_answer(world: World, key: FlowKey, flow: Flow, by_version: str | None, now: datetime) -> Flow:
    instance = world.instances[key.instance_id]
    late = lateness(instance, flow, world.calendars, now)
    answer = freshness(
        Evidence(
            has_completed=flow.version is not None,
            newest_end_failed=flow.newest_end_failed,
            has_date_rule=instance.has_date_rule(flow.kind),
            last_data_date=flow.last_data_date,
            stale_by_version=by_version,
            delayed=late.delayed,
            stale_by_date=late.stale,
        )
    )
    said = (answer.status, answer.reason, late.expected, late.next_due_at)
    if flow.answer == said and flow.stale_by_version == by_version:
        return flow
    return changed_copy(
        flow, freshness=answer.status, reason=answer.reason, stale_by_version=by_version,
        expected_data_date=late.expected, next_due_at=late.next_due_at,
    )  # fmt: skip


def stale_by_version(world: World, key: FlowKey, flow: Flow, done: Mapping[FlowKey, Flow]) -> str | None:
    """Why rule 5 holds, None if it does not. Doubt (a version never read, or not known) makes stale."""
    version = flow.version
    if version is None:
        return None
    if flow.superseded is not None:
        return flow.superseded
    changed_at = world.instances[key.instance_id].definition_changed_at
    if changed_at is not None and (version.started_at is None or version.started_at < changed_at):
        return "its definition changed since its newest run"
    return _first_reason(world.graph.into(key), version, world, done)


def _first_reason(
    edges: Sequence[Edge], version: Version | None, world: World, done: Mapping[FlowKey, Flow]
) -> str | None:
    if version is None:
        return None
    return next((reason for edge in edges if (reason := _stale_along(edge, version, world, done)) is not None), None)


def _stale_along(edge: Edge, version: Version, world: World, done: Mapping[FlowKey, Flow]) -> str | None:
    upstream = done.get(edge.upstream) or world.flow(edge.upstream)
    if upstream is None:
        return None
    if edge.kind is EdgeKind.SCHEMA:
        other = upstream.version is not None and other_columns(version.read_along(edge), upstream.version)
        return f"{world.name_of(edge.upstream)} has other columns than those that it read" if other else None
    if upstream.stale_by_version is not None:
        return f"{world.name_of(edge.upstream)} is stale itself"
    read, current = version.read_along(edge), upstream.version
    was_read = read.version_id if read else None
    if current is not None and was_read == current.version_id:
        return None
    name = world.name_of(edge.upstream)
    if current is None:
        return f"the version of {name} that it read was withdrawn" if was_read else None
    return (
        f"it has not read {name} yet" if was_read is None else f"{name} has another version than the one that it read"
    )


def other_columns(read: Read | None, current: Version) -> bool:
    """Whether the columns of the current version are others than those of the version read, or must be feared to be.

    Two known digests decide. Else it is asked since when the columns are what they are: an upstream that never said, or
    says so for the first time, changed nothing; one that did say and is silent now is in doubt, and doubt makes stale.
    Of a version never read, or not known, nothing is feared until the upstream says what its columns are.
    """
    if read is not None and read.version_id == current.version_id:
        return False
    was = read.schema if read is not None and read.version_id is not None else None
    if was is None:
        return current.schema.digest is not None
    known = was.digest is not None and was.digest == current.schema.digest
    return not known and was.since != current.schema.since


class _Way(NamedTuple):
    """From which root, and through which instances, each named once."""

    root: FlowKey
    names: tuple[str, ...]


def _ways(world: World, roots: Iterable[FlowKey], reach: Reach) -> dict[FlowKey, _Way]:
    """Roots first, then what they reach, nearest first. Of a long way the root and its last hundred."""
    ways = {key: _Way(key, (world.name_of_instance(key.instance_id),)) for key in roots}
    for key in reach.parents:
        climbed, here = [], key
        while here not in ways:
            climbed.append(here)
            here = reach.parents[here]
        for below in reversed(climbed):
            root, names = ways[reach.parents[below]]
            name = world.name_of_instance(below.instance_id)
            ways[below] = _Way(root, names if name in names else _longer(names, name))
    return ways


def _longer(names: tuple[str, ...], name: str) -> tuple[str, ...]:
    return (*names, name) if len(names) < PATH_LIMIT else (names[0], *names[2:], name)


def _causes(
    before: World, after: World, roots: Mapping[FlowKey, Root], ways: Mapping[FlowKey, _Way]
) -> dict[UUID, Cause]:
    """Instance → its cause: its own root first, else the nearest above. Only of roots and of what moved."""
    causes: dict[UUID, Cause] = {}
    first = sorted(roots, key=lambda key: not (roots[key].changed or roots[key].itself))
    for key in (*first, *islice(ways, len(roots), None)):
        instance_id = key.instance_id
        now = after.instances.get(instance_id)
        if instance_id in causes or now is None or (key not in roots and now is before.instances[instance_id]):
            continue
        way = ways[key]
        root = roots[way.root]
        causes[instance_id] = Cause(root.run_id, root.version_id, way.root.instance_id, way.names)
    return causes


def _newly_stale(
    before: World, flows: Mapping[FlowKey, Flow], roots: Mapping[FlowKey, Root], ways: Mapping[FlowKey, _Way]
) -> dict[FlowKey, tuple[FlowKey, ...]]:
    affected: dict[FlowKey, list[FlowKey]] = {key: [] for key in roots}
    for key, way in islice(ways.items(), len(roots), None):
        was, now = before.flow(key), flows.get(key)
        if was and now and was.freshness is not FlowStatus.STALE and now.freshness is FlowStatus.STALE:
            affected[way.root].append(key)
    return {key: tuple(flows) for key, flows in affected.items()}


def _asks(world: World, roots: Mapping[FlowKey, Root]) -> Iterable[Ask]:
    """Also those that the pass did not come to: whoever is stale already may have nothing waiting for it."""
    if not world.refreshing:
        return
    first = _must_run(world, roots)
    changed = [key for key, root in roots.items() if root.changed]
    reach = world.graph.waiting_for([*changed, *(key for key in first if _is_to_run(world.flow(key)))])
    for key in dict.fromkeys((*first, *reach.parents)):
        if key in world.refreshing and world.flow(key) is not None:
            start = key if key in first else reach.path_to(key)[0]
            yield Ask(key, roots[first.get(start, start)].ref)


def _must_run(world: World, roots: Mapping[FlowKey, Root]) -> dict[FlowKey, FlowKey]:
    """Flow → the root that makes it run, of the roots themselves and of those that read one without waiting for it: by
    a schema edge where the columns are others, or were so for a run on its way. No run makes its own flow run again.
    """
    found = {key: key for key, root in roots.items() if root.itself and _lacks_a_run(world, key, root)}
    for key, root in roots.items():
        for edge in world.graph.out_of(key) if root.changed else ():
            if not edge.gates and (edge.propagates or root.appeared or _is_led_on(world, edge)):
                found.setdefault(edge.downstream, key)
    return found


def _lacks_a_run(world: World, key: FlowKey, root: Root) -> bool:
    """It is stale by version, or will be when a run ends that began before it was defined or wired so. Of a version
    taken back: it is stale by version, or has none; but what failed is for people to mend.
    """
    flow = world.flow(key)
    if flow is None or (root.run_id is not None and flow.newest_end_failed):
        return False
    if root.run_id is not None:
        return _is_to_run(flow)
    return _is_stale(flow) or flow.open_run_id is not None or bool(world.on_their_way(key))


def _is_to_run(flow: Flow | None) -> bool:
    return flow is not None and (flow.version is None or _is_stale(flow))


def _is_led_on(world: World, edge: Edge) -> bool:
    """A schema edge makes its reader stale."""
    reader = world.flow(edge.downstream)
    version = reader.version if reader else None
    return version is not None and _stale_along(edge, version, world, {}) is not None


def is_to_refresh(world: World, key: FlowKey) -> bool:
    """It is stale by version, and refreshes itself."""
    flow = world.flow(key)
    stale = flow is not None and flow.freshness is FlowStatus.STALE and _is_stale(flow)
    return stale and key in world.refreshing
