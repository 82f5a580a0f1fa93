"""`runs.reports.v1`: what flow code says about its own run, with or without our SDK. Required are type, tenant, run id.

A report without `attempt` belongs to the newest attempt known, one without `n` takes its Kafka position. Metrics are
checked against the run's type by run_tracker (`metrics.validate_metrics`), which knows the type.
"""

from typing import Literal
from uuid import UUID

from pydantic import Field

from runtide_schemas.message import (
    Attempt,
    Count,
    Day,
    JsonObject,
    Label,
    NameText,
    Percent,
    Sentence,
    TenantMessage,
    Text,
    Time,
)
from runtide_schemas.runs import RunError

Reference = Field(pattern=r"^s3://[^/\x00]+/[^\x00]+$", max_length=1024)
Digest = Field(default=None, min_length=1, max_length=200, pattern=r"^[^\x00]*$")


class Report(TenantMessage):
    run_id: UUID
    attempt: Attempt | None = None
    n: Count | None = None
    occurred_at: Time | None = None


class InputsReported(Report):
    """role → version id; null: the version of the admission."""

    type: Literal["run.inputs_reported"] = "run.inputs_reported"
    inputs: dict[str, UUID | None]


class ProgressReported(Report):
    type: Literal["run.progress_reported"] = "run.progress_reported"
    progress_pct: Percent | None = None
    step: Label | None = None
    detail: Sentence | None = None


class MetricsReported(Report):
    type: Literal["run.metrics_reported"] = "run.metrics_reported"
    metrics: JsonObject


class ArtifactReported(Report):
    """`ref` must lie under the run's own prefix; run_tracker refuses others."""

    type: Literal["run.artifact_reported"] = "run.artifact_reported"
    name: NameText
    ref: str = Reference
    size_bytes: Count | None = None
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    content_type: Text | None = Field(default=None, max_length=200)


class ErrorReported(Report):
    type: Literal["run.error_reported"] = "run.error_reported"
    error: RunError


class OutputReported(Report):
    """The last report of an attempt: it seals it. `digest` is of the content, `schema_digest` of the names and types of
    its columns alone. `empty`: it ran and there were no new rows.
    """

    type: Literal["run.output_reported"] = "run.output_reported"
    metrics: JsonObject = Field(default={})
    digest: str | None = Digest
    schema_digest: str | None = Digest
    last_data_date: Day | None = None
    rows_processed: Count | None = None
    empty: bool = False
