"""How long an automatic refresh waits and how far apart refreshes lie, by the real clock, told only by messages."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from tests.component.lineage.told import Told
from tests.support.eventually import eventually


async def automatic(told: Told, name: str, count: int = 1) -> str:
    """Submission says that it has lineage's own newest request for the instance; answers its run id."""

    async def asked() -> list[dict[str, Any]]:
        found = [one for one in await told.about("runs.commands.v1") if one["instance"] == told.id(name)]
        return found if len(found) >= count else []

    command = (await eventually(asked))[count - 1]
    return await told.ask(name, command_id=command["command_id"], instance_name=None, gate="wait",
                          skip_if_ready=True, trigger="upstream")  # fmt: skip


async def chain(told: Told, **flow: Any) -> None:
    """a → b → d, all ready; b only notifies, so that d waits for as long as nobody runs b."""
    await told.register("a", type="DatasetInstance")
    await told.register("b", "a")
    await told.register("d", "b", flow={"on_upstream": "refresh", **flow})
    await told.snapshot("d")
    a = await told.completed("a")
    b = await told.completed("b", read={"a": a})
    await told.completed("d", read={"b": b})
    await told.snapshot("d", status="ready")


async def test_after_max_wait_it_runs_on_the_versions_at_hand_and_says_what_it_excused(told: Told) -> None:
    await chain(told, max_wait="PT1S")
    assert (await told.snapshot("d"))["flows"][0]["max_wait"] == "PT1S"
    await told.completed("a")  # b is stale, and stays so: it only notifies
    run_id = await automatic(told, "d")
    parked = await told.decision(run_id)
    assert [one["name"] for one in parked["blockers"]] == ["b"]
    admitted = await told.decision(run_id, 2)
    assert admitted["type"] == "request.admitted"
    assert "although b is stale" in admitted["warning"]
    [row] = await told.lineage.rows("select * from decisions where run_id = $1 and number = 2", UUID(run_id))
    assert '"excused": true' in row["seen"]
    assert not await told.lineage.rows("select * from due where ref = $1", run_id)


async def test_refreshes_lie_apart_by_min_interval(told: Told) -> None:
    await told.register("a", type="DatasetInstance")
    await told.register("d", "a", flow={"on_upstream": "refresh", "min_interval": "PT3S"})
    await told.snapshot("d")
    first = await told.completed("a")
    one = await automatic(told, "d")
    assert (await told.decision(one))["type"] == "request.admitted"
    await told.completed("d", one, read={"a": first})
    await told.snapshot("d", status="ready")
    await told.completed("a")
    two = await automatic(told, "d", count=2)
    parked = await told.decision(two)
    assert "min_interval ends at" in parked["blockers"][0]["reason"]
    admitted = await told.decision(two, 2)
    assert admitted["type"] == "request.admitted"
    rows = await told.lineage.rows(
        "select decided_at from decisions where tenant = $1 and answer = 'request.admitted' order by 1", told.tenant
    )
    assert (rows[1]["decided_at"] - rows[0]["decided_at"]).total_seconds() >= 3


async def test_a_new_max_wait_counts_for_what_waits_already(told: Told) -> None:
    await chain(told)
    await told.completed("a")
    run_id = await automatic(told, "d")
    assert (await told.decision(run_id))["type"] == "request.parked"
    await told.register("d", "b", flow={"on_upstream": "refresh", "max_wait": "PT0.5S"})
    assert (await told.decision(run_id, 2))["type"] == "request.admitted"


async def test_a_request_that_stood_for_a_refresh_and_expired_is_followed_by_an_automatic_one(told: Told) -> None:
    await chain(told)
    [first] = [one for one in await told.about("runs.commands.v1") if one["instance"] == told.id("d")]
    await told.request(await told.ask("d", command_id=first["command_id"], trigger="upstream"), "cancelled")
    await told.run(str(uuid4()), "b", "failed")
    await told.snapshot("b", status="error")
    soon = (datetime.now(UTC) + timedelta(seconds=6)).isoformat().replace("+00:00", "Z")
    own = await told.ask("d", gate="wait", wait_until=soon)
    assert (await told.decision(own))["type"] == "request.parked"
    a = await told.completed("a")
    await told.snapshot("d", status="stale")
    assert (await told.decision(own, 2))["type"] == "request.expired"
    [row] = await told.lineage.rows("select stands_for from open_requests where run_id = $1", UUID(own))
    assert row["stands_for"] == f"{a}/1"
    assert (await told.decision(await automatic(told, "d", count=2)))["type"] == "request.parked"
