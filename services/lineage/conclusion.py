"""What every batch ends with, whatever began it: ask again how things are, announce what moved, ask for refreshes,
decide what waits, save, say it.

Store first, propagate, then announce: all of it in the caller's transaction, under the locks of its tenants.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import chain, compress, repeat
from operator import is_not
from time import monotonic
from typing import Any
from uuid import UUID

import msgspec
from runtide_schemas.commands import SubmitRun
from runtide_schemas.message import LIST_LIMIT, Message
from runtide_schemas.vocabulary import Gate, InstanceStatus, Trigger

from services.lineage import backfills, telling, translation, turning
from services.lineage.domain import approval, gate, recursive
from services.lineage.domain.approval import Approved
from services.lineage.domain.gate import Decision, Request, State
from services.lineage.domain.graph import FlowKey
from services.lineage.domain.restatement import Restatement
from services.lineage.domain.staleness import Ask, Restated, Root, blamed, is_to_refresh, restate
from services.lineage.domain.world import Cause, Instance, World, changed_copy
from services.lineage.history import events_of
from services.lineage.mirror import Loaded
from services.lineage.request_rows import DecisionRow
from services.lineage.snapshots import snapshot_draft
from services.lineage.store import LineageStore
from shared.messaging.decode import Received
from shared.messaging.drafts import Draft
from shared.messaging.work import Work

EXPIRE, DECIDE, ASK_AGAIN, DATE = "expire", "decide", "ask_again", "date"
# What one transaction decides: so many answers, and then as many as time and bytes allow, so that no batch holds its
# tenants for long on any machine (docs/adr/0036).
PORTION_AT_LEAST, PORTION_SECONDS, PORTION_BYTES = 500, 0.1, 8 * 2**20
PATIENCE = timedelta(minutes=5)  # with submission, before it is asked again
_TO_DECIDE = (State.UNDECIDED, State.PARKED)
_encode = msgspec.json.Encoder().encode
_ACTIONS = {
    InstanceStatus.READY: "instance.ready",
    InstanceStatus.STALE: "instance.stale",
    InstanceStatus.ERROR: "instance.error",
}


@dataclass(slots=True)
class Change:
    """What a batch did to one tenant so far. `requests`: without end, oldest first; those undecided are decided now.
    `said`: instance → what a command made of it (`instance.registered | retired`) and whose it was. `because`: run or
    instance → the message to blame. `plans`: those that its waiting requests run. `freed`: flows of which a run ended
    or was admitted, or that somebody no longer waits to run. `look_again`: all that waits is decided anew. `due`:
    instances whose row of `DATE` was taken. `touched`: the versions of attempts that were told anew, or confirm another
    version than before; `settled`: the flows that were given the facts of their past; `declared`: the new restatements;
    `most_dates`: of one backfill that is decided now. The `open_runs` of its worlds are its own, and change in place.
    """

    stored: Loaded
    world: World
    requests: dict[UUID, Request]
    roots: dict[FlowKey, Root] = field(default_factory=dict)
    said: dict[UUID, tuple[str, str]] = field(default_factory=dict)
    because: dict[UUID, Received[Any]] = field(default_factory=dict)
    plans: dict[UUID, Approved] = field(default_factory=dict)
    freed: set[FlowKey] = field(default_factory=set)
    look_again: bool = False
    due: set[UUID] = field(default_factory=set)
    touched: set[UUID] = field(default_factory=set)
    settled: set[FlowKey] = field(default_factory=set)
    declared: dict[UUID, Restatement] = field(default_factory=dict)
    most_dates: int = 0

    @classmethod
    def of(cls, loaded: Loaded) -> Change:
        world = loaded.world.with_open_runs(dict(loaded.world.open_runs), loaded.world.about_the_past)
        return cls(loaded, world, dict(loaded.requests))

    def end(self, run_id: UUID, how: str) -> None:
        """The request is over: its place is free."""
        request = self.requests.get(run_id)
        if request is not None and request.state is not State.ENDED:
            self.put(gate.ended(request, how))

    def put(self, request: Request) -> None:
        """The request as it is now; an admission counts, an end frees its place, and whoever asked for it or waits for
        it looks again.
        """
        before = self.requests.get(request.run_id)
        if request.state is not State.PARKED and request.due_at is not None:
            request = request.but(due_at=None)
        self.requests[request.run_id] = request
        if request.state is State.ENDED:
            self._tell(request)
            if before is not None and before.state.is_waiting:
                self.freed.add(gate.flow_asked(self.world, request))
        admitted_before = before is not None and before.state is State.ADMITTED
        if admitted_before or request.state is State.ADMITTED:
            key = FlowKey(request.instance_id, request.kind)
            open_runs: dict[FlowKey, frozenset[UUID]] = self.world.open_runs  # type: ignore[assignment]  # our own copy
            runs = open_runs.get(key, frozenset())
            counts = request.state is State.ADMITTED
            now = runs | {request.run_id} if counts else runs - {request.run_id}
            if now != runs:
                open_runs[key] = now
                if not now:
                    del open_runs[key]
                self.freed.add(key)
                if request.is_of_backfill:
                    past = self.world.about_the_past ^ {request.run_id}
                    self.world = self.world.with_open_runs(open_runs, past)

    def _tell(self, ended: Request) -> None:
        """The recursive request that asked for this one knows how it ended."""
        asking = self.requests.get(ended.parent_run_id) if ended.parent_run_id else None
        if asking is not None and asking.state is not State.ENDED:
            self.requests[asking.run_id] = recursive.told(asking, ended)


@dataclass(slots=True)
class Outcome:
    """What a tenant's change comes to. `turned`: the instances that are only stale now, before and after; `instances`:
    all others that differ; `announced`: those of which others are told; `requests`: before and after of each that
    differs; `messages`: what was decided and asked.
    """

    restated: Restated
    turned: dict[UUID, turning.Pair] = field(default_factory=dict)
    instances: list[turning.Pair] = field(default_factory=list)
    announced: list[tuple[Instance | None, Instance]] = field(default_factory=list)
    requests: list[tuple[Request | None, Request]] = field(default_factory=list)
    decisions: list[DecisionRow] = field(default_factory=list)
    messages: list[tuple[Message | Draft, Received[Any] | None]] = field(default_factory=list)

    @property
    def moved(self) -> Iterator[Instance]:
        return (after for _, after in (*self.instances, *self.turned.values()))


async def conclude(changes: Sequence[Change], work: Work[LineageStore]) -> list[Restated]:
    """The answers per tenant; then one save per table, then what is to be said, in order."""
    for change in changes:
        planned = {r.plan_id for r in change.requests.values() if r.plan_id is not None and r.state in _TO_DECIDE}
        if planned:
            change.plans = await work.store.plans(change.world.tenant, planned)
    outcomes = [outcome_of(change, work) for change in changes]
    for change, outcome in zip(changes, outcomes, strict=True):
        await backfills.go_on(change, outcome, work)
    await save(changes, outcomes, work)
    for change, outcome in zip(changes, outcomes, strict=True):
        announce(change, outcome, work)
    return [outcome.restated for outcome in outcomes]


async def save(changes: Sequence[Change], outcomes: Sequence[Outcome], work: Work[LineageStore]) -> None:
    """Store what moved, and count the tenants of which anything did."""
    turned = [after for outcome in outcomes for _, after in outcome.turned.values()]
    await work.store.save_instances([pair for outcome in outcomes for pair in outcome.instances], turned)
    await work.store.save_requests([pair for outcome in outcomes for pair in outcome.requests], now=work.now)
    await work.store.save_decisions([row for outcome in outcomes for row in outcome.decisions])
    pairs = zip(changes, outcomes, strict=True)
    await work.store.save_events([row for change, outcome in pairs for row in events_to_save(change, outcome, work)])
    changed = [
        Loaded.after(change.world, change.requests, outcome.requests)
        for change, outcome in zip(changes, outcomes, strict=True)
        if outcome.instances or outcome.turned or outcome.requests
    ]
    if changed:
        work.after_commit(await work.store.advance(changed))


def events_to_save(change: Change, outcome: Outcome, work: Work[LineageStore]) -> Iterator[dict[str, Any]]:
    """What the announced snapshots say anew, with the message by which it came."""
    for before, after in outcome.announced:
        source = _source(change, after.instance_id, outcome.restated.causes.get(after.instance_id))
        message_id = source.id if source else None
        yield from events_of(before, after, outcome.restated, message_id=message_id, at=work.now)


def announce(change: Change, outcome: Outcome, work: Work[LineageStore]) -> None:
    """Tell who moved, then what was decided and asked."""
    for before, after in outcome.announced:
        for message, cause in _announcements(change, before, after):
            work.publish(message, cause=cause)
    for said, cause in outcome.messages:
        work.publish(said, cause=cause)


def outcome_of(change: Change, work: Work[LineageStore]) -> Outcome:
    """Ask again how things are, ask for refreshes, decide what waits."""
    restated = restate(change.world, change.roots, work.now)
    outcome, stored = Outcome(restated), change.stored.world
    moved = list(_moved(stored, restated.base, restated.causes_of_moved, work))
    turned = turning.numbered(restated.turned, work.now)
    if any(now.instance_id in turned for _, now, _ in moved):
        moved, turned = list(_moved(stored, restated.world, restated.causes, work)), {}
    outcome.turned, outcome.instances = turned, [(was, now) for was, now, _ in moved]
    outcome.announced = [(was, now) for was, now, announced in moved if announced]
    change.world = (restated.base if turned else restated.world).with_announced(outcome.moved)
    _keep_dates(change, outcome, work)
    outcome.announced += turned.values()  # no clock says anything of them
    for ask in restated.asks:
        _ask(change, ask, outcome, work)
    _decide_waiting(change, outcome, work)
    for ask in list(_asks_instead(change)):
        _ask(change, ask, outcome, work)
    keep_requests(change, outcome, work)
    return outcome


def keep_requests(change: Change, outcome: Outcome, work: Work[LineageStore]) -> None:
    """What is to be stored of requests, and when the clock alone looks at them again."""
    outcome.requests = list(_changed(change))
    for was, request in outcome.requests:
        _keep_due(was, request, work)


def _changed(change: Change) -> Iterator[tuple[Request | None, Request]]:
    """Each request that differs: as it was, and as it is now."""
    return ((was, now) for was, now in _put(change) if was != now)


def _put(change: Change) -> Iterator[tuple[Request | None, Request]]:
    """Each request that was put, with what it was. None is ever taken out, and new ones come last."""
    known = chain(change.stored.requests.values(), repeat(None))
    return ((was, now) for was, now in zip(known, change.requests.values(), strict=False) if was is not now)


def _keep_dates(change: Change, outcome: Outcome, work: Work[LineageStore]) -> None:
    """A row where the answer may change sooner than was known; where the row was taken, the next one. A row that comes
    too early only asks in vain, so a later date is left to it.
    """
    for before, after in outcome.announced:
        was, now = (before.next_due_at if before else None), after.next_due_at
        if now is not None and (was is None or now < was):
            work.schedule(DATE, str(after.instance_id), now)
    for instance_id in change.due:
        next_due_at = change.world.instances[instance_id].next_due_at
        if next_due_at is not None:
            work.schedule(DATE, str(instance_id), next_due_at)


def _moved(
    before: World, after: World, causes: Mapping[UUID, Cause], work: Work[LineageStore]
) -> Iterator[tuple[Instance | None, Instance, bool]]:
    """Each instance that differs: as it was, as it is now (numbered, if its snapshot differs), and whether it does."""
    if after.instances is before.instances:
        return
    new = after.instances.keys() - before.instances.keys() if len(after.instances) > len(before.instances) else ()
    resolved = {
        edge.downstream.instance_id
        for instance_id in new
        for kind in after.instances[instance_id].kinds
        for edge in after.graph.out_of(FlowKey(instance_id, kind))
    }
    for instance_id, now in after.instances.items() if resolved else _others(before.instances, after.instances):
        was = before.instances.get(instance_id)
        if was is now and instance_id not in resolved:
            continue
        if was is None or instance_id in resolved or not now.shows_the_same_as(was):
            yield was, _numbered(was, now, causes.get(instance_id), work), True
        elif was != now:
            yield was, now, False


def _others(before: Mapping[UUID, Instance], after: Mapping[UUID, Instance]) -> Iterator[tuple[UUID, Instance]]:
    """Those that are not what lay in their place before: all that differ, found at the speed of a copy."""
    differ = chain(map(is_not, after.values(), before.values()), repeat(True))
    return compress(after.items(), differ)


def _numbered(was: Instance | None, now: Instance, cause: Cause | None, work: Work[LineageStore]) -> Instance:
    flows = []
    for flow in now.flows:
        old = was.flow(flow.kind) if was else None
        status = old.status if old else None
        flows.append(flow if flow.old_status is status else changed_copy(flow, old_status=status))
    return changed_copy(
        now,
        flows=tuple(flows),
        old_status=was.status if was else None,
        cause=blamed(was, now, cause),
        seq=now.seq + 1,
        announced_at=work.now,
    )


def _source(change: Change, instance_id: UUID, cause: Cause | None) -> Received[Any] | None:
    """The message by which an instance moved; None: by the clock, or over HTTP."""
    known = change.because.get(cause.run_id or cause.instance_id) if cause is not None else None
    return known or change.because.get(instance_id)


def _announcements(
    change: Change, before: Instance | None, after: Instance
) -> Iterator[tuple[Message | Draft, Received[Any] | None]]:
    blamed = _source(change, after.instance_id, after.cause)
    yield snapshot_draft(after, change.world), blamed
    actions = []
    if after.instance_id in change.said:
        actions.append(change.said[after.instance_id])
    if after.freshness in _ACTIONS and (before is None or before.freshness is not after.freshness):
        actions.append((_ACTIONS[after.freshness], translation.SYSTEM))
    for action, actor in actions:
        correlation_id = (blamed.correlation_id or blamed.id) if blamed else None
        yield translation.instance_activity(after, action, actor=actor, correlation_id=correlation_id), blamed


def _ask(change: Change, ask: Ask, outcome: Outcome, work: Work[LineageStore]) -> None:
    """One waiting request per flow is enough: it will be decided on what is current then. One that runs already may
    have read the old version, so it does not count; nor does a backfill, which is about the past.
    """
    of_instance = (r for r in change.requests.values() if r.will_refresh and r.instance_id == ask.flow.instance_id)
    waiting = [request for request in of_instance if gate.flow_asked(change.world, request) == ask.flow]
    if waiting:
        if all(not request.is_automatic and request.stands_for is None for request in waiting):
            change.put(waiting[0].but(stands_for=ask.ref))
        return
    command, run_id = translation.submission_of(change.world.tenant, ask)
    if run_id not in change.requests:
        change.requests[run_id] = translation.request_for(command, run_id, work.now)
        outcome.messages.append((command, None))
        _ask_again(command, work)


def _ask_again(command: SubmitRun, work: Work[LineageStore]) -> None:
    """Once more, if submission does not announce it."""
    assert command.command_id is not None
    work.schedule(ASK_AGAIN, translation.ask_ref(command.tenant, command.command_id), work.now + PATIENCE)


def _decide_waiting(change: Change, outcome: Outcome, work: Work[LineageStore]) -> None:
    """Oldest first, and the children of backfills after all others; each admission counts for those after it. A
    recursive request also looks at what becomes of those after it, and is asked again. More than a portion goes on in
    the next transaction, so that no batch holds its tenants for long.
    """
    waiting, ends_at, said_bytes = _to_decide(change, outcome), monotonic() + PORTION_SECONDS, 0
    while waiting:
        change.freed = set()
        for request in waiting:
            is_full = said_bytes >= PORTION_BYTES or monotonic() >= ends_at
            if is_full and len(outcome.decisions) >= PORTION_AT_LEAST:
                work.schedule(DECIDE, change.world.tenant, work.now)
                return
            said_bytes += _decide(change, change.requests[request.run_id], outcome, work)
        asked_again = _gated_by(change, _waiting(change), change.freed)
        waiting = [r for r in asked_again if r.gate is Gate.RECURSIVE and r.state is State.PARKED]


def _decide(change: Change, request: Request, outcome: Outcome, work: Work[LineageStore]) -> int:
    """How many bytes there were to say and to keep."""
    decision = gate.decide(change.world, request, now=work.now)
    if request.gate is Gate.RECURSIVE:
        others = recursive.coming(change.world, (r for r in change.requests.values() if r.run_id != request.run_id))
        approved = change.plans.get(request.plan_id) if request.plan_id else None
        request = recursive.served(request, decision)
        refused = approval.broken(change.world, request, decision, approved, others)
        decision = refused or recursive.decided(change.world, request, decision, others)
        decision = approval.within(change.world, decision, approved)
        request = _ask_above(change, request, decision, outcome, work)
    if not gate.is_news(request, decision):
        if isinstance(decision, gate.Parked) and decision.due_at != request.due_at:
            change.put(request.but(due_at=decision.due_at))
        return 0
    answered = gate.answered(request, decision)
    draft = telling.decision_draft(request, decision, answered.number, work.now)
    kept = decision_row(request, draft, answered.number, change.world, work.now, decision)
    outcome.messages.append((draft, change.because.get(request.run_id)))
    outcome.decisions.append(kept)
    change.put(answered)
    if isinstance(decision, gate.Admitted):
        _keep_admission(change, decision.target.flow, outcome, work)
    return len(kept.said) + len(kept.seen)


def _to_decide(change: Change, outcome: Outcome) -> list[Request]:
    """What is undecided, and what waits on anything that moved."""
    waiting = _waiting(change)
    if change.look_again or not waiting:
        return waiting
    moved = {FlowKey(now.instance_id, kind) for now in outcome.moved for kind in (*now.kinds, None)}
    return _gated_by(change, waiting, {*moved, *change.freed})


def _gated_by(change: Change, waiting: Sequence[Request], moved: Set[FlowKey]) -> list[Request]:
    """Of those that wait what is undecided, and what waits on any of these."""
    touched = change.world.graph.gated_by(moved) if waiting else moved
    return [r for r in waiting if r.state is State.UNDECIDED or gate.flow_asked(change.world, r) in touched]


def _waiting(change: Change) -> list[Request]:
    """Backfills themselves are not among them: they go on in `backfills.go_on`."""
    waiting = [r for r in change.requests.values() if r.state in _TO_DECIDE and r.backfill is None]
    children = [r for r in waiting if r.trigger is Trigger.BACKFILL]
    return [r for r in waiting if r.trigger is not Trigger.BACKFILL] + children if children else waiting


def _ask_above(
    change: Change, request: Request, decision: Decision, outcome: Outcome, work: Work[LineageStore]
) -> Request:
    """Ask for what the decision names; the request remembers it."""
    for key in decision.asks if isinstance(decision, gate.Parked) else ():
        command, run_id = translation.recursive_submission_of(request, key)
        request = request.but(asked=(*request.asked, recursive.Asked(key, run_id)))
        change.requests.setdefault(run_id, translation.request_for(command, run_id, work.now))
        outcome.messages.append((command, change.because.get(request.run_id)))
        _ask_again(command, work)
    change.requests[request.run_id] = request
    return request


def _asks_instead(change: Change) -> Iterator[Ask]:
    """Somebody's own request stood for the refresh of a flow that is stale, and ended without a run."""
    for was, now in _put(change):
        if now.state is State.ENDED and now.stands_for is not None and was is not None and was.will_refresh:
            key = gate.flow_asked(change.world, was)
            if is_to_refresh(change.world, key):
                yield Ask(key, now.stands_for)


