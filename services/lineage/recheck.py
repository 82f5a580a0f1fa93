"""All answers of a tenant worked out again from what its runs said, beside what is stored: they must agree (I7)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from services.lineage.domain.endings import BEGINNING, chained, settled
from services.lineage.domain.graph import FlowKey
from services.lineage.domain.staleness import answered
from services.lineage.domain.world import Flow, World
from services.lineage.store import LineageStore


@dataclass(frozen=True, slots=True)
class Deviation:
    """What is stored of a flow and should be something else."""

    flow: str
    field: str
    stored: Any
    recomputed: Any


async def recheck(store: LineageStore, tenant: str, now: datetime) -> tuple[int, list[Deviation]]:
    """How many flows there are, and where they deviate. A flow whose date falls due in this very moment is left out.

    Reads all that the tenant's runs ever left: for operators, not for every day.
    """
    world = (await store.read(tenant)).world
    keys = list(world.flow_keys())
    pasts = await store.pasts(tenant, dict.fromkeys(keys, BEGINNING)) if keys else {}
    bare: dict[FlowKey, Flow] = {}
    for key in keys:
        flow = world.flow(key)
        assert flow is not None
        bare[key] = settled(flow, pasts[key], chained(pasts[key]))
    scratch = world.with_flows(bare)
    again: dict[FlowKey, Flow] = {}
    for key in scratch.graph.sorted(keys):
        again[key] = answered(scratch, key, bare[key], again, now)
    found = []
    for key in keys:
        found += _deviations(world, key, again[key], now)
    return len(keys), found


def _deviations(world: World, key: FlowKey, now_is: Flow, now: datetime) -> list[Deviation]:
    stored = world.flow(key)
    assert stored is not None
    if stored.next_due_at is not None and stored.next_due_at <= now:
        return []
    before, after = _told(stored), _told(now_is)
    name = world.name_of(key)
    return [Deviation(name, field, before[field], after[field]) for field in before if before[field] != after[field]]


def _told(flow: Flow) -> dict[str, Any]:
    version = flow.version
    return {
        "freshness": flow.freshness,
        "stale_by_version": flow.stale_by_version is not None,
        "version_id": version.version_id if version else None,
        "confirmed_by": version.completion_id if version else None,
        "newest_end_failed": flow.newest_end_failed,
        "last_run_id": flow.last_run_id,
        "last_data_date": flow.last_data_date,
        "open_run_id": flow.open_run_id,
    }
