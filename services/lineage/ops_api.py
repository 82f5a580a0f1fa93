"""`/v1/ops/lineage`: whether what is stored is what the runs say. For operators."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends

from services.lineage.recheck import recheck
from shared.auth import Caller
from shared.http import Ctx, requires

router = APIRouter(prefix="/v1/ops", tags=["operations"])
Operator = Annotated[Caller, Depends(requires("ops"))]
SHOWN = 100


@router.get("/lineage")
async def check_lineage(ctx: Ctx, caller: Operator, tenant: str | None = None) -> dict[str, Any]:
    """Every flow of a tenant (the caller's own if none is named) worked out from scratch, and where that differs."""
    asked = tenant or caller.tenant
    now = ctx.clock()
    async with ctx.reading() as store:
        flows, deviations = await recheck(store, asked, now)
    return {
        "tenant": asked,
        "flows": flows,
        "agrees": not deviations,
        "deviations": [asdict(one) for one in deviations[:SHOWN]],
        "deviations_total": len(deviations),
        "as_of": now,
    }