def _keep_admission(change: Change, key: FlowKey, outcome: Outcome, work: Work[LineageStore]) -> None:
    """Remember when the flow was admitted, where its refreshes must lie apart."""
    flow = change.world.flow(key)
    if flow is None or flow.min_interval is None:
        return
    change.world = change.world.with_flows({key: changed_copy(flow, last_admitted_at=work.now)})
    pair = change.stored.world.instances.get(key.instance_id), change.world.instances[key.instance_id]
    outcome.turned.pop(key.instance_id, None)
    outcome.instances = [one for one in outcome.instances if one[1].instance_id != key.instance_id] + [pair]


def decision_row(
    request: Request, draft: Draft, number: int, world: World, now: datetime, decision: Decision | None = None
) -> DecisionRow:
    """What is kept of a decision: what was said, and what it saw."""
    seen = _encode(gate.seen_by(world, request, decision, most=LIST_LIMIT))
    return DecisionRow(request.run_id, number, request.tenant, draft.type, now, draft.payload.decode(), seen.decode())


def _keep_due(before: Request | None, after: Request, work: Work[LineageStore]) -> None:
    if after.due_at == (before.due_at if before else None):
        return
    if after.due_at is not None:
        work.schedule(EXPIRE, str(after.run_id), after.due_at)
    else:
        work.unschedule(EXPIRE, str(after.run_id))
