"""What must hold when a process dies, or a neighbour is away."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from tests.e2e.platform import Platform, contiguous, run_id_of

SERVICES = ("submission", "run_tracker", "lineage", "notifier")


@pytest.mark.timeout(900)
async def test_kill_9_of_each_service_in_the_middle_of_50_requests_loses_and_doubles_nothing(
    platform: Platform, name: str, stack: Any
) -> None:
    await platform.register(name, max_open_runs=50)
    commands = [uuid.uuid4().hex for _ in range(50)]
    runs = [run_id_of(platform.tenant, command) for command in commands]
    for victim, chunk in zip((*SERVICES, None), range(0, 50, 10), strict=True):
        for command in commands[chunk : chunk + 10]:
            await platform.submit(name, command_id=command, parameters={"seconds": 0.1, "steps": 2})
        await platform.follower.until("requests.status.v1", lambda m, wanted=runs[chunk]: m["run_id"] == wanted)
        if victim is not None:
            await stack.kill(victim)
            await stack.start(victim)
    ends = [await platform.ended(run_id, within_seconds=400) for run_id in runs]
    assert {end["status"] for end in ends} == {"completed"}
    for run_id in runs:
        assert len(await platform.flow_runs(run_id)) == 1
        assert contiguous(_seqs(platform, ("requests.status.v1",), run_id))
        assert contiguous(_seqs(platform, ("runs.status.v1", "runs.progress.v1"), run_id))


async def test_a_request_waits_for_prefect_says_so_and_goes_on_by_itself(
    platform: Platform, name: str, stack: Any
) -> None:
    await platform.register(name)
    await stack.stop("prefect")
    try:
        run_id = await platform.submit(name, parameters={"seconds": 0.1})
        waiting = await platform.follower.until(
            "requests.status.v1", lambda m: m["run_id"] == run_id and "Prefect" in (m["message"] or "")
        )
        assert waiting["status"] == "admitted"
    finally:
        await stack.start("prefect")
        await stack.restart("flows")  # Prefect's runner does not listen to cancels again after its server was away
    assert (await platform.ended(run_id, within_seconds=120))["status"] == "completed"


async def test_what_happens_while_the_realtime_node_is_away_is_seen_when_it_is_back(
    platform: Platform, name: str, stack: Any
) -> None:
    await platform.register(name)
    await stack.stop("realtime")
    try:
        run = await platform.ended(await platform.submit(name, parameters={"seconds": 0.1}))
        assert run["status"] == "completed"
    finally:
        await stack.start("realtime")

    async def seen() -> bool:
        answer = await platform.http.post(
            platform.env["RUNTIDE_CENTRIFUGO_API_URL"] + "/api/history",
            json={"channel": f"run:{run['run_id']}:progress", "limit": 100},
            headers={"X-API-Key": platform.env["RUNTIDE_CENTRIFUGO_API_KEY"]},
        )
        publications = answer.json()["result"]["publications"]
        return any(p["data"].get("status") == "completed" for p in publications)

    assert await platform.eventually(seen, within_seconds=30)


def _seqs(platform: Platform, topics: tuple[str, ...], run_id: str) -> list[int]:
    """Each seq once: a relay that died between acknowledgement and delete may have sent a message twice."""
    return sorted({m["seq"] for topic in topics for m in platform.follower.of_run(topic, run_id)})
