"""From reports as they lie in Kafka to what the domain folds: metrics checked by run type, foreign references refused.

The fact not to break: a report is stored as it came, and checked when it is folded: only then the run's type is known.
"""

import json
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from pydantic_core import from_json, to_json
from runtide_schemas import reports as wire
from runtide_schemas.message import MAX_JSON_BYTES
from runtide_schemas.metrics import HEADLINE, headline, validate_metrics
from runtide_schemas.vocabulary import RunType

from services.run_tracker.domain.outputs import Kind, Outputs, Report, fold, merged_inputs, own_reference
from services.run_tracker.domain.run import Run
from services.run_tracker.report_store import StoredReport
from shared.messaging.decode import Received

_KINDS: dict[type[wire.Report], Kind] = {
    wire.InputsReported: "inputs",
    wire.ProgressReported: "progress",
    wire.MetricsReported: "metrics",
    wire.ArtifactReported: "artifact",
    wire.ErrorReported: "error",
    wire.OutputReported: "output",
}
_ENVELOPE = {"type", "tenant", "run_id", "attempt", "n", "occurred_at"}
_AHEAD = timedelta(minutes=1)
LOGS_BUCKET = "logs"


def kind_of(message: wire.Report) -> Kind:
    return _KINDS[type(message)]


def to_store(received: Received[wire.Report], newest_attempt: int) -> StoredReport:
    """The row of a report. Without attempt it belongs to the newest one known, without n to its Kafka position."""
    message = received.message
    return StoredReport(
        message.run_id,
        message.tenant,
        message.attempt if message.attempt is not None else newest_attempt,
        message.n if message.n is not None else received.record.offset,
        kind_of(message),
        occurred_at(message.occurred_at, received.at),
        message.model_dump_json(exclude=_ENVELOPE),
    )


def occurred_at(said: datetime | None, received_at: datetime) -> datetime:
    """What the flow's own clock says, unless it says tomorrow."""
    return said if said is not None and said <= received_at + _AHEAD else received_at


def progress_of(received: Received[wire.ProgressReported], newest_attempt: int) -> Report:
    message = received.message
    return Report(
        message.attempt if message.attempt is not None else newest_attempt,
        message.n if message.n is not None else received.record.offset,
        "progress",
        occurred_at(message.occurred_at, received.at),
        percent=message.progress_pct,
        step=message.step,
        detail=message.detail,
    )


def read(run: Run, stored: StoredReport, bucket: str) -> Report:
    """A stored report as the domain takes it, checked against the run."""
    body: dict[str, Any] = from_json(stored.body)
    attempt, n, kind, at = stored.attempt, stored.n, stored.kind, stored.at
    match kind:
        case "inputs":
            return Report(attempt, n, "inputs", at, inputs=body["inputs"])
        case "progress":
            return Report(
                attempt, n, "progress", at, percent=body["progress_pct"], step=body["step"], detail=body["detail"]
            )
        case "artifact":
            name, reference = body["name"], body["ref"]
            if own_reference(reference, bucket, run.run_id, attempt):
                return Report(attempt, n, "artifact", at, artifact=(name, reference))
            warning = f"artifact {name}: {reference[:200]} lies outside the run's own prefix; refused"
            return Report(attempt, n, "artifact", at, warnings=(warning,))
        case "error":
            error = body["error"]
            reference = error.get("traceback_ref")
            if reference is None or any(
                own_reference(reference, place, run.run_id, 1) for place in (bucket, LOGS_BUCKET)
            ):
                return Report(attempt, n, "error", at, error=error)
            warning = f"traceback {str(reference)[:200]} lies outside the run's own prefix; refused"
            return Report(attempt, n, "error", at, error=error | {"traceback_ref": None}, warnings=(warning,))
    metrics, warnings = valid_metrics(RunType(run.run_type), body.get("metrics") or {})
    if kind == "metrics":
        return Report(attempt, n, "metrics", at, metrics=metrics, warnings=warnings)
    output = wire.OutputReported.model_validate_json(
        to_json({"tenant": run.tenant, "run_id": run.run_id, "type": "run.output_reported"} | body)
    )
    return Report(
        attempt, n, "output", at, metrics=metrics, warnings=warnings, digest=output.digest,
        schema_digest=output.schema_digest, last_data_date=output.last_data_date, rows_processed=output.rows_processed,
        empty=output.empty,
    )  # fmt: skip


