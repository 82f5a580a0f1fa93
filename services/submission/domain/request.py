"""A request: somebody's wish for a run, from `requested` to `launched` or an end. Its id is the run's id.

Every change is a pure function of the request as it stands; the caller saves what comes back. The fact not to break:
`seq` grows by one with every change that is announced, and a request that ended never changes its status again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from runtide_schemas.vocabulary import Code, FlowKind, Gate, Mode, RequestStatus, RunType, Trigger

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Request:
    """The whole request. `seq` 0: the row was opened and nothing has been said yet.

    `digest` is of the body that made it; None: only a cancel has named this id so far.
    `ahead`: lineage's answers, as they were said, that came before the submission (a restored database reads again).
    """

    tenant: str
    run_id: UUID
    seq: int = 0
    digest: str | None = None
    status: RequestStatus = RequestStatus.REQUESTED
    previous_status: RequestStatus | None = None
    decision_number: int = 0
    command_id: str | None = None
    instance_id: UUID | None = None
    instance_name: str | None = None
    run_type: RunType | None = None
    flow_kind: FlowKind | None = None
    trigger: Trigger = Trigger.MANUAL
    mode: Mode | None = None
    parameters: Json = field(default_factory=dict)
    actor: str | None = None
    gate: Gate | None = None
    skip_if_ready: bool = False
    wait_until: datetime | None = None
    blockers: Sequence[Json] = ()
    blockers_total: int = 0
    code: Code | None = None
    message: str | None = None
    warning: str | None = None
    input_versions: Json = field(default_factory=dict)
    deployment: str | None = None
    orchestrator_run_id: UUID | None = None
    cancel_requested_at: datetime | None = None
    ahead: Sequence[Json] = ()
    parent_run_id: UUID | None = None
    backfill: Json | None = None
    progress: Json | None = None
    plan_id: UUID | None = None
    on_behalf_of: str | None = None
    planned_for: datetime | None = None
    retries: Json | None = None

    @property
    def is_waiting(self) -> bool:
        """Still lineage's to decide."""
        return self.seq > 0 and self.status in (RequestStatus.REQUESTED, RequestStatus.PARKED)

    def moved(self, status: RequestStatus, **changes: Any) -> Request:
        """The next snapshot."""
        return replace(
            self, status=status, previous_status=self.status if self.seq else None, seq=self.seq + 1, **changes
        )

    def noted(self, **changes: Any) -> Request:
        """The next snapshot, in the same status."""
        return self.moved(self.status, **changes)


@dataclass(frozen=True, slots=True)
class Asked:
    """A submission as it was read. `invalid` is the reason why it can only be refused."""

    command_id: str
    digest: str
    instance_id: UUID
    instance_name: str | None
    actor: str
    flow_kind: FlowKind | None = None
    trigger: Trigger = Trigger.MANUAL
    mode: Mode | None = None
    parameters: Json = field(default_factory=dict)
    gate: Gate | None = None
    skip_if_ready: bool = False
    wait_until: datetime | None = None
    parent_run_id: UUID | None = None
    backfill: Json | None = None
    plan_id: UUID | None = None
    on_behalf_of: str | None = None
    planned_for: datetime | None = None
    retries: Json | None = None
    invalid: str | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """A command that changes nothing, and why; the sender is told by an activity."""

    code: Code
    message: str


@dataclass(frozen=True, slots=True)
class Nothing:
    """Known already: nothing changes and nothing is said."""


def submit(request: Request, asked: Asked) -> Request | Refusal | Nothing:
    """What a submission makes of the request with its id."""
    if request.digest is not None:
        if request.digest == asked.digest:
            return Nothing()
        return Refusal(
            Code.COMMAND_CONFLICT,
            f"command {asked.command_id!r} was used before with another body; ask again under a new command_id",
        )
    known = replace(
        request, digest=asked.digest, command_id=asked.command_id, instance_id=asked.instance_id,
        instance_name=asked.instance_name, flow_kind=asked.flow_kind, trigger=asked.trigger, mode=asked.mode,
        parameters=asked.parameters, actor=asked.actor, gate=asked.gate, skip_if_ready=asked.skip_if_ready,
        wait_until=asked.wait_until, parent_run_id=asked.parent_run_id, backfill=asked.backfill,
        plan_id=asked.plan_id, on_behalf_of=asked.on_behalf_of, planned_for=asked.planned_for, retries=asked.retries,
    )  # fmt: skip
    if request.seq > 0:  # a cancel came first
        return known.noted(message="cancelled before it was submitted")
    if asked.invalid is not None:
        return known.moved(
            RequestStatus.REFUSED, code=Code.INVALID_COMMAND,
            message=f"{asked.invalid}. Ask again under a new command_id.",
        )  # fmt: skip
    return known.moved(RequestStatus.REQUESTED)


