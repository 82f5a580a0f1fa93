"""`/v1/runs`: what the tracker knows, for its tenant alone. Another tenant's id is 404, as if it did not exist."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from fastapi.responses import RedirectResponse
from runtide_schemas.vocabulary import Code, RunStatus, RunType, instance_id_of, version_id_of

from services.run_tracker.reading import Reading
from services.run_tracker.settings import own
from shared.auth import Caller
from shared.http import Ctx, Problem, cursor_after, not_found, read_cursor, requires
from shared.object_store import S3ObjectStore

router = APIRouter(prefix="/v1/runs", tags=["runs"])
Reader = Annotated[Caller, Depends(requires("runs:read"))]
ReaderOrRun = Annotated[Caller, Depends(requires("runs:read", by_runs=True))]


@router.get("")
async def list_runs(
    ctx: Ctx, caller: Reader, instance: str | None = None, run_type: RunType | None = None,
    status: RunStatus | None = None, limit: Annotated[int, Query(ge=1, le=500)] = 50, cursor: str | None = None,
) -> dict[str, Any]:  # fmt: skip
    """The newest first. `instance` is a name or an id; `cursor` is that of the answer before."""
    async with ctx.engine.connect() as conn:
        reading = Reading(conn)
        runs = await reading.runs(
            tenant=caller.tenant, instance_id=instance_id_of(caller.tenant, instance) if instance else None,
            run_type=run_type, status=status, limit=limit, before=read_cursor(cursor or None),
        )  # fmt: skip
        as_of = await reading.as_of()
    following = cursor_after(runs[-1]["created_at"], runs[-1]["run_id"]) if len(runs) == limit else None
    return {"runs": runs, "cursor": following, "as_of": as_of or ctx.clock()}


@router.get("/{run_id}")
async def show_run(ctx: Ctx, caller: ReaderOrRun, run_id: UUID) -> dict[str, Any]:
    """The whole run, with the typed metrics of its type."""
    async with ctx.engine.connect() as conn:
        reading = Reading(conn)
        run = await run_of(reading, ctx, caller, run_id)
        headline = await reading.headline(run["run_type"], run_id)
        as_of = await reading.as_of()
    return run | {"headline": headline, "as_of": as_of or ctx.clock()}


@router.get("/{run_id}/history")
async def show_history(ctx: Ctx, caller: ReaderOrRun, run_id: UUID) -> dict[str, Any]:
    """Each state that Prefect had it in, each word of its request, and what the clock brought."""
    async with ctx.engine.connect() as conn:
        reading = Reading(conn)
        await run_of(reading, ctx, caller, run_id)
        history = await reading.history(run_id)
        as_of = await reading.as_of()
    return {"run_id": run_id, "history": history, "as_of": as_of or ctx.clock()}


@router.get("/{run_id}/artifacts")
async def list_artifacts(ctx: Ctx, caller: ReaderOrRun, run_id: UUID) -> dict[str, Any]:
    """Of every attempt, the newest first."""
    async with ctx.engine.connect() as conn:
        reading = Reading(conn)
        await run_of(reading, ctx, caller, run_id)
        artifacts = await reading.artifacts(run_id)
    return {"run_id": run_id, "artifacts": artifacts, "as_of": ctx.clock()}


@router.get("/{run_id}/artifacts/{name}", response_class=RedirectResponse, status_code=307)
async def download_artifact(
    ctx: Ctx, caller: ReaderOrRun, run_id: UUID, name: str, attempt: Annotated[int | None, Query(ge=1)] = None
) -> RedirectResponse:
    """To a link that holds for a few minutes; of the newest attempt that has it, unless one is named."""
    settings = own(ctx.settings)
    async with ctx.engine.connect() as conn:
        reading = Reading(conn)
        await run_of(reading, ctx, caller, run_id)
        found = [a for a in await reading.artifacts(run_id, name) if attempt in (None, a["attempt"])]
    if not found:
        raise not_found("artifact", f"{name} of run {run_id}")
    ref = found[0]["ref"]
    url = await S3ObjectStore(settings.s3).presigned_get(
        ref, expires_seconds=settings.presigned_seconds, download_name=ref.rsplit("/", 1)[1]
    )
    return RedirectResponse(url, 307)


async def run_of(reading: Reading, ctx: Ctx, caller: Caller, run_id: UUID) -> dict[str, Any]:
    """The run, of the caller's tenant; for a run itself it, or one whose version it reads. Raises: Problem 404, which
    tells a request without a run apart.
    """
    run = await reading.run(caller.tenant, run_id)
    if caller.run_id is not None and not await _is_for(caller.run_id, run, reading, caller):
        raise not_found("run", run_id)
    if run is not None:
        return run
    status = await reading.is_request(caller.tenant, run_id)
    if status is None:
        raise not_found("run", run_id)
    base = ctx.settings.urls.submission_url or ""
    raise Problem(
        404, Code.NOT_A_RUN_YET, "Not a run yet",
        f"{run_id} is a request with status {status}; no run came of it so far",
        request_url=f"{base}/v1/requests/{run_id}", request_status=status,
    )  # fmt: skip


async def _is_for(reader_id: UUID, run: dict[str, Any] | None, reading: Reading, caller: Caller) -> bool:
    if run is None or run["run_id"] == reader_id:
        return run is not None
    reader = await reading.run(caller.tenant, reader_id)
    read = {str(one.get("version_id")) for one in reader["input_versions"].values()} if reader else set()
    return any(str(version_id_of(run["run_id"], attempt)) in read for attempt in range(1, run["attempt"] + 1))
