"""Centrifugo away: Kafka is the buffer, nothing is lost, and the newest state arrives when it is back."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from services.notifier.push import Push
from tests.component.notifier.conftest import Centrifugo, new_id, request
from tests.support.eventually import eventually
from tests.support.harness import ServiceHarness, World
from tests.support.wire import Wire

REQUESTS = "requests.status.v1"


@pytest.fixture
async def wire(world: World) -> Any:
    opened = await Wire(world.env["RUNTIDE_CENTRIFUGO_API_URL"]).open()
    yield opened
    await opened.close()


async def test_while_centrifugo_is_away_nothing_is_lost_and_then_the_newest_state_arrives(
    world: World, wire: Wire, centrifugo: Centrifugo, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_ids, instance_id, tenant = [new_id() for _ in range(20)], new_id(), f"t-{new_id()[:8]}"
    monkeypatch.setitem(world.env, "RUNTIDE_CENTRIFUGO_API_URL", wire.url)
    for seq in range(1, 11):
        messages = [request(run_id, seq, instance_id=instance_id, tenant=tenant) for run_id in run_ids]
        for message in messages:
            await world.kafka.send(REQUESTS, message, key=message["run_id"].encode())
    notifier = await world.start("notifier")
    try:

        async def says_so() -> Any:
            ready = (await notifier.http.get("/readyz")).json()
            return ready["ready"] and ready["degraded"].get("centrifugo")

        away = await eventually(says_so, what="a notifier that says that Centrifugo is away")
        assert "Centrifugo" in away["problem"]
        assert await centrifugo.history(f"tenant:{tenant}:feed") == []
        await wire.mend()
        for run_id in run_ids:

            async def newest(channel: str = f"run:{run_id}:progress") -> bool:
                return ("request.status_changed", 10) in await centrifugo.seqs(channel)

            await eventually(newest, what="the newest state on each run's channel")
            seqs = [seq for _, seq in await centrifugo.seqs(f"run:{run_id}:progress")]
            assert seqs == sorted(seqs)
        await eventually(lambda: _not_degraded(notifier))
    finally:
        await notifier.stop()


async def _not_degraded(notifier: ServiceHarness) -> bool:
    return (await notifier.http.get("/readyz")).json()["degraded"] == {}


async def test_control_a_push_that_commits_before_it_is_answered_loses_what_came_meanwhile(
    world: World, wire: Wire, centrifugo: Centrifugo, monkeypatch: pytest.MonkeyPatch
) -> None:
    pushed = Push._push
    tried = asyncio.Event()

    async def commit_first(push: Push, records: Any) -> Any:
        await push._commit(records)
        monkeypatch.setattr(push, "_seek_back", lambda records: None)
        tried.set()
        return await pushed(push, records)

    monkeypatch.setattr(Push, "_push", commit_first)
    monkeypatch.setitem(world.env, "RUNTIDE_CENTRIFUGO_API_URL", wire.url)
    notifier = await world.start("notifier")
    try:
        lost, kept = new_id(), new_id()
        await world.kafka.send(REQUESTS, request(lost, instance_id=new_id()), key=b"same")
        async with asyncio.timeout(30):
            await tried.wait()
        await eventually(lambda: _degraded(notifier))
        await wire.mend()
        await world.kafka.send(REQUESTS, request(kept, instance_id=new_id()), key=b"same")
        await centrifugo.until(f"run:{kept}:progress", 1)
        assert await centrifugo.history(f"run:{lost}:progress") == []
    finally:
        await notifier.stop()


async def _degraded(notifier: ServiceHarness) -> bool:
    return "centrifugo" in (await notifier.http.get("/readyz")).json()["degraded"]