def valid_metrics(run_type: RunType, metrics: dict[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The valid ones, and a warning for each that is not: a wrong metric does not lose the run."""
    try:
        return validate_metrics(run_type, metrics), ()
    except ValueError as whole:
        kept: dict[str, Any] = {}
        warnings = []
        for name, value in metrics.items():
            try:
                kept |= validate_metrics(run_type, {name: value})
            except ValueError as error:
                warnings.append(str(error)[:500])
        return kept, tuple(warnings) or (str(whole)[:500],)


# -- between a run's columns and what its attempt has reported ---------------------------------------------------------


def outputs_of(run: Run) -> Outputs:
    """What the row holds, to go on from."""
    return Outputs(
        run.outputs_attempt, run.outputs_n, run.sealed_n, run.sealed_at, run.reported_at,
        from_json(run.reported_inputs), from_json(run.metrics_json), from_json(run.artifacts_ref),
        from_json(run.reported_error) if run.reported_error is not None else None,
        run.output_digest, run.schema_digest, run.last_data_date, run.rows_processed, run.empty,
        from_json(run.warnings),
    )  # fmt: skip


def fold_stored(run: Run, attempt: int, stored: Iterable[StoredReport], bucket: str) -> Outputs:
    """One attempt anew, from everything that was stored of it by the run's own tenant."""
    own = [r for r in stored if r.tenant == run.tenant and r.attempt == attempt]
    return fold(attempt, (read(run, report, bucket) for report in own))


def set_outputs(run: Run, outputs: Outputs) -> bool:
    """Put what was reported on the run; says whether anything that a snapshot shows has changed."""
    if outputs.metrics and len(to_json(outputs.metrics)) > MAX_JSON_BYTES:
        outputs.warnings.append(f"metrics together exceed {MAX_JSON_BYTES} bytes; the largest were left out")
        outputs.metrics = _largest_left_out(outputs.metrics)
    versions, unknown = merged_inputs(from_json(run.admitted_inputs), from_json(run.roles), outputs.inputs)
    for role in unknown:
        warning = f"input {role[:100]}: no upstream has this role; the version is not recorded"
        if warning not in outputs.warnings:
            outputs.warnings.append(warning)
    before = (
        from_json(run.metrics_json), from_json(run.artifacts_ref), from_json(run.input_versions),
        run.output_digest, run.schema_digest, run.last_data_date, run.rows_processed,
    )  # fmt: skip
    after = (
        outputs.metrics, outputs.artifacts, versions,
        outputs.digest, outputs.schema_digest, outputs.last_data_date, outputs.rows_processed,
    )  # fmt: skip
    run.outputs_attempt, run.outputs_n = outputs.attempt, outputs.n
    run.sealed_n, run.sealed_at, run.reported_at = outputs.sealed_n, outputs.sealed_at, outputs.reported_at
    run.reported_inputs = json.dumps(outputs.inputs)
    run.reported_error = json.dumps(outputs.error) if outputs.error is not None else None
    run.warnings = json.dumps(outputs.warnings)
    run.empty = outputs.empty
    if before == after:
        return False
    run.metrics_json, run.artifacts_ref = json.dumps(outputs.metrics), json.dumps(outputs.artifacts)
    run.input_versions = json.dumps(versions)
    run.output_digest, run.schema_digest, run.last_data_date, run.rows_processed = (
        outputs.digest, outputs.schema_digest, outputs.last_data_date, outputs.rows_processed,
    )  # fmt: skip
    return True


def _largest_left_out(metrics: Mapping[str, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    size_bytes = 2
    for name, value in sorted(metrics.items(), key=lambda item: len(to_json(item[1]))):
        size_bytes += len(to_json({name: value}))
        if size_bytes > MAX_JSON_BYTES:
            break
        kept[name] = value
    return {name: kept[name] for name in metrics if name in kept}


def headline_row(run: Run) -> dict[str, Any]:
    """The row of the run's extension table."""
    run_type = RunType(run.run_type)
    values = headline(run_type, from_json(run.metrics_json)) if run.metrics_json != "{}" else {}
    return {"run_id": str(run.run_id)} | {name: values.get(name) for name in HEADLINE[run_type]}


def artifact_rows(
    run: Run, stored: Iterable[StoredReport], bucket: str
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Of all stored reports: the rows of what each attempt listed before its seal, and of what it listed after it."""
    own = [report for report in stored if report.tenant == run.tenant]
    sealed_n: dict[int, int] = {}
    for report in own:
        if report.kind == "output":
            sealed_n[report.attempt] = min(report.n, sealed_n.get(report.attempt, report.n))
    listed: list[dict[str, Any]] = []
    late: list[dict[str, Any]] = []
    for report in own:
        if (row := artifact_row(run, report, bucket)) is not None:
            (late if report.n > sealed_n.get(report.attempt, report.n) else listed).append(row)
    return listed, late


def artifact_row(run: Run, stored: StoredReport, bucket: str) -> dict[str, Any] | None:
    """The row of an artifact report; None for any other, and for one that was refused."""
    if stored.kind != "artifact" or stored.tenant != run.tenant or read(run, stored, bucket).artifact is None:
        return None
    body = from_json(stored.body)
    return {
        "run_id": run.run_id, "attempt": stored.attempt, "name": body["name"], "n": stored.n, "ref": body["ref"],
        "size_bytes": body.get("size_bytes"), "sha256": body.get("sha256"), "content_type": body.get("content_type"),
        "reported_at": stored.at,
    }  # fmt: skip
