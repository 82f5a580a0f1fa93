"""What lineage is made of."""

from datetime import timedelta
from functools import partial

from runtide_schemas.topics import INSTANCES_COMMANDS, REQUESTS_STATUS, RUNS_STATUS

from services.lineage import (
    alarms,
    api,
    calendar_api,
    handlers,
    ops_api,
    restatement_api,
    retention,
    schedule_api,
    tables,
)
from services.lineage.conclusion import ASK_AGAIN, DATE, DECIDE, EXPIRE
from services.lineage.mirror import Mirror
from services.lineage.reannounce import reannounce
from services.lineage.schedules import SCHEDULE
from services.lineage.settings import LineageSettings
from services.lineage.store import LineageStore
from shared.messaging.consumer import Consumes
from shared.messaging.facts import facts_before_questions
from shared.service import Service, Worker


def build(settings: LineageSettings) -> Service[LineageStore]:
    """Facts before questions: a request is decided when all that Kafka held of instances and runs has been read."""
    return Service(
        name="lineage",
        settings=settings,
        store=partial(LineageStore, mirror=Mirror()),
        metadata=tables.metadata,
        consumers=[
            Consumes(INSTANCES_COMMANDS, handlers.on_instances_commands, refuser=handlers.refuse_unproven),
            Consumes(RUNS_STATUS, handlers.on_runs_status),
            Consumes(
                REQUESTS_STATUS,
                handlers.hearing_requests(timedelta(hours=settings.park_deadline_hours), settings.backfill_dates_max),
                before=facts_before_questions(RUNS_STATUS, INSTANCES_COMMANDS),
            ),
        ],
        due={
            EXPIRE: handlers.on_deadlines,
            DECIDE: handlers.on_portions,
            ASK_AGAIN: handlers.on_asks_unheard,
            DATE: handlers.on_dates,
            SCHEDULE: handlers.on_instants,
        },
        lock_due=handlers.lock_due,
        alarms=[alarms.calendars_end],
        workers=[Worker("retention", retention.run)],
        reannounce=reannounce,
        routers=[api.router, calendar_api.router, restatement_api.router, schedule_api.router, ops_api.router],
    )
