"""Does a request run what was approved? Asked when it is decided first, and of all that it asks for afterwards."""

from __future__ import annotations

from dataclasses import dataclass

from runtide_schemas.vocabulary import Code

from services.lineage.domain import plan
from services.lineage.domain.gate import Decision, Parked, Refused, Request, Target
from services.lineage.domain.graph import FlowKey
from services.lineage.domain.plan import Promises
from services.lineage.domain.recursive import Coming
from services.lineage.domain.world import World

_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Approved:
    """A plan as it was stored."""

    target: FlowKey
    skip_if_ready: bool
    promises: Promises


def broken(
    world: World, request: Request, decision: Decision, approved: Approved | None, others: Coming
) -> Refused | None:
    """Why the request may not begin: there is no such plan, it is another's, or it no longer holds. None where it may,
    also where it has begun already.
    """
    target = decision.target
    if request.plan_id is None or request.number > 0 or target is None or isinstance(decision, Refused):
        return None
    if approved is None:
        said = f"tenant {world.tenant!r} has no plan {request.plan_id}; POST /v1/plan makes one"
        return Refused(Code.UNKNOWN_PLAN, said, target)
    if approved.target != target.flow:
        return _changed(f"it is of {world.name_of(approved.target)}, not of {world.name_of(target.flow)}", target)
    if approved.skip_if_ready != request.skip_if_ready:
        return _changed(f"it says skip_if_ready {approved.skip_if_ready}, the request {request.skip_if_ready}", target)
    fresh = plan.make(world, target.flow, skip_if_ready=approved.skip_if_ready, others=others)
    told = plan.changes(approved.promises, plan.promises(fresh))
    if not told:
        return None
    more = f"; and {len(told) - _SHOWN} more" if len(told) > _SHOWN else ""
    return _changed("; ".join(told[:_SHOWN]) + more, target)


def within(world: World, decision: Decision, approved: Approved | None) -> Decision:
    """The decision, unless it asks for what the plan did not say."""
    if not isinstance(decision, Parked) or approved is None:
        return decision
    outside = [world.name_of(key) for key in decision.asks if not plan.takes_part(approved.promises, key)]
    return _changed(f"{', '.join(outside)} would have to run too", decision.target) if outside else decision


def _changed(what: str, target: Target) -> Refused:
    return Refused(Code.PLAN_CHANGED, f"the plan does not hold any more: {what}. Ask for a new plan", target)
