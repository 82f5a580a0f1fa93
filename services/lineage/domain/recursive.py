"""Gate `recursive`: wait, and ask for what is in the way.

It is no orchestrator: it looks at how things are, each time that anything moves, and asks once for each flow above that
is not ready and that nothing is about to refresh. Order, parallelism and "once" are the gate's, because what it asks
for waits like any other request. The fact not to break: a flow is asked for again only after it was ready in between
(somebody else changed what it reads), so that a failure ends the request instead of beginning again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from uuid import UUID

from runtide_schemas.vocabulary import Code, FlowStatus, Gate, Mode, RequestStatus, RunStatus

from services.lineage.domain import gate
from services.lineage.domain.gate import Blocked, Decision, Parked, Refused, Request, State
from services.lineage.domain.graph import FlowKey
from services.lineage.domain.world import World

_GOOD_ENDS = frozenset({RunStatus.COMPLETED.value, RequestStatus.SKIPPED.value})
_SERVED = FlowStatus.READY.value
Coming = Mapping[FlowKey, str]


@dataclass(frozen=True, slots=True)
class Asked:
    """What a recursive request asked for, and how that ended; None: it has not; `ready`: so was the flow after it."""

    flow: FlowKey
    run_id: UUID
    ended_as: str | None = None


def coming(world: World, requests: Iterable[Request]) -> dict[FlowKey, str]:
    """The flows that these requests run or wait to run → `running`, `requested`. What makes nothing ready does not
    count: a preview, and what is of a backfill, which is about the past.
    """
    found: dict[FlowKey, str] = {}
    for request in requests:
        if request.is_of_backfill or request.mode is Mode.PREVIEW or request.state is State.ENDED:
            continue
        key = gate.flow_asked(world, request)
        if request.state is State.ADMITTED:
            found[key] = "running"
        else:
            found.setdefault(key, "requested")
    return found


def decided(world: World, request: Request, decision: Decision, others: Coming) -> Decision:
    """The gate's decision on a recursive request: one that would wait also names what it asks for now, and one that
    waits for what will not become ready is refused by name. `others`: what other requests run or wait to run.
    """
    if request.gate is not Gate.RECURSIVE or not isinstance(decision, Parked):
        return decision
    above = [blocked for blocked in decision.blockers if blocked.flow != decision.target.flow]
    refused = _hopeless(world, above, decision) or _failed(world, request, above, decision, others)
    if refused is not None:
        return refused
    last = {one.flow: one for one in request.asked}
    free = [one.flow for one in above if one.flow not in last or last[one.flow].ended_as == _SERVED]
    new = [key for key in free if not is_coming(world, key, others)]
    return replace(decision, asks=tuple(world.graph.sorted(new)))


def served(request: Request, decision: Decision) -> Request:
    """The request, knowing which of those that it asked for left their flow ready."""
    if not isinstance(decision, Parked):
        return request
    unready = {blocked.flow for blocked in decision.blockers}
    asked = tuple(
        replace(one, ended_as=_SERVED) if one.ended_as is not None and one.flow not in unready else one
        for one in request.asked
    )
    return request if asked == request.asked else request.but(asked=asked)


def is_coming(world: World, key: FlowKey, others: Coming) -> bool:
    """The flow runs, is admitted to run, or somebody waits to run it: nobody else needs to ask."""
    flow = world.flow(key)
    return key in others or (flow is not None and flow.open_run_id is not None)


def can_run(world: World, key: FlowKey) -> bool:
    """There is such a flow, of an instance that is not retired."""
    instance = world.instances.get(key.instance_id)
    return instance is not None and instance.retired_at is None and instance.flow(key.kind) is not None


def told(request: Request, ended: Request) -> Request:
    """The request after one of those that it asked for has ended."""
    return request.but(
        asked=tuple(
            replace(one, ended_as=ended.ended_as) if one.run_id == ended.run_id and one.ended_as is None else one
            for one in request.asked
        ),
    )


def _hopeless(world: World, above: list[Blocked], decision: Parked) -> Refused | None:
    lost = tuple(one for one in above if not can_run(world, one.flow))
    if not lost:
        return None
    who = world.name_of(decision.target.flow)
    said = f"{who} can not be made ready: {gate.listed(lost)}; that can not be asked for"
    return Refused(Code.UPSTREAM_NOT_READY, said, decision.target, lost, gate.status_map(world, decision.target.flow))


def _failed(world: World, request: Request, above: list[Blocked], decision: Parked, others: Coming) -> Refused | None:
    """What it asked for ended badly; or ended well, left the flow unready, and nobody is about to run it again."""
    last = {one.flow: one for one in request.asked}
    failed = []
    for blocked in above:
        one = last.get(blocked.flow)
        if one is None or one.ended_as in (None, _SERVED):
            continue
        if one.ended_as in _GOOD_ENDS and is_coming(world, blocked.flow, others):
            continue
        said = f"run {one.run_id}, which was asked for, ended as {one.ended_as}"
        failed.append(replace(blocked, reason=f"{said}; {blocked.reason}" if blocked.reason else said))
    if not failed:
        return None
    who = world.name_of(decision.target.flow)
    said = f"{who} can not be made ready: {gate.listed(tuple(failed))}"
    statuses = gate.status_map(world, decision.target.flow)
    return Refused(Code.UPSTREAM_FAILED, said, decision.target, tuple(failed), statuses)
