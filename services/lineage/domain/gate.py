"""May it run? Asked when a request comes, and again whenever anything of its tenant has moved.

The order of the questions is part of the contract: who is asked for, can it be asked for, is it ready already, what
blocks. Every answer is a value; none raises.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

import msgspec
from runtide_schemas.vocabulary import (
    Basis,
    Code,
    FlowKind,
    FlowStatus,
    Gate,
    InstanceStatus,
    Mode,
    RequestStatus,
    RunType,
    Trigger,
    run_type_of,
)

from services.lineage.domain import retry
from services.lineage.domain.backfill import Range
from services.lineage.domain.graph import ABOVE_REMEMBERED, Edge, FlowKey
from services.lineage.domain.lateness import sessions_late
from services.lineage.domain.world import Flow, Instance, Read, World

if TYPE_CHECKING:
    from services.lineage.domain.recursive import Asked
    from services.lineage.domain.retry import Retries


_OF_INSTANCES = {status: InstanceStatus(status) for status in FlowStatus}


class State(StrEnum):
    """Where a request stands with lineage. `asked`: lineage itself asked, and submission has not said so yet."""

    ASKED = "asked"
    UNDECIDED = "undecided"
    PARKED = "parked"
    ADMITTED = "admitted"
    ENDED = "ended"

    @property
    def is_waiting(self) -> bool:
        """It will still be decided on what is current then."""
        return self in (State.ASKED, State.UNDECIDED, State.PARKED)


class Request(msgspec.Struct, frozen=True):
    """A request as lineage knows it. `kind` as asked: None means the only flow. `wait_until` None: no deadline.
    `shown`: the blockers named when it was parked; `number`: of its last decision; `seq`: of its newest snapshot.
    `backfill`: it asks for a range of dates; a child of it has the trigger `backfill`. `ended_as`: how it, or
    its run, ended. `due_at`: when it is looked at again by the clock alone; `stands_for`: the change that would have
    asked for the same flow, had this one not waited. `asked`: what a recursive request asked for; `parent_run_id`: the
    request that asked for this one. `planned_for`: the instant of a schedule; `retries`: the run that it does over.
    """

    run_id: UUID
    tenant: str
    instance_id: UUID
    instance_name: str | None
    kind: FlowKind | None
    gate: Gate
    skip_if_ready: bool
    wait_until: datetime | None
    asked_at: datetime
    parameters: Mapping[str, Any] = {}
    trigger: Trigger = Trigger.MANUAL
    mode: Mode = Mode.INCREMENTAL
    state: State = State.UNDECIDED
    shown: tuple[tuple[str, str], ...] = ()
    number: int = 0
    seq: int = 0
    backfill: Range | None = None
    ended_as: str | None = None
    due_at: datetime | None = None
    stands_for: str | None = None
    actor: str | None = None
    parent_run_id: UUID | None = None
    plan_id: UUID | None = None
    asked: tuple[Asked, ...] = ()
    planned_for: datetime | None = None
    retries: Retries | None = None

    def but(self, **changes: Any) -> Request:
        """The same with other values. Thousands move at once: that is why it is a Struct (docs/adr/0036)."""
        return msgspec.structs.replace(self, **changes)

    @property
    def waits_for_room(self) -> bool:
        """A child of a backfill is never refused because its flow is busy, also where it forces its upstreams; nor is a
        retry.
        """
        patient = self.trigger is Trigger.BACKFILL or self.retries is not None
        return self.gate in (Gate.WAIT, Gate.RECURSIVE) or patient

    @property
    def is_of_backfill(self) -> bool:
        """A backfill or one of its children: about the past, so it stands for nothing that today waits for."""
        return self.backfill is not None or self.trigger is Trigger.BACKFILL

    @property
    def is_automatic(self) -> bool:
        """A change above asked for it, nobody else."""
        return self.trigger is Trigger.UPSTREAM and self.parent_run_id is None

    @property
    def will_refresh(self) -> bool:
        """It waits, and its run will leave a version behind: it stands for every change until then."""
        return self.state.is_waiting and self.mode is not Mode.PREVIEW and not self.is_of_backfill


@dataclass(frozen=True, slots=True)
class Blocked:
    """One thing that is in the way, by name. `until`: when the clock alone takes it out of the way."""

    flow: FlowKey
    name: str
    status: InstanceStatus
    reason: str
    until: datetime | None = None


class Target(NamedTuple):
    """What the request means, as far as it can be known."""

    flow: FlowKey
    name: str
    run_type: RunType | None
    deployment: str


class Admitted(msgspec.Struct, frozen=True):
    """`excused`: what was in the way and is no longer waited for."""

    target: Target
    reads: tuple[Read, ...]
    warning: str | None = None
    excused: tuple[Blocked, ...] = ()


@dataclass(frozen=True, slots=True)
class Parked:
    """`due_at`: when the clock alone may change the answer; `asks`: the flows that a recursive request asks for now."""

    target: Target
    blockers: tuple[Blocked, ...]
    wait_until: datetime | None
    due_at: datetime | None = None
    asks: tuple[FlowKey, ...] = ()

    @property
    def shown(self) -> tuple[tuple[str, str], ...]:
        """What a reader would see change: who blocks, and how or until when."""
        return tuple(
            (blocked.name, blocked.until.isoformat() if blocked.until else blocked.status.value)
            for blocked in self.blockers
        )


@dataclass(frozen=True, slots=True)
class Refused:
    code: Code
    message: str
    target: Target | None = None
    blockers: tuple[Blocked, ...] = ()
    statuses: Mapping[str, InstanceStatus] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Skipped:
    target: Target
    message: str
    version_id: UUID | None


@dataclass(frozen=True, slots=True)
class Expired:
    target: Target
    message: str
    blockers: tuple[Blocked, ...]


Decision = Admitted | Parked | Refused | Skipped | Expired


def decide(world: World, request: Request, *, now: datetime) -> Decision:
    """The one answer to a request, as the world is."""
    target = target_of(world, request)
    if isinstance(target, Refused):
        return target
    flow = world.flow(target.flow)
    assert flow is not None
    may_have_read_old = request.is_automatic and world.on_their_way(target.flow)
    if request.skip_if_ready and flow.status is FlowStatus.READY and not may_have_read_old:
        version_id = flow.version.version_id if flow.version else None
        return Skipped(target, f"{world.name_of(target.flow)} is ready already", version_id)
    made_up_for = retry.made_up_for(request, flow)
    if made_up_for is not None:
        return Skipped(target, made_up_for, flow.version.version_id if flow.version else None)
    return _gated(world, request, target, flow, now)


def target_of(world: World, request: Request) -> Target | Refused:
    """The flow that is asked for, if it can be asked for at all."""
    instance = world.instances.get(request.instance_id)
    if instance is None:
        who = request.instance_name or str(request.instance_id)
        return Refused(Code.UNKNOWN_INSTANCE, f"no instance {who!r} is registered for tenant {world.tenant!r}")
    if instance.retired_at is not None:
        return Refused(Code.INSTANCE_RETIRED, f"{instance.name} is retired; registering it again revives it")
    flow = _flow_meant(instance, request.kind)
    if flow is None:
        return Refused(Code.UNKNOWN_FLOW, _no_such_flow(instance, request.kind))
    return Target(
        FlowKey(instance.instance_id, flow.kind),
        instance.name,
        run_type_of(instance.instance_type, flow.kind),
        flow.deployment,
    )


def _gated(world: World, request: Request, target: Target, flow: Flow, now: datetime) -> Decision:
    above = upstream_blockers(world, target.flow)
    held = busy_blocker(world, target.flow, flow, automatic=request.is_automatic or request.retries is not None)
    held = (*held, *too_early(world, request, target.flow, now))
    if request.is_automatic:
        above, held = above or under_way(world, target.flow), (*held, *too_soon(world, target.flow, now))
    forced = request.gate is Gate.FORCE
    tired = above and not held and has_waited(world, request, target.flow, now)
    if not held and (not above or tired or forced):
        return _admitted(world, target, above, f"after waiting for {flow.max_wait}" if tired else "forced")
    if not request.waits_for_room:
        return not_ready(world, target, (*above, *held))
    blockers = held if forced else (*above, *held)
    if request.wait_until is not None and request.wait_until <= now:
        return Expired(target, f"the deadline passed: {listed(blockers)}", blockers)
    instants = (request.wait_until, patience_ends_at(request, flow), *(one.until for one in held))
    due_at = min((at for at in instants if at is not None and at > now), default=None)
    return Parked(target, blockers, request.wait_until, due_at)


def _admitted(world: World, target: Target, passed: tuple[Blocked, ...], how: str) -> Admitted:
    warning = f"{how} although {listed(passed)}" if passed else None
    return Admitted(target, inputs_of(world, target.flow), warning, passed)


def not_ready(world: World, target: Target, blockers: tuple[Blocked, ...]) -> Refused:
    named = f"{world.name_of(target.flow)} can not run now: {listed(blockers)}"
    return Refused(Code.UPSTREAM_NOT_READY, named, target, blockers, status_map(world, target.flow))


def upstream_blockers(world: World, key: FlowKey) -> tuple[Blocked, ...]:
    """Every flow above through gating edges that is not ready, each once; `running` is not ready. One that is late by
    date alone does not block where every edge to it that was followed allows so much.
    """
    known = world.blockers.get(key)
    if known is None:
        above = world.graph.above(key)
        known = _unready(world, above)
        if known:
            readers = {key, *above}
            known = tuple(one for one in known if not _may_be_late(world, one.flow, readers))
        world.blockers[key] = known
    return known


def _unready(world: World, above: Sequence[FlowKey]) -> tuple[Blocked, ...]:
    """Those of them that are not ready. Flows that wait for the same ones hand the same sequence in."""
    asked, known = world.unready.get(id(above), (None, ()))
    if asked is not above:
        named = (standing(world, upstream) for upstream in above)
        known = tuple(one for one in named if one.status is not InstanceStatus.READY)
        if len(world.unready) >= ABOVE_REMEMBERED:
            world.unready.clear()
        world.unready[id(above)] = above, known
    return known


def _may_be_late(world: World, key: FlowKey, readers: Container[FlowKey]) -> bool:
    """`max_lag` holds along its own edge, so another reader that does not say so is not heard for it."""
    allowed = [edge.max_lag for edge in world.graph.out_of(key) if edge.gates and edge.downstream in readers]
    instance, flow = world.instances.get(key.instance_id), world.flow(key)
    if None in allowed or instance is None or flow is None or instance.retired_at is not None:
        return False
    late = sessions_late(instance, flow, world.calendars)
    return late is not None and all(late <= (most or 0) for most in allowed)


def busy_blocker(world: World, key: FlowKey, flow: Flow, *, automatic: bool = False) -> tuple[Blocked, ...]:
    """The flow itself, while as many of its runs are open as it may have. For an automatic refresh a run that nobody
    asked lineage for counts too.
    """
    runs = world.open_runs.get(key, frozenset())
    if automatic and flow.open_run_id is not None:
        runs |= {flow.open_run_id}
    if len(runs) < flow.max_open_runs:
        return ()
    shown = ", ".join(sorted(map(str, runs))[:3])
    reason = f"{len(runs)} of at most {flow.max_open_runs} runs are open: {shown}"
    return (Blocked(key, world.instances[key.instance_id].name, _OF_INSTANCES[flow.status], reason),)


def under_way(world: World, key: FlowKey) -> tuple[Blocked, ...]:
    """Every flow above through gating edges that is ready and will run all the same: a run of it is admitted."""
    found = []
    for upstream in world.graph.above(key):
        runs = sorted(map(str, world.on_their_way(upstream)))
        known = standing(world, upstream) if runs else None
        if known is not None and known.status is InstanceStatus.READY:
            found.append(replace(known, reason=f"run {runs[0]} is admitted"))
    return tuple(found)


def too_soon(world: World, key: FlowKey, now: datetime) -> tuple[Blocked, ...]:
    """The flow itself, until its `min_interval` after its last admission is over."""
    flow = world.flow(key)
    if flow is None or flow.min_interval is None or flow.last_admitted_at is None:
        return ()
    until = flow.last_admitted_at + flow.min_interval
    if until <= now:
        return ()
    reason = f"it was admitted at {_clock(flow.last_admitted_at)}; its min_interval ends at {_clock(until)}"
    return (Blocked(key, world.instances[key.instance_id].name, _OF_INSTANCES[flow.status], reason, until),)


def too_early(world: World, request: Request, key: FlowKey, now: datetime) -> tuple[Blocked, ...]:
    """The flow itself, for a retry whose time has not come."""
    reason, instance = retry.not_yet(request, now), world.instances[key.instance_id]
    if reason is None or request.retries is None:
        return ()
    status = standing(world, key).status
    return (Blocked(key, instance.name, status, reason, request.retries.not_before),)


def has_waited(world: World, request: Request, key: FlowKey, now: datetime) -> bool:
    """An automatic refresh has waited for its `max_wait`, and there is a version of all that it has to read."""
    flow = world.flow(key)
    ends_at = patience_ends_at(request, flow) if flow else None
    if ends_at is None or ends_at > now:
        return False
    required = (world.flow(edge.upstream) for edge in world.graph.into(key) if edge.gates)
    return all(upstream is not None and upstream.version is not None for upstream in required)


def patience_ends_at(request: Request, flow: Flow) -> datetime | None:
    """When an automatic refresh has waited for long enough; None: it waits for ever."""
    return request.asked_at + flow.max_wait if request.is_automatic and flow.max_wait is not None else None


def status_map(world: World, key: FlowKey) -> dict[str, InstanceStatus]:
    """`name/kind` of each flow above through gating edges → its status."""
    return {world.name_of(upstream): standing(world, upstream).status for upstream in world.graph.above(key)}


def inputs_of(world: World, key: FlowKey) -> tuple[Read, ...]:
    """The current versions of what the flow reads: those that satisfied the gate, or that a forced run gets. What
    does not gate and has no version is not read.
    """
    found = ((edge, _read_of(world, edge)) for edge in world.graph.into(key))
    return tuple([read for edge, read in found if read is not None and (edge.gates or read.version_id is not None)])


def _read_of(world: World, edge: Edge) -> Read | None:
    """The current version of what an edge names: the same for all that read it in this role."""
    asked = edge.role, edge.upstream
    if asked not in world.reads:
        upstream = world.flow(edge.upstream)
        version = upstream.version if upstream else None
        version_id, artifact_version = (version.version_id, version.artifact_version) if version else (None, None)
        read = Read(edge.role, edge.upstream, version_id, artifact_version, Basis.ADMITTED)
        world.reads[asked] = read if upstream is not None else None
    return world.reads[asked]


def answered(request: Request, decision: Decision) -> Request:
    """The request after this decision was said."""
    number = request.number + 1
    match decision:
        case Parked():
            return request.but(number=number, state=State.PARKED, shown=decision.shown, due_at=decision.due_at)
        case Admitted():
            kind = decision.target.flow.kind
            return request.but(number=number, state=State.ADMITTED, kind=kind, shown=())
        case Refused():
            return ended(request.but(number=number), RequestStatus.REFUSED)
        case Skipped():
            return ended(request.but(number=number), RequestStatus.SKIPPED)
        case Expired():
            return ended(request.but(number=number), RequestStatus.EXPIRED)


def ended(request: Request, how: str) -> Request:
    """The request when it is over: its place is free."""
    return request.but(state=State.ENDED, shown=(), ended_as=how)


def is_news(request: Request, decision: Decision) -> bool:
    """A parked request whose blockers are as they were is not told so again."""
    return not (isinstance(decision, Parked) and request.state is State.PARKED and decision.shown == request.shown)


def flow_asked(world: World, request: Request) -> FlowKey:
    """The flow that a request means, as far as it can be known now."""
    instance = world.instances.get(request.instance_id)
    flow = _flow_meant(instance, request.kind) if instance else None
    return FlowKey(request.instance_id, flow.kind if flow else request.kind)


def seen_by(
    world: World, request: Request, decision: Decision | None = None, *, most: int | None = None
) -> dict[str, dict[str, Any]]:
    """What a decision saw, so much at most: the flow itself, what it reads without waiting for it, and each flow above,
    nearest first, with its status and version; whether it was excused, and what of it is under way: admitted runs, and
    what a recursive request asked for.
    """
    key = decision.target.flow if decision is not None and decision.target is not None else flow_asked(world, request)
    asked = {one.flow: one for one in request.asked}
    excused = {one.flow for one in decision.excused} if isinstance(decision, Admitted) else ()
    ungated, above = world.graph.not_waited_for(key), world.graph.above(key)
    found = {}
    for upstream in islice((key, *(dict.fromkeys((*ungated, *above)) if ungated else above)), most):
        name, seen = _seen(world, upstream) if upstream is key else _seen_often(world, upstream)
        runs, one = world.open_runs.get(upstream), asked.get(upstream)
        if runs or one or upstream in excused:
            seen = {
                **seen,
                **({"excused": True} if upstream in excused else {}),
                **({"open_runs": sorted(map(str, runs))} if runs else {}),
                **({"asked": {"run_id": str(one.run_id), "ended_as": one.ended_as}} if one else {}),
            }
        found[name] = seen
    return found


def _seen_often(world: World, key: FlowKey) -> tuple[str, dict[str, Any]]:
    """The same for all that wait for it, so it is looked at once."""
    known = world.seen.get(key)
    if known is None:
        known = world.seen[key] = _seen(world, key)
    return known


def _seen(world: World, key: FlowKey) -> tuple[str, dict[str, Any]]:
    flow, name, status, reason = _how(world, key)
    version_id = str(flow.version.version_id) if flow and flow.version else None
    seen = {"status": status, "version_id": version_id}
    return f"{name}/{key.kind}" if key.kind else name, {**seen, "reason": reason} if reason else seen


def standing(world: World, key: FlowKey) -> Blocked:
    """How a flow is, for somebody who waits for it."""
    _, name, status, reason = _how(world, key)
    return Blocked(key, name, status, reason)


def _how(world: World, key: FlowKey) -> tuple[Flow | None, str, InstanceStatus, str]:
    """The flow, as far as there is one, the name of its instance, its status, and why."""
    instance = world.instances.get(key.instance_id)
    if instance is None:
        name = world.names_of_unregistered.get(key.instance_id, str(key.instance_id))
        return None, name, InstanceStatus.NOT_INITIALIZED, "it is not registered"
    flow = instance.flow(key.kind)
    if instance.retired_at is not None:
        return flow, instance.name, InstanceStatus.RETIRED, "it is retired"
    if flow is None:
        return None, instance.name, InstanceStatus.NOT_INITIALIZED, f"it has no flow {key.kind}"
    reason = f"run {flow.open_run_id} is open" if flow.open_run_id else flow.reason or ""
    return flow, instance.name, _OF_INSTANCES[flow.status], reason


def _flow_meant(instance: Instance, kind: FlowKind | None) -> Flow | None:
    if kind is None:
        return instance.flows[0] if len(instance.flows) == 1 else None
    return instance.flow(kind)


def _no_such_flow(instance: Instance, kind: FlowKind | None) -> str:
    has = ", ".join(flow.kind for flow in instance.flows)
    if kind is None:
        return f"{instance.name} has several flows, name one: {has}"
    return f"{instance.name} has no flow {kind.value!r}; it has: {has}"


def _clock(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"


def listed(blockers: tuple[Blocked, ...]) -> str:
    """`prices is stale (…), …`, the first five."""
    shown = [f"{one.name} is {one.status}" + (f" ({one.reason})" if one.reason else "") for one in blockers[:5]]
    more = [f"and {len(blockers) - 5} more"] if len(blockers) > 5 else []
    return ", ".join([*shown, *more])
