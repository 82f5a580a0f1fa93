"""`/v1/requests`: the same wishes over HTTP, ending in the same functions as those from Kafka."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from itertools import zip_longest
from typing import Annotated, Any
from uuid import UUID, uuid4

from fastapi import APIRouter, Depends, Header, Query, Response
from pydantic import BaseModel, ConfigDict, Field
from runtide_schemas.commands import InvalidSubmission, read_submission
from runtide_schemas.requests import RequestStatusChanged
from runtide_schemas.vocabulary import Code, RequestStatus, instance_id_of, run_id_of

from services.submission.announcing import announce, announce_with_answers, refuse, snapshot
from services.submission.domain import request as requests
from services.submission.domain.request import Refusal, Request
from services.submission.handlers import asked_by, save
from services.submission.store import SubmissionStore
from shared.auth import Caller
from shared.http import Ctx, Problem, cursor_after, not_found, read_cursor, requires
from shared.service import Context

router = APIRouter(prefix="/v1/requests", tags=["requests"])
Writer = Annotated[Caller, Depends(requires("requests:write"))]
Reader = Annotated[Caller, Depends(requires("runs:read"))]
POLL_SECONDS = 0.05


class BackfillBody(BaseModel):
    """One child per session, day, week or month from `start` to `end`, both included."""

    model_config = ConfigDict(extra="forbid")

    start: str
    end: str
    step: str | None = None
    max_open: int | None = None
    order: str | None = None
    parameter: str | None = None
    on_failure: str | None = None


class SubmitBody(BaseModel):
    """As `run.submit`, without type, tenant and actor, which the token says."""

    model_config = ConfigDict(extra="forbid")

    instance: str = Field(description="name or id")
    flow_kind: str | None = None
    mode: str = "incremental"
    parameters: dict[str, Any] = Field(default_factory=dict)
    gate: str = "strict"
    skip_if_ready: bool = False
    wait_until: str | None = None
    backfill: BackfillBody | None = None
    plan_id: str | None = None
    command_id: str | None = None


class CancelBody(BaseModel):
    model_config = ConfigDict(extra="forbid")

    reason: str | None = None


@router.post("", status_code=201)
async def submit(
    ctx: Ctx, caller: Writer, body: SubmitBody, response: Response,
    wait_seconds: Annotated[float, Query(ge=0, le=60)] = 5,
    idempotency_key: Annotated[str | None, Header(max_length=200)] = None,
) -> dict[str, Any]:  # fmt: skip
    """Ask for a run, and wait a little for the decision."""
    command_id = idempotency_key or body.command_id or str(uuid4())
    message = {**body.model_dump(exclude_none=True), "type": "run.submit", "tenant": caller.tenant,
               "actor": caller.actor, "command_id": command_id}  # fmt: skip
    try:
        submission = read_submission(message)
    except ValueError as error:
        raise Problem(422, Code.INVALID_COMMAND, "The request is not valid", str(error)) from None
    if isinstance(submission, InvalidSubmission):
        raise Problem(422, Code.INVALID_COMMAND, "The request is not valid", submission.reason)
    run_id = UUID(str(run_id_of(caller.tenant, command_id)))
    key = (caller.tenant, run_id)
    async with ctx.unit_of_work() as work:
        before = (await work.store.open([key], now=work.now))[key]
        after = requests.submit(before, asked_by(submission, command_id=command_id))
        if isinstance(after, Request):
            await save({key: announce_with_answers(after, work)}, work)
        elif isinstance(after, Refusal):
            refuse(before, submission, command_id, after, work, cause=None)
    if isinstance(after, Refusal):
        raise Problem(409, after.code, "The command id is taken", after.message, run_id=str(run_id))
    at, request = await _decided(ctx, key, wait_seconds)
    response.status_code = _status_code(request, repeated=not isinstance(after, Request))
    return {**_shown(request, at), "as_of": ctx.clock()}


@router.get("")
async def listing(
    ctx: Ctx, caller: Reader, status: Annotated[list[str] | None, Query()] = None, instance: str | None = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50, cursor: str | None = None, parent_run_id: UUID | None = None,
) -> dict[str, Any]:  # fmt: skip
    """The newest first. `status` may be given several times, or with commas; `parent_run_id`: those that lineage asked
    for that one.
    """
    statuses = [part for given in status or [] for part in given.split(",") if part]
    unknown = sorted(set(statuses) - set(RequestStatus))
    if unknown:
        raise Problem(422, Code.INVALID_COMMAND, "Unknown status", f"{unknown}; allowed: {', '.join(RequestStatus)}")
    now = ctx.clock()
    async with ctx.reading() as store:
        found = await store.page(
            caller.tenant, statuses=statuses, limit=limit, after=read_cursor(cursor),
            instance_id=UUID(str(instance_id_of(caller.tenant, instance))) if instance else None,
            parent_run_id=parent_run_id,
        )  # fmt: skip
    following = cursor_after(found[-1][0], found[-1][2].run_id) if len(found) == limit else None
    return {"requests": [_shown(request, at) for _, at, request in found], "cursor": following, "as_of": now}


@router.get("/{run_id}")
async def one(ctx: Ctx, caller: Reader, run_id: UUID) -> dict[str, Any]:
    """The request. `attempts`: all that did this run over, and what they did over; empty where it is the only one."""
    async with ctx.reading() as store:
        found = await store.one(caller.tenant, run_id)
        if found is None:
            raise not_found("request", run_id)
        at, request = found
        first = UUID(request.retries["first_run_id"]) if request.retries else run_id
        chain = await store.chain(caller.tenant, first)
    return {**_shown(request, at), "attempts": attempts_of(chain), "as_of": ctx.clock()}


@router.post("/{run_id}/cancel", status_code=202)
async def cancel(ctx: Ctx, caller: Writer, run_id: UUID, body: CancelBody | None = None) -> dict[str, Any]:
    """Asked, not done: the snapshot says when Prefect has confirmed it."""
    key = (caller.tenant, run_id)
    async with ctx.unit_of_work() as work:
        held = (await work.store.load([key])).get(key)
        if held is None or held.seq == 0:
            raise not_found("request", run_id)
        launching = bool(await work.store.launching([key]))
        after = requests.cancel(held, at=work.now, launching=launching, reason=body.reason if body else None)
        if isinstance(after, Request):
            await work.store.save([after], now=work.now)
            announce(after, work)
            if after.status is RequestStatus.CANCELLED:
                await work.store.drop_launches([key])
    if isinstance(after, Refusal):
        raise Problem(409, after.code, "Too late", after.message, run_id=str(run_id))
    at, request = await _decided(ctx, key, 0)
    return {**_shown(request, at), "as_of": ctx.clock()}


async def _decided(
    ctx: Context[SubmissionStore], key: tuple[str, UUID], wait_seconds: float
) -> tuple[datetime, Request]:
    """When it changed last, and the request, as soon as it is decided or so long has passed."""
    deadline = asyncio.get_running_loop().time() + wait_seconds
    while True:
        async with ctx.reading() as store:
            found = await store.one(*key)
        assert found is not None
        if found[1].status is not RequestStatus.REQUESTED or asyncio.get_running_loop().time() >= deadline:
            return found
        await asyncio.sleep(POLL_SECONDS)


def _status_code(request: Request, *, repeated: bool) -> int:
    if request.status is RequestStatus.REFUSED:
        code = request.code or Code.INVALID_COMMAND
        status = {Code.UPSTREAM_NOT_READY: 409, Code.UPSTREAM_FAILED: 409, Code.INSTANCE_RETIRED: 409,
                  Code.PLAN_CHANGED: 409, Code.UNKNOWN_INSTANCE: 404, Code.UNKNOWN_FLOW: 404,
                  Code.UNKNOWN_PLAN: 404}.get(code, 422)  # fmt: skip
        raise Problem(
            status, code, "The request was refused", request.message or "", run_id=str(request.run_id),
            blocking_resources=list(request.blockers), blockers_total=request.blockers_total,
        )  # fmt: skip
    if repeated or request.status.is_end:
        return 200
    return 202 if request.status in (RequestStatus.REQUESTED, RequestStatus.PARKED) else 201


def attempts_of(chain: Sequence[Request]) -> list[dict[str, Any]]:
    """A chain of retries in their order, each with the run that it does over and why; nothing where there is none."""
    return [
        {
            "number": request.retries["number"] if request.retries else 0,
            "run_id": request.run_id,
            "retries": request.retries["run_id"] if request.retries else None,
            "retried_by": following.run_id if following else None,
            "reason": request.retries["reason"] if request.retries else None,
            "not_before": request.retries["not_before"] if request.retries else None,
            "status": request.status,
        }
        for request, following in zip_longest(chain, chain[1:])
        if len(chain) > 1
    ]


def _shown(request: Request, at: datetime) -> dict[str, Any]:
    said: RequestStatusChanged = snapshot(request, at=at)
    return {**said.model_dump(mode="json"), "blocking_resources": list(request.blockers)}
