"""A run as the tracker holds it: the facts that were gathered, and what they make of it.

The field names are the columns of `runs`. Facts only ever grow (newest, earliest, largest), so the order in which they
come does not matter; what is shown is computed from them by `lifecycle.refresh` and by nothing else.
JSON columns are held as text, as PostgreSQL gives them, and parsed where they are needed.
"""

from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

from runtide_schemas.vocabulary import ReportsPolicy, RunStatus


@dataclass(slots=True)
class Run:
    # What it is.
    run_id: UUID
    tenant: str
    run_type: str
    instance_id: UUID
    instance_name: str
    flow_kind: str
    trigger: str
    mode: str
    created_at: datetime
    parameters: str = "{}"
    actor: str | None = None
    deployment: str | None = None
    name: str | None = None
    orchestrator_run_id: UUID | None = None
    # Facts of its flow's registration: is `completed` to wait for the seal; role → upstream.
    reports: str = ReportsPolicy.EXPECTED
    roles: str = "{}"
    # Facts of its request.
    request_end: str | None = None
    request_ended_at: datetime | None = None
    request_code: str | None = None
    request_message: str | None = None
    admitted_inputs: str = "{}"
    cancel_requested_at: datetime | None = None
    # Facts of Prefect: the newest state, the newest of another status, and what only grows.
    state_id: UUID | None = None
    state_at: datetime | None = None
    state_type: str | None = None
    state_name: str | None = None
    state_message: str | None = None
    state_status: str | None = None
    other_status: str | None = None
    other_at: datetime | None = None
    other_id: UUID | None = None
    run_count: int = 0
    first_running_at: datetime | None = None
    source_started_at: datetime | None = None
    gone_at: datetime | None = None
    returned_at: datetime | None = None
    # Facts of the flow's own reports, of the attempt `outputs_attempt`.
    reported_attempt: int = 1
    outputs_attempt: int = 1
    outputs_n: int = -1
    sealed_n: int | None = None
    sealed_at: datetime | None = None
    reported_at: datetime | None = None
    reported_inputs: str = "{}"
    reported_error: str | None = None
    metrics_json: str = "{}"
    artifacts_ref: str = "{}"
    output_digest: str | None = None
    schema_digest: str | None = None
    last_data_date: date | None = None
    rows_processed: int | None = None
    empty: bool = False
    warnings: str = "[]"
    progress_attempt: int = 0
    progress_n: int = -1
    progress_value: float | None = None
    progress_step: str | None = None
    progress_detail: str | None = None
    progress_at: datetime | None = None
    # Facts of the clock.
    unreported_attempt: int | None = None
    cancel_unconfirmed_at: datetime | None = None
    silent_since: datetime | None = None
    clock_at: datetime | None = None
    # What it shows.
    status: str = RunStatus.PENDING
    sub_state: str | None = None
    previous_status: str | None = None
    attempt: int = 1
    progress_pct: float | None = None
    step: str | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    duration_seconds: float | None = None
    outputs: str | None = None
    outputs_ref: str | None = None
    input_versions: str = "{}"
    error: str | None = None
    knowledge_time: datetime | None = None
    occurred_at: datetime | None = None
    supersedes: int | None = None
    seq: int = 0
    # What was said and looked after.
    terminal_seq: int | None = None
    said_progress_at: datetime | None = None
    said_progress_n: int = -1
    said_decile: int = 0
    settled: bool = False
    rechecks: int = 0
    ended_seen_at: datetime | None = None
