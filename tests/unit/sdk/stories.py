"""Messages as the services publish them, short to write in a test."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from runtide.settings import ClientSettings
from runtide_schemas.activities import ActivityRecorded
from runtide_schemas.commands import SubmitRun
from runtide_schemas.instances import FlowSnapshot, InstanceStatusChanged, RegisterInstance, UpstreamSnapshot
from runtide_schemas.message import Message
from runtide_schemas.requests import Blocker, RequestStatusChanged
from runtide_schemas.runs import RunProgressed, RunStatusChanged
from runtide_schemas.vocabulary import (
    Code,
    FlowKind,
    FlowStatus,
    InstanceStatus,
    InstanceType,
    RequestStatus,
    RunStatus,
    RunType,
    default_max_open_runs,
    instance_id_of,
    main_flow_kind,
    run_id_of,
)

RUN = run_id_of("acme", "a command")
FLOW_RUN = UUID("0192f0c1-0000-7000-8000-000000000001")
AT = datetime(2025, 1, 15, 12, tzinfo=UTC)
SETTINGS = ClientSettings(tenant="acme", actor="ana@acme")
URLS = {
    "submission_url": "http://submission.test",
    "run_tracker_url": "http://tracker.test",
    "lineage_url": "http://lineage.test",
}


def request(status: str, seq: int, run_id: UUID = RUN, **fields: Any) -> RequestStatusChanged:
    named = {"instance_name": "momentum", "command_id": "a command", **fields}
    return RequestStatusChanged(
        tenant="acme", run_id=run_id, status=RequestStatus(status), occurred_at=AT, seq=seq, **named
    )


def run(status: str, seq: int, run_id: UUID = RUN, **fields: Any) -> RunStatusChanged:
    named = {"orchestrator_run_id": FLOW_RUN, **fields}
    return RunStatusChanged(
        tenant="acme",
        run_id=run_id,
        run_type=RunType.BACKTEST,
        instance_id=instance_id_of("acme", "momentum"),
        instance_name="momentum",
        flow_kind=FlowKind.BACKTEST,
        status=RunStatus(status),
        occurred_at=AT,
        seq=seq,
        **named,
    )


def progress(pct: float, seq: int, run_id: UUID = RUN) -> RunProgressed:
    return RunProgressed(
        tenant="acme",
        run_id=run_id,
        instance_id=instance_id_of("acme", "momentum"),
        status=RunStatus.RUNNING,
        progress_pct=pct,
        step="simulate",
        occurred_at=AT,
        seq=seq,
    )


def not_proven(command: Message) -> ActivityRecorded:
    """The only answer to a command without a token that holds."""
    assert isinstance(command, SubmitRun)
    return ActivityRecorded(
        tenant="acme",
        activity_id=RUN,
        resource_type="request",
        resource_id=str(RUN),
        action="command.refused",
        payload={"code": Code.UNAUTHENTICATED, "message": "the token expired", "command_id": command.command_id},
        occurred_at=AT,
    )


def blocker(name: str) -> Blocker:
    return Blocker(
        instance_id=instance_id_of("acme", name), name=name, status=InstanceStatus.STALE, reason="its data is old"
    )


def completes(command: Message, **fields: Any) -> list[Message]:
    """What a submission leads to when all goes well."""
    if not isinstance(command, SubmitRun):
        return []
    run_id = run_id_of(command.tenant, str(command.command_id))
    asked = {
        "command_id": command.command_id, "instance_id": command.instance_id, "instance_name": command.instance,
        "parameters": command.parameters, "gate": command.gate, "mode": command.mode, "flow_kind": command.flow_kind,
    }  # fmt: skip
    return [
        *(request(status, seq, run_id, **asked) for seq, status in enumerate(("requested", "admitted", "launched"), 1)),
        run("pending", 1, run_id, orchestrator_run_id=None),
        run("running", 2, run_id),
        progress(40, 3, run_id),
        run("completed", 4, run_id, **{"metrics": {"sharpe_ratio": 1.5}, **fields}),
    ]


def refuses(command: Message, code: str = "UPSTREAM_NOT_READY", message: str = "prices is stale") -> list[Message]:
    if not isinstance(command, SubmitRun):
        return []
    run_id = run_id_of(command.tenant, str(command.command_id))
    said = {"command_id": command.command_id, "instance_name": command.instance}
    blockers = [blocker("prices")] if code == "UPSTREAM_NOT_READY" else []
    return [
        request("requested", 1, run_id, **said),
        request("refused", 2, run_id, code=Code(code), message=message, blockers=blockers, **said),
    ]


def snapshot_of(command: RegisterInstance, seq: int = 1, status: str = "not_initialized") -> InstanceStatusChanged:
    """As lineage answers a registration, with the defaults filled in."""
    assert command.instance_type is not None
    kinds = [flow.kind for flow in command.flows or ()]
    return InstanceStatusChanged(
        tenant=command.tenant,
        instance_id=command.id,
        name=command.name,
        instance_type=command.instance_type,
        status=InstanceStatus(status),
        flows=[
            FlowSnapshot(
                kind=flow.kind,
                deployment=flow.deployment,
                on_upstream=flow.on_upstream,
                reports=flow.reports,
                max_open_runs=flow.max_open_runs or default_max_open_runs(flow.kind),
                max_wait=flow.max_wait,
                min_interval=flow.min_interval,
                status=FlowStatus.NOT_INITIALIZED,
                freshness=FlowStatus.NOT_INITIALIZED,
            )
            for flow in command.flows or ()
        ],
        upstreams=[
            UpstreamSnapshot(
                instance_id=instance_id_of(command.tenant, edge.instance),
                name=edge.instance,
                role=edge.role or edge.instance,
                kind=edge.kind,
                flow_kind=edge.flow_kind or main_flow_kind(InstanceType.DATASET),
                flows=kinds if edge.flows is None else edge.flows,
            )
            for edge in command.upstreams or ()
        ],
        update_frequency=command.update_frequency,
        owner=command.owner,
        occurred_at=AT,
        seq=seq,
    )
