"""What is said about a run, and what follows from it: snapshot or progress, activities, due rows, looking after.

The fact not to break: `seq` grows by 1 with each message about a run, status and progress together, and the run's row
is locked while it does.
"""

import json
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid5

from pydantic import TypeAdapter
from pydantic_core import from_json
from runtide_schemas.activities import ActivityRecorded
from runtide_schemas.requests import InputVersion
from runtide_schemas.runs import RunError, RunProgressed, RunStatusChanged
from runtide_schemas.vocabulary import (
    RUNTIDE,
    Code,
    FlowKind,
    Mode,
    Outputs,
    RunStatus,
    RunType,
    SubState,
    Trigger,
    action_prefix,
)

from services.run_tracker.domain import outputs
from services.run_tracker.domain.lifecycle import Moved, error_of, refresh, shown_cancel_request
from services.run_tracker.domain.run import Run
from services.run_tracker.domain.trouble import TO_DO, Trouble
from services.run_tracker.store import RunTrackerStore
from shared.messaging.decode import Received
from shared.messaging.drafts import Draft, writer_of
from shared.messaging.work import Work

Tracking = Work[RunTrackerStore]
Cause = Received[Any] | None

SEAL, CANCEL_UNCONFIRMED, PROGRESS, LINK = "seal", "cancel_unconfirmed", "progress", "link"
ACTIVITY_MESSAGE_LIMIT = 1000
_status_changed, _progressed = writer_of(RunStatusChanged), writer_of(RunProgressed)
_activity = writer_of(ActivityRecorded)
_INPUTS = TypeAdapter(dict[str, InputVersion])
_ENDS = frozenset({RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED})
_STATUS = {str(status): status for status in RunStatus}
_SUB_STATE: dict[str | None, SubState | None] = {str(sub_state): sub_state for sub_state in SubState} | {None: None}
_RUN_TYPE = {str(run_type): run_type for run_type in RunType}
_PREFIX = {str(run_type): action_prefix(run_type) for run_type in RunType}
_FLOW_KIND = {str(kind): kind for kind in FlowKind}
_TRIGGER = {str(trigger): trigger for trigger in Trigger}
_MODE = {str(mode): mode for mode in Mode}
_OUTPUTS: dict[str | None, Outputs | None] = {str(outputs_): outputs_ for outputs_ in Outputs} | {None: None}


def tell(run: Run, work: Tracking, cause: Cause = None, *, say: bool = False) -> bool:
    """Bring what the run shows up to date, and publish it if that changed (or `say`: its outputs did).

    An open run whose progress alone changed is left to `tell_progress`, which spaces it out.
    """
    moved = refresh(run)
    if run.status == RunStatus.FAILED or run.error is not None:
        error = error_of(run)
        if error != (from_json(run.error) if run.error is not None else None):
            run.error = json.dumps(error) if error is not None else None
            say = True
    ended = run.status in _ENDS
    if not (say or moved.shown or (ended and moved.progress)):
        return False
    changed = (run.status, run.sub_state, run.attempt) != (moved.status, moved.sub_state, moved.attempt)
    if changed and moved.status in _ENDS:
        run.supersedes = run.terminal_seq
    if run.outputs_ref is None or run.attempt != moved.attempt:
        run.outputs_ref = outputs.prefix_of(work.store.policy.bucket, run.run_id, run.attempt)
    run.seq += 1
    if ended:
        run.terminal_seq = run.seq
    run.said_progress_n, run.said_progress_at = run.progress_n, work.now
    work.publish(snapshot(run), cause=cause)
    if changed:
        _look_after(run, moved, work)
        _record_move(run, moved, work, cause)
    return True


