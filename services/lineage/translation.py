"""Messages to domain values and back. No decision lives here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid5

from runtide_schemas import instances as wire
from runtide_schemas.activities import ActivityRecorded
from runtide_schemas.commands import SubmitRun
from runtide_schemas.message import LIST_LIMIT
from runtide_schemas.requests import RequestStatusChanged
from runtide_schemas.runs import RunStatusChanged
from runtide_schemas.vocabulary import (
    RUNTIDE,
    FlowStatus,
    Gate,
    Mode,
    Trigger,
    action_prefix,
    instance_id_of,
    run_id_of,
)

from services.lineage import policies
from services.lineage.domain.backfill import Range
from services.lineage.domain.definition import FlowDefinition, Registration, Rejected
from services.lineage.domain.endings import Seen
from services.lineage.domain.gate import Request, State
from services.lineage.domain.graph import FlowKey
from services.lineage.domain.staleness import Ask
from services.lineage.domain.world import Flow, Instance, Read, Upstream, World, resolve
from services.lineage.rows import canonical
from shared.messaging.decode import Received

SYSTEM = "system:lineage"
ON_INSTANCE = (
    wire.RetireInstance,
    wire.ConnectInstances,
    wire.DisconnectInstances,
    wire.ChangeDefinition,
    wire.DelaySource,
    wire.SupersedeVersions,
)


def registration_of(command: wire.RegisterInstance) -> Registration:
    def named(field: str, value: str | None) -> tuple[str | None] | None:
        return (value,) if command.names(field) else None

    flows = None
    if command.flows is not None:
        flows = tuple(
            FlowDefinition(
                flow.kind,
                flow.deployment,
                flow.on_upstream,
                flow.reports,
                flow.max_open_runs,
                flow.max_wait,
                flow.min_interval,
                policies.schedule_text(flow.schedule),
                policies.retry_text(flow.retry),
            )
            for flow in command.flows
        )
    frequency = command.update_frequency.model_dump(mode="json") if command.update_frequency else None
    return Registration(
        instance_id=command.id,
        name=command.name,
        instance_type=command.instance_type,
        flows=flows,
        upstreams=None if command.upstreams is None else upstreams_of(command.tenant, command.upstreams),
        update_frequency=named("update_frequency", canonical(frequency)),
        owner=named("owner", command.owner),
        status_order=(tuple(command.status_order) if command.status_order else None,)
        if command.names("status_order")
        else None,
    )


def names_calendar(command: wire.RegisterInstance) -> bool:
    """What it says may count in the sessions of a market."""
    scheduled = (flow.schedule for flow in command.flows or ())
    return command.update_frequency is not None or any(one and one.sessions for one in scheduled)


def upstreams_of(tenant: str, specs: Iterable[wire.UpstreamSpec]) -> tuple[Upstream, ...]:
    """Without a role it is the empty text: the domain puts the upstream's name there."""
    return tuple(
        Upstream(
            instance_id=instance_id_of(tenant, spec.instance),
            name=spec.instance,
            role=spec.role or "",
            kind=spec.kind,
            flow_kind=spec.flow_kind,
            flows=tuple(spec.flows) if spec.flows is not None else None,
            optional=spec.optional,
            max_lag=spec.max_lag,
        )
        for spec in specs
    )


def seen_of(message: RunStatusChanged) -> Seen:
    version = message.metrics.get("artifact_version")
    return Seen(
        run_id=message.run_id,
        tenant=message.tenant,
        instance_id=message.instance_id,
        kind=message.flow_kind,
        seq=message.seq,
        status=message.status,
        mode=message.mode,
        trigger=message.trigger,
        attempt=message.attempt,
        at=message.occurred_at,
        started_at=message.started_at,
        ended_at=message.ended_at,
        digest=message.output_digest,
        schema_digest=message.schema_digest,
        last_data_date=message.last_data_date,
        rows_processed=message.rows_processed,
        artifact_version=None if version is None else str(version),
        inputs=tuple(
            Read(role, FlowKey(one.instance_id, one.flow_kind), one.version_id, one.artifact_version, one.basis)
            for role, one in message.input_versions.items()
        ),
    )


def request_of(message: RequestStatusChanged, deadline: timedelta) -> Request | None:
    """The request that a snapshot speaks of; None where it names no instance (it began as a cancel)."""
    if message.instance_id is None:
        return None
    wait_until = message.wait_until
    endless = message.trigger in (Trigger.UPSTREAM, Trigger.BACKFILL) or message.backfill is not None
    if wait_until is None and not endless:
        wait_until = message.occurred_at + deadline
    return Request(
        run_id=message.run_id,
        tenant=message.tenant,
        instance_id=message.instance_id,
        instance_name=message.instance_name,
        kind=message.flow_kind,
        gate=message.gate or Gate.STRICT,
        skip_if_ready=message.skip_if_ready,
        wait_until=wait_until,
        asked_at=message.occurred_at,
        parameters=message.parameters,
        trigger=message.trigger,
        mode=message.mode or Mode.INCREMENTAL,
        seq=message.seq,
        backfill=_range_of(message),
        actor=message.actor,
        parent_run_id=message.parent_run_id,
        plan_id=message.plan_id,
        planned_for=message.planned_for,
        retries=policies.retries_of(message.retries, message.on_behalf_of),
    )


