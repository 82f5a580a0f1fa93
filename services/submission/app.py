"""What submission is made of."""

from __future__ import annotations

from runtide_schemas.topics import REQUESTS_DECISIONS, RUNS_COMMANDS

from services.submission import alarms, api, handlers, launcher, retention, tables
from services.submission.reannounce import reannounce
from services.submission.settings import SubmissionSettings
from services.submission.store import SubmissionStore
from shared.service import Consumes, Service, Worker


def build(settings: SubmissionSettings) -> Service[SubmissionStore]:
    return Service(
        name="submission",
        settings=settings,
        store=SubmissionStore,
        metadata=tables.metadata,
        consumers=[
            Consumes(RUNS_COMMANDS, handlers.on_runs_commands, refuser=handlers.refuse_unproven),
            Consumes(REQUESTS_DECISIONS, handlers.on_requests_decisions),
        ],
        workers=[Worker("launcher", launcher.run), Worker("retention", retention.run)],
        alarms=[alarms.undecided, alarms.launches_waiting],
        reannounce=reannounce,
        routers=[api.router],
    )
