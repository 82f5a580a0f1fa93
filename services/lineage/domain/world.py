"""What one tenant has: instances, their flows, what the flows made and read, and who is running.

Everything here is a frozen value; a change is a new `Instance` in a new `World`. Tenants never share a world.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from functools import cached_property
from operator import attrgetter
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

import msgspec
from runtide_schemas.vocabulary import (
    Basis,
    EdgeKind,
    FlowKind,
    FlowStatus,
    InstanceStatus,
    InstanceType,
    OnUpstream,
    ReportsPolicy,
    main_flow_kind,
)

from services.lineage.domain.calendar import Calendar
from services.lineage.domain.graph import Edge, FlowKey, Graph

T = TypeVar("T")
WORST_FIRST = (
    InstanceStatus.ERROR,
    InstanceStatus.NOT_INITIALIZED,
    InstanceStatus.STALE,
    InstanceStatus.STALE_SOURCE_DELAYED,
    InstanceStatus.RUNNING,
    InstanceStatus.READY,
)

_OF_INSTANCES = {status: InstanceStatus(status) for status in FlowStatus}


def changed_copy(value: T, **changes: Any) -> T:
    """As `dataclasses.replace`, where thousands are changed in one pass: the dict is copied, and nothing is checked."""
    return made_of(type(value), value.__dict__ | changes)


def made_of(kind: type[T], facts: dict[str, Any]) -> T:
    """The value whose fields these are, all of them; the dict is its own from now on."""
    made = object.__new__(kind)
    object.__setattr__(made, "__dict__", facts)
    return made


class Schema(NamedTuple):
    """The columns of a version. `digest` None: its run did not say. `since`: the completion with which they became
    others than before, as far as that is known; None: nothing else is known of the flow.
    """

    digest: str | None
    since: UUID | None = None


UNKNOWN = Schema(None)


@dataclass(frozen=True, slots=True)
class Read:
    """A version of an upstream flow that a run reads, in the role that the edge gives it. `schema` is kept along schema
    edges; None: nobody knows that version.
    """

    role: str
    upstream: FlowKey
    version_id: UUID | None
    artifact_version: str | None
    basis: Basis
    schema: Schema | None = None


@dataclass(frozen=True, slots=True)
class Version:
    """The current version of a flow. `completion_id`, `started_at` and `reads` are of the newest completion that minted
    or confirmed it; `verified_at` is when it was last confirmed, None if never.
    """

    version_id: UUID
    run_id: UUID
    completion_id: UUID
    started_at: datetime | None
    ended_at: datetime
    verified_at: datetime | None = None
    artifact_version: str | None = None
    reads: tuple[Read, ...] = ()
    schema: Schema = UNKNOWN

    def read_along(self, edge: Edge) -> Read | None:
        """What was read along this edge, None: nothing. Runs read in the roles of their edges."""
        role, upstream = edge.role, edge.upstream
        for one in self.reads:
            if one.role == role:
                if one.upstream == upstream:
                    return one
                break
        return next((one for one in self.reads if one.upstream == upstream), None)


@dataclass(frozen=True)
class Flow:
    """One flow: its definition, what its runs left behind, and the answer last given (cached, from `freshness` on).
    `schedule` and `retry` are kept as registered (JSON). `next_due_at`: when the clock alone may give another one.
    `superseded`: why its current version is, None if it is not. `last_admitted_at` is kept where there is a
    `min_interval`.
    """

    kind: FlowKind
    deployment: str
    on_upstream: OnUpstream = OnUpstream.NOTIFY
    reports: ReportsPolicy = ReportsPolicy.EXPECTED
    max_open_runs: int = 1
    max_wait: timedelta | None = None
    min_interval: timedelta | None = None
    schedule: str | None = None
    retry: str | None = None

    version: Version | None = None
    newest_end_failed: bool = False
    last_run_id: UUID | None = None
    last_run_at: datetime | None = None
    last_data_date: date | None = None
    open_run_id: UUID | None = None
    last_admitted_at: datetime | None = None
    superseded: str | None = None

    freshness: FlowStatus = FlowStatus.NOT_INITIALIZED
    reason: str | None = None
    stale_by_version: str | None = None
    expected_data_date: date | None = None
    next_due_at: datetime | None = None
    old_status: FlowStatus | None = None

    @property
    def status(self) -> FlowStatus:
        """What is shown: `running` over the answer underneath."""
        return FlowStatus.RUNNING if self.open_run_id else self.freshness

    @property
    def facts(self) -> tuple[Any, ...]:
        """Its definition and what its runs left behind: all but the answer."""
        facts: tuple[Any, ...] = _FACTS(self)
        return facts

    @property
    def face(self) -> tuple[Any, ...]:
        """All of it that others are told."""
        version = (self.version.version_id, self.version.verified_at) if self.version else None
        return version, _SHOWN(self), self.answer

    @property
    def answer(self) -> tuple[Any, ...]:
        """The answer last given, but for what only the next one needs."""
        answer: tuple[Any, ...] = _ANSWER(self)
        return answer


_POLICY = (
    "kind", "deployment", "on_upstream", "reports", "max_open_runs", "max_wait", "min_interval", "schedule", "retry",
)  # fmt: skip
_RUNS = ("open_run_id", "last_run_id", "last_run_at", "last_data_date")
_FACTS = attrgetter(*_POLICY, *_RUNS, "version", "newest_end_failed", "superseded", "last_admitted_at")
_SHOWN = attrgetter(*_POLICY, *_RUNS)
_ANSWER = attrgetter("freshness", "reason", "expected_data_date", "next_due_at")


@dataclass(frozen=True, slots=True)
class Upstream:
    """An edge as registered. `flow_kind` None: the upstream's main flow; `flows` None: all of one's own."""

    instance_id: UUID
    name: str
    role: str
    kind: EdgeKind = EdgeKind.DATA
    flow_kind: FlowKind | None = None
    flows: tuple[FlowKind, ...] | None = None
    optional: bool = False
    max_lag: int | None = None


class Cause(msgspec.Struct, frozen=True, gc=False):
    """Why a status moved: the root's run and version, and the names from the root to here."""

    run_id: UUID | None
    version_id: UUID | None
    instance_id: UUID
    path: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Delay:
    """A source that is late and says so, since when. `until` None: until the data has caught up. `data_date`: how far
    the data went when that was said.
    """

    until: datetime | None
    reason: str | None
    since: datetime
    data_date: date | None