def _look_after(run: Run, moved: Moved, work: Tracking) -> None:
    """What its new state asks for: wait for the seal, look again after the end, no longer wait for a cancel."""
    waiting = run.sub_state == SubState.WAITING_OUTPUTS
    if waiting:
        work.schedule(SEAL, str(run.run_id), work.now + timedelta(seconds=work.store.policy.seal_seconds))
    elif moved.sub_state == SubState.WAITING_OUTPUTS:
        work.unschedule(SEAL, str(run.run_id))
    if run.status in _ENDS:
        run.ended_seen_at, run.rechecks, run.settled = work.now, 0, run.orchestrator_run_id is None
        run.cancel_unconfirmed_at = None
        if run.cancel_requested_at is not None:
            work.unschedule(CANCEL_UNCONFIRMED, str(run.run_id))
    else:
        run.ended_seen_at, run.rechecks, run.settled = None, 0, False


def tell_progress(run: Run, work: Tracking, cause: Cause = None) -> None:
    """Publish how far an open run is, unless that was done a moment ago: then a due row brings the last value."""
    due_at = None
    if run.said_progress_at is not None:
        due_at = run.said_progress_at + timedelta(seconds=work.store.policy.progress_interval_seconds)
    if due_at is not None and due_at > work.now:
        work.schedule(PROGRESS, str(run.run_id), due_at)
        return
    run.seq += 1
    run.said_progress_n, run.said_progress_at = run.progress_n, work.now
    work.publish(
        _progressed(
            tenant=run.tenant, run_id=run.run_id, instance_id=run.instance_id, status=_STATUS[run.status],
            attempt=run.attempt, progress_pct=run.progress_pct, step=run.step, detail=run.progress_detail,
            occurred_at=run.progress_at or work.now, seq=run.seq,
        ),
        cause=cause,
    )  # fmt: skip
    decile = int((run.progress_pct or 0) // 10)
    if decile > run.said_decile:
        run.said_decile = decile
        payload = {"progress_pct": run.progress_pct, "step": run.step, "attempt": run.attempt}
        _record(run, "progress", payload, work, cause, once=f"{run.attempt}/{decile}")


def snapshot(run: Run) -> Draft:
    """The whole run as it is published."""
    assert run.occurred_at is not None
    return _status_changed(
        tenant=run.tenant,
        run_id=run.run_id,
        run_type=_RUN_TYPE[run.run_type],
        instance_id=run.instance_id,
        instance_name=run.instance_name,
        flow_kind=_FLOW_KIND[run.flow_kind],
        trigger=_TRIGGER[run.trigger],
        mode=_MODE[run.mode],
        parameters=_object(run.parameters),
        actor=run.actor,
        orchestrator_run_id=run.orchestrator_run_id,
        status=_STATUS[run.status],
        previous_status=_STATUS[run.previous_status] if run.previous_status is not None else None,
        sub_state=_SUB_STATE[run.sub_state],
        attempt=run.attempt,
        progress_pct=run.progress_pct,
        step=run.step,
        started_at=run.started_at,
        ended_at=run.ended_at,
        duration_seconds=run.duration_seconds,
        metrics=_object(run.metrics_json),
        artifacts=_object(run.artifacts_ref),
        outputs_ref=run.outputs_ref,
        outputs=_OUTPUTS[run.outputs],
        input_versions=_INPUTS.validate_json(run.input_versions) if run.input_versions != "{}" else {},
        output_digest=run.output_digest,
        schema_digest=run.schema_digest,
        last_data_date=run.last_data_date,
        rows_processed=run.rows_processed,
        error=RunError.model_validate_json(run.error) if run.error is not None else None,
        cancel_requested_at=shown_cancel_request(run) if run.cancel_requested_at is not None else None,
        supersedes=run.supersedes,
        occurred_at=run.occurred_at,
        seq=run.seq,
    )


def _object(text: str) -> dict[str, Any]:
    return from_json(text) if text != "{}" else {}


# -- activities --------------------------------------------------------------------------------------------------------


def record_created(run: Run, work: Tracking, cause: Cause = None) -> None:
    payload = {"trigger": run.trigger, "mode": run.mode, "flow_kind": run.flow_kind, "instance_name": run.instance_name}
    _record(run, "created", payload, work, cause, once="")


def _record_move(run: Run, moved: Moved, work: Tracking, cause: Cause) -> None:
    """`*_run.completed` is lineage's to say, for only it knows what it made stale."""
    anew = moved.attempt != run.attempt
    began = run.started_at is not None and (moved.status == RunStatus.PENDING or anew or moved.status in _ENDS)
    if began and (run.status == RunStatus.RUNNING or moved.status == RunStatus.PENDING):
        _record(run, "started", {"attempt": run.attempt}, work, cause, once=str(run.attempt))
    if run.status == moved.status and not anew:
        return
    if run.status == RunStatus.FAILED:
        error = from_json(run.error) if run.error else {}
        payload = {
            "error_type": error.get("type"),
            "message": str(error.get("message", ""))[:ACTIVITY_MESSAGE_LIMIT],
            "code": error.get("code"),
            "sub_state": run.sub_state,
            "attempt": run.attempt,
        }
        _record(run, "failed", payload, work, cause, once=f"{run.attempt}/{run.state_id}")
    elif run.status == RunStatus.CANCELLED:
        _record(run, "cancelled", {"attempt": run.attempt}, work, cause, once=f"{run.attempt}/{run.state_id}")


def record_alerts(run: Run, work: Tracking, cause: Cause) -> None:
    """A monitoring run found something above its threshold; said once per attempt and set of metrics."""
    metrics = _object(run.metrics_json)
    found = outputs.alerts_of(metrics)
    reported = metrics.get("alerts") or []
    if found or reported:
        payload = {"above_threshold": found, "alerts": reported, "attempt": run.attempt}
        _record(run, "alerted", payload, work, cause, once=f"{run.attempt}/{','.join(sorted(found))}/{len(reported)}")


def record_escalation(run: Run, trouble: Trouble, work: Tracking) -> None:
    """A run goes on only if a person looks: said once per attempt, with what to do."""
    payload = {
        "code": trouble.value, "sub_state": run.sub_state, "to_do": TO_DO[trouble], "attempt": run.attempt,
        "orchestrator_run_id": str(run.orchestrator_run_id) if run.orchestrator_run_id is not None else None,
    }  # fmt: skip
    _record(run, "escalated", payload, work, None, once=f"{run.attempt}/{trouble}")


def refuse_cancel(
    run: Run, actor: str | None, asked_at: datetime, work: Tracking, cause: Cause = None, *, because: str | None = None
) -> None:
    """A cancel that came after the end; nothing changes. `because`: Prefect knew that before we did."""
    message = f"the run is {run.status} since {run.ended_at}; a cancel is possible while it is pending or running"
    if because is not None and run.status not in _ENDS:
        message = f"the run has ended in Prefect: {because}"
    work.publish(
        _activity(
            activity_id=uuid5(RUNTIDE, f"{run.run_id}/cancel/{asked_at}/{Code.TOO_LATE}"), tenant=run.tenant,
            actor=actor, resource_type=_PREFIX[run.run_type], resource_id=str(run.run_id), action="command.refused",
            payload={"code": Code.TOO_LATE.value, "message": message, "run_id": str(run.run_id)},
            correlation_id=cause.correlation_id if cause else None, occurred_at=work.now,
        ),
        cause=cause,
    )  # fmt: skip


def _record(run: Run, verb: str, payload: dict[str, Any], work: Tracking, cause: Cause, *, once: str) -> None:
    action = f"{_PREFIX[run.run_type]}.{verb}"
    identity: UUID = uuid5(RUNTIDE, f"{run.run_id}/{action}/{once}")
    work.publish(
        _activity(
            activity_id=identity, tenant=run.tenant, actor=run.actor, resource_type=_PREFIX[run.run_type],
            resource_id=str(run.run_id), action=action,
            payload={"instance_id": str(run.instance_id), "instance_name": run.instance_name} | payload,
            correlation_id=cause.correlation_id if cause else None, occurred_at=run.occurred_at or work.now,
        ),
        cause=cause,
    )  # fmt: skip