def _range_of(message: RequestStatusChanged) -> Range | None:
    asked = message.backfill
    if asked is None:
        return None
    return Range(
        start=asked.start,
        end=asked.end,
        step=asked.step,
        max_open=asked.max_open,
        order=asked.order,
        parameter=asked.parameter,
        on_failure=asked.on_failure,
        mode=message.mode or Mode.INCREMENTAL,
    )


def submission_of(tenant: str, ask: Ask) -> tuple[SubmitRun, UUID]:
    """The command that asks for an automatic refresh, and the id of its run. The same change asks under the same id."""
    command_id = f"upstream/{ask.flow.instance_id}/{ask.flow.kind}/{ask.ref}"
    return _own_submission(tenant, command_id, ask.flow), run_id_of(tenant, command_id)


def recursive_submission_of(request: Request, above: FlowKey) -> tuple[SubmitRun, UUID]:
    """The command by which a recursive request asks for a flow above it, and the id of its run; numbered from its
    second time on.
    """
    before = sum(one.flow == above for one in request.asked)
    again = f"/{before + 1}" if before else ""
    command_id = f"recursive/{request.run_id}/{above.instance_id}/{above.kind}{again}"
    command = _own_submission(request.tenant, command_id, above, request.run_id, request.actor)
    return command, run_id_of(request.tenant, command_id)


def _own_submission(
    tenant: str, command_id: str, flow: FlowKey, parent_run_id: UUID | None = None, on_behalf_of: str | None = None
) -> SubmitRun:
    return SubmitRun(
        command_id=command_id,
        tenant=tenant,
        actor=SYSTEM,
        instance=str(flow.instance_id),
        flow_kind=flow.kind,
        gate=Gate.WAIT,
        skip_if_ready=True,
        trigger=Trigger.UPSTREAM,
        parent_run_id=parent_run_id,
        on_behalf_of=on_behalf_of,
    )


def ask_ref(tenant: str, command_id: str) -> str:
    """What names an ask among the due rows: it is enough to ask again."""
    return f"{tenant}/{command_id}"


def tenant_of_ask(ref: str) -> str:
    return ref.partition("/")[0]


def run_of_ask(ref: str) -> UUID:
    tenant, _, command_id = ref.partition("/")
    return run_id_of(tenant, command_id)


def is_of_backfill(ref: str) -> bool:
    return ref.split("/", 2)[1] == Trigger.BACKFILL


def asked_again(ref: str, asked: Request, *, on_behalf_of: str | None) -> SubmitRun:
    """The command behind such a name, the same as it was."""
    return policies.command_for(asked, ref.partition("/")[2], on_behalf_of=on_behalf_of)


def request_for(command: SubmitRun, run_id: UUID, now: datetime) -> Request:
    """The row that says that lineage has asked, until submission says so."""
    return Request(
        run_id=run_id,
        tenant=command.tenant,
        instance_id=command.instance_id,
        instance_name=None,
        kind=command.flow_kind,
        gate=command.gate,
        skip_if_ready=command.skip_if_ready,
        wait_until=command.wait_until,
        asked_at=now,
        parameters=command.parameters,
        mode=command.mode,
        trigger=command.trigger,
        state=State.ASKED,
        actor=command.actor,
        parent_run_id=command.parent_run_id,
        planned_for=command.planned_for,
        retries=policies.retries_of(command.retries, command.on_behalf_of),
    )


def snapshot_of(instance: Instance, world: World, *, with_edges: bool = True) -> wire.InstanceStatusChanged:
    """The whole instance as last announced; without its edges for who has them already."""
    cause, edges = instance.cause, instance.upstreams[:LIST_LIMIT] if with_edges else ()
    return wire.InstanceStatusChanged(
        tenant=instance.tenant,
        instance_id=instance.instance_id,
        name=instance.name,
        instance_type=instance.instance_type,
        status=instance.status,
        old_status=instance.old_status,
        flows=[_flow_snapshot(flow) for flow in instance.flows],
        cause=None
        if cause is None
        else wire.Cause(
            run_id=cause.run_id, version_id=cause.version_id, instance_id=cause.instance_id, path=list(cause.path)
        ),
        upstreams=[_upstream_snapshot(instance, upstream, world) for upstream in edges],
        upstreams_total=len(instance.upstreams),
        update_frequency=None
        if instance.update_frequency is None
        else wire.UpdateFrequency.model_validate_json(instance.update_frequency),
        source_delay=None
        if instance.delay is None
        else wire.SourceDelay(until=instance.delay.until, reason=instance.delay.reason, since=instance.delay.since),
        owner=instance.owner,
        status_order=None if instance.status_order is None else [FlowStatus(one) for one in instance.status_order],
        occurred_at=instance.announced_at or datetime.fromisoformat("1970-01-01T00:00:00+00:00"),
        seq=max(instance.seq, 1),
    )