class Heard(NamedTuple):
    """Where in one partition the newest command about an instance lay: what lies before it, and is no younger, was
    applied.
    """

    partition: int
    offset: int
    at: datetime

    def covers(self, other: Heard) -> bool:
        return self.partition == other.partition and self.offset >= other.offset and self.at >= other.at

    def added_to(self, heard: tuple[Heard, ...]) -> tuple[Heard, ...]:
        return tuple(sorted([*(one for one in heard if one.partition != self.partition), self]))


@dataclass(frozen=True)
class Instance:
    """`update_frequency` is kept as registered (JSON), or None: no date rule. `status_order`: worst first, None: as
    usual.
    """

    instance_id: UUID
    tenant: str
    name: str
    instance_type: InstanceType
    flows: tuple[Flow, ...]
    upstreams: tuple[Upstream, ...] = ()
    update_frequency: str | None = None
    owner: str | None = None
    status_order: tuple[InstanceStatus, ...] | None = None
    definition_digest: str | None = None
    definition_changed_at: datetime | None = None
    retired_at: datetime | None = None
    delay: Delay | None = None
    old_status: InstanceStatus | None = None
    cause: Cause | None = None
    seq: int = 0
    announced_at: datetime | None = None
    heard: tuple[Heard, ...] = ()

    @property
    def status(self) -> InstanceStatus:
        """The worst of what its flows show."""
        return self._worst([flow.status for flow in self.flows])

    @property
    def freshness(self) -> InstanceStatus:
        """The worst of the answers underneath."""
        return self._worst([flow.freshness for flow in self.flows])

    def _worst(self, statuses: Sequence[FlowStatus]) -> InstanceStatus:
        if self.retired_at is not None:
            return InstanceStatus.RETIRED
        if len(statuses) == 1 and self.status_order is None:
            return _OF_INSTANCES[statuses[0]]
        shown = {_OF_INSTANCES[status] for status in statuses}
        return next(
            (status for status in self.status_order or WORST_FIRST if status in shown), InstanceStatus.NOT_INITIALIZED
        )

    @property
    def definition(self) -> tuple[Any, ...]:
        """What commands made of it, without flows and edges."""
        definition: tuple[Any, ...] = _DEFINITION(self)
        return definition

    def shows_the_same_as(self, before: Instance) -> bool:
        """Nothing differs of what others are told, but for the number and the reason of the telling."""
        same_flows = [flow.answer for flow in before.flows] == [flow.answer for flow in self.flows] and all(
            was is now or was.face == now.face for was, now in zip(before.flows, self.flows, strict=True)
        )
        same_edges = before.upstreams is self.upstreams or before.upstreams == self.upstreams
        retired = (before.retired_at is None) == (self.retired_at is None)
        return same_flows and same_edges and retired and _TOLD(before) == _TOLD(self)

    @property
    def next_due_at(self) -> datetime | None:
        """The earliest of its flows'."""
        return min((flow.next_due_at for flow in self.flows if flow.next_due_at is not None), default=None)

    @property
    def main_kind(self) -> FlowKind:
        return main_flow_kind(self.instance_type)

    @property
    def kinds(self) -> tuple[FlowKind, ...]:
        return tuple(flow.kind for flow in self.flows)

    def flow(self, kind: FlowKind | None) -> Flow | None:
        for flow in self.flows:
            if flow.kind is kind:
                return flow
        return None

    @property
    def refreshing(self) -> tuple[FlowKey, ...]:
        refresh = OnUpstream.REFRESH
        return tuple(FlowKey(self.instance_id, flow.kind) for flow in self.flows if flow.on_upstream is refresh)

    def has_date_rule(self, kind: FlowKind) -> bool:
        """`update_frequency` speaks of the data that the main flow makes, not of what monitors it."""
        return self.update_frequency is not None and kind is self.main_kind

    def with_flows(self, changed: Mapping[FlowKind, Flow]) -> Instance:
        return changed_copy(self, flows=tuple([changed.get(flow.kind, flow) for flow in self.flows]))


