"""`POST /v1/runs/{run_id}/uploads`: an address to which a flow puts one object of its run, without keys of the store.

The fact not to break: the key is made here, below the prefix of that run's attempt; a caller chooses its last part.
"""

from datetime import datetime, timedelta
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field
from runtide_schemas.vocabulary import Code, RunStatus

from services.run_tracker.api import run_of
from services.run_tracker.domain.outputs import prefix_of, refused_upload
from services.run_tracker.reading import Reading
from services.run_tracker.reports import LOGS_BUCKET
from services.run_tracker.settings import own
from shared.auth import Caller
from shared.http import Ctx, Problem, not_found, requires
from shared.object_store import S3ObjectStore

router = APIRouter(prefix="/v1/runs", tags=["runs"])
Flow = Annotated[Caller, Depends(requires("runs:report", by_runs=True))]


class Upload(BaseModel):
    """What a flow wants to put. Without attempt it is the newest one known."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,159}$", description="a file's name, without folders")
    kind: Literal["artifact", "traceback"] = "artifact"
    attempt: int | None = Field(None, ge=1, le=10_000)


class UploadAddress(BaseModel):
    """PUT the bytes to `url` before `expires_at`; `ref` is what to report."""

    ref: str
    url: str
    expires_at: datetime


@router.post("/{run_id}/uploads")
async def upload(ctx: Ctx, caller: Flow, run_id: UUID, wanted: Upload) -> UploadAddress:
    """For an attempt that is not over: an older one, artifacts of a sealed one, and anything of a sealed one that
    completed, are TOO_LATE. A flow may fail after its seal, and leaves its traceback then.
    """
    settings = own(ctx.settings)
    async with ctx.engine.connect() as conn:
        reading = Reading(conn)
        run = await run_of(reading, ctx, caller, run_id)
        if caller.run_id not in (None, run_id):
            raise not_found("run", run_id)  # it may read its inputs, and put nothing beside them
        attempt = wanted.attempt or max(1, run["attempt"])
        closed = wanted.kind == "artifact" or run["status"] == RunStatus.COMPLETED
        sealed = closed and await reading.is_sealed(run_id, attempt)
    if problem := refused_upload(attempt, run["attempt"], sealed):
        raise Problem(409, Code.TOO_LATE, "Too late", f"{wanted.name} of run {run_id}: {problem}")
    bucket = settings.s3.bucket if wanted.kind == "artifact" else LOGS_BUCKET
    ref = prefix_of(bucket, run_id, attempt) + wanted.name
    url = await S3ObjectStore(settings.s3).presigned_put(ref, expires_seconds=settings.presigned_seconds)
    return UploadAddress(ref=ref, url=url, expires_at=ctx.clock() + timedelta(seconds=settings.presigned_seconds))
