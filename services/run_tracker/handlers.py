"""What each message does: load, decide, save, announce. No broker, no SQL, no commit in this file."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import cast
from uuid import UUID

from prometheus_client import Counter
from runtide_schemas.instances import InstanceStatusChanged
from runtide_schemas.prefect import FlowRunStateObserved
from runtide_schemas.reports import ProgressReported, Report
from runtide_schemas.requests import RequestStatusChanged
from runtide_schemas.vocabulary import RunStatus, SubState

from services.run_tracker import registering, reporting, reports, requesting
from services.run_tracker.domain.run import Run
from services.run_tracker.domain.trouble import Trouble
from services.run_tracker.following import REPORTS, Following
from services.run_tracker.linking import link_late, link_strangers, settle
from services.run_tracker.observations import is_drift, observation_of
from services.run_tracker.report_store import StoredReport
from services.run_tracker.store import Entry
from services.run_tracker.telling import LINK, Tracking, record_escalation, tell, tell_progress
from services.run_tracker.upkeep import Mark, Upkeep
from shared.errors import InvalidMessage
from shared.messaging.decode import Received
from shared.messaging.door import Unproven, refusal
from shared.messaging.due import Due

DRIFT = Counter("runtide_run_tracker_drift_total", "Flow run states that the sweep saw and the bridge had not")
_AHEAD = timedelta(days=1)
_SOON = timedelta(seconds=1)


async def on_flow_run_states(batch: Sequence[Received[FlowRunStateObserved]], work: Tracking) -> None:
    """Store every observation; fold those of our runs, and find the runs of those that are nobody's yet."""
    received: dict[tuple[UUID, UUID], Received[FlowRunStateObserved]] = {}
    for item in batch:
        message = item.message
        if message.state_timestamp > item.at + _AHEAD:
            raise InvalidMessage(f"a state of {message.state_timestamp}, seen at {item.at}: it is from the future")
        received.setdefault((message.flow_run_id, message.state_id), item)
    fresh = await work.store.keep_observations([item.message for item in received.values()])
    if not fresh:
        return
    drifted = sum(is_drift(received[key].message) for key in fresh)
    following = Following(work)
    runs = await following.runs_of({flow_run_id for flow_run_id, _ in fresh})
    strangers: dict[UUID, list[FlowRunStateObserved]] = {}
    for key in fresh:
        if key[0] not in runs:
            strangers.setdefault(key[0], []).append(received[key].message)
    if strangers:
        runs |= await link_strangers(strangers, following)
    ours = [
        (runs[key[0]], observation_of(item.message), item)
        for key, item in ((key, received[key]) for key in fresh if key[0] in runs)
    ]
    ours.sort(key=lambda found: (found[1].at, found[1].state_id.int))
    attempts = await following.reports_for_new_attempts(ours)
    for run, seen, item in ours:
        run.name = run.name or item.message.flow_run_name
        following.step(run, seen, attempts, item)
    await following.save()
    if drifted:
        DRIFT.inc(drifted)
        await Upkeep(work.store.connection).count_found(Mark.DRIFT, drifted, work.now)


async def on_requests_status(batch: Sequence[Received[RequestStatusChanged]], work: Tracking) -> None:
    """An admitted request is a pending run; a launched one has a flow run; a cancel is a wish."""
    newest: dict[tuple[UUID, str], Received[RequestStatusChanged]] = {}
    since: dict[UUID, datetime] = {}
    for item in batch:
        request = item.message
        known = newest.get((request.run_id, request.tenant))
        if known is None or request.seq > known.message.seq:
            newest[request.run_id, request.tenant] = item
        if request.status in requesting.MAKES_A_RUN:
            since[request.run_id] = min(since.get(request.run_id, request.occurred_at), request.occurred_at)
    fresh = await work.store.requests.remember([newest[key].message for key in sorted(newest)])
    await work.store.be_only_creator()
    following = Following(work)
    await following.runs({run_id for run_id, _ in newest})
    items = [newest[key] for key in sorted(fresh)]
    await requesting.create(items, since, following)
    own = [item for item in items if requesting.is_of(following.loaded.get(item.message.run_id), item.message)]
    await requesting.launch(own, following)
    for item in own:
        await requesting.follow(following.loaded[item.message.run_id], item, following)
    requesting.note(batch, following)
    await following.save()


async def on_instances_status(batch: Sequence[Received[InstanceStatusChanged]], work: Tracking) -> None:
    """Which deployment is which instance's flow; flow runs of it that were seen before become runs."""
    newest: dict[UUID, InstanceStatusChanged] = {}
    for item in batch:
        known = newest.get(item.message.instance_id)
        if known is None or item.message.seq > known.seq:
            newest[item.message.instance_id] = item.message
    await work.store.be_only_creator()
    before = await work.store.belonging.load_flows(instance_ids=newest.keys())
    flows = [flow for instance in newest.values() for flow in registering.flows_of(instance)]
    await work.store.belonging.save_flows(flows, {instance.instance_id: instance.seq for instance in newest.values()})
    changed = registering.changed(flows, before)
    if not changed:
        return
    following = Following(work)
    await registering.tell_runs_of(changed, following)
    await settle(await work.store.belonging.load_waiting(deployments={flow.deployment for flow in changed}), following)
    await following.save()


