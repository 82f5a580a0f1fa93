"""What lineage does with each message: load, decide, save, announce. No broker, no SQL, no commit.

Every handler takes the locks of its tenants first, and ends in `conclude`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from runtide_schemas import instances as wire
from runtide_schemas.requests import RequestStatusChanged
from runtide_schemas.vocabulary import RequestStatus

from services.lineage import backfills, retrying, schedules, settlement, superseding, translation, wiring
from services.lineage.conclusion import ASK_AGAIN, DATE, DECIDE, EXPIRE, PATIENCE, Change, conclude
from services.lineage.domain import gate
from services.lineage.domain.definition import Rejected
from services.lineage.domain.endings import Run
from services.lineage.domain.gate import Request, State
from services.lineage.domain.graph import FlowKey
from services.lineage.domain.restatement import Restatement
from services.lineage.domain.staleness import Root
from services.lineage.schedule_store import flow_of
from services.lineage.store import LineageStore
from shared.messaging.consumer import Handler
from shared.messaging.decode import Received
from shared.messaging.door import Unproven, refusal
from shared.messaging.due import Due
from shared.messaging.work import Work

LineageWork = Work[LineageStore]


async def on_instances_commands(batch: Sequence[Received[Any]], work: LineageWork) -> None:
    """Register, wire, retire, supersede. What can not be is answered by one `command.refused`."""
    changes = await _load((received.message.tenant for received in batch), work)
    restatements = [received for received in batch if isinstance(received.message, wire.SupersedeVersions)]
    wirings = [received for received in batch if not isinstance(received.message, wire.SupersedeVersions)]
    await _know_calendars((received.message for received in wirings), changes.values(), work)
    owners = await work.store.owners([wiring.about(received.message) for received in wirings])
    refused: dict[UUID, tuple[Received[Any], Rejected]] = {}
    for received in wirings:
        rejected = wiring.hear(changes[received.message.tenant], received, owners, now=work.now)
        if rejected is not None:
            refused[translation.refusal_id(received)] = received, rejected
    refused |= await superseding.hear_all(restatements, changes, work)
    await _conclude_wiring(list(changes.values()), work)
    for activity_id in sorted(await work.store.newly_refused(refused, now=work.now)):
        received, rejected = refused[activity_id]
        work.publish(translation.refused_activity(received, rejected, now=work.now), cause=received)


async def refuse_unproven(batch: Sequence[Unproven], work: LineageWork) -> None:
    """Answered once; what was heard before, under a key that has gone since, was heard."""
    changes = await _load((one.received.message.tenant for one in batch), work)
    answers = {}
    for one in batch:
        change, message = changes[one.received.message.tenant], one.received.message
        if not (await superseding.was_heard(change, one.received, work) or wiring.was_heard(change, one.received)):
            about, command_id = str(wiring.about(message)), message.command_id
            answer = refusal(one, about=about, of="instance", command_id=command_id, now=work.now)
            answers[answer.activity_id] = answer, one.received
    for activity_id in sorted(await work.store.newly_refused(answers, now=work.now)):
        answer, received = answers[activity_id]
        work.publish(answer, cause=received)


async def register(
    command: wire.RegisterInstance, work: LineageWork
) -> tuple[wire.InstanceStatusChanged, bool] | Rejected:
    """The same over HTTP: the answer is the snapshot, and whether the instance is new."""
    change = await _told(command, work)
    if isinstance(change, Rejected):
        return change
    is_new = command.id not in change.stored.world.instances
    return translation.snapshot_of(change.world.instances[command.id], change.world), is_new


async def delay_source(command: wire.DelaySource, work: LineageWork) -> wire.InstanceStatusChanged | Rejected:
    """Also over HTTP: the snapshot with the delay."""
    change = await _told(command, work)
    if isinstance(change, Rejected):
        return change
    return translation.snapshot_of(change.world.instances[command.instance_id], change.world)


async def _told(command: wire.InstanceCommand, work: LineageWork) -> Change | Rejected:
    """What one command that did not come from the log does to its tenant."""
    [change] = (await _load([command.tenant], work)).values()
    await _know_calendars([command], [change], work)
    about = wiring.about(command)
    applied = wiring.applied(change.world, command, await work.store.owners([about]), at=work.now)
    if isinstance(applied, Rejected):
        return applied
    wiring.take(change, command, applied, ref=f"{about}/{work.now.isoformat()}")
    await _conclude_wiring([change], work)
    return change


async def supersede(
    command: wire.SupersedeVersions, command_id: str, work: LineageWork
) -> tuple[Restatement, bool] | Rejected:
    """The same over HTTP: the answer is the restatement, and whether it is new."""
    [change] = (await _load([command.tenant], work)).values()
    answer = await superseding.hear(change, command, work, command_id=command_id, at=work.now)
    if isinstance(answer, Rejected):
        return answer
    await _conclude_wiring([change], work)
    return answer, answer.restatement_id in change.declared


async def on_runs_status(batch: Sequence[Received[Any]], work: LineageWork) -> None:
    """Remember what the runs said; mint versions for what completed, and tell what that did to all that is below."""
    await work.store.lock({received.message.tenant for received in batch})
    known = await work.store.runs({received.message.run_id for received in batch})
    folded = settlement.folded(batch, known)
    changes = await _loaded(folded.tenants, work)
    restated = await settlement.remember(folded, changes, work)
    await retrying.follow(batch, folded.runs, changes, work)
    for run in folded.runs.values():
        if run.status.is_terminal and run.tenant in changes:
            changes[run.tenant].end(run.run_id, run.status)
    followed = await superseding.follow(changes.values(), work, restated=restated)
    answers = await conclude(list(changes.values()), work)
    stale = {change.world.tenant: after.newly_stale for change, after in zip(changes.values(), answers, strict=True)}
    for received in folded.completed:
        change = changes[received.message.tenant]
        key = settlement.affected([change], received)
        below = stale[change.world.tenant].get(key, ()) if key is not None else ()
        instances = {flow.instance_id: change.world.instances[flow.instance_id] for flow in below}
        work.publish(translation.completed_activity(received, list(instances.values())), cause=received)
    await superseding.say(followed, work)


def hearing_requests(park_deadline: timedelta, most_dates: int) -> Handler[LineageStore]:
    """The handler of requests.status; the deadline is that of a waiting request that names none, `most_dates` are what
    a backfill may have.
    """

    async def on_requests_status(batch: Sequence[Received[Any]], work: LineageWork) -> None:
        """Decide what is asked; give free what ended. Only the newest snapshot of each request matters."""
        newest: dict[UUID, Received[RequestStatusChanged]] = {}
        for received in sorted(batch, key=lambda received: received.message.seq):
            newest[received.message.run_id] = received
        changes = await _load((received.message.tenant for received in newest.values()), work)
        for change in changes.values():
            change.most_dates = most_dates
        requests, runs = await work.store.requests(newest), await work.store.runs(newest)
        for run_id, received in sorted(newest.items(), key=lambda item: (item[1].message.occurred_at, item[0])):
            change, asked = changes[received.message.tenant], translation.request_of(received.message, park_deadline)
            known = requests.get(run_id)
            heard = _heard(asked, received.message, known, runs.get(run_id))
            if heard is not None:
                change.put(heard)
                change.because[run_id] = received
            if known is not None and known.state is State.ASKED and received.message.command_id is not None:
                work.unschedule(ASK_AGAIN, translation.ask_ref(known.tenant, received.message.command_id))
        await conclude(list(changes.values()), work)

    return on_requests_status


async def lock_due(due: Sequence[Due], work: LineageWork) -> None:
    """Take the tenants' locks before the rows, as every consumer does."""
    requests = await work.store.requests([UUID(one.ref) for one in due if one.kind == EXPIRE])
    tenants = {one.ref for one in due if one.kind == DECIDE}
    tenants |= {translation.tenant_of_ask(one.ref) for one in due if one.kind == ASK_AGAIN}
    instances = {UUID(one.ref) for one in due if one.kind == DATE}
    instances |= {flow_of(one.ref).instance_id for one in due if one.kind == schedules.SCHEDULE}
    owners = await work.store.owners(instances)
    await work.store.lock(tenants | {request.tenant for request in requests.values()} | set(owners.values()))


