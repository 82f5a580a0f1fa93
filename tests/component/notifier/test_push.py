"""What reaches which channel of the real realtime node."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import centrifuge

from shared.messaging import dead_letters
from shared.messaging.decode import Bad, Record
from tests.component.notifier.conftest import Centrifugo, instance, new_id, progress, request, run
from tests.support.eventually import eventually
from tests.support.harness import ServiceHarness

REQUESTS, RUNS, PROGRESS, INSTANCES = "requests.status.v1", "runs.status.v1", "runs.progress.v1", "instances.status.v1"


async def test_each_snapshot_reaches_its_channels_whole(notifier: ServiceHarness, centrifugo: Centrifugo) -> None:
    kafka, run_id, instance_id, tenant = notifier.kafka, new_id(), new_id(), f"t-{new_id()[:8]}"
    await kafka.send(REQUESTS, request(run_id, instance_id=instance_id, tenant=tenant), key=run_id.encode())
    [first] = await centrifugo.until(f"run:{run_id}:progress", 1)
    assert (first["type"], first["status"], first["seq"]) == ("request.status_changed", "requested", 1)
    await kafka.send(RUNS, run(run_id, 1, instance_id=instance_id, tenant=tenant), key=run_id.encode())
    await centrifugo.until(f"run:{run_id}:progress", 2)
    await kafka.send(PROGRESS, progress(run_id, 2, instance_id=instance_id, tenant=tenant, progress_pct=40.0))
    await centrifugo.until(f"run:{run_id}:progress", 3)
    await kafka.send(INSTANCES, instance(instance_id, 7, tenant=tenant), key=instance_id.encode())
    [snapshot] = await centrifugo.until(f"lineage:{tenant}", 1)

    assert await centrifugo.seqs(f"run:{run_id}:progress") == [
        ("request.status_changed", 1), ("run.status_changed", 1), ("run.progressed", 2),
    ]  # fmt: skip
    feed = await centrifugo.until(f"tenant:{tenant}:feed", 2)
    assert {data["type"] for data in feed} == {"request.status_changed", "run.status_changed"}  # without progress
    assert (snapshot["name"], snapshot["seq"]) == ("prices", 7)
    [status] = await centrifugo.until(f"instance:{instance_id}:status", 1)
    assert (status["status"], status["old_status"], status["seq"]) == ("ready", "stale", 7)
    [event] = await centrifugo.until(f"instance:{instance_id}:runs", 1)
    assert (event["event"], event["run_id"]) == ("run_started", run_id)


async def test_an_older_status_of_an_instance_never_replaces_a_newer_one(
    notifier: ServiceHarness, centrifugo: Centrifugo
) -> None:
    instance_id, tenant = new_id(), f"t-{new_id()[:8]}"
    for seq in (2, 1, 3):
        await notifier.kafka.send(INSTANCES, instance(instance_id, seq, tenant=tenant), key=instance_id.encode())
    await centrifugo.until(f"lineage:{tenant}", 3)
    seqs = [data["seq"] for data in await centrifugo.until(f"instance:{instance_id}:status", 2)]
    assert seqs == [2, 3]


async def test_a_foreign_cancel_ahead_never_shows_on_the_run_of_another_tenant(
    notifier: ServiceHarness, centrifugo: Centrifugo
) -> None:
    run_id, tenant = new_id(), f"t-{new_id()[:8]}"
    foreign = request(run_id, instance_id=None, tenant=tenant, status="cancelled")
    await notifier.kafka.send(REQUESTS, foreign, key=run_id.encode())
    await centrifugo.until(f"tenant:{tenant}:feed", 1)
    await notifier.kafka.send(REQUESTS, request(run_id, instance_id=new_id()), key=run_id.encode())
    [own] = await centrifugo.until(f"run:{run_id}:progress", 1)  # and it takes no idempotency key away
    assert own["tenant"] == "acme"


async def test_what_cannot_be_read_is_stepped_over_by_the_push_and_kept_by_the_consumer(
    notifier: ServiceHarness, centrifugo: Centrifugo
) -> None:
    run_id = new_id()
    for value in (b"{", None, b'{"type":"unheard.of"}'):
        await notifier.kafka.send(REQUESTS, value, key=run_id.encode())
    await notifier.kafka.send(REQUESTS, request(run_id, instance_id=new_id()), key=run_id.encode())
    await centrifugo.until(f"run:{run_id}:progress", 1)

    async def kept() -> bool:
        rows = await notifier.rows("select consumer from dead_letters where key = $1", run_id.encode())
        return [row["consumer"] for row in rows] == ["runtide.notifier.requests-status"] * 3

    await eventually(kept)


async def test_a_subscriber_with_our_tokens_sees_its_run_live(notifier: ServiceHarness) -> None:
    run_id, seen = new_id(), asyncio.Queue[dict[str, Any]]()
    channel = f"run:{run_id}:progress"
    await notifier.kafka.send(REQUESTS, request(run_id, instance_id=new_id()), key=run_id.encode())
    connect = (await notifier.http.post("/v1/realtime/connect")).json()

    async def subscription_token(channel: str) -> str:
        async def minted() -> str | None:
            answer = await notifier.http.post("/v1/realtime/subscribe", json={"channel": channel})
            return answer.json().get("token")

        return await eventually(minted) or ""

    class Watch(centrifuge.SubscriptionEventHandler):
        async def on_publication(self, ctx: centrifuge.PublicationContext) -> None:
            seen.put_nowait(ctx.pub.data)

    client = centrifuge.Client(connect["url"], token=connect["token"], proxy=None)
    subscription = client.new_subscription(channel, Watch(), get_token=subscription_token)
    await client.connect()
    await subscription.subscribe()
    await subscription.ready(timeout=20)
    await notifier.kafka.send(
        REQUESTS, request(run_id, 2, instance_id=new_id(), status="admitted"), key=run_id.encode()
    )
    async with asyncio.timeout(20):
        while (await seen.get())["seq"] != 2:
            pass
    await client.disconnect()


async def test_a_refused_publication_is_pushed_again_by_its_replay(
    notifier: ServiceHarness, centrifugo: Centrifugo
) -> None:
    run_id = new_id()
    value = json.dumps(request(run_id, instance_id=new_id())).encode()
    record = Record(REQUESTS, 0, 10_000, 0, run_id.encode(), value, (), 10_000)
    consumer = "runtide.notifier-push.requests-status"
    async with notifier.running.context.engine.begin() as conn:
        await dead_letters.store(conn, consumer=consumer, bad=[Bad(run_id, "unknown channel", record)])
    again = (await notifier.http.post("/v1/ops/dead-letters/replay", json={"consumer": consumer})).json()
    assert again["failed"] == []
    assert await centrifugo.seqs(f"run:{run_id}:progress") == [("request.status_changed", 1)]
