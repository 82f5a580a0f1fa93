"""What failed and is run once more, by the policy of its flow: told before the end of the run is.

The retry is asked for at once, and waits for its time at the gate like anything else that waits: visible, cancellable,
and in the eyes of whoever waits for the flow on its way. The fact not to break: whoever waits for the failed run (a
recursive request, a backfill) waits for its retry before the end is told, so no failure is told that is made up for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from uuid import UUID

from runtide_schemas.runs import RunStatusChanged
from runtide_schemas.vocabulary import RunStatus, Trigger, run_id_of

from services.lineage import conclusion, policies, translation
from services.lineage.domain import retry
from services.lineage.domain.endings import Run
from services.lineage.domain.gate import Request, State
from services.lineage.domain.retry import Failure, Retries
from services.lineage.store import LineageStore
from shared.messaging.decode import Received
from shared.messaging.work import Work

if TYPE_CHECKING:
    from services.lineage.conclusion import Change


async def follow(
    batch: Sequence[Received[Any]], runs: Mapping[UUID, Run], changes: Mapping[str, Change], work: Work[LineageStore]
) -> None:
    """`runs`: as this batch leaves them. Each that failed now, and that lineage admitted, may get a retry."""
    for received in batch:
        message: RunStatusChanged = received.message
        run, change = runs.get(message.run_id), changes.get(message.tenant)
        if run is None or change is None or run.seq != message.seq or message.status is not RunStatus.FAILED:
            continue
        request = change.requests.get(run.run_id)
        if request is None or request.state is not State.ADMITTED or run.tenant != message.tenant:
            continue
        retries = _retries(change, run, request, failure_of(message))
        if retries is not None:
            await _ask(change, request, retries, received, work)


def failure_of(message: RunStatusChanged) -> Failure:
    return Failure(
        run_id=message.run_id,
        at=message.ended_at or message.occurred_at,
        launched=message.orchestrator_run_id is not None,
        was_to_end=message.cancel_requested_at is not None,
        sub_state=message.sub_state.value if message.sub_state else None,
        error_type=message.error.type if message.error else None,
    )


def _retries(change: Change, run: Run, request: Request, failure: Failure) -> Retries | None:
    instance, flow = change.world.instances.get(run.instance_id), change.world.flow(run.flow)
    if instance is None or instance.retired_at is not None or flow is None or flow.retry is None:
        return None
    retries = retry.after(request.but(kind=run.kind), retry.policy_of(flow.retry), failure)
    if retries is None or retries.on_behalf_of != translation.SYSTEM:
        return retries
    asking = change.requests.get(request.parent_run_id) if request.parent_run_id else None
    return replace(retries, on_behalf_of=asking.actor if asking else None)


async def _ask(
    change: Change, failed: Request, retries: Retries, received: Received[Any], work: Work[LineageStore]
) -> None:
    command_id = policies.retry_command_id(failed.run_id)
    run_id = run_id_of(failed.tenant, command_id)
    if run_id in change.requests:
        return
    request = retry.again(failed, retries, run_id)
    request = request.but(state=State.ASKED, asked_at=work.now, actor=translation.SYSTEM)
    change.put(request)
    if failed.parent_run_id in change.requests:
        change.requests[failed.parent_run_id] = retry.instead(
            change.requests[failed.parent_run_id], failed.run_id, run_id
        )
    if failed.trigger is Trigger.BACKFILL and failed.parent_run_id is not None:
        await work.store.backfills.retried(failed.parent_run_id, failed.run_id, run_id)
    work.publish(policies.command_for(request, command_id), cause=received)
    ref = translation.ask_ref(request.tenant, command_id)
    work.schedule(conclusion.ASK_AGAIN, ref, work.now + conclusion.PATIENCE)
