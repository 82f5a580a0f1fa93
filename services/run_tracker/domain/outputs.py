"""What a flow says about its own run: reports of one attempt, folded by `n`, up to the seal.

The fact not to break: a report of an older attempt, or after the seal, is counted and not applied; and again the order
of arrival does not matter. A report that comes out of its order makes the caller fold the attempt anew from storage.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Literal, NamedTuple
from uuid import UUID

from services.run_tracker.domain.run import Run

Kind = Literal["inputs", "progress", "metrics", "artifact", "error", "output"]
WARNINGS_LIMIT = 50


class Report(NamedTuple):
    """One report, checked: `metrics` hold only valid ones, what was refused is in `warnings`."""

    attempt: int
    n: int
    kind: Kind
    at: datetime
    inputs: Mapping[str, str | None] = {}
    metrics: Mapping[str, Any] = {}
    artifact: tuple[str, str] | None = None
    error: Mapping[str, Any] | None = None
    percent: float | None = None
    step: str | None = None
    detail: str | None = None
    digest: str | None = None
    schema_digest: str | None = None
    last_data_date: date | None = None
    rows_processed: int | None = None
    empty: bool = False
    warnings: tuple[str, ...] = ()


@dataclass(slots=True)
class Outputs:
    """What one attempt has reported so far."""

    attempt: int
    n: int = -1
    sealed_n: int | None = None
    sealed_at: datetime | None = None
    reported_at: datetime | None = None
    inputs: dict[str, str | None] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    artifacts: dict[str, str] = field(default_factory=dict)
    error: dict[str, Any] | None = None
    digest: str | None = None
    schema_digest: str | None = None
    last_data_date: date | None = None
    rows_processed: int | None = None
    empty: bool = False
    warnings: list[str] = field(default_factory=list)


Answer = Literal["applied", "older_attempt", "newer_attempt", "after_seal", "out_of_order"]


def place(outputs: Outputs, report: Report) -> Answer:
    """What is to be done with a report; only `applied` may be given to `apply`."""
    if report.attempt < outputs.attempt:
        return "older_attempt"
    if report.attempt > outputs.attempt:
        return "newer_attempt"
    if outputs.sealed_n is not None and report.n > outputs.sealed_n:
        return "after_seal"
    return "applied" if report.n > outputs.n else "out_of_order"


def apply(outputs: Outputs, report: Report) -> None:
    """Take in the next report of the attempt."""
    outputs.n = report.n
    if outputs.reported_at is None or report.at > outputs.reported_at:
        outputs.reported_at = report.at
    outputs.inputs.update(report.inputs)
    outputs.metrics.update(report.metrics)
    if report.artifact is not None:
        name, reference = report.artifact
        outputs.artifacts[name] = reference
    if report.error is not None:
        outputs.error = dict(report.error)
    for warning in report.warnings:
        if warning not in outputs.warnings and len(outputs.warnings) < WARNINGS_LIMIT:
            outputs.warnings.append(warning)
    if report.kind == "output":
        outputs.sealed_n, outputs.sealed_at = report.n, report.at
        outputs.digest, outputs.schema_digest = report.digest, report.schema_digest
        outputs.last_data_date = None if report.empty else report.last_data_date
        outputs.rows_processed, outputs.empty = report.rows_processed, report.empty


def fold(attempt: int, reports: Iterable[Report]) -> Outputs:
    """All reports of one attempt, in any order, into what they say together."""
    outputs = Outputs(attempt)
    for report in sorted((r for r in reports if r.attempt == attempt and r.kind != "progress"), key=lambda r: r.n):
        if place(outputs, report) == "applied":
            apply(outputs, report)
    return outputs


def take_progress(run: Run, report: Report) -> bool:
    """Only the newest progress matters, so it is a value on the run; says whether this one is it."""
    if (report.attempt, report.n) <= (run.progress_attempt, run.progress_n):
        return False
    run.progress_attempt, run.progress_n, run.progress_at = report.attempt, report.n, report.at
    run.progress_value, run.progress_step, run.progress_detail = report.percent, report.step, report.detail
    return True


def merged_inputs(
    admitted: Mapping[str, Mapping[str, Any]],
    roles: Mapping[str, Mapping[str, Any]],
    reported: Mapping[str, str | None],
) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """role → input version, and the roles that nobody knows. What the flow reports wins over the admission;
    a role reported without a version is the admitted version, reported.
    """
    versions = {role: dict(version) for role, version in admitted.items()}
    unknown = []
    for role, version_id in reported.items():
        known = versions.get(role)
        if known is None:
            upstream = roles.get(role)
            if upstream is None or upstream.get("flow_kind") is None:
                unknown.append(role)
                continue
            known = {"instance_id": upstream["instance_id"], "flow_kind": upstream["flow_kind"]}
        if version_id is not None and version_id != known.get("version_id"):
            known = known | {"version_id": version_id, "artifact_version": None}
        versions[role] = {"version_id": None, "artifact_version": None} | known | {"basis": "reported"}
    return versions, unknown


def own_reference(reference: str, bucket: str, run_id: UUID, attempt: int) -> bool:
    """An artifact lies under its own run's prefix (a later attempt's under that attempt's), and does not climb out."""
    prefix = prefix_of(bucket, run_id, attempt)
    rest = reference[len(prefix) :]
    return reference.startswith(prefix) and bool(rest) and ".." not in rest.split("/") and "" not in rest.split("/")


def prefix_of(bucket: str, run_id: UUID, attempt: int) -> str:
    return f"s3://{bucket}/{run_id}/" if attempt <= 1 else f"s3://{bucket}/{run_id}/attempt-{attempt}/"


def refused_upload(attempt: int, current: int, sealed: bool) -> str | None:
    """Why an attempt may put no more objects. One newer than the known may: its flow is the first to know of it."""
    if attempt < current:
        return f"attempt {attempt} is over; the run is in attempt {current}"
    return f"the outputs of attempt {attempt} are sealed" if sealed else None


ALERT_ABOVE = {"psi": 0.20, "ks_statistic": 0.10, "missing_pct": 1.0, "outlier_pct": 5.0, "duplicate_pct": 0.0}


def alerts_of(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Monitoring metrics above their threshold, by name."""
    return {
        name: metrics[name]
        for name, most in ALERT_ABOVE.items()
        if isinstance(metrics.get(name), int | float) and metrics[name] > most
    }
