"""What notifier is made of."""

from __future__ import annotations

import asyncio

from runtide_schemas.topics import ACTIVITIES, INSTANCES_STATUS, REQUESTS_STATUS, RUNS_PROGRESS, RUNS_STATUS

from services.notifier import api, handlers, retention, tables
from services.notifier.push import Centrifugo, Push
from services.notifier.settings import NotifierSettings
from services.notifier.store import NotifierStore
from shared.messaging import broker as brokers
from shared.service import Consumes, Context, Service, Worker

PUSHED = (REQUESTS_STATUS, RUNS_STATUS, RUNS_PROGRESS, INSTANCES_STATUS)


def build(settings: NotifierSettings) -> Service[NotifierStore]:
    return Service(
        name="notifier",
        settings=settings,
        store=NotifierStore,
        metadata=tables.metadata,
        consumers=[
            Consumes(REQUESTS_STATUS, handlers.on_requests_status),
            Consumes(RUNS_STATUS, handlers.on_runs_status),
            Consumes(INSTANCES_STATUS, handlers.on_instances_status),
            Consumes(ACTIVITIES, handlers.on_activities),
        ],
        workers=[Worker("push", run_push), Worker("retention", retention.run)],
        routers=[api.router],
        mounts=[api.mount_dashboard],
    )


async def run_push(ctx: Context[NotifierStore]) -> None:
    """Push for the life of the process, with a broker of its own."""
    settings = ctx.settings
    assert isinstance(settings, NotifierSettings)
    centrifugo = Centrifugo(settings)
    broker = brokers.broker_for(settings.kafka, client_id="runtide-notifier-push")
    for topic in PUSHED:
        push = Push(topic, ctx, centrifugo)
        ctx.replays[push.name] = push.replay
        brokers.subscribe_without_transaction(broker, push, settings.kafka, instance=settings.instance_id)
    try:
        await broker.start()
        await asyncio.Event().wait()
    finally:
        await broker.stop()
        await centrifugo.close()
