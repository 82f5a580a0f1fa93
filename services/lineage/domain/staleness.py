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
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from heapq import heapify, heappop, heappush
from uuid import UUID

from runtide_schemas.vocabulary import EdgeKind, FlowStatus, InstanceStatus

from services.lineage.domain.came import Asked, Came, ways_of
from services.lineage.domain.freshness import Evidence, freshness
from services.lineage.domain.graph import Edge, FlowKey, Reach
from services.lineage.domain.lateness import lateness
from services.lineage.domain.spread import (
    NOTHING,
    Turned,
    answer_of,
    because_of,
    below,
    is_plain,
    is_told_already,
    passed,
)
from services.lineage.domain.world import Cause, Flow, Instance, Read, Version, World, changed_copy, made_of

_SCHEMA, _STALE = EdgeKind.SCHEMA, FlowStatus.STALE


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


@dataclass(frozen=True)
class Restated:
    """The world after the pass is `base`, but for the flows that `turned`: thousands may, and nothing else of their
    instances moved. `newly_stale`: root → the flows that turned stale by it, nearest first. `asks`: every flow with
    `on_upstream: refresh` that a change makes run again, whether it turned stale now or was so before.
    `causes_of_moved`: instance → why it may have moved, of all but those; `came_by` makes `reach`.
    """

    base: World
    turned: Sequence[Turned]
    newly_stale: Mapping[FlowKey, tuple[FlowKey, ...]]
    asks: tuple[Ask, ...]
    causes_of_moved: Mapping[UUID, Cause]
    came_by: Callable[[], Reach]

    @cached_property
    def world(self) -> World:
        return self.base.with_flows({one.key: one.flow() for one in self.turned})

    @cached_property
    def causes(self) -> Mapping[UUID, Cause]:
        """Instance → why it may have moved."""
        return {**self.causes_of_moved, **{one.key.instance_id: one.cause for one in self.turned}}

    @cached_property
    def reach(self) -> Reach:
        """By which flow it came to each."""
        return self.came_by()


def restate(world: World, roots: Mapping[FlowKey, Root], now: datetime) -> Restated:
    """Ask again how the roots are at this instant, and those below whose answer may have moved with theirs.

    First upstreams before their readers, as far as versions moved or staleness went away; then staleness spreads, and
    stops at what is stale already. So the cost is that of the edges out of what moved.
    """
    asked = _asked_again(world, roots, now)
    starts = [key for key, flow in asked.moved.items() if _is_stale(flow) and not _is_stale(world.flow(key))]
    found = below(world, asked.flows, starts, asked.of_roots) if starts else NOTHING
    first = sorted(roots, key=lambda key: not (roots[key].changed or roots[key].itself))
    own = {key: _own_cause(world, key, roots[key]) for key in first}
    ways = ways_of(world, own, asked, found)
    spread = passed(world, found, ways)
    flows = {key: flow for key, flow in asked.moved.items() if key not in asked.plain}
    for key, parent in spread.others.items():
        flow = asked.flows.get(key) or world.flow(key)
        if flow is not None:
            flows[key] = _with_answer(world, key, flow, because_of(world, parent), now)
    base = _without_ended_delays(world.with_flows(flows), roots, now)
    came = Came(world, own, asked, found, spread, ways, flows)
    turned = came.turned()
    return Restated(
        base=base,
        turned=turned,
        newly_stale=came.newly_stale(),
        asks=tuple(_asks(base, roots, turned)),
        causes_of_moved=came.causes(),
        came_by=came.reach,
    )


def _own_cause(world: World, key: FlowKey, root: Root) -> Cause:
    return Cause(root.run_id, root.version_id, key.instance_id, (world.name_of_instance(key.instance_id),))


def _asked_again(world: World, roots: Mapping[FlowKey, Root], now: datetime) -> Asked:
    asked, rank = Asked({key.instance_id for key in roots}, edges={key: [] for key in roots}), world.graph.rank
    waiting = [_place(rank.get(key, -1), key) for key in roots]
    heapify(waiting)
    while waiting:
        key = heappop(waiting)[-1]
        flow, root = world.flow(key), roots.get(key)
        if flow is None or key in asked.flows:
            continue
        if root is not None:
            after = answered(world, key, flow, asked.flows, now)
        else:
            after = _asked_along(world, key, flow, asked, now)
        asked.flows[key] = after
        if after is not flow:
            asked.moved[key] = after
        if (_is_stale(flow) and not _is_stale(after)) or (root is not None and (root.changed or root.appeared)):
            _put(waiting, [_place(rank[one], one) for one in _led_on(world, key, after, asked)])
    return asked


