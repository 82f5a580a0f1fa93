"""Reporting from inside a flow: what was read, how far it is, what came out, and the seal.

    with report_run(run_id) as run:
        run.read("prices")
        run.progress(40, step="transform")
        run.artifact("equity_curve", frame)
        run.complete(metrics={"rows_added": n}, last_data_date=day, digest=digest_of(frame))

The facts not to break: `complete` is the attempt's last report and is acknowledged before it returns; and Kafka never
fails a flow. A seal that cannot be sent in time is logged as an error, with its JSON: the run ends `completed` with
`outputs: unreported`, and whoever sends the seal later completes it. An artifact that S3 does not take does fail the
flow, for the outputs are not complete without it.

Read from the environment: RUNTIDE_KAFKA_BOOTSTRAP, RUNTIDE_KAFKA_PREFIX and the login to Kafka (a wrong one is an error
in the log), RUNTIDE_S3_*, RUNTIDE_RUN_TRACKER_URL, RUNTIDE_TENANT, RUNTIDE_TOKEN. Artifacts go to S3 with its keys
where there are some, else to addresses that run_tracker hands out for the token (scope `runs:report`). Without Kafka
reports are log lines, with neither S3 nor run_tracker artifacts are only measured: the same code runs in plain Python.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from uuid import UUID

from runtide_schemas.login import KafkaLogin, LoginImpossible

from runtide._reporting_artifacts import Artifact, ArtifactNotStored, S3Store, Store
from runtide._reporting_digest import digest_of, schema_digest_of
from runtide._reporting_identity import Reporter, current_flow_run, identify
from runtide._reporting_kafka import KafkaSink, LogSink, Sink
from runtide._reporting_run import SEAL_TIMEOUT_SECONDS, RunReport
from runtide._reporting_uploads import UploadStore

__all__ = ["Artifact", "ArtifactNotStored", "RunReport", "digest_of", "report_run", "schema_digest_of"]

log = logging.getLogger("runtide.flow")


@contextmanager
def report_run(
    run_id: UUID | str | None = None,
    *,
    tenant: str | None = None,
    attempt: int | None = None,
    token: str | None = None,
    seal_timeout_seconds: float = SEAL_TIMEOUT_SECONDS,
    sink: Sink | None = None,
    store: Store | None = None,
) -> Iterator[RunReport]:
    """Report about the run that this code belongs to.

    The run is the argument, else what the flow run's tag `run:<id>` names, else the adopted run of this flow run. The
    tenant is the argument, else the tag `tenant:<t>`, else RUNTIDE_TENANT. The attempt is Prefect's run count.
    An exception is reported as the run's error, with its traceback, and raised again. Cancellation is not an error.
    """
    environment = os.environ
    flow_run = current_flow_run()
    reporter = identify(run_id, tenant, attempt, token, flow_run, environment)
    report = RunReport(
        reporter,
        sink or _sink(environment, reporter),
        store or _store(environment, reporter, known=run_id is not None or flow_run is not None),
        bucket=environment.get("RUNTIDE_S3_BUCKET", "runs"),
        topic_prefix=environment.get("RUNTIDE_KAFKA_PREFIX", ""),
        seal_timeout_seconds=seal_timeout_seconds,
    )
    patience_seconds = 0.0
    try:
        yield report
        patience_seconds = seal_timeout_seconds
    except Exception as error:
        report.fail(error)
        raise
    finally:
        report.close(0.0 if report.gave_up else patience_seconds)


def _sink(environment: Mapping[str, str], reporter: Reporter) -> Sink:
    """Kafka, where it is configured and we know for whom and as whom to report."""
    bootstrap = environment.get("RUNTIDE_KAFKA_BOOTSTRAP")
    if not bootstrap:
        return LogSink()
    only_logged = f"reports of run {reporter.run_id} are only logged"
    if not reporter.tenant_known:
        log.error("no tenant is known (RUNTIDE_TENANT, tag tenant:<t>): %s", only_logged)
        return LogSink()
    try:
        return KafkaSink(bootstrap, KafkaLogin.from_environment(environment))
    except LoginImpossible as error:
        log.error("%s: %s", error, only_logged)
        return LogSink()


def _store(environment: Mapping[str, str], reporter: Reporter, *, known: bool) -> Store | None:
    """S3 with keys, else by run_tracker if it can know the run (one made up here it cannot), else S3 without keys."""
    keys = environment.get("RUNTIDE_S3_ENDPOINT") and environment.get("RUNTIDE_S3_ACCESS_KEY")
    by_run_tracker = UploadStore.from_environment(environment, reporter) if known and not keys else None
    return by_run_tracker or S3Store.from_environment(environment)
