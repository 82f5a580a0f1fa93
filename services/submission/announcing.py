"""How submission's facts look on the wire: snapshots, activities, and lineage's answers read back."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID, uuid5

from runtide_schemas.activities import ActivityRecorded
from runtide_schemas.backfills import Backfill, Progress
from runtide_schemas.commands import CancelRun
from runtide_schemas.decisions import (
    Decision,
    RequestAdmitted,
    RequestExpired,
    RequestFinished,
    RequestParked,
    RequestRefused,
    RequestSkipped,
)
from runtide_schemas.policies import Retry
from runtide_schemas.requests import Blocker, InputVersion, RequestStatusChanged
from runtide_schemas.topics import REQUESTS_DECISIONS
from runtide_schemas.vocabulary import RUNTIDE, RequestStatus

from services.submission.domain.request import Answer, Refusal, Request, decide
from services.submission.store import SubmissionStore
from shared.messaging.decode import Received
from shared.messaging.work import Work

_STATUS_OF = {
    RequestAdmitted: RequestStatus.ADMITTED,
    RequestParked: RequestStatus.PARKED,
    RequestRefused: RequestStatus.REFUSED,
    RequestSkipped: RequestStatus.SKIPPED,
    RequestExpired: RequestStatus.EXPIRED,
}
_TOLD = (
    RequestStatus.PARKED,
    RequestStatus.REFUSED,
    RequestStatus.SKIPPED,
    RequestStatus.EXPIRED,
    RequestStatus.CANCELLED,
    RequestStatus.FINISHED,
    RequestStatus.FAILED,
)


def answer_of(decision: Decision) -> Answer:
    """The domain's form of what lineage decided."""
    said: Any = decision
    return Answer(
        number=decision.number,
        status=_status_of(decision),
        instance_name=decision.instance_name,
        run_type=decision.run_type,
        flow_kind=decision.flow_kind,
        deployment=decision.deployment,
        blockers=tuple(b.model_dump(mode="json") for b in getattr(said, "blockers", ())),
        blockers_total=getattr(said, "blockers_total", 0),
        code=getattr(said, "code", None),
        message=getattr(said, "message", None),
        warning=getattr(said, "warning", None),
        wait_until=getattr(said, "wait_until", None),
        parameters=said.parameters if isinstance(said, RequestAdmitted) else None,
        input_versions={
            role: version.model_dump(mode="json") for role, version in getattr(said, "input_versions", {}).items()
        },
        progress=said.progress.model_dump(mode="json") if getattr(said, "progress", None) else None,
    )


def _status_of(decision: Decision) -> RequestStatus:
    if isinstance(decision, RequestFinished):
        return RequestStatus.FINISHED if decision.code is None else RequestStatus.FAILED
    return _STATUS_OF[type(decision)]


def snapshot(request: Request, *, at: datetime) -> RequestStatusChanged:
    """The request as everybody sees it."""
    return RequestStatusChanged(
        tenant=request.tenant,
        run_id=request.run_id,
        command_id=request.command_id,
        instance_id=request.instance_id,
        instance_name=request.instance_name,
        run_type=request.run_type,
        flow_kind=request.flow_kind,
        trigger=request.trigger,
        mode=request.mode,
        parameters=dict(request.parameters),
        actor=request.actor,
        gate=request.gate,
        skip_if_ready=request.skip_if_ready,
        wait_until=request.wait_until,
        status=request.status,
        previous_status=request.previous_status,
        blockers=[Blocker.model_validate(blocker, strict=False) for blocker in request.blockers],
        blockers_total=request.blockers_total,
        code=request.code,
        message=request.message,
        warning=request.warning,
        input_versions={
            role: InputVersion.model_validate(version, strict=False) for role, version in request.input_versions.items()
        },
        deployment=request.deployment,
        orchestrator_run_id=request.orchestrator_run_id,
        cancel_requested_at=request.cancel_requested_at,
        parent_run_id=request.parent_run_id,
        backfill=Backfill.model_validate(request.backfill, strict=False) if request.backfill else None,
        progress=Progress.model_validate(request.progress, strict=False) if request.progress else None,
        plan_id=request.plan_id,
        on_behalf_of=request.on_behalf_of,
        planned_for=request.planned_for,
        retries=Retry.model_validate_json(json.dumps(request.retries)) if request.retries else None,
        occurred_at=at,
        seq=request.seq,
    )


def announce(request: Request, work: Work[SubmissionStore], *, cause: Received[Any] | None = None) -> None:
    """The snapshot, and the activity that people read."""
    work.publish(snapshot(request, at=work.now), cause=cause)
    released = request.status is RequestStatus.ADMITTED and request.previous_status is RequestStatus.PARKED
    if released or (request.status in _TOLD and request.previous_status is not request.status):
        action = "released" if released else request.status.value
        payload = {
            "instance": request.instance_name or (str(request.instance_id) if request.instance_id else None),
            "flow_kind": request.flow_kind,
            "code": request.code,
            "message": request.message,
            "blockers": [blocker["name"] for blocker in request.blockers],
        }
        _record(request, f"request.{action}", payload, f"{request.seq}", work, cause)


def announce_with_answers(
    request: Request, work: Work[SubmissionStore], *, cause: Received[Any] | None = None
) -> Request:
    """The same, and then each answer that came ahead of it; answers the request as it stands after them."""
    announce(request, work, cause=cause)
    decisions = [REQUESTS_DECISIONS.adapter.validate_json(json.dumps(said)) for said in request.ahead]
    request = replace(request, ahead=())
    for decision in sorted(decisions, key=lambda decision: decision.number):
        after = decide(request, answer_of(decision))
        if isinstance(after, Request):
            request = after
            announce(request, work, cause=cause)
    return request


def refuse(
    request: Request, command: Any, command_id: str, refusal: Refusal, work: Work[SubmissionStore],
    *, cause: Received[Any] | None,
) -> None:  # fmt: skip
    """Tell the sender of a command that changed nothing."""
    payload = {
        "command": "run.cancel" if isinstance(command, CancelRun) else "run.submit",
        "command_id": command.command_id or command_id,
        "code": refusal.code,
        "message": refusal.message,
        "sender": command.actor,
    }
    _record(request, "command.refused", payload, command_id, work, cause)


def _record(
    request: Request, action: str, payload: dict[str, Any], what: str, work: Work[SubmissionStore],
    cause: Received[Any] | None,
) -> None:  # fmt: skip
    work.publish(
        ActivityRecorded(
            activity_id=_activity_id(request.run_id, action, what),
            tenant=request.tenant,
            actor=request.actor or payload.get("sender"),
            resource_type="request",
            resource_id=str(request.run_id),
            action=action,
            payload=payload,
            correlation_id=cause.correlation_id if cause else None,
            occurred_at=work.now,
        ),
        cause=cause,
    )


def _activity_id(run_id: UUID, action: str, what: str) -> UUID:
    return uuid5(RUNTIDE, f"{action}/{run_id}/{what}")
