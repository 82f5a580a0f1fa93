"""The bridge dies while fifty runs end, for longer than Prefect's stream looks back; then it comes back.

Three services, real: what each of the fifty became is right while no event arrives, and what follows from it happens
once, also when the events of all that arrive late. DEAD_BRIDGE_MINUTES=20 spreads the ends over so long an outage; then
the events of its first minutes never come, for Prefect's stream looks back fifteen.
"""

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from runtide_schemas.vocabulary import run_id_of

from tests.component.run_tracker.server import Prefect
from tests.support.eventually import eventually
from tests.support.harness import ServiceHarness, World

ROOTS = 50
ENDS = {0: "FAILED", 1: "CANCELLED", 2: "CRASHED"}  # of every tenth, by its last digit; the others complete
SHOWN = {"FAILED": "failed", "CANCELLED": "cancelled", "CRASHED": "failed", "COMPLETED": "completed"}
TENANT = "acme"
OUTAGE_SECONDS = 60 * float(os.environ.get("DEAD_BRIDGE_MINUTES") or 0)
LOOKS_BACK_SECONDS = 14 * 60
TRACKER: dict[str, Any] = {"sweep_seconds": 1, "look_around_seconds": 1, "seal_seconds": 1}


def end_of(n: int) -> str:
    return ENDS.get(n % 10, "COMPLETED")


def ends_after(n: int) -> float:
    """Seconds from the beginning of the outage."""
    return OUTAGE_SECONDS * n / ROOTS


async def end(prefect: Prefect, n: int, flow_run_id: str) -> None:
    await asyncio.sleep(ends_after(n))
    await prefect.move(flow_run_id, "PENDING", "RUNNING", end_of(n))


async def register(world: World, name: str, deployment: str, **more: Any) -> None:
    flow = {"kind": "refresh", "deployment": deployment, "reports": "none", **more.pop("flow", {})}
    command = {
        "type": "instance.register", "tenant": TENANT, "name": name, "instance_type": "DatasetInstance",
        "flows": [flow], **more,
    }  # fmt: skip
    await world.kafka.send("instances.commands.v1", command, key=TENANT.encode())


async def launched(world: World, run_ids: set[str]) -> dict[str, str]:
    """run id → flow run id, once every one of them has its own."""

    async def probe() -> dict[str, str]:
        found = {
            m["run_id"]: m["orchestrator_run_id"]
            for m in await world.kafka.all("requests.status.v1")
            if m["run_id"] in run_ids and m["status"] == "launched"
        }
        return found if found.keys() == run_ids else {}

    return await eventually(probe, within_seconds=120, every_seconds=0.5, what=f"{len(run_ids)} launches")


async def shown(tracker: ServiceHarness, run_ids: set[str]) -> dict[str, str]:
    rows = await tracker.rows("select run_id, status from runs where run_id::text = any($1)", sorted(run_ids))
    return {str(row["run_id"]): row["status"] for row in rows}


async def asked_below(world: World) -> Counter[str]:
    """How often each instance downstream was asked to run."""
    names = {
        m["run_id"]: m["instance_name"]
        for m in await world.kafka.all("requests.status.v1")
        if m["trigger"] == "upstream" and m["instance_name"]
    }
    return Counter(names.values())


@pytest.fixture
async def services(world: World) -> AsyncIterator[Callable[..., Awaitable[ServiceHarness]]]:
    """Starts services, and stops those that the test has not."""
    started: list[ServiceHarness] = []

    async def start(name: str, **more: Any) -> ServiceHarness:
        started.append(await world.start(name, **more))
        return started[-1]

    yield start
    for service in started:
        if not service.http.is_closed:
            await service.stop()


@pytest.mark.timeout(600 + OUTAGE_SECONDS)
async def test_fifty_runs_end_while_the_bridge_is_dead_and_each_downstream_starts_once(
    world: World, prefect: Prefect, services: Callable[..., Awaitable[ServiceHarness]], show: Callable[[str], None]
) -> None:
    below = await prefect.deploy("below")
    tracker = await services("run_tracker", without=["bridge"], **TRACKER)
    others = [await services("lineage"), await services("submission", launches_per_deployment=ROOTS)]
    for n in range(ROOTS):
        await register(world, f"root-{n}", f"{prefect.flow}/{prefect.deployment}")
        await register(
            world, f"below-{n}", f"{prefect.flow}/below", flow={"on_upstream": "refresh"},
            upstreams=[{"instance": f"root-{n}"}],
        )  # fmt: skip
        command = {"type": "run.submit", "tenant": TENANT, "command_id": f"c-{n}", "instance": f"root-{n}"}
        await world.kafka.send("runs.commands.v1", command)
    runs = {n: str(run_id_of(TENANT, f"c-{n}")) for n in range(ROOTS)}
    flow_runs = await launched(world, set(runs.values()))
    await asyncio.gather(*(end(prefect, n, flow_runs[run_id]) for n, run_id in runs.items()))

    expected = {run_id: SHOWN[end_of(n)] for n, run_id in runs.items()}

    async def right() -> bool:
        assert await shown(tracker, set(runs.values())) == expected
        return True

    await eventually(right, within_seconds=120, every_seconds=0.5, what="every run as Prefect has it")
    once = Counter({f"below-{n}": 1 for n in runs if end_of(n) == "COMPLETED"})

    async def started_below() -> bool:
        assert await asked_below(world) == once
        assert len(await prefect.flow_runs_of(below)) == len(once)
        return True

    await eventually(started_below, within_seconds=120, every_seconds=0.5, what="each downstream started")
    drift = (await tracker.http.get("/v1/ops/truth")).json()["drift"]["states"]
    assert drift >= ROOTS

    # The bridge is back, and Prefect's stream brings the last quarter of an hour: every event of it late.
    to_come = {flow_runs[runs[n]] for n in runs if OUTAGE_SECONDS - ends_after(n) < LOOKS_BACK_SECONDS}
    await tracker.stop()
    tracker = await services("run_tracker", migrated=True, **TRACKER)

    async def late_events_came() -> bool:
        late = [m for m in await world.kafka.all("prefect.flow-run-states.v1") if m["source"] == "confirm"]
        return {m["flow_run_id"] for m in late} >= to_come

    await eventually(late_events_came, within_seconds=120, every_seconds=0.5, what="the events, late")
    for service in (tracker, *others):
        await service.settled()
    assert await shown(tracker, set(runs.values())) == expected
    await started_below()
    lasted = f"for {OUTAGE_SECONDS / 60:g} minutes " if OUTAGE_SECONDS else ""
    show(
        f"bridge dead {lasted}while {ROOTS} runs ended: {drift} states by the sweep, {len(to_come)} runs' events late, "
        f"{sum(once.values())} downstream started once each"
    )
