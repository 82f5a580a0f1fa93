"""Finding the run of a flow run, or making one: tags of ours, flow runs of registered deployments, or none at all.

The fact not to break: whoever comes here holds creators' lock, shared or exclusive, so that an observation and the run
that it belongs to never pass each other unseen.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from prometheus_client import Counter
from runtide_schemas.prefect import FlowRunStateObserved
from runtide_schemas.vocabulary import FlowKind, InstanceType, Mode, Trigger, adopted_run_id, run_type_of

from services.run_tracker.cancelling import wish
from services.run_tracker.domain.belonging import KnownFlow, Waiting, claim_of, owner_of
from services.run_tracker.domain.lifecycle import forget_observations, left_scheduled
from services.run_tracker.domain.run import Run
from services.run_tracker.following import Following
from services.run_tracker.observations import observation_of
from services.run_tracker.telling import LINK, Cause, Tracking, record_created, tell

UNLINKED = Counter("runtide_run_tracker_unlinked_total", "Flow runs that belong to no run, by why", ["why"])
_SOON = timedelta(seconds=1)


def waiting_of(message: FlowRunStateObserved) -> Waiting:
    """What an observation says about whose flow run it is; a sweep's says little."""
    deployment = None
    if message.flow_name is not None and message.deployment_name is not None:
        deployment = f"{message.flow_name}/{message.deployment_name}"
    left = _left_scheduled_at(message)
    return Waiting(message.flow_run_id, message.flow_run_name, deployment, claim_of(message.tags), left)


def _left_scheduled_at(message: FlowRunStateObserved) -> datetime | None:
    """When it was no longer a plan, as far as this state says; a sweep sees its end and says when it began."""
    if message.gone or not left_scheduled(observation_of(message)):
        return None
    if message.start_time is None or message.run_count < 1:
        return message.state_timestamp
    return min(message.start_time, message.state_timestamp)


async def link_strangers(seen: Mapping[UUID, Sequence[FlowRunStateObserved]], following: Following) -> dict[UUID, Run]:
    """flow run id → its run, for those that turn out to have one; they are caught up from storage here."""
    work, store = following.work, following.store
    if not await store.hold_creators_off():
        for flow_run_id in seen:
            work.schedule(LINK, str(flow_run_id), work.now + _SOON)
        await store.belonging.keep_waiting(_merged(seen), work.now)
        return {}
    appeared = await following.runs_of(seen.keys())
    strangers = {flow_run_id: messages for flow_run_id, messages in seen.items() if flow_run_id not in appeared}
    if strangers:
        waiting = await store.belonging.keep_waiting(_merged(strangers), work.now)
        await settle(waiting, following)
    return appeared


def _merged(seen: Mapping[UUID, Sequence[FlowRunStateObserved]]) -> list[Waiting]:
    merged = []
    for flow_run_id in sorted(seen):
        rows = [waiting_of(message) for message in seen[flow_run_id]]
        lefts = [row.left_scheduled_at for row in rows if row.left_scheduled_at is not None]
        merged.append(
            Waiting(
                flow_run_id,
                next((row.name for row in rows if row.name), None),
                next((row.deployment for row in rows if row.deployment), None),
                next((row.claimed_run_id for row in rows if row.claimed_run_id), None),
                min(lefts, default=None),
            )
        )
    return merged


async def settle(waiting: Sequence[Waiting], following: Following, cause: Cause = None) -> None:
    """Give each of these flow runs its run, if it has one now, and let that run catch up."""
    store = following.store
    existing = await following.runs_of({flow_run.flow_run_id for flow_run in waiting})
    runs = await following.runs({w.claimed_run_id for w in waiting if w.claimed_run_id is not None})
    flows = await store.belonging.load_flows(deployments={w.deployment for w in waiting if w.deployment is not None})
    linked: dict[UUID, Run] = dict(existing)
    for flow_run in waiting:
        if flow_run.flow_run_id in existing:
            continue
        claimed = runs.get(flow_run.claimed_run_id) if flow_run.claimed_run_id is not None else None
        match owner_of(flow_run, claimed, flows):
            case Run() as run:
                link(run, flow_run, following)
                linked[flow_run.flow_run_id] = run
            case KnownFlow() as flow:
                if await store.become_only_creator():
                    linked[flow_run.flow_run_id] = adopt(flow_run, flow, following)
                else:
                    following.work.schedule(LINK, str(flow_run.flow_run_id), following.work.now + _SOON)
            case why:
                UNLINKED.labels(why).inc()
    await catch_up(linked, following, cause)


def link(run: Run, flow_run: Waiting, following: Following) -> None:
    """From now on this flow run is the run's."""
    if run.orchestrator_run_id not in (None, flow_run.flow_run_id):
        forget_observations(run)
    run.orchestrator_run_id, run.name, run.settled = flow_run.flow_run_id, flow_run.name or run.name, False
    following.whole[run.run_id] = run


def adopt(flow_run: Waiting, flow: KnownFlow, following: Following) -> Run:
    """A run that nobody requested: not gated, and it says so by its trigger."""
    run_type = run_type_of(InstanceType(flow.instance_type), FlowKind(flow.flow_kind))
    assert run_type is not None, "lineage registers only pairs of the table"
    assert flow_run.left_scheduled_at is not None
    run = Run(
        run_id=adopted_run_id(flow_run.flow_run_id), tenant=flow.tenant, run_type=run_type,
        instance_id=flow.instance_id, instance_name=flow.instance_name, flow_kind=flow.flow_kind,
        trigger=Trigger.SCHEDULED, mode=Mode.INCREMENTAL, created_at=flow_run.left_scheduled_at,
        deployment=flow.deployment, name=flow_run.name, orchestrator_run_id=flow_run.flow_run_id,
        reports=flow.reports, roles=flow.roles,
    )  # fmt: skip
    following.create(run)
    return run


async def catch_up(linked: Mapping[UUID, Run], following: Following, cause: Cause = None) -> None:
    """Let newly linked runs take in everything that was stored about them."""
    if not linked:
        return
    store, work = following.store, following.work
    observed = await store.load_observations(linked.keys())
    stored = await store.reports.load([run.run_id for run in linked.values()])
    adopted = [run.run_id for run in linked.values() if run.seq == 0]
    wishes = await store.requests.load_cancel_wishes(adopted)
    for flow_run_id, run in sorted(linked.items()):
        states = observed.get(flow_run_id, [])
        if run.seq == 0:
            if states and run.trigger == Trigger.SCHEDULED:
                run.created_at = min(run.created_at, states[0].at)
            say_created(run, work, cause)
            following.catch_up_reports(run, stored.get(run.run_id, ()), cause)
        for seen in states:
            following.step(run, seen, stored, cause)
        if (asked_at := wishes.get((run.run_id, run.tenant))) is not None:
            await wish(run, asked_at, None, following, cause)
    await store.belonging.no_longer_waiting(linked.keys())


def say_created(run: Run, work: Tracking, cause: Cause = None) -> None:
    """The first snapshot: pending."""
    tell(run, work, cause, say=True)
    record_created(run, work, cause)


async def link_late(flow_run_ids: Collection[UUID], following: Following) -> None:
    """Look again for the runs of flow runs that came while somebody was creating runs."""
    store = following.store
    await store.be_only_creator()
    runs = await following.runs_of(flow_run_ids)
    await catch_up(runs, following)
    await settle(await store.belonging.load_waiting(flow_run_ids=set(flow_run_ids) - runs.keys()), following)
