"""From a request's snapshot to its run: made when it is admitted, linked when it is launched, ended if it never was."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TypeGuard
from uuid import UUID

from pydantic import TypeAdapter
from pydantic_core import to_json
from runtide_schemas.requests import InputVersion, RequestStatusChanged
from runtide_schemas.vocabulary import Mode, RequestStatus

from services.run_tracker import reports
from services.run_tracker.cancelling import wish
from services.run_tracker.domain.belonging import Waiting
from services.run_tracker.domain.run import Run
from services.run_tracker.following import Following
from services.run_tracker.linking import catch_up, link, say_created, settle
from services.run_tracker.store import Entry
from services.run_tracker.telling import tell
from shared.messaging.decode import Received

MAKES_A_RUN = frozenset({RequestStatus.ADMITTED, RequestStatus.LAUNCHED, RequestStatus.LAUNCH_FAILED})
_HISTORIC = MAKES_A_RUN | {RequestStatus.CANCELLED}
_INPUTS = TypeAdapter(dict[str, InputVersion])

Requested = Received[RequestStatusChanged]


def is_of(run: Run | None, request: RequestStatusChanged) -> TypeGuard[Run]:
    """The run exists, and is its tenant's own."""
    return run is not None and run.tenant == request.tenant


async def create(items: Sequence[Requested], since: Mapping[UUID, datetime], following: Following) -> None:
    """The runs of requests that are to be runs and are not yet; with what was reported before they were known."""
    wanted = [item for item in items if item.message.run_id not in following.loaded and _describes_a_run(item.message)]
    if not wanted:
        return
    store = following.store
    instance_ids = {item.message.instance_id for item in wanted if item.message.instance_id is not None}
    flows = {
        (flow.instance_id, flow.flow_kind): flow for flow in await store.belonging.load_flows(instance_ids=instance_ids)
    }
    stored = await store.reports.load([item.message.run_id for item in wanted])
    for item in wanted:
        run = _run_of(item.message, since[item.message.run_id])
        if (flow := flows.get((run.instance_id, run.flow_kind))) is not None:
            run.reports, run.roles = flow.reports, flow.roles
        following.create(run)
        reports.set_outputs(run, reports.outputs_of(run))
        say_created(run, following.work, item)
        following.catch_up_reports(run, stored.get(run.run_id, ()), item)


def _describes_a_run(request: RequestStatusChanged) -> bool:
    described = request.run_type is not None and request.instance_id is not None and request.flow_kind is not None
    return described and request.status in MAKES_A_RUN


def _run_of(request: RequestStatusChanged, since: datetime) -> Run:
    assert request.run_type is not None
    assert request.instance_id is not None
    assert request.flow_kind is not None
    return Run(
        run_id=request.run_id, tenant=request.tenant, run_type=request.run_type, instance_id=request.instance_id,
        instance_name=request.instance_name or str(request.instance_id), flow_kind=request.flow_kind,
        trigger=request.trigger, mode=request.mode or Mode.INCREMENTAL, created_at=since,
        parameters=to_json(request.parameters).decode(), actor=request.actor, deployment=request.deployment,
        admitted_inputs=_INPUTS.dump_json(request.input_versions).decode(),
    )  # fmt: skip


async def launch(items: Sequence[Requested], following: Following) -> None:
    """Link the flow runs that the launcher names, and those that were seen before and carry the run's tag."""
    store, runs = following.store, following.loaded
    named = {
        item.message.orchestrator_run_id: runs[item.message.run_id]
        for item in items
        if item.message.orchestrator_run_id is not None
        and item.message.orchestrator_run_id != runs[item.message.run_id].orchestrator_run_id
    }
    taken = await following.runs_of(named.keys())
    linked = {flow_run_id: run for flow_run_id, run in named.items() if flow_run_id not in taken}
    seen = {waiting.flow_run_id: waiting for waiting in await store.belonging.load_waiting(flow_run_ids=linked.keys())}
    for flow_run_id, run in linked.items():
        link(run, seen.get(flow_run_id, Waiting(flow_run_id, None, run.deployment, run.run_id, None)), following)
        tell(run, following.work, say=True)
    await catch_up(linked, following)
    unlinked = {item.message.run_id for item in items if runs[item.message.run_id].orchestrator_run_id is None}
    if unlinked and (waiting := await store.belonging.load_waiting(claims=unlinked)):
        await settle(waiting, following)


def note(items: Sequence[Requested], following: Following) -> None:
    """Every word of a request belongs to its run's history, also one that came late."""
    for item in items:
        request = item.message
        run = following.loaded.get(request.run_id)
        if not is_of(run, request) or request.status not in _HISTORIC:
            continue
        happened = f"request/{request.status}"
        following.note([Entry(run.run_id, happened, request.occurred_at, "request", detail=request.status)])
        if request.status in MAKES_A_RUN and request.occurred_at < run.created_at:
            run.created_at = request.occurred_at
            following.whole[run.run_id] = run


async def follow(run: Run, item: Requested, following: Following) -> None:
    """What the newest snapshot of its request means for a run that exists."""
    request = item.message
    if run.deployment is None:
        run.deployment = request.deployment
    never_launched = run.orchestrator_run_id is None and run.state_id is None
    if request.status is RequestStatus.LAUNCH_FAILED or (request.status is RequestStatus.CANCELLED and never_launched):
        run.request_end, run.request_ended_at = request.status, request.occurred_at
        run.request_code, run.request_message = request.code, request.message
        run.cancel_requested_at = request.cancel_requested_at
    tell(run, following.work, item)
    following.whole[run.run_id] = run
    if request.cancel_requested_at is not None and run.request_end is None:
        await wish(run, request.cancel_requested_at, request.actor, following, item)
