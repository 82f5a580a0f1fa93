"""What may be registered, and how an instance looks after a command: pure, an answer is an `Instance` or a `Rejected`.

A registration replaces what it names and keeps the rest, also the facts of flows that stay. Edges are checked here,
once: nothing else in the service meets a cycle, a duplicate or an edge to itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from runtide_schemas.vocabulary import (
    Code,
    EdgeKind,
    FlowKind,
    InstanceStatus,
    InstanceType,
    OnUpstream,
    ReportsPolicy,
    default_max_open_runs,
    flow_kinds_of,
    run_type_of,
)

from services.lineage.domain import retry, schedule
from services.lineage.domain.calendar import known_zone, nearest, nearest_zones
from services.lineage.domain.dates import rule_of
from services.lineage.domain.graph import FlowKey
from services.lineage.domain.world import WORST_FIRST, Delay, Flow, Instance, Upstream, World, edges_into, resolve


@dataclass(frozen=True, slots=True)
class FlowDefinition:
    kind: FlowKind
    deployment: str
    on_upstream: OnUpstream = OnUpstream.NOTIFY
    reports: ReportsPolicy = ReportsPolicy.EXPECTED
    max_open_runs: int | None = None
    max_wait: timedelta | None = None
    min_interval: timedelta | None = None
    schedule: str | None = None
    retry: str | None = None


@dataclass(frozen=True, slots=True)
class Registration:
    """None: not named, so it stays as it is. What may be named as null is a tuple: `(None,)`."""

    instance_id: UUID
    name: str
    instance_type: InstanceType | None = None
    flows: tuple[FlowDefinition, ...] | None = None
    upstreams: tuple[Upstream, ...] | None = None
    update_frequency: tuple[str | None] | None = None
    owner: tuple[str | None] | None = None
    status_order: tuple[tuple[str, ...] | None] | None = None


@dataclass(frozen=True, slots=True)
class Rejected:
    """A command that changes nothing, and why."""

    code: Code
    message: str


def registered(world: World, asked: Registration) -> Instance | Rejected:
    """The instance as this registration leaves it; one that was retired is revived."""
    known = world.instances.get(asked.instance_id)
    fault = _named_wrongly(world, asked) or _typed_wrongly(known, asked) or _dated_wrongly(world, asked)
    fault = fault or _ordered_wrongly(asked) or _runs_by_itself_wrongly(world, asked)
    if fault:
        return Rejected(Code.INVALID_COMMAND, fault)
    instance_type = asked.instance_type or (known.instance_type if known else None)
    if instance_type is None or (known is None and not asked.flows):
        return Rejected(Code.INVALID_COMMAND, f"{asked.name} is not registered: name its instance_type and flows")
    before = known or Instance(asked.instance_id, world.tenant, asked.name, instance_type, ())
    flows = before.flows
    if asked.flows is not None:
        fault = _flows_wrong(asked.name, instance_type, asked.flows)
        if fault:
            return Rejected(Code.INVALID_COMMAND, fault)
        flows = tuple(_defined(before.flow(flow.kind), flow) for flow in asked.flows)
    instance = replace(
        before,
        name=asked.name,
        flows=flows,
        upstreams=before.upstreams if asked.upstreams is None else _completed(world, asked.upstreams),
        update_frequency=before.update_frequency if asked.update_frequency is None else asked.update_frequency[0],
        owner=before.owner if asked.owner is None else asked.owner[0],
        status_order=before.status_order if asked.status_order is None else _order(asked.status_order[0]),
        retired_at=None,
    )
    return _wired(world, instance)


def connected(world: World, instance_id: UUID, upstreams: tuple[Upstream, ...]) -> Instance | Rejected:
    """With these edges added; one that is there already stays."""
    instance = _live(world, instance_id)
    if isinstance(instance, Rejected):
        return instance
    new = tuple(upstream for upstream in _completed(world, upstreams) if upstream not in instance.upstreams)
    return _wired(world, replace(instance, upstreams=(*instance.upstreams, *new)))


def disconnected(world: World, instance_id: UUID, upstreams: tuple[Upstream, ...]) -> Instance | Rejected:
    """Without the edges named by upstream, and by role, flow kind and own flows where given."""
    instance = _live(world, instance_id)
    if isinstance(instance, Rejected):
        return instance
    left = instance.upstreams
    for gone in upstreams:
        kept = tuple(rest for one in left if (rest := _without(instance, one, gone)) is not None)
        if kept == left:
            return Rejected(Code.INVALID_COMMAND, f"{instance.name} has no such edge to {gone.name}")
        left = kept
    return replace(instance, upstreams=left)


def retired(world: World, instance_id: UUID, *, now: datetime) -> Instance | Rejected:
    """Its waiting requests are refused by the gate; as an upstream it blocks by name until disconnected."""
    instance = world.instances.get(instance_id)
    if instance is None:
        return _unknown(world, instance_id)
    return instance if instance.retired_at is not None else replace(instance, retired_at=now)


def redefined(world: World, instance_id: UUID, digest: str, *, at: datetime) -> Instance | Rejected:
    """Its definition is another one since `at`, so what it made before is stale; the same digest is no change."""
    instance = _live(world, instance_id)
    if isinstance(instance, Rejected) or instance.definition_digest == digest:
        return instance
    return replace(instance, definition_digest=digest, definition_changed_at=at)


def delayed(
    world: World, instance_id: UUID, *, until: datetime | None, reason: str | None, at: datetime
) -> Instance | Rejected:
    """Its source is late since `at`; a time that is over takes the delay back."""
    instance = _live(world, instance_id)
    if isinstance(instance, Rejected):
        return instance
    if until is not None and until <= at:
        return replace(instance, delay=None)
    main = instance.flow(instance.main_kind)
    return replace(instance, delay=Delay(until, reason, at, main.last_data_date if main else None))


def _named_wrongly(world: World, asked: Registration) -> str | None:
    for other in world.instances.values():
        if other.name == asked.name and other.instance_id != asked.instance_id:
            return f"the name {asked.name} belongs to instance {other.instance_id}"
    return None


def _typed_wrongly(known: Instance | None, asked: Registration) -> str | None:
    if known and asked.instance_type and known.instance_type is not asked.instance_type:
        return f"{known.name} is a {known.instance_type}; an instance keeps its type (got {asked.instance_type})"
    return None


def _dated_wrongly(world: World, asked: Registration) -> str | None:
    said = asked.update_frequency[0] if asked.update_frequency else None
    rule = rule_of(said) if said else None
    known = world.calendars or {}
    if rule and rule.calendar is not None and rule.calendar not in known:
        near, todo = nearest(rule.calendar, known), f"runtide calendars sync {rule.calendar}"
        return f"calendar {rule.calendar!r} is not known{near}; run: {todo}"
    if rule and rule.zone is not None and known_zone(rule.zone) is None:
        return f"unknown time zone {rule.zone!r}{nearest_zones(rule.zone)}"
    return None


def _ordered_wrongly(asked: Registration) -> str | None:
    order = asked.status_order[0] if asked.status_order else None
    words = tuple(status.value for status in WORST_FIRST)
    if order is None or sorted(order) == sorted(words):
        return None
    return f"status_order names each of {', '.join(words)} once, the worst first; got {', '.join(order) or 'nothing'}"


def _runs_by_itself_wrongly(world: World, asked: Registration) -> str | None:
    for flow in asked.flows or ():
        fault = schedule.wrong(schedule.schedule_of(flow.schedule), world.calendars) if flow.schedule else None
        fault = fault or (retry.wrong(retry.policy_of(flow.retry)) if flow.retry else None)
        if fault:
            return f"{asked.name}/{flow.kind}: {fault}"
    return None


def _order(said: tuple[str, ...] | None) -> tuple[InstanceStatus, ...] | None:
    return None if said is None else tuple(InstanceStatus(word) for word in said)


def _flows_wrong(name: str, instance_type: InstanceType, flows: Sequence[FlowDefinition]) -> str | None:
    if not flows:
        return f"{name} needs at least one flow; a {instance_type} may have: {', '.join(flow_kinds_of(instance_type))}"
    seen: set[FlowKind] = set()
    for flow in flows:
        if run_type_of(instance_type, flow.kind) is None:
            allowed = ", ".join(flow_kinds_of(instance_type))
            return f"a {instance_type} has no flow {flow.kind.value!r}; allowed: {allowed}"
        if flow.kind in seen:
            return f"{name} names the flow {flow.kind.value!r} twice"
        seen.add(flow.kind)
    return None


def _defined(known: Flow | None, flow: FlowDefinition) -> Flow:
    """The flow as now defined, with the facts that it had."""
    at_most = flow.max_open_runs or default_max_open_runs(flow.kind)
    facts = known or Flow(flow.kind, flow.deployment)
    return replace(
        facts,
        deployment=flow.deployment,
        on_upstream=flow.on_upstream,
        reports=flow.reports,
        max_open_runs=at_most,
        max_wait=flow.max_wait,
        min_interval=flow.min_interval,
        schedule=flow.schedule,
        retry=flow.retry,
    )


def _completed(world: World, upstreams: Sequence[Upstream]) -> tuple[Upstream, ...]:
    """With the upstream's own name where it is known, and its name as the role where none is given."""
    named = []
    for upstream in upstreams:
        known = world.instances.get(upstream.instance_id)
        name = known.name if known else upstream.name
        named.append(replace(upstream, name=name, role=upstream.role or name))
    return tuple(named)