def cancel(request: Request, *, at: datetime, launching: bool, reason: str | None) -> Request | Refusal | Nothing:
    """What a cancel makes of it. `launching`: somebody is calling Prefect for it right now; that is finished first.

    A wish that was taken before is not refused, whatever came of it: it may be the same one, read again.
    """
    said = f"cancelled: {reason}" if reason else None
    if request.seq == 0:
        unknown = "nobody has asked for it yet; should a request come it will not run"
        return request.moved(
            RequestStatus.CANCELLED, cancel_requested_at=at, message=f"{said or 'cancelled'}; {unknown}"
        )
    if request.cancel_requested_at is not None:
        return Nothing()
    if request.status.is_end:
        return Refusal(Code.TOO_LATE, f"request {request.run_id} is {request.status} already; nothing changes")
    if request.status is RequestStatus.LAUNCHED or launching:
        return request.noted(cancel_requested_at=at, message=said)
    progress = {**request.progress, "next": None} if request.progress else None
    return request.moved(
        RequestStatus.CANCELLED, cancel_requested_at=at, message=said, blockers=(), blockers_total=0, progress=progress
    )


@dataclass(frozen=True, slots=True)
class Answer:
    """What lineage decided, numbered per request."""

    number: int
    status: RequestStatus
    instance_name: str | None = None
    run_type: RunType | None = None
    flow_kind: FlowKind | None = None
    deployment: str | None = None
    blockers: Sequence[Json] = ()
    blockers_total: int = 0
    code: Code | None = None
    message: str | None = None
    warning: str | None = None
    wait_until: datetime | None = None
    parameters: Json | None = None
    input_versions: Json = field(default_factory=dict)
    progress: Json | None = None


def keep(request: Request, said: Json) -> Request | Nothing:
    """Remember an answer to what nobody has asked for yet."""
    return Nothing() if said in request.ahead else replace(request, ahead=(*request.ahead, said))


def decide(request: Request, answer: Answer) -> Request | Nothing:
    """What an answer makes of it; an answer to what is no longer waiting, or that was read before, makes nothing."""
    if not request.is_waiting or answer.number <= request.decision_number:
        return Nothing()
    return request.moved(
        answer.status,
        decision_number=answer.number,
        instance_name=answer.instance_name or request.instance_name,
        run_type=answer.run_type or request.run_type,
        flow_kind=answer.flow_kind or request.flow_kind,
        deployment=answer.deployment or request.deployment,
        blockers=tuple(answer.blockers),
        blockers_total=answer.blockers_total,
        code=answer.code,
        message=answer.message,
        warning=answer.warning or request.warning,
        wait_until=answer.wait_until or request.wait_until,
        parameters=request.parameters if answer.parameters is None else answer.parameters,
        input_versions=answer.input_versions,
        progress=answer.progress or request.progress,
    )


def launched(request: Request, orchestrator_run_id: UUID) -> Request | Nothing:
    """Prefect has it."""
    if request.status is not RequestStatus.ADMITTED:
        return Nothing()
    message = request.message if request.cancel_requested_at else None
    return request.moved(RequestStatus.LAUNCHED, orchestrator_run_id=orchestrator_run_id, message=message, code=None)


def launch_failed(request: Request, code: Code, message: str) -> Request | Nothing:
    """Prefect will never take it."""
    if request.status is not RequestStatus.ADMITTED:
        return Nothing()
    return request.moved(RequestStatus.LAUNCH_FAILED, code=code, message=message)


def launch_waits(request: Request, why: str) -> Request | Nothing:
    """Prefect is away; said once, not at every try."""
    if request.status is not RequestStatus.ADMITTED or request.message == why:
        return Nothing()
    return request.noted(message=why)
