"""From an instance's snapshot to what the tracker needs of it: whose a deployment is, and what its runs report."""

from collections.abc import Sequence

from pydantic_core import from_json, to_json
from runtide_schemas.instances import InstanceStatusChanged
from runtide_schemas.vocabulary import InstanceStatus

from services.run_tracker import reports
from services.run_tracker.domain.belonging import KnownFlow
from services.run_tracker.following import Following


def flows_of(instance: InstanceStatusChanged) -> list[KnownFlow]:
    flows = []
    for flow in instance.flows:
        roles = {
            upstream.role: {"instance_id": upstream.instance_id, "flow_kind": upstream.flow_kind}
            for upstream in instance.upstreams
            if not upstream.flows or flow.kind in upstream.flows
        }
        flows.append(
            KnownFlow(
                instance.instance_id, flow.kind, instance.tenant, instance.name, instance.instance_type,
                flow.deployment, flow.reports, to_json(roles).decode(), instance.occurred_at,
                instance.status is InstanceStatus.RETIRED, instance.seq,
            )
        )  # fmt: skip
    return flows


def changed(flows: Sequence[KnownFlow], before: Sequence[KnownFlow]) -> list[KnownFlow]:
    """Those that are new, or not what they were."""
    known = {(flow.instance_id, flow.flow_kind): flow for flow in before}
    return [flow for flow in flows if _differs(flow, known.get((flow.instance_id, flow.flow_kind)))]


def _differs(flow: KnownFlow, before: KnownFlow | None) -> bool:
    if before is None:
        return True
    if flow.seq <= before.seq:
        return False
    said = (flow.deployment, flow.reports, flow.retired, from_json(flow.roles))
    return said != (before.deployment, before.reports, before.retired, from_json(before.roles))


async def tell_runs_of(flows: Sequence[KnownFlow], following: Following) -> None:
    """Runs on their way take over whether to wait for the seal, and whose versions their roles mean."""
    by_flow = {(flow.instance_id, flow.flow_kind): flow for flow in flows}
    for run in await following.unsettled_of({flow.instance_id for flow in flows}):
        flow = by_flow.get((run.instance_id, run.flow_kind))
        if flow is not None:
            run.reports, run.roles = flow.reports, flow.roles
            following.outputs_changed(run, reports.set_outputs(run, reports.outputs_of(run)))