_TOLD = attrgetter("name", "instance_type", "update_frequency", "owner", "status_order", "delay")
_DEFINITION = attrgetter(
    "name", "instance_type", "update_frequency", "owner", "status_order", "definition_digest", "definition_changed_at",
    "retired_at", "delay", "heard",
)  # fmt: skip


@dataclass(frozen=True)
class World:
    """One tenant. `open_runs`: flow → the runs admitted and not yet ended, which is what `max_open_runs` counts;
    `about_the_past`: the runs of backfills.
    `calendars`: code → what is known, the same for every tenant; None while no date rule names any.
    """

    tenant: str
    instances: Mapping[UUID, Instance]
    open_runs: Mapping[FlowKey, frozenset[UUID]] = field(default_factory=dict)
    about_the_past: frozenset[UUID] = frozenset()
    calendars: Mapping[str, Calendar] | None = None

    @cached_property
    def graph(self) -> Graph:
        return Graph(edge for instance in self.instances.values() for edge in edges_into(instance, self.instances))

    @cached_property
    def refreshing(self) -> frozenset[FlowKey]:
        """The flows that are to run by themselves after a change above them."""
        return frozenset(
            key for instance in self.instances.values() if instance.retired_at is None for key in instance.refreshing
        )

    @cached_property
    def blockers(self) -> dict[FlowKey, Any]:
        """Flow → what blocks it from above, as the gate has found it so far: many requests ask for the same flow."""
        return {}

    @cached_property
    def unready(self) -> dict[int, tuple[Sequence[FlowKey], Any]]:
        """What is not ready of all that lies above, by the identity of what the graph answered: the last few."""
        return {}

    @cached_property
    def reads(self) -> dict[tuple[str, FlowKey], Read | None]:
        """Role and upstream → the version that a run would read now, None where there is no such flow."""
        return {}

    @cached_property
    def seen(self) -> dict[FlowKey, tuple[str, dict[str, Any]]]:
        """Flow → its name and how it is, as decisions keep it; nobody changes it."""
        return {}

    def flow(self, key: FlowKey) -> Flow | None:
        instance = self.instances.get(key.instance_id)
        return instance.flow(key.kind) if instance else None

    def flow_keys(self) -> Iterator[FlowKey]:
        for instance in self.instances.values():
            for flow in instance.flows:
                yield FlowKey(instance.instance_id, flow.kind)

    def name_of(self, key: FlowKey) -> str:
        """`prices/refresh`; of an instance that is not registered the name that the edges give it."""
        name = self.name_of_instance(key.instance_id)
        return f"{name}/{key.kind}" if key.kind else name

    def name_of_instance(self, instance_id: UUID) -> str:
        instance = self.instances.get(instance_id)
        return instance.name if instance else self.names_of_unregistered.get(instance_id, str(instance_id))

    @cached_property
    def names_of_unregistered(self) -> Mapping[UUID, str]:
        return {
            upstream.instance_id: upstream.name
            for instance in self.instances.values()
            for upstream in instance.upstreams
            if upstream.instance_id not in self.instances
        }

    def with_flows(self, changed: Mapping[FlowKey, Flow]) -> World:
        """The same graph with other facts; what is equal stays the same object."""
        by_instance: dict[UUID, dict[FlowKind, Flow]] = {}
        for key, flow in changed.items():
            known = self.flow(key)
            if key.kind is not None and flow is not known and flow != known:
                by_instance.setdefault(key.instance_id, {})[key.kind] = flow
        if not by_instance:
            return self
        instances = dict(self.instances)
        for instance_id, flows in by_instance.items():
            instances[instance_id] = instances[instance_id].with_flows(flows)
        return self._same_graph(instances=instances)

    def with_instance(self, instance: Instance) -> World:
        """With another definition: the edges into its flows, and those that name it, are worked out again."""
        after = replace(self, instances={**self.instances, instance.instance_id: instance})
        after.__dict__["graph"] = self.graph.rewired(self._edges_touched(instance, after))
        return after

    def with_instances(self, instances: Sequence[Instance]) -> World:
        """With other definitions of many: where they are most of the world, the graph is worked out when needed."""
        if len(instances) > len(self.instances) // 10:
            return replace(self, instances={**self.instances, **{one.instance_id: one for one in instances}})
        world = self
        for instance in instances:
            known = world.instances.get(instance.instance_id)
            same_edges = known is not None and (known.upstreams, known.kinds) == (instance.upstreams, instance.kinds)
            world = world.with_announced([instance]) if same_edges else world.with_instance(instance)
        return world

    def _edges_touched(self, instance: Instance, after: World) -> dict[FlowKey, list[Edge]]:
        """Flow → the edges into it, of this instance as it was and is, and of those that named it unregistered."""
        before = self.instances.get(instance.instance_id)
        gone = before.flows if before else ()
        into: dict[FlowKey, list[Edge]] = {FlowKey(instance.instance_id, flow.kind): [] for flow in gone}
        named = self.graph.out_of(FlowKey(instance.instance_id, None))
        for instance_id in {instance.instance_id, *(edge.downstream.instance_id for edge in named)}:
            known = after.instances[instance_id]
            into |= {FlowKey(instance_id, flow.kind): [] for flow in known.flows}
            for edge in edges_into(known, after.instances):
                into.setdefault(edge.downstream, []).append(edge)
        return into

    def with_open_runs(
        self, open_runs: Mapping[FlowKey, frozenset[UUID]], about_the_past: frozenset[UUID] = frozenset()
    ) -> World:
        return self._same_graph(open_runs=open_runs, about_the_past=about_the_past)

    def on_their_way(self, key: FlowKey) -> frozenset[UUID]:
        """The open runs of a flow that will leave a version behind: not those of a backfill."""
        return self.open_runs.get(key, frozenset()) - self.about_the_past

    def with_calendars(self, calendars: Mapping[str, Calendar]) -> World:
        return self._same_graph(calendars=calendars)

    def without_delays(self, instance_ids: Iterable[UUID]) -> World:
        """The delays of these instances are over."""
        return self.with_announced(changed_copy(self.instances[one], delay=None) for one in instance_ids)

    def with_announced(self, instances: Iterable[Instance]) -> World:
        """The same graph, with the numbers that announcements gave."""
        announced = {instance.instance_id: instance for instance in instances}
        return self._same_graph(instances={**self.instances, **announced}) if announced else self

    def _same_graph(self, **changes: Any) -> World:
        world = replace(self, **changes)
        for known in ("graph", "refreshing"):
            if known in self.__dict__:
                world.__dict__[known] = self.__dict__[known]
        return world


