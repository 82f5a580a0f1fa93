"""`runs.status.v1` and `runs.progress.v1`: the truth about a run. Both share the run's one `seq`."""

from typing import Any, Literal
from uuid import UUID

from pydantic import Field

from runtide_schemas.message import (
    Attempt,
    Count,
    Day,
    Label,
    LongText,
    Part,
    Percent,
    Sentence,
    Seq,
    TenantMessage,
    Time,
)
from runtide_schemas.requests import InputVersion
from runtide_schemas.vocabulary import FlowKind, Mode, Outputs, RunStatus, RunType, SubState, Trigger

UNKNOWN_ERROR_TYPE = "unknown"


class RunError(Part):
    type: Label = UNKNOWN_ERROR_TYPE
    message: LongText = ""
    code: Label | None = None
    traceback_ref: Sentence | None = None


class RunStatusChanged(TenantMessage):
    """The whole run, at each change of status, sub_state, attempt, metrics or artifacts.

    `attempt` is Prefect's run count, at least 1; `artifacts` name → reference; `input_versions` role → version;
    `supersedes` is the seq of the end that this one reopens or corrects.
    """

    type: Literal["run.status_changed"] = "run.status_changed"
    run_id: UUID
    run_type: RunType
    instance_id: UUID
    instance_name: str
    flow_kind: FlowKind
    trigger: Trigger = Trigger.MANUAL
    mode: Mode = Mode.INCREMENTAL
    parameters: dict[str, Any] = Field(default={})
    actor: str | None = None
    orchestrator_kind: str = "prefect"
    orchestrator_run_id: UUID | None = None
    status: RunStatus
    previous_status: RunStatus | None = None
    sub_state: SubState | None = None
    attempt: Attempt = 1
    progress_pct: Percent | None = None
    step: str | None = None
    started_at: Time | None = None
    ended_at: Time | None = None
    duration_seconds: float | None = None
    metrics: dict[str, Any] = Field(default={})
    artifacts: dict[str, str] = Field(default={})
    outputs_ref: str | None = None
    outputs: Outputs | None = None
    input_versions: dict[str, InputVersion] = Field(default={})
    output_digest: str | None = None
    schema_digest: str | None = None
    last_data_date: Day | None = None
    rows_processed: Count | None = None
    error: RunError | None = None
    cancel_requested_at: Time | None = None
    supersedes: Seq | None = None
    occurred_at: Time
    seq: Seq


class RunProgressed(TenantMessage):
    """Where a run is. At most four a second; never an input of a decision."""

    type: Literal["run.progressed"] = "run.progressed"
    run_id: UUID
    instance_id: UUID
    status: RunStatus
    attempt: Attempt = 1
    progress_pct: Percent | None = None
    step: str | None = None
    detail: str | None = None
    occurred_at: Time
    seq: Seq
