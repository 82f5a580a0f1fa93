"""Messages about one run, as the other services, Prefect and the flow send them."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid5

from runtide_schemas import reports
from runtide_schemas.instances import FlowSnapshot, InstanceStatusChanged, UpstreamSnapshot
from runtide_schemas.message import Message
from runtide_schemas.prefect import FlowRunStateObserved
from runtide_schemas.requests import InputVersion, RequestStatusChanged
from runtide_schemas.vocabulary import (
    RUNTIDE,
    Basis,
    FlowKind,
    FlowStatus,
    InstanceStatus,
    InstanceType,
    Mode,
    ReportsPolicy,
    RequestStatus,
    RunType,
    instance_id_of,
    run_id_of,
)

from tests.component.run_tracker.desk import START
from tests.unit.run_tracker.recordings import observed

TENANT, DEPLOYMENT = "acme", "refresh-momentum/prod"
RUN_ID = run_id_of(TENANT, "c1")
INSTANCE_ID = instance_id_of(TENANT, "momentum")
FLOW_RUN_ID = uuid5(RUNTIDE, "a flow run")
ADMITTED_VERSION, OTHER_VERSION = uuid5(RUNTIDE, "v1"), uuid5(RUNTIDE, "v2")
PRICES = InputVersion(
    instance_id=instance_id_of(TENANT, "prices"), flow_kind=FlowKind.REFRESH, version_id=ADMITTED_VERSION,
    basis=Basis.ADMITTED,
)  # fmt: skip


def request(status: RequestStatus, seq: int, **changes: Any) -> RequestStatusChanged:
    values: dict[str, Any] = {
        "tenant": TENANT, "run_id": RUN_ID, "command_id": "c1", "instance_id": INSTANCE_ID,
        "instance_name": "momentum", "run_type": RunType.PIPELINE, "flow_kind": FlowKind.REFRESH,
        "mode": Mode.INCREMENTAL, "actor": "ana@acme", "deployment": DEPLOYMENT, "input_versions": {"prices": PRICES},
        "status": status, "seq": seq, "occurred_at": START + timedelta(milliseconds=seq),
    }  # fmt: skip
    return RequestStatusChanged(**(values | changes))


def admitted(**changes: Any) -> RequestStatusChanged:
    return request(RequestStatus.ADMITTED, 2, **changes)


def launched(*, seq: int = 3, **changes: Any) -> RequestStatusChanged:
    return request(RequestStatus.LAUNCHED, seq, **({"orchestrator_run_id": FLOW_RUN_ID} | changes))


def registered(
    *, seq: int = 1, policy: ReportsPolicy = ReportsPolicy.EXPECTED, name: str = "momentum",
    status: InstanceStatus = InstanceStatus.NOT_INITIALIZED, at: datetime = START - timedelta(hours=1),
    deployment: str = DEPLOYMENT,
) -> InstanceStatusChanged:  # fmt: skip
    flow = FlowSnapshot(
        kind=FlowKind.REFRESH, deployment=deployment, reports=policy, status=FlowStatus.NOT_INITIALIZED,
        freshness=FlowStatus.NOT_INITIALIZED,
    )  # fmt: skip
    upstream = UpstreamSnapshot(
        instance_id=PRICES.instance_id, name="prices", role="prices", flow_kind=FlowKind.REFRESH, flows=[]
    )
    return InstanceStatusChanged(
        tenant=TENANT, instance_id=instance_id_of(TENANT, name), name=name, instance_type=InstanceType.SIGNAL,
        status=status, flows=[flow], upstreams=[upstream], occurred_at=at, seq=seq,
    )  # fmt: skip


def states(scenario: str, *, tags: list[str] | None = None, **changes: Any) -> list[FlowRunStateObserved]:
    """A recording, as if it were our run's flow run; tagged with the run unless said otherwise."""
    flow, _, deployment = DEPLOYMENT.partition("/")
    ours = {
        "flow_run_id": FLOW_RUN_ID, "flow_name": flow, "deployment_name": deployment, "raw": None,
        "tags": [f"run:{RUN_ID}"] if tags is None else tags,
    }  # fmt: skip
    return [seen.model_copy(update=ours | changes) for seen in observed(scenario)]


def report(kind: type[reports.Report], n: int | None, attempt: int | None = 1, **fields: Any) -> reports.Report:
    at = fields.pop("occurred_at", START + timedelta(seconds=5, milliseconds=(n or 0) + 100 * (attempt or 0)))
    return kind(**({"tenant": TENANT, "run_id": RUN_ID, "attempt": attempt, "n": n, "occurred_at": at} | fields))


def seal(n: int = 9, attempt: int | None = 1, metrics: Mapping[str, Any] | None = None, **fields: Any) -> Message:
    return report(
        reports.OutputReported,
        n,
        attempt,
        **({"metrics": dict(metrics or {"rows_added": 3}), "digest": "d", "schema_digest": "s"} | fields),
    )


def reference(name: str, attempt: int = 1, run_id: UUID = RUN_ID) -> str:
    folder = f"{run_id}/attempt-{attempt}" if attempt > 1 else str(run_id)
    return f"s3://runs/{folder}/{name}.parquet"


def reported(attempt: int = 1, *, sealed: bool = True) -> list[Message]:
    """What a flow says in one attempt."""
    said: list[Message] = [
        report(reports.InputsReported, 1, attempt, inputs={"prices": OTHER_VERSION}),
        report(reports.ProgressReported, 2, attempt, progress_pct=10.0 * attempt, step="load"),
        report(reports.MetricsReported, 3, attempt, metrics={"rows_fetched": attempt, "mine": "x"}),
        report(reports.ArtifactReported, 4, attempt, name="frame", ref=reference("frame", attempt), size_bytes=10),
        report(reports.ProgressReported, 5, attempt, progress_pct=50.0 + attempt, step="write", detail="half"),
        report(reports.MetricsReported, 6, attempt, metrics={"rows_fetched": 10 * attempt}),
    ]
    return [*said, seal(7, attempt, last_data_date=START.date())] if sealed else said