def edges_into(instance: Instance, instances: Mapping[UUID, Instance]) -> Iterator[Edge]:
    """The registered edges of an instance between flows, defaults filled in, each once; and a model's inference reads
    its training without saying so.
    """
    seen: set[tuple[FlowKey, FlowKey, EdgeKind]] = set()
    own_kinds = tuple(flow.kind for flow in instance.flows)
    for upstream in instance.upstreams:
        source = resolve(upstream, instances)
        for kind in own_kinds if upstream.flows is None else upstream.flows:
            target = FlowKey(instance.instance_id, kind)
            if source == target and upstream.flows is None:
                continue  # "all of one's own flows" that read another flow of this instance: not that flow itself
            if (source, target, upstream.kind) not in seen:
                seen.add((source, target, upstream.kind))
                yield Edge(source, target, upstream.kind, upstream.role, upstream.optional, upstream.max_lag)
    training = FlowKey(instance.instance_id, FlowKind.TRAINING)
    inference = FlowKey(instance.instance_id, FlowKind.INFERENCE)
    said = any(source == training and target == inference for source, target, _ in seen)
    if {FlowKind.TRAINING, FlowKind.INFERENCE} <= set(own_kinds) and not said:
        yield Edge(training, inference, EdgeKind.DATA, FlowKind.TRAINING.value)


def resolve(upstream: Upstream, instances: Mapping[UUID, Instance]) -> FlowKey:
    """The flow that an edge names: its main one by default, known once the upstream is registered."""
    if upstream.flow_kind is not None:
        return FlowKey(upstream.instance_id, upstream.flow_kind)
    registered = instances.get(upstream.instance_id)
    return FlowKey(upstream.instance_id, registered.main_kind if registered else None)
