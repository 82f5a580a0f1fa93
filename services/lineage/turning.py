"""The instances that a pass only turned stale, thousands at once: each is announced."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from runtide_schemas.vocabulary import FlowStatus, InstanceStatus

from services.lineage.domain.spread import Turned, answer_of
from services.lineage.domain.world import Flow, Instance, made_of

Pair = tuple[Instance | None, Instance]
_READY, _SHOWN_READY = FlowStatus.READY, InstanceStatus.READY


def numbered(turned: Sequence[Turned], now: datetime) -> dict[UUID, Pair]:
    """Before and after of each, as it is announced: one copy of the flow and one of the instance."""
    pairs = dict[UUID, Pair]()
    for one in turned:
        was = one.was
        [flow] = was.flows
        shown, said, facts = flow.status, flow.__dict__.copy(), was.__dict__.copy()
        said |= answer_of(one.reason)
        said["old_status"] = shown
        shows_it = shown is _READY and was.retired_at is None and was.status_order is None
        facts["flows"] = (made_of(Flow, said),)
        facts["old_status"] = _SHOWN_READY if shows_it else was.status
        facts["cause"] = one.cause
        facts["seq"] = was.seq + 1
        facts["announced_at"] = now
        pairs[was.instance_id] = was, made_of(Instance, facts)
    return pairs
