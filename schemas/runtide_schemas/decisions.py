"""`requests.decisions.v1`: what lineage decided about a request, numbered per request from 1.

Only submission reads it, and turns an admission into a run; whoever wants to know the outcome reads requests.status.
"""

from typing import Any, Literal
from uuid import UUID

from pydantic import Field

from runtide_schemas.backfills import Progress
from runtide_schemas.message import LIST_LIMIT, Count, Seq, TenantMessage, Text, Time
from runtide_schemas.requests import Blocker, InputVersion
from runtide_schemas.vocabulary import Code, FlowKind, InstanceStatus, RunType


class Decision(TenantMessage):
    run_id: UUID
    number: Seq
    instance_id: UUID | None = None
    instance_name: str | None = None
    run_type: RunType | None = None
    flow_kind: FlowKind | None = None
    deployment: str | None = None
    occurred_at: Time


class RequestAdmitted(Decision):
    """It may run, on these versions; submission launches it."""

    type: Literal["request.admitted"] = "request.admitted"
    parameters: dict[str, Any] = Field(default={})
    input_versions: dict[str, InputVersion] = Field(default={})
    warning: Text | None = None


class RequestParked(Decision):
    """It waits for the blockers, until the deadline (None: for ever). A backfill waits for its open children, and says
    how far it is.
    """

    type: Literal["request.parked"] = "request.parked"
    blockers: list[Blocker] = Field(default=[], max_length=LIST_LIMIT)
    blockers_total: Count = 0
    wait_until: Time | None = None
    message: Text | None = None
    progress: Progress | None = None


class RequestRefused(Decision):
    """`status_map`: of what lies upstream, name → status."""

    type: Literal["request.refused"] = "request.refused"
    code: Code
    message: Text
    blockers: list[Blocker] = Field(default=[], max_length=LIST_LIMIT)
    blockers_total: Count = 0
    status_map: dict[str, InstanceStatus] = Field(default={}, max_length=LIST_LIMIT)


class RequestSkipped(Decision):
    """The target is ready already: no run."""

    type: Literal["request.skipped"] = "request.skipped"
    message: Text | None = None
    version_id: UUID | None = None


class RequestExpired(Decision):
    """The deadline passed; the blockers are those that were left."""

    type: Literal["request.expired"] = "request.expired"
    message: Text | None = None
    blockers: list[Blocker] = Field(default=[], max_length=LIST_LIMIT)
    blockers_total: Count = 0


class RequestFinished(Decision):
    """A backfill is over; `code` says that not every date is done."""

    type: Literal["request.finished"] = "request.finished"
    code: Code | None = None
    message: Text | None = None
    progress: Progress