async def on_portions(due: Sequence[Due], work: LineageWork) -> None:
    """Go on deciding what waits in these tenants: the last transaction said as much as one may."""
    changes = await _load((one.ref for one in due), work)
    for change in changes.values():
        change.look_again = True
    await conclude(list(changes.values()), work)


async def on_deadlines(due: Sequence[Due], work: LineageWork) -> None:
    """Look again at the tenants of requests whose time has come: each is released now, waits on, or expires."""
    requests = await work.store.requests([UUID(one.ref) for one in due])
    changes = await _load((request.tenant for request in requests.values()), work)
    for change in changes.values():
        change.look_again = True
    await conclude(list(changes.values()), work)


async def on_asks_unheard(due: Sequence[Due], work: LineageWork) -> None:
    """Ask once more for what submission has not announced: the same command, so that it stays one request."""
    run_ids = {one.ref: translation.run_of_ask(one.ref) for one in due}
    known = await work.store.requests(run_ids.values())
    unheard = {ref: known[id] for ref, id in run_ids.items() if id in known and known[id].state is State.ASKED}
    changes = await _loaded({translation.tenant_of_ask(ref) for ref in unheard}, work)
    for ref, asked in unheard.items():
        change = changes[translation.tenant_of_ask(ref)]
        asking = change.requests.get(asked.parent_run_id) if asked.parent_run_id else None
        command = (
            await backfills.asked_again(change, ref, work)
            if translation.is_of_backfill(ref)
            else translation.asked_again(ref, asked, on_behalf_of=asking.actor if asking else None)
        )
        if command is not None:
            work.publish(command)
            work.schedule(ASK_AGAIN, ref, work.now + PATIENCE)


