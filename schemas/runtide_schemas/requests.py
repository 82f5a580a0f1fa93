"""`requests.status.v1`: what became of a wish for a run. The id of the request is the id of its run."""

from typing import Any, Literal
from uuid import UUID

from pydantic import Field

from runtide_schemas.backfills import Backfill, Progress
from runtide_schemas.message import LIST_LIMIT, Count, Part, Seq, TenantMessage, Text, Time
from runtide_schemas.policies import Retry
from runtide_schemas.vocabulary import (
    Basis,
    Code,
    FlowKind,
    Gate,
    InstanceStatus,
    Mode,
    RequestStatus,
    RunType,
    Trigger,
)


class Blocker(Part):
    """One reason by name why a request may not run now; `reason` is a sentence."""

    instance_id: UUID
    name: str
    flow_kind: FlowKind | None = None
    status: InstanceStatus
    reason: str | None = None


class InputVersion(Part):
    """Which version of an upstream a run read; None: there was none yet (a forced run)."""

    instance_id: UUID
    flow_kind: FlowKind
    version_id: UUID | None = None
    artifact_version: str | None = None
    basis: Basis


class RequestStatusChanged(TenantMessage):
    """The whole request. What only lineage knows is null until it has decided; of a request that began as a cancel
    only tenant, ids, status and `cancel_requested_at` are known. `parent_run_id` is the request that this one is a part
    of, or that it was asked for by gate recursive (`on_behalf_of` whom); `backfill` and `progress` are of one that asks
    for a range of dates; `plan_id` of one that runs what a plan says; `planned_for` is the instant of its flow's
    schedule, and `retries` the run that it does over.
    """

    type: Literal["request.status_changed"] = "request.status_changed"
    run_id: UUID
    command_id: str | None = None
    instance_id: UUID | None = None
    instance_name: str | None = None
    run_type: RunType | None = None
    flow_kind: FlowKind | None = None
    trigger: Trigger = Trigger.MANUAL
    mode: Mode | None = None
    parameters: dict[str, Any] = Field(default={})
    actor: str | None = None
    gate: Gate | None = None
    skip_if_ready: bool = False
    wait_until: Time | None = None
    status: RequestStatus
    previous_status: RequestStatus | None = None
    blockers: list[Blocker] = Field(default=[], max_length=LIST_LIMIT)
    blockers_total: Count = 0
    code: Code | None = None
    message: Text | None = None
    warning: Text | None = None
    input_versions: dict[str, InputVersion] = Field(default={})
    deployment: str | None = None
    orchestrator_run_id: UUID | None = None
    cancel_requested_at: Time | None = None
    parent_run_id: UUID | None = None
    backfill: Backfill | None = None
    progress: Progress | None = None
    plan_id: UUID | None = None
    on_behalf_of: str | None = None
    planned_for: Time | None = None
    retries: Retry | None = None
    occurred_at: Time
    seq: Seq
