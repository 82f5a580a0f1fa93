"""Which run a flow run belongs to: the one it is tagged with, one of its own, or none.

The fact not to break: a tag counts only if the flow run's deployment is that run's; and one flow run is never two runs,
so a flow run tagged with a run that is not known yet waits for it.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal, NamedTuple
from uuid import UUID

from runtide_schemas.vocabulary import is_uuid

from services.run_tracker.domain.run import Run

_CLOCKS_DIFFER = timedelta(seconds=60)
_TAG = "run:"


class Waiting(NamedTuple):
    """A flow run that belongs to no run yet; `left_scheduled_at` is None while it is only planned."""

    flow_run_id: UUID
    name: str | None
    deployment: str | None
    claimed_run_id: UUID | None
    left_scheduled_at: datetime | None


class KnownFlow(NamedTuple):
    """One registered flow; `roles` is JSON: role → the upstream's instance and flow kind."""

    instance_id: UUID
    flow_kind: str
    tenant: str
    instance_name: str
    instance_type: str
    deployment: str
    reports: str
    roles: str
    registered_at: datetime
    retired: bool
    seq: int


Nobody = Literal["request_unknown", "planned", "unregistered", "shared"]


def claim_of(tags: Sequence[str]) -> UUID | None:
    """The run that a flow run says it is, by its tag `run:<run id>`."""
    for tag in tags:
        if tag.startswith(_TAG) and is_uuid(tag[len(_TAG) :]):
            return UUID(tag[len(_TAG) :])
    return None


def owner_of(waiting: Waiting, claimed: Run | None, flows: Sequence[KnownFlow]) -> Run | KnownFlow | Nobody:
    """The run it is tagged with; else the one flow that its deployment is registered for; else why nobody."""
    if waiting.claimed_run_id is not None:
        if claimed is None:
            return "request_unknown"
        if claimed.deployment == waiting.deployment and claimed.orchestrator_run_id in (None, waiting.flow_run_id):
            return claimed
    if waiting.left_scheduled_at is None:
        return "planned"
    known = [
        flow
        for flow in flows
        if flow.deployment == waiting.deployment
        and not flow.retired
        and flow.registered_at <= waiting.left_scheduled_at + _CLOCKS_DIFFER
    ]
    if len(known) == 1:
        return known[0]
    return "shared" if known else "unregistered"