def _wired(world: World, instance: Instance) -> Instance | Rejected:
    """The instance, if its edges and those that others have to it hold together."""
    after = world.with_instance(instance)
    fault = _edges_wrong(instance, after)
    if fault:
        return Rejected(Code.INVALID_COMMAND, fault)
    cycle = after.graph.cycle_through([FlowKey(instance.instance_id, flow.kind) for flow in instance.flows])
    if cycle:
        return Rejected(Code.INVALID_COMMAND, f"cycle: {' → '.join(after.name_of(key) for key in cycle)}")
    return instance


def _edges_wrong(instance: Instance, world: World) -> str | None:
    own = {flow.kind for flow in instance.flows}
    seen: set[tuple[FlowKey, FlowKey, EdgeKind]] = set()
    for upstream in instance.upstreams:
        fault = _names_wrong(instance, upstream, world)
        if fault:
            return fault
        source = resolve(upstream, world.instances)
        kinds = own if upstream.flows is None else set(upstream.flows)
        itself = kinds == {source.kind} if upstream.flows is None else source.kind in kinds
        if itself and source.instance_id == instance.instance_id:
            return f"{world.name_of(source)} can not read itself"
        for kind in sorted(kinds):
            edge = (source, FlowKey(instance.instance_id, kind), upstream.kind)
            if edge in seen:
                return f"{instance.name}/{kind} names {world.name_of(source)} twice as {upstream.kind}"
            seen.add(edge)
    roles: set[tuple[FlowKey, str]] = set()
    for known in edges_into(instance, world.instances):
        if (known.downstream, known.role) in roles:
            return f"{world.name_of(known.downstream)} has two upstreams in the role {known.role!r}: name their roles"
        roles.add((known.downstream, known.role))
    return None