async def on_dates(due: Sequence[Due], work: LineageWork) -> None:
    """Ask again about instances whose data date fell due, whose delay ended, or whose calendar is another one now."""
    owners = await work.store.owners([UUID(one.ref) for one in due])
    changes = await _load(owners.values(), work)
    for one in due:
        instance_id = UUID(one.ref)
        if instance_id in owners:
            change = changes[owners[instance_id]]
            key = FlowKey(instance_id, change.world.instances[instance_id].main_kind)
            change.due.add(instance_id)
            change.roots.setdefault(key, Root(f"{one.ref}/{one.due_at.isoformat()}", changed=False))
    await conclude(list(changes.values()), work)


async def on_instants(due: Sequence[Due], work: LineageWork) -> None:
    """Ask for the runs whose planned instant has come."""
    flows = [flow_of(one.ref) for one in due]
    owners = await work.store.owners({flow.instance_id for flow in flows})
    changes = await _load(owners.values(), work)
    for tenant, change in changes.items():
        await schedules.take_turns(change, [flow for flow in flows if owners.get(flow.instance_id) == tenant], work)
    await conclude(list(changes.values()), work)


def _heard(
    asked: Request | None, message: RequestStatusChanged, known: Request | None, run: Run | None
) -> Request | None:
    """The request after this snapshot; None: nothing to remember. One that lineage does not know (it ended in the batch
    in which it began, or the database was restored) goes on from where submission says that it is.
    """
    if known is not None and (message.seq <= known.seq or message.tenant != known.tenant):
        return None
    over = _how_it_ended(message, run)
    if known is not None and known.state is State.ENDED:
        return known.but(seq=message.seq)
    if known is not None and over is not None:
        return gate.ended(known, over).but(seq=message.seq)
    if asked is None:
        return None
    if over is not None:
        return gate.ended(asked, over)  # else its beginning, read again by itself, would be decided
    if message.status in (RequestStatus.ADMITTED, RequestStatus.LAUNCHED):
        kept = known or asked.but(number=message.seq)
        return kept.but(state=State.ADMITTED, kind=message.flow_kind or kept.kind, shown=(), seq=message.seq)
    if known is None or known.state is State.ASKED:
        return asked if message.status is RequestStatus.REQUESTED else asked.but(number=message.seq)
    return known.but(seq=message.seq)


def _how_it_ended(message: RequestStatusChanged, run: Run | None) -> str | None:
    if message.status.is_end:
        return message.status
    return run.status if run is not None and run.status.is_terminal else None


async def _conclude_wiring(changes: Sequence[Change], work: LineageWork) -> None:
    """New flows get the facts of runs that were there before them."""
    for change in changes:
        await settlement.settle_new(change, work)
        await schedules.follow_definitions(change, work)
    followed = await superseding.follow(changes, work)
    await conclude(changes, work)
    await superseding.say(followed, work)


async def _know_calendars(commands: Iterable[Any], changes: Iterable[Change], work: LineageWork) -> None:
    """Whoever registers may name a calendar that nobody named before."""
    if any(isinstance(command, wire.RegisterInstance) and translation.names_calendar(command) for command in commands):
        calendars = await work.store.calendars()
        for change in changes:
            change.world = change.world.with_calendars(calendars)


async def _load(tenants: Iterable[str], work: LineageWork) -> dict[str, Change]:
    """Lock these tenants, sorted, and load them."""
    names = set(tenants)
    await work.store.lock(names)
    return await _loaded(names, work)


async def _loaded(tenants: set[str], work: LineageWork) -> dict[str, Change]:
    if not tenants:
        return {}
    loaded = await work.store.load(tenants)
    return {tenant: Change.of(loaded[tenant]) for tenant in sorted(tenants)}
