"""`/v1/restatements` and `/v1/instances/{name}/supersede`: what was declared wrong, what it taints, what repairs it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import date
from typing import Annotated, Any
from uuid import UUID, uuid4

from fastapi import APIRouter, Depends, Header, Query, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from runtide_schemas import instances as wire
from runtide_schemas.message import LIST_LIMIT, reason_of
from runtide_schemas.vocabulary import Code, instance_id_of

from services.lineage import handlers, restatement_words
from services.lineage.domain.definition import Rejected
from services.lineage.domain.repair import Judged, Repair, Rerun, Standing, repair
from services.lineage.domain.restatement import Path, Restatement
from services.lineage.domain.world import World
from services.lineage.restatement_pages import Marked
from services.lineage.restatement_store import Attempt
from services.lineage.store import LineageStore
from shared.auth import Caller
from shared.http import Ctx, Problem, cursor_after, not_found, read_cursor, requires

router = APIRouter(prefix="/v1", tags=["restatements"])
Reader = Annotated[Caller, Depends(requires("instances:read"))]
Writer = Annotated[Caller, Depends(requires("instances:write"))]
Limit = Annotated[int, Query(ge=1, le=500)]
_STATUS = {
    Code.UNKNOWN_INSTANCE: 404,
    Code.UNKNOWN_VERSION: 404,
    Code.COMMAND_CONFLICT: 409,
}


class SupersedeBody(BaseModel):
    """As `version.supersede`, without type, tenant, actor and instance."""

    model_config = ConfigDict(extra="forbid")

    first_data_date: date
    last_data_date: date
    reason: str = Field(min_length=1)
    flow_kind: str | None = None
    version_id: UUID | None = None
    command_id: str | None = None


class RepairBody(BaseModel):
    model_config = ConfigDict(extra="forbid")

    history: bool = False


@router.post("/instances/{name}/supersede", status_code=201)
async def supersede(
    ctx: Ctx, caller: Writer, name: str, body: SupersedeBody, response: Response,
    idempotency_key: Annotated[str | None, Header(max_length=200)] = None,
) -> dict[str, Any]:  # fmt: skip
    """Declare the data of these dates wrong. 200 where the same command has declared it before."""
    command_id = idempotency_key or body.command_id or str(uuid4())
    command = _command(caller, name, body)
    async with ctx.unit_of_work() as work:
        answer = await handlers.supersede(command, command_id, work)
        if isinstance(answer, Rejected):
            raise Problem(_STATUS.get(answer.code, 422), answer.code, "It can not be superseded so", answer.message)
        declared, is_new = answer
        counted = await work.store.restatement_pages.counted(declared.restatement_id)
        world = (await work.store.load([caller.tenant]))[caller.tenant].world
    response.status_code = 201 if is_new else 200
    return {**restatement_words.summary(declared, counted, world), "as_of": ctx.clock()}


def _command(caller: Caller, name: str, body: SupersedeBody) -> wire.SupersedeVersions:
    said = body.model_dump(mode="json", exclude_none=True, exclude={"command_id"})
    said |= {"type": "version.supersede", "tenant": caller.tenant, "actor": caller.actor, "instance": name}
    try:
        return wire.SupersedeVersions.model_validate_json(json.dumps(said))
    except ValidationError as error:
        raise Problem(422, Code.INVALID_COMMAND, "The command is not valid", reason_of(error)) from None


@router.get("/restatements")
async def listing(
    ctx: Ctx, caller: Reader, instance: str | None = None, run_id: UUID | None = None, limit: Limit = 50,
    cursor: str | None = None,
) -> dict[str, Any]:  # fmt: skip
    """The newest first. With `run_id`: those that taint this run, each with the path to it; all of them at once."""
    after = read_cursor(cursor)
    async with ctx.reading() as store:
        world = (await store.read(caller.tenant)).world
        if run_id is not None:
            return {"restatements": await _tainting(store, caller, world, run_id), "cursor": None, "as_of": ctx.clock()}
        instance_id = instance_id_of(caller.tenant, instance) if instance else None
        rows = await store.restatement_pages.page(caller.tenant, limit=limit, after=after, instance_id=instance_id)
    last = rows[-1][0] if len(rows) == limit else None
    return {
        "restatements": [restatement_words.summary(one, counted, world) for one, counted in rows],
        "cursor": cursor_after(last.declared_at, last.restatement_id) if last else None,
        "as_of": ctx.clock(),
    }


async def _tainting(store: LineageStore, caller: Caller, world: World, run_id: UUID) -> list[dict[str, Any]]:
    found = await store.restatement_pages.of_run(caller.tenant, run_id)
    made_by = await _made_by(store, caller, (mark.tainted.path for _, _, mark in found))
    return [
        {**restatement_words.summary(one, counted, world), "tainted": [_mark_shown(mark, made_by, world)]}
        for one, counted, mark in found
    ]


@router.get("/restatements/{restatement_id}")
async def one(
    ctx: Ctx, caller: Reader, restatement_id: UUID, limit: Limit = 100, cursor: str | None = None
) -> dict[str, Any]:
    """What was declared, the versions it supersedes (the newest 100), and a page of the runs that it taints."""
    after = read_cursor(cursor)
    async with ctx.reading() as store:
        world = (await store.read(caller.tenant)).world
        found = await _known(store, caller, restatement_id)
        counted = await store.restatement_pages.counted(restatement_id)
        versions = await store.restatement_pages.superseded(restatement_id, limit=LIST_LIMIT)
        marks = await store.restatement_pages.tainted(restatement_id, limit=limit, after=after)
        made_by = await _made_by(store, caller, (mark.tainted.path for mark in marks))
    last = marks[-1] if len(marks) == limit else None
    return {
        **restatement_words.summary(found, counted, world),
        "versions": [
            {
                "version_id": str(version.version_id),
                "run_id": str(version.made_by.run_id),
                "last_data_date": version.last_data_date,
                "ended_at": version.ended_at,
            }
            for version in versions
        ],
        "tainted": [_mark_shown(mark, made_by, world) for mark in marks],
        "cursor": cursor_after(last.tainted_at, last.tainted.version_id) if last else None,
        "as_of": ctx.clock(),
    }


@router.post("/restatements/{restatement_id}/plan")
async def plan(ctx: Ctx, caller: Reader, restatement_id: UUID, body: RepairBody | None = None) -> dict[str, Any]:
    """The re-runs that repair it, in batches; nothing is started. With `history` also what is no longer current."""
    async with ctx.reading() as store:
        world = (await store.read(caller.tenant)).world
        found = await _known(store, caller, restatement_id)
        pages = store.restatement_pages
        counted = await pages.counted(restatement_id)
        flow = world.flow(found.flow)
        newest = flow.version.run_id if flow and flow.version else None
        asked = await pages.parameters_of([newest]) if newest else {}
        planned = repair(
            world,
            found,
            await pages.to_repair(restatement_id),
            await pages.superseded_ids(restatement_id),
            await pages.confirmed(restatement_id),
            parameters=asked.get(newest, {}) if newest else {},
            history=body is not None and body.history,
        )
        paths = [one.tainted.path for batch in planned.batches for one in batch if one.tainted]
        made_by = await _made_by(store, caller, paths)
    return {
        **restatement_words.summary(found, counted, world),
        **_plan_shown(planned, made_by, world),
        "as_of": ctx.clock(),
    }


def _plan_shown(planned: Repair, made_by: dict[UUID, Attempt], world: World) -> dict[str, Any]:
    left = [one for one in planned.judged if one.standing is not Standing.AGAIN]
    return {
        "batches": [[_rerun_shown(one, made_by, world) for one in batch] for batch in planned.batches],
        "runs_total": sum(len(batch) for batch in planned.batches),
        "source": planned.source,
        "not_again": [_judged_shown(one, world) for one in left[:LIST_LIMIT]],
        "not_again_total": len(left),
    }


def _rerun_shown(rerun: Rerun, made_by: dict[UUID, Attempt], world: World) -> dict[str, Any]:
    of = rerun.tainted
    return {
        "instance_id": str(rerun.flow.instance_id),
        "instance_name": world.name_of_instance(rerun.flow.instance_id),
        "flow_kind": rerun.flow.kind,
        "mode": rerun.mode,
        "parameters": dict(rerun.parameters),
        "instead_of": str(rerun.instead_of),
        "path_names": restatement_words.names(of.path, of.flow, made_by, world) if of else [],
    }


def _judged_shown(judged: Judged, world: World) -> dict[str, Any]:
    one = judged.tainted
    return {
        **restatement_words.attempt_shown(Attempt(one.run_id, one.attempt, one.flow), world),
        "standing": judged.standing,
        "reason": judged.reason,
    }


def _mark_shown(mark: Marked, made_by: dict[UUID, Attempt], world: World) -> dict[str, Any]:
    one = mark.tainted
    attempt = Attempt(one.run_id, one.attempt, one.flow)
    return {
        **restatement_words.attempt_shown(attempt, world),
        "status": one.status,
        "mode": one.mode,
        "ended_at": one.ended_at,
        "tainted_at": mark.tainted_at,
        "hops": len(one.path) - 1,
        "path_names": restatement_words.names(one.path, one.flow, made_by, world),
        "path": restatement_words.path_shown(one.path, {**made_by, one.version_id: attempt}, world),
    }


async def _known(store: LineageStore, caller: Caller, restatement_id: UUID) -> Restatement:
    found = await store.restatements.one(caller.tenant, restatement_id)
    if found is None:
        raise not_found("restatement", restatement_id)
    return found


async def _made_by(store: LineageStore, caller: Caller, paths: Iterable[Path]) -> dict[UUID, Attempt]:
    return await store.restatement_pages.made_by(caller.tenant, {step.version_id for path in paths for step in path})