def _names_wrong(instance: Instance, upstream: Upstream, world: World) -> str | None:
    missing = [kind for kind in upstream.flows or () if instance.flow(kind) is None]
    if missing:
        has = ", ".join(flow.kind for flow in instance.flows)
        return f"the edge to {upstream.name} names the flow {missing[0].value!r}; {instance.name} has: {has}"
    known = world.instances.get(upstream.instance_id)
    if known and upstream.flow_kind and run_type_of(known.instance_type, upstream.flow_kind) is None:
        allowed = ", ".join(flow_kinds_of(known.instance_type))
        return f"{known.name} is a {known.instance_type} and has no flow {upstream.flow_kind.value!r}; has: {allowed}"
    return None


def _without(instance: Instance, one: Upstream, gone: Upstream) -> Upstream | None:
    """What is left of an edge; None: nothing."""
    same = one.instance_id == gone.instance_id and gone.role in ("", one.role)
    if not same or (gone.flow_kind is not None and gone.flow_kind is not one.flow_kind):
        return one
    if gone.flows is None:
        return None
    flows = one.flows if one.flows is not None else tuple(flow.kind for flow in instance.flows)
    left = tuple(kind for kind in flows if kind not in gone.flows)
    if left == flows:
        return one
    return replace(one, flows=left) if left else None


def _live(world: World, instance_id: UUID) -> Instance | Rejected:
    instance = world.instances.get(instance_id)
    if instance is None:
        return _unknown(world, instance_id)
    if instance.retired_at is not None:
        return Rejected(Code.INSTANCE_RETIRED, f"{instance.name} is retired; registering it again revives it")
    return instance


def _unknown(world: World, instance_id: UUID) -> Rejected:
    return Rejected(Code.UNKNOWN_INSTANCE, f"tenant {world.tenant} has no instance {instance_id}")
