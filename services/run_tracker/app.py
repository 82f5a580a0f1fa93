"""What run_tracker is made of: four topics, four things the clock brings, six workers, one path root."""

from runtide_schemas.topics import INSTANCES_STATUS, PREFECT_FLOW_RUN_STATES, REQUESTS_STATUS, RUNS_REPORTS
from sqlalchemy.ext.asyncio import AsyncConnection

from services.run_tracker import (
    alarms,
    api,
    bridge,
    cancel,
    handlers,
    ops_api,
    retention,
    silence,
    strangers,
    sweep,
    tables,
    telling,
    uploads,
)
from services.run_tracker.reannounce import reannounce
from services.run_tracker.settings import RunTrackerSettings
from services.run_tracker.store import RunTrackerStore
from shared.messaging.consumer import Consumes
from shared.service import Service, Worker


def build(settings: RunTrackerSettings) -> Service[RunTrackerStore]:
    policy = settings.policy()

    def store(conn: AsyncConnection) -> RunTrackerStore:
        return RunTrackerStore(conn, policy)

    return Service(
        name="run_tracker",
        settings=settings,
        store=store,
        metadata=tables.metadata,
        consumers=[
            Consumes(REQUESTS_STATUS, handlers.on_requests_status),
            Consumes(INSTANCES_STATUS, handlers.on_instances_status),
            Consumes(PREFECT_FLOW_RUN_STATES, handlers.on_flow_run_states, as_structs=True, saves_at_once=2),
            Consumes(RUNS_REPORTS, handlers.on_runs_reports, refuser=handlers.refuse_unproven_reports),
        ],
        due={
            telling.SEAL: handlers.on_seals_due,
            telling.CANCEL_UNCONFIRMED: handlers.on_cancels_unconfirmed,
            telling.PROGRESS: handlers.on_progress_due,
            telling.LINK: handlers.on_links_due,
        },
        lock_due=handlers.lock_due,
        workers=[
            Worker("bridge", bridge.run),
            Worker("sweep", sweep.run),
            Worker("strangers", strangers.run),
            Worker("silence", silence.run),
            Worker("canceller", cancel.run),
            Worker("retention", retention.run),
        ],
        alarms=[alarms.not_the_truth, alarms.runs_late],
        reannounce=reannounce,
        routers=[api.router, uploads.router, ops_api.router],
    )
