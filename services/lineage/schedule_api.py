"""`/v1/schedules`: when flows run by themselves, what became of the last instant, and a switch to stop one."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from itertools import islice
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from runtide_schemas.vocabulary import Code, FlowKind, flow_kind_of, instance_id_of
from sqlalchemy import RowMapping

from services.lineage import policies, schedules
from services.lineage.domain.calendar import Calendar
from services.lineage.domain.schedule import doubt, instants, schedule_of
from services.lineage.schedule_store import kept_of
from services.lineage.store import LineageStore
from shared.auth import Caller
from shared.http import Ctx, Problem, not_found, requires
from shared.messaging.work import Work

router = APIRouter(prefix="/v1/schedules", tags=["schedules"])
Reader = Annotated[Caller, Depends(requires("instances:read"))]
Writer = Annotated[Caller, Depends(requires("instances:write"))]


@router.get("")
async def list_schedules(
    ctx: Ctx, caller: Reader, instance: str | None = None, count: Annotated[int, Query(ge=1, le=100)] = 3
) -> dict[str, Any]:
    """Each schedule, with its next instants (`count`)."""
    now = ctx.clock()
    only = UUID(str(instance_id_of(caller.tenant, instance))) if instance else None
    async with ctx.reading() as store:
        found = await store.schedules.shown(caller.tenant, only)
        calendars = await store.calendars()
    return {"schedules": [_shown(row, calendars, now, count) for row in found], "as_of": now}


@router.post("/{instance}/pause")
async def pause(ctx: Ctx, caller: Writer, instance: str, flow_kind: str | None = None) -> dict[str, Any]:
    """Nothing of it is asked for until it is resumed."""
    return await _switch(ctx, caller, instance, flow_kind, pausing=True)


@router.post("/{instance}/resume")
async def resume(ctx: Ctx, caller: Writer, instance: str, flow_kind: str | None = None) -> dict[str, Any]:
    """It goes on with its next instant."""
    return await _switch(ctx, caller, instance, flow_kind, pausing=False)


async def _switch(ctx: Ctx, caller: Caller, instance: str, flow_kind: str | None, *, pausing: bool) -> dict[str, Any]:
    async with ctx.unit_of_work() as work:
        await work.store.lock([caller.tenant])
        kept = kept_of(row := await _one(work, caller, instance, flow_kind))
        turned = schedules.pause if pausing else schedules.resume
        await turned(kept, row["name"], caller.actor, work)
    async with ctx.reading() as store:
        found = await store.schedules.shown(caller.tenant, kept.flow.instance_id)
        calendars = await store.calendars()
    now = ctx.clock()
    [shown] = [_shown(one, calendars, now, 3) for one in found if one["kind"] == kept.flow.kind]
    return {**shown, "as_of": now}


async def _one(work: Work[LineageStore], caller: Caller, instance: str, flow_kind: str | None) -> RowMapping:
    found = await work.store.schedules.shown(caller.tenant, UUID(str(instance_id_of(caller.tenant, instance))))
    if not found:
        raise not_found("schedule of instance", instance)
    kinds = ", ".join(row["kind"] for row in found)
    if flow_kind is None and len(found) > 1:
        raise Problem(422, Code.UNKNOWN_FLOW, "Which flow?", f"{instance} has several schedules, name one: {kinds}")
    named = [row for row in found if flow_kind is None or row["kind"] == _kind(flow_kind)]
    if not named:
        said = f"{instance} has no schedule of {flow_kind!r}; it has: {kinds}"
        raise Problem(404, Code.UNKNOWN_FLOW, "No such schedule", said)
    return named[0]


def _kind(text: str) -> FlowKind:
    try:
        return flow_kind_of(text)
    except ValueError as error:
        raise Problem(422, Code.UNKNOWN_FLOW, "Unknown flow kind", str(error)) from None


def _shown(row: RowMapping, calendars: Mapping[str, Calendar], now: datetime, count: int) -> dict[str, Any]:
    kept = kept_of(row)
    schedule, spec = schedule_of(kept.definition), policies.schedule_spec(kept.definition)
    assert spec is not None
    stopped = kept.paused_at is not None or row["retired_at"] is not None
    coming = [] if stopped else islice(instants(schedule, calendars, now), count)
    return {
        "instance_id": kept.flow.instance_id,
        "name": row["name"],
        "flow_kind": kept.flow.kind,
        "deployment": row["deployment"],
        "status": "retired" if row["retired_at"] else "paused" if kept.paused_at else "active",
        "schedule": spec.model_dump(mode="json"),
        "next": [{"at": one.at, "data_date": one.day} for one in coming],
        "doubt": None if stopped else doubt(schedule, calendars, now),
        "paused_at": kept.paused_at,
        "paused_by": kept.paused_by,
        "last": None
        if kept.last_run_id is None
        else {
            "planned_for": kept.last_planned_for,
            "run_id": kept.last_run_id,
            "status": row["last_ended_as"] or row["last_state"],
        },
        "missed_at": kept.missed_at,
    }