def _led_on(world: World, key: FlowKey, after: Flow, asked: Asked) -> list[FlowKey]:
    """The readers that are to be asked because of this flow, and were not before. Who is stale because of this very
    flow, and still is, stays so whatever else moved above it.
    """
    new, edges, name = list[FlowKey](), asked.edges, world.name_of(key)
    reason = because_of(world, key) if _is_stale(after) else has_another_version(name)
    for edge in world.graph.out_of(key):
        reader = edge.downstream
        (asked.by_columns if edge.kind is _SCHEMA else asked.parents).setdefault(reader, key)
        known = edges.get(reader)
        if known is not None:
            known.append(edge)
            continue
        edges[reader] = [edge]
        instance = world.instances[reader.instance_id]
        flow = instance.flow(reader.kind)
        if (
            flow is not None
            and flow.stale_by_version == reason
            and is_told_already(instance, flow, reason)
            and _first_reason((edge,), flow.version, world, asked.flows) == reason
        ):
            asked.flows[reader] = flow
        else:
            new.append(reader)
    return new


_Place = tuple[int, int, str, FlowKey]


def _place(rank: int, key: FlowKey) -> _Place:
    """Upstreams before their readers, and what is side by side in the order of its keys, compared as plain values."""
    return rank, key.instance_id.int, key.kind or "", key


def _put(waiting: list[_Place], new: Sequence[_Place]) -> None:
    if len(new) > len(waiting):
        waiting += new
        heapify(waiting)
    else:
        for one in new:
            heappush(waiting, one)


def _asked_along(world: World, key: FlowKey, flow: Flow, asked: Asked, now: datetime) -> Flow:
    """The flow with a fresh answer, where only along some edges anything moved."""
    reason = _first_reason(asked.edges[key], flow.version, world, asked.flows)
    if reason is None and _is_stale(flow):
        return answered(world, key, flow, asked.flows, now)
    instance = world.instances[key.instance_id]
    if reason is not None and is_told_already(instance, flow, reason):
        return flow
    if reason is not None and is_plain(instance, key.kind) and key.instance_id not in asked.of_roots:
        asked.plain[key] = instance, reason
        return made_of(Flow, flow.__dict__ | answer_of(reason))
    return _with_answer(world, key, flow, reason, now)


def _is_stale(flow: Flow | None) -> bool:
    return flow is not None and flow.stale_by_version is not None


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
    for edge in edges:
        reason = _stale_along(edge, version, world, done)
        if reason is not None:
            return reason
    return None


def _stale_along(edge: Edge, version: Version, world: World, done: Mapping[FlowKey, Flow]) -> str | None:
    upstream = done.get(edge.upstream) or world.flow(edge.upstream)
    if upstream is None:
        return None
    if edge.kind is _SCHEMA:
        other = upstream.version is not None and other_columns(version.read_along(edge), upstream.version)
        return f"{world.name_of(edge.upstream)} has other columns than those that it read" if other else None
    if upstream.stale_by_version is not None:
        return because_of(world, edge.upstream)
    read, current = version.read_along(edge), upstream.version
    was_read = read.version_id if read else None
    if current is not None and was_read == current.version_id:
        return None
    name = world.name_of(edge.upstream)
    if current is None:
        return f"the version of {name} that it read was withdrawn" if was_read else None
    return f"it has not read {name} yet" if was_read is None else has_another_version(name)


def has_another_version(name: str) -> str:
    return f"{name} has another version than the one that it read"


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


def _asks(world: World, roots: Mapping[FlowKey, Root], turned: Iterable[Turned]) -> Iterable[Ask]:
    """Also those that the pass did not come to: whoever is stale already may have nothing waiting for it."""
    if not world.refreshing:
        return
    first, stale = _must_run(world, roots), {one.key for one in turned}
    changed = [key for key, root in roots.items() if root.changed]
    to_run = [key for key in first if key in stale or _is_to_run(world.flow(key))]
    reach = world.graph.waiting_for([*changed, *to_run])
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
