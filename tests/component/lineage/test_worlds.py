"""Random worlds side by side, as tenants of one real service on real Kafka and PostgreSQL, told only by messages. Their
end states are those of the pure recomputation (I7), nothing is left stale nor waiting, and no join ran on half of what
was new. `tests/unit/lineage/test_joins.py` lives through thousands of them without the machines.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pytest

from services.lineage.domain.endings import BEGINNING
from services.lineage.mirror import Loaded
from services.lineage.store import LineageStore
from tests.component.lineage.played import Follower, PlayedWorld
from tests.support.eventually import eventually
from tests.support.harness import ServiceHarness
from tests.unit.lineage.memory import recomputed

WORLDS = 8
STEPS = 14


@pytest.fixture
async def follower(lineage: ServiceHarness) -> AsyncIterator[Follower]:
    following = await Follower(lineage).start()
    yield following
    await following.stop()


async def stored(played: PlayedWorld) -> Loaded:
    async with played.lineage.running.context.engine.connect() as conn:
        return await LineageStore(conn).read(played.told.tenant)


async def settled(follower: Follower, worlds: list[PlayedWorld]) -> None:
    """Lineage has nothing left to do, and the worlds know all that it said."""

    async def probe() -> bool:
        for message in await follower.heard():
            for played in worlds:
                played.follow(message)
        return await follower.is_settled()

    await eventually(probe, within_seconds=120, what="lineage to be settled")


async def calm_down(follower: Follower, worlds: list[PlayedWorld]) -> None:
    for _ in range(200):
        await settled(follower, worlds)
        moved = [await played.end_well() for played in worlds]
        if not any(moved) and not any([await played.mend(await stored(played)) for played in worlds]):
            return
    raise AssertionError("the worlds never become quiet")


async def deviations(played: PlayedWorld) -> list[str]:
    """The flows whose stored state is not what all that was ever said comes to."""
    loaded = await stored(played)
    async with played.lineage.running.context.engine.connect() as conn:
        pasts = await LineageStore(conn).pasts(played.told.tenant, dict.fromkeys(loaded.world.flow_keys(), BEGINNING))
    scratch = recomputed(loaded.world, pasts.__getitem__, datetime.now(UTC))
    found = []
    for key, flow in scratch.items():
        kept = loaded.world.flow(key)
        assert kept is not None
        said = {"reason": None, "old_status": None, "stale_by_version": None}
        same_staleness = (flow.stale_by_version is None) is (kept.stale_by_version is None)
        if not same_staleness or replace(flow, **said) != replace(kept, **said):
            found.append(f"{loaded.world.name_of(key)}: {kept} is {flow}")
    return found


async def half_new(played: PlayedWorld) -> list[str]:
    """Automatic admissions, not excused, that saw anything above them that was not ready, or recorded another version
    than they saw.
    """
    rows = await played.lineage.rows(
        "select said, seen from decisions d join open_requests r using (run_id) "
        "where d.tenant = $1 and d.answer = 'request.admitted' and r.trigger = 'upstream'",
        played.told.tenant,
    )
    found = []
    for row in rows:
        said, seen = json.loads(row["said"]), json.loads(row["seen"])
        if said["warning"] is not None:
            continue
        own = f"{said['instance_name']}/refresh"
        gating = {f"{edge['instance']}/refresh" for edge in played.edges[said["instance_name"]] if len(edge) == 1}
        for name, one in seen.items():
            if name in gating and one["status"] != "ready":
                found.append(f"{own} saw {name} {one['status']}")
        for role, one in said["input_versions"].items():
            if seen.get(f"{role}/refresh", one)["version_id"] != one["version_id"]:
                found.append(f"{own} read another version in the role {role}")
    return found


@pytest.mark.timeout(900)
async def test_worlds_side_by_side_end_as_recomputing_says(
    lineage: ServiceHarness, follower: Follower, show: Callable[[str], None]
) -> None:
    worlds = [PlayedWorld(seed, lineage) for seed in range(WORLDS)]
    for played in worlds:
        await played.begin()
    for _ in range(STEPS):
        for message in await follower.heard():
            for played in worlds:
                played.follow(message)
        for played in worlds:
            await played.live()
    await calm_down(follower, worlds)
    runs = 0
    for played in worlds:
        loaded = await stored(played)
        not_ready = [one.name for one in loaded.world.instances.values() if one.status != "ready"]
        assert (not_ready, loaded.requests) == ([], {}), f"seed {played.seed}"
        assert await deviations(played) == [], f"seed {played.seed}"
        assert await half_new(played) == [], f"seed {played.seed}"
        runs += sum(run.trigger == "upstream" for run in played.runs.values())
    show(f"worlds: {len(worlds)} lived through by the real service, with {runs} automatic runs")
    assert runs


async def test_control_a_state_that_is_not_what_was_said_is_noticed(lineage: ServiceHarness) -> None:
    played = PlayedWorld(0, lineage)
    await played.begin()
    await played.told.is_quiet()
    assert await deviations(played) == []
    await lineage.rows(
        "update flows set completion_id = null where instance_id = $1", UUID(played.told.id(played.names[0]))
    )
    assert await deviations(played)
