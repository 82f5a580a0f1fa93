"""`/v1/ops/truth`: how near our states are to Prefect's, what is in the way, and which runs need a person."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends

from services.run_tracker.truth import standing_of
from services.run_tracker.upkeep import Mark, Upkeep
from shared.auth import Caller
from shared.http import Ctx, requires

router = APIRouter(prefix="/v1/ops", tags=["operations"])
Operator = Annotated[Caller, Depends(requires("ops"))]
SHOWN = 100


@router.get("/truth")
async def show_truth(ctx: Ctx, _: Operator) -> dict[str, Any]:
    """Sweep, bridge and drift; each trouble with its name and what to do; the runs that hang, of whichever tenant."""
    now = ctx.clock()
    async with ctx.engine.connect() as conn:
        standing, hanging, found = await standing_of(conn, now)
    return {
        "swept_at": standing.swept_at,
        "refused": standing.refused,
        "bridged_at": standing.bridged_at,
        "drift": {"states": standing.drift, "last_at": standing.drifted_at},
        "troubles": [
            {"code": one.code, "said": one.said, "to_do": one.to_do, "runs": one.runs} for one in found
        ],
        "hanging": [one._asdict() for one in hanging[:SHOWN]],
        "hanging_total": len(hanging),
        "as_of": now,
    }  # fmt: skip


@router.post("/truth/confirm-loss")
async def confirm_loss(ctx: Ctx, _: Operator) -> dict[str, Any]:
    """Let the next sweep believe that what Prefect no longer knows is gone, however much it is."""
    async with ctx.engine.begin() as conn:
        await Upkeep(conn).confirm_loss(Mark.SWEEP, ctx.clock())
    ctx.wake("sweep")
    return {"confirmed_at": ctx.clock(), "as_of": ctx.clock()}
