"""What is remembered of every move, so that `why` can be answered later: one row per flow that a snapshot changed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any
from uuid import UUID

from services.lineage.domain import why
from services.lineage.domain.graph import FlowKey
from services.lineage.domain.staleness import Restated
from services.lineage.domain.world import Flow, Instance


def events_of(
    before: Instance | None, after: Instance, restated: Restated, *, message_id: str | None, at: datetime
) -> Iterator[dict[str, Any]]:
    """The rows of one snapshot: of each flow about which it says something new."""
    cause = restated.causes.get(after.instance_id)
    for flow in after.flows:
        key, was = FlowKey(after.instance_id, flow.kind), before.flow(flow.kind) if before else None
        if was is not None and before is not None and _shown(was, before) == _shown(flow, after):
            continue
        above = None if key in restated.reach.roots else restated.reach.parents.get(key)
        yield {
            "tenant": after.tenant,
            "instance_id": after.instance_id,
            "kind": flow.kind,
            "at": at,
            "seq": after.seq,
            "old_status": _status(was, before) if was and before else None,
            "status": _status(flow, after),
            "old_freshness": was.freshness if was else None,
            "freshness": flow.freshness,
            "rule": why.rule_of(flow),
            "reason": flow.reason,
            "old_version_id": _version(was) if was else None,
            "version_id": _version(flow),
            "open_run_id": flow.open_run_id,
            "run_id": cause.run_id if cause else None,
            "above_instance_id": above.instance_id if above else None,
            "above_kind": above.kind if above else None,
            "message_id": message_id,
        }


def _shown(flow: Flow, instance: Instance) -> tuple[object, ...]:
    verified_at = flow.version.verified_at if flow.version else None
    return (_status(flow, instance), flow.freshness, flow.reason, flow.open_run_id, _version(flow), verified_at)


def _status(flow: Flow, instance: Instance) -> str:
    return "retired" if instance.retired_at is not None else flow.status.value


def _version(flow: Flow) -> UUID | None:
    return flow.version.version_id if flow.version else None