def _flow_snapshot(flow: Flow) -> wire.FlowSnapshot:
    return wire.FlowSnapshot(
        kind=flow.kind,
        deployment=flow.deployment,
        on_upstream=flow.on_upstream,
        reports=flow.reports,
        max_open_runs=flow.max_open_runs,
        max_wait=flow.max_wait,
        min_interval=flow.min_interval,
        schedule=policies.schedule_spec(flow.schedule),
        retry=policies.retry_spec(flow.retry),
        status=flow.status,
        old_status=flow.old_status,
        freshness=flow.freshness,
        open_run_id=flow.open_run_id,
        reason=flow.reason,
        last_run_id=flow.last_run_id,
        last_run_at=flow.last_run_at,
        last_data_date=flow.last_data_date,
        expected_data_date=flow.expected_data_date,
        next_due_at=flow.next_due_at,
        version_id=flow.version.version_id if flow.version else None,
        verified_at=flow.version.verified_at if flow.version else None,
    )


def _upstream_snapshot(instance: Instance, upstream: Upstream, world: World) -> wire.UpstreamSnapshot:
    known = world.instances.get(upstream.instance_id)
    return wire.UpstreamSnapshot(
        instance_id=upstream.instance_id,
        name=known.name if known else upstream.name,
        role=upstream.role,
        kind=upstream.kind,
        flow_kind=resolve(upstream, world.instances).kind,
        flows=[flow.kind for flow in instance.flows] if upstream.flows is None else list(upstream.flows),
        optional=upstream.optional,
        max_lag=upstream.max_lag,
    )


def instance_activity(instance: Instance, action: str, *, actor: str, correlation_id: str | None) -> ActivityRecorded:
    """`instance.registered | ready | stale | error | retired`, one per snapshot and action."""
    cause = instance.cause
    assert instance.announced_at is not None
    return ActivityRecorded(
        activity_id=uuid5(RUNTIDE, f"{instance.instance_id}/{instance.seq}/{action}"),
        tenant=instance.tenant,
        actor=actor,
        resource_type="instance",
        resource_id=str(instance.instance_id),
        action=action,
        payload={
            "name": instance.name,
            "status": instance.status,
            "old_status": instance.old_status,
            "cause": None if cause is None else {"run_id": _text(cause.run_id), "path": list(cause.path)},
        },
        correlation_id=correlation_id,
        occurred_at=instance.announced_at,
    )


def completed_activity(received: Received[RunStatusChanged], affected: Sequence[Instance]) -> ActivityRecorded:
    """`*_run.completed`, with what it made stale: the first 100, and how many in all."""
    message = received.message
    return ActivityRecorded(
        activity_id=uuid5(RUNTIDE, f"{message.run_id}/{message.seq}/completed"),
        tenant=message.tenant,
        actor=message.actor or SYSTEM,
        resource_type="run",
        resource_id=str(message.run_id),
        action=f"{action_prefix(message.run_type)}.completed",
        payload={
            "instance_id": str(message.instance_id),
            "instance_name": message.instance_name,
            "flow_kind": message.flow_kind,
            "attempt": message.attempt,
            "metrics": message.metrics,
            "affected_downstream": [
                {"instance_id": str(one.instance_id), "name": one.name} for one in affected[:LIST_LIMIT]
            ],
            "affected_downstream_total": len(affected),
        },
        correlation_id=received.correlation_id or received.id,
        occurred_at=message.ended_at or message.occurred_at,
    )


def refusal_id(received: Received[Any]) -> UUID:
    return uuid5(RUNTIDE, f"{received.id}/refused")


def refused_activity(received: Received[Any], rejected: Rejected, *, now: datetime) -> ActivityRecorded:
    """The answer to a command about an instance that changes nothing."""
    command = received.message
    about = command.name if isinstance(command, wire.RegisterInstance) else command.instance
    return ActivityRecorded(
        activity_id=refusal_id(received),
        tenant=command.tenant,
        actor=command.actor,
        resource_type="instance",
        resource_id=str(instance_id_of(command.tenant, about)),
        action="command.refused",
        payload={
            "code": rejected.code,
            "message": rejected.message,
            "command": command.type,
            "command_id": command.command_id,
            "instance": about,
        },
        correlation_id=received.correlation_id or received.id,
        occurred_at=now,
    )


def _text(value: UUID | None) -> str | None:
    return None if value is None else str(value)
