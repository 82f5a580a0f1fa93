"""`/v1/instances`, `/v1/lineage`, `/v1/plan`, `/v1/why`, `/v1/decisions`: what there is, who reads whom, what a run
would do, and why it is so.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID, uuid4

import msgspec
from fastapi import APIRouter, Depends, Path, Query, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError
from runtide_schemas import instances as wire
from runtide_schemas.message import reason_of
from runtide_schemas.vocabulary import FLOW_KIND_ALIASES, NAME_PATTERN, Code, FlowKind, InstanceType, instance_id_of

from services.lineage import handlers
from services.lineage.domain import plan, recursive, view
from services.lineage.domain.definition import Rejected
from services.lineage.domain.graph import FlowKey
from services.lineage.domain.world import Instance, World
from services.lineage.explaining import Explaining
from services.lineage.planning import Stored, shown
from services.lineage.reading import Reading
from services.lineage.snapshots import snapshot_draft
from shared.auth import Caller
from shared.http import Ctx, Problem, not_found, requires

router = APIRouter(prefix="/v1", tags=["lineage"])
Reader = Annotated[Caller, Depends(requires("instances:read"))]
InstanceName = Annotated[str, Path(pattern=NAME_PATTERN, description="A name or an id")]
Writer = Annotated[Caller, Depends(requires("instances:write"))]
_encode = msgspec.json.Encoder().encode


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ScheduleBody(_Strict):
    """One of cron, interval and sessions."""

    cron: str | None = None
    interval: str | None = None
    anchor: str | None = None
    sessions: str | None = None
    at: str | None = None
    days_later: int = 0
    timezone: str | None = None
    gate: str = "wait"
    skip_if_ready: bool = False
    missed: str = "run_once"
    parameter: str | None = None
    parameters: dict[str, Any] = Field(default={})


class RetryBody(_Strict):
    max: int
    backoff: str = "PT1M"
    backoff_max: str = "PT1H"
    on: list[str] = Field(default=["failed", "timed_out", "infrastructure"])


class FlowBody(_Strict):
    kind: str
    deployment: str
    on_upstream: str = "notify"
    reports: str = "expected"
    max_open_runs: int | None = None
    max_wait: str | None = None
    min_interval: str | None = None
    schedule: ScheduleBody | None = None
    retry: RetryBody | None = None


class UpstreamBody(_Strict):
    instance: str
    role: str | None = None
    kind: str = "data_dependency"
    flow_kind: str | None = None
    flows: list[str] | None = None
    optional: bool = False
    max_lag: int | None = None


class FrequencyBody(_Strict):
    frequency: str
    business_days_only: bool = False
    calendar: str | None = None
    grace_period_days: int = 0
    day_of_week: int | None = None
    day_of_month: int | None = None
    available_at: str | None = None
    timezone: str | None = None
    publication_lag: int | None = None


class DelayBody(_Strict):
    """As `instance.delay_source`: `until` null: until the data has caught up; a time that is over: no longer."""

    until: AwareDatetime | None = None
    reason: str | None = None


class RegisterBody(_Strict):
    """As `instance.register`, without type, tenant, name and actor; what is absent stays as it is."""

    instance_id: str | None = None
    instance_type: InstanceType | None = None
    flows: list[FlowBody] | None = Field(default=None)
    upstreams: list[UpstreamBody] | None = Field(default=None)
    update_frequency: FrequencyBody | None = None
    owner: str | None = None
    status_order: list[str] | None = None


@router.put("/instances/{name}")
async def put_instance(ctx: Ctx, caller: Writer, name: str, body: RegisterBody, response: Response) -> dict[str, Any]:
    """Register, or register again. 201 where it is new."""
    command = _command(caller, name, body)
    async with ctx.unit_of_work() as work:
        answer = await handlers.register(command, work)
        if isinstance(answer, Rejected):
            status = 404 if answer.code is Code.UNKNOWN_INSTANCE else 422
            raise Problem(status, answer.code, "The instance can not be registered so", answer.message)
        snapshot, is_new = answer
    response.status_code = 201 if is_new else 200
    return {**snapshot.model_dump(mode="json"), "as_of": work.now}


def _command(caller: Caller, name: str, body: RegisterBody) -> wire.RegisterInstance:
    said = body.model_dump(mode="json", exclude_unset=True)
    said |= {"type": "instance.register", "tenant": caller.tenant, "name": name, "actor": caller.actor}
    try:
        return wire.RegisterInstance.model_validate_json(json.dumps(said))
    except ValidationError as error:
        raise Problem(422, Code.INVALID_COMMAND, "The registration is not valid", reason_of(error)) from None


@router.post("/instances/{instance}/delay")
async def post_delay(ctx: Ctx, caller: Writer, instance: InstanceName, body: DelayBody) -> dict[str, Any]:
    """Its source is late. While the data has not caught up, it is shown as delayed instead of stale."""
    command = wire.DelaySource(
        tenant=caller.tenant, instance=instance, actor=caller.actor, until=body.until, reason=body.reason
    )
    async with ctx.unit_of_work() as work:
        answer = await handlers.delay_source(command, work)
        if isinstance(answer, Rejected):
            if answer.code is Code.UNKNOWN_INSTANCE:
                raise not_found("instance", instance)
            raise Problem(409, answer.code, "The source can not be delayed", answer.message)
    return {**answer.model_dump(mode="json"), "as_of": work.now}


@router.get("/instances")
async def list_instances(
    ctx: Ctx,
    caller: Reader,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    cursor: str | None = None,
    instance_type: InstanceType | None = None,
    status: str | None = None,
) -> Response:
    """By name; the cursor is the last name seen."""
    world, now = await _world(ctx, caller)
    chosen = [
        instance
        for instance in sorted(world.instances.values(), key=lambda one: one.name)
        if (cursor is None or instance.name > cursor)
        and instance_type in (None, instance.instance_type)
        and (status is None or status == instance.status)
    ]
    page = chosen[:limit]
    return _said({
        "instances": [msgspec.Raw(snapshot_draft(one, world).payload) for one in page],
        "cursor": page[-1].name if len(chosen) > limit else None,
        "as_of": now,
    })  # fmt: skip


@router.get("/instances/{instance}")
async def get_instance(ctx: Ctx, caller: Reader, instance: str) -> Response:
    """By name or id: the last snapshot."""
    world, now = await _world(ctx, caller)
    payload = snapshot_draft(_known(world, caller, instance), world).payload
    return Response(payload[:-1] + b',"as_of":' + _encode(now) + b"}", media_type="application/json")


@router.get("/lineage/{instance}")
async def get_lineage(
    ctx: Ctx,
    caller: Reader,
    instance: str,
    direction: Literal["both", "upstream", "downstream"] = "both",
    max_depth: Annotated[int, Query(ge=0, le=1000)] = 1,
) -> Response:
    """The graph around an instance, laid out: `layer` counts from the left, `order` from the top of a layer."""
    world, now = await _world(ctx, caller)
    center = _known(world, caller, instance)
    nodes, edges = view.around(world, center.instance_id, direction=direction, max_depth=max_depth)
    body = {
        "center_id": center.instance_id,
        "direction": direction,
        "max_depth": max_depth,
        "nodes": [
            {
                "id": node.instance_id,
                "name": node.name,
                "type": node.instance_type,
                "status": node.status,
                "direction": node.direction,
                "layer": node.layer,
                "order": node.order,
            }
            for node in nodes
        ],
        "edges": [{"source": edge.source, "target": edge.target, "kind": edge.kind} for edge in edges],
        "as_of": now,
    }
    return _said(body)


class PlanBody(_Strict):
    """What a recursive request would ask for."""

    instance: str = Field(description="name or id")
    flow_kind: str | None = None
    skip_if_ready: bool = False


@router.post("/plan", status_code=201)
async def post_plan(ctx: Ctx, caller: Reader, body: PlanBody) -> dict[str, Any]:
    """What a recursive request would do now: who runs in which order, who does not and why, and what follows. It is
    kept, so that a request with its `plan_id` runs this or nothing.
    """
    async with ctx.reading() as store:
        loaded = await store.read(caller.tenant)
    world, now = loaded.world, ctx.clock()
    known = _known(world, caller, body.instance)
    target = _target_of(known, _flow_of(known, body.flow_kind))
    others = recursive.coming(world, loaded.requests.values())
    async with ctx.engine.connect() as conn:
        seconds = await Reading(conn).seconds(caller.tenant, [target, *world.graph.above(target)])
    made = plan.make(world, target, skip_if_ready=body.skip_if_ready, others=others, seconds=seconds)
    row = Stored(uuid4(), caller.tenant, caller.actor, now, known, body.skip_if_ready, made).row()
    async with ctx.unit_of_work() as work:
        await work.store.save_plan(row)
    return shown(row)


@router.get("/plan/{plan_id}")
async def get_plan(ctx: Ctx, caller: Reader, plan_id: UUID) -> dict[str, Any]:
    """A plan as it was shown."""
    async with ctx.engine.connect() as conn:
        row = await Reading(conn).plan(caller.tenant, plan_id)
    if row is None:
        raise not_found("plan", plan_id)
    return shown(row)


@router.get("/why/{instance}")
async def get_why(
    ctx: Ctx, caller: Reader, instance: str, at: AwareDatetime | None = None, flow_kind: str | None = None
) -> dict[str, Any]:
    """The chain of events from the root cause to what the instance shows, now or at a past instant."""
    world, now = await _world(ctx, caller)
    known = _known(world, caller, instance)
    kind = _flow_of(known, flow_kind)
    async with ctx.engine.connect() as conn:
        explaining = Explaining(Reading(conn), world, min(at, now) if at else now, is_past=at is not None and at < now)
        return {**await explaining.explain(known, kind), "as_of": now}


@router.get("/decisions/{run_id}")
async def get_decisions(ctx: Ctx, caller: Reader, run_id: UUID) -> dict[str, Any]:
    """Every answer of the gate to a request, oldest first: what was said, and what was seen when it was said."""
    async with ctx.engine.connect() as conn:
        found = await Reading(conn).decisions(caller.tenant, run_id)
    if not found:
        raise not_found("decision on request", run_id)
    return {"run_id": run_id, "decisions": found, "as_of": ctx.clock()}


def _known(world: World, caller: Caller, instance: str) -> Instance:
    known = world.instances.get(instance_id_of(caller.tenant, instance))
    if known is None:
        raise not_found("instance", instance)
    return known


def _target_of(instance: Instance, kind: FlowKind | None) -> FlowKey:
    """The flow that a plan is of: the named one, else the only one."""
    if instance.retired_at is not None:
        said = f"{instance.name} is retired; registering it again revives it"
        raise Problem(409, Code.INSTANCE_RETIRED, "The instance is retired", said)
    if kind is None and len(instance.flows) > 1:
        has = ", ".join(flow.kind for flow in instance.flows)
        raise Problem(422, Code.UNKNOWN_FLOW, "Which flow?", f"{instance.name} has several flows, name one: {has}")
    return FlowKey(instance.instance_id, kind or instance.flows[0].kind)


def _flow_of(instance: Instance, text: str | None) -> FlowKind | None:
    """The flow that is meant, by its short word too; None where none is named."""
    if text is None:
        return None
    flow = instance.flow(next((kind for kind in FlowKind if FLOW_KIND_ALIASES.get(text, text) == kind), None))
    if flow is None:
        has = ", ".join(flow.kind for flow in instance.flows)
        raise Problem(404, Code.UNKNOWN_FLOW, "No such flow", f"{instance.name} has no flow {text!r}; it has: {has}")
    return flow.kind


async def _world(ctx: Ctx, caller: Caller) -> tuple[World, datetime]:
    async with ctx.reading() as store:
        return await store.present(caller.tenant), ctx.clock()


def _said(body: dict[str, Any]) -> Response:
    """Written at once: of a thousand nodes FastAPI takes 60 ms."""
    return Response(_encode(body), media_type="application/json")