async def on_runs_reports(batch: Sequence[Received[Report]], work: Tracking) -> None:
    """What flows say of their own runs; reports of a run that is not known yet are kept for it."""
    following = Following(work)
    run_ids = {item.message.run_id for item in batch}
    unknown = run_ids - (await following.runs(run_ids)).keys()
    if unknown:
        if await work.store.hold_creators_off():
            await following.runs(unknown)
        else:
            for run_id in unknown:
                work.schedule(LINK, str(run_id), work.now + _SOON)
    rows: dict[tuple[UUID, str, int, int], StoredReport] = {}
    progress: list[Received[ProgressReported]] = []
    causes: dict[UUID, Received[Report]] = {}
    for item in batch:
        run = following.loaded.get(item.message.run_id)
        if run is not None and item.message.tenant != run.tenant:
            REPORTS.labels("foreign_tenant").inc()
            continue
        causes[item.message.run_id] = item
        if run is not None and isinstance(item.message, ProgressReported):
            progress.append(cast("Received[ProgressReported]", item))
            continue
        row = reports.to_store(item, run.attempt if run is not None else 1)
        rows.setdefault((row.run_id, row.tenant, row.attempt, row.n), row)
    fresh = await work.store.reports.keep(list(rows.values()))
    await reporting.take_in([rows[key] for key in sorted(fresh)], causes, following)
    progressed = reporting.take_progress_in(progress, causes, following)
    await following.save()
    await work.store.save_progress([run for run in progressed if run.run_id not in following.whole])


async def refuse_unproven_reports(batch: Sequence[Unproven], work: Tracking) -> None:
    """One answer per run, kind and batch; none for progress, nor for what was stored under a key that is gone."""
    stored = await work.store.reports.load({one.received.message.run_id for one in batch})
    known = {(row.run_id, row.tenant, row.attempt, row.n) for rows in stored.values() for row in rows}
    answered: set[tuple[UUID, str]] = set()
    for one in batch:
        message = one.received.message
        row = reports.to_store(one.received, 1)
        told = (message.run_id, message.type) in answered or isinstance(message, ProgressReported)
        REPORTS.labels("unproven").inc()
        if not told and (row.run_id, row.tenant, row.attempt, row.n) not in known:
            answered.add((message.run_id, message.type))
            answer = refusal(one, about=str(message.run_id), of="run", command_id=one.received.id, now=work.now)
            work.publish(answer, cause=one.received)


# -- the clock ---------------------------------------------------------------------------------------------------------


async def lock_due(due: Sequence[Due], work: Tracking) -> None:
    """Take the locks of all that these will touch, in the order of the consumers: creators, then runs by id."""
    links = [UUID(one.ref) for one in due if one.kind == LINK]
    if links:
        await work.store.be_only_creator()
    await work.store.lock_runs([UUID(one.ref) for one in due], of_flow_runs=links)


async def on_seals_due(due: Sequence[Due], work: Tracking) -> None:
    """The last report did not come: completed all the same, and says so. It may still come."""
    following = Following(work)
    for run in (await following.runs([UUID(row.ref) for row in due])).values():
        if run.sub_state == SubState.WAITING_OUTPUTS:
            run.unreported_attempt, run.clock_at = run.attempt, work.now
            tell(run, work)
            following.whole[run.run_id] = run
            following.note([_by_clock(run, f"unreported/{run.attempt}", work)])
    await following.save()


async def on_cancels_unconfirmed(due: Sequence[Due], work: Tracking) -> None:
    """Prefect has not ended the run since the cancel: shown, for a person to look at."""
    following = Following(work)
    for run in (await following.runs([UUID(row.ref) for row in due])).values():
        if run.cancel_requested_at is not None and not RunStatus(run.status).is_terminal:
            run.cancel_unconfirmed_at = run.clock_at = work.now
            tell(run, work)
            record_escalation(run, Trouble.CANCEL_UNCONFIRMED, work)
            following.whole[run.run_id] = run
            following.note([_by_clock(run, "cancel_unconfirmed", work)])
    await following.save()


async def on_silences(silences: Mapping[UUID, datetime | None], work: Tracking) -> None:
    """run id → since when its process is silent, None: it is heard again. A cancel that waits for it is taken up."""
    following = Following(work)
    runs = await following.runs(silences)
    for run_id, run in runs.items():
        since = silences[run_id]
        run.silent_since, run.clock_at = since, work.now
        tell(run, work)
        following.whole[run_id] = run
        if run.sub_state == SubState.UNRESPONSIVE:
            record_escalation(run, Trouble.UNRESPONSIVE, work)
        happened = f"silent/{since.isoformat()}" if since is not None else f"heard/{work.now.isoformat()}"
        following.note([_by_clock(run, happened, work)])
    await following.save()
    await work.store.requests.want_ended([run_id for run_id, since in silences.items() if since is not None], work.now)


def _by_clock(run: Run, entry: str, work: Tracking) -> Entry:
    return Entry(run.run_id, entry, work.now, "clock", run.status, run.sub_state, run.attempt, seq=run.seq)


async def on_progress_due(due: Sequence[Due], work: Tracking) -> None:
    """The last value of a burst."""
    runs = (await work.store.load_runs([UUID(row.ref) for row in due])).values()
    late = [run for run in runs if run.progress_n != run.said_progress_n and not RunStatus(run.status).is_terminal]
    for run in late:
        tell_progress(run, work)
    await work.store.save_progress(late)


async def on_links_due(due: Sequence[Due], work: Tracking) -> None:
    """Facts that came while somebody was creating runs: look again."""
    following = Following(work)
    ids = [UUID(row.ref) for row in due]
    await link_late(ids, following)
    runs = await following.runs(ids)
    stored = await work.store.reports.load(runs.keys())
    for run_id, run in runs.items():
        following.catch_up_reports(run, stored.get(run_id, ()))
    await following.save()
