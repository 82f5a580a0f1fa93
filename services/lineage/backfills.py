"""What backfills do next, after all else in a batch was decided.

A backfill is a request that never becomes a run. It is cut into dates once, when it is decided; each date becomes an
ordinary request of its own, gated, counted and released like any other. The fact not to break: it moves only here, by
where its dates stand in the tables (`domain/backfill.py`), so nothing about it is lost with a message or a process.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import UUID

from runtide_schemas.backfills import MOST_OPEN, Progress
from runtide_schemas.commands import CancelRun, SubmitRun
from runtide_schemas.decisions import Decision, RequestFinished, RequestParked
from runtide_schemas.vocabulary import BackfillStep, Code, Gate, InstanceStatus, RequestStatus, Trigger, run_id_of

from services.lineage import conclusion, telling, translation
from services.lineage.domain import backfill, dates, gate
from services.lineage.domain.backfill import DateState, Halt, Piece
from services.lineage.domain.calendar import WEEKDAYS
from services.lineage.domain.dates import DateRule
from services.lineage.domain.gate import Blocked, Refused, Request, State, Target
from services.lineage.domain.graph import FlowKey
from services.lineage.domain.world import World
from services.lineage.store import LineageStore
from shared.messaging.drafts import draft_of
from shared.messaging.work import Work

if TYPE_CHECKING:
    from services.lineage.conclusion import Change, Outcome


async def go_on(change: Change, outcome: Outcome, work: Work[LineageStore]) -> None:
    """After all else was decided: each backfill that this batch has moved goes on."""
    moved = _moved(change)
    for request in moved:
        if request.state is State.ENDED:
            await _cancel(change, request, outcome, work)
        elif request.state is State.UNDECIDED:
            await _begin(change, request, outcome, work)
        else:
            await _go_on(change, request, outcome, work)
    if moved:
        conclusion.keep_requests(change, outcome, work)


def _moved(change: Change) -> list[Request]:
    """Those that are new, were ended by somebody else, or may go on: a child ended, or their instance is another."""
    asked = [request for request in change.requests.values() if request.backfill is not None]
    if not asked:
        return []
    before, after = change.stored.world.instances, change.world.instances
    child_ended = any(r.trigger is Trigger.BACKFILL and r.state is State.ENDED for r in change.requests.values())
    return [
        request
        for request in asked
        if request.state is State.UNDECIDED
        or (request.state is State.ENDED and request.run_id in change.stored.requests)
        or (
            request.state is State.PARKED
            and (child_ended or before.get(request.instance_id) is not after.get(request.instance_id))
        )
    ]


async def _begin(change: Change, request: Request, outcome: Outcome, work: Work[LineageStore]) -> None:
    """Decide it, once: refuse it by name, or cut it into dates and begin the first."""
    target = gate.target_of(change.world, request)
    pieces = target if isinstance(target, Refused) else _allowed(change, request, target, work)
    if isinstance(pieces, Refused):
        answered = gate.answered(request, pieces)
        message = telling.decision_message(request, pieces, answered.number, work.now)
        _say(change, request, answered, message, outcome, work)
        return
    children = [(piece, run_id_of(request.tenant, piece.command_id(request.run_id))) for piece in pieces]
    await work.store.backfills.expand(request.run_id, children)
    await _go_on(change, request, outcome, work)


def _allowed(change: Change, request: Request, target: Target, work: Work[LineageStore]) -> tuple[Piece, ...] | Refused:
    """Its dates. `strict` asks for the upstreams once, here; from then on its children wait for them."""
    above = gate.upstream_blockers(change.world, target.flow)
    if above and request.gate is Gate.STRICT:
        return gate.not_ready(change.world, target, above)
    pieces = _dates_of(change.world, request, most=change.most_dates, now=work.now)
    return Refused(Code.INVALID_COMMAND, pieces, target) if isinstance(pieces, str) else pieces


async def _go_on(change: Change, request: Request, outcome: Outcome, work: Work[LineageStore]) -> None:
    """Note what ended, begin what there is room for, and say how far it is; or that it is over."""
    assert request.backfill is not None
    target, rows = gate.target_of(change.world, request), work.store.backfills
    at_most, halted = _room(change.world, target)
    while True:
        await _note_ends(change, request, work)
        standing = await rows.standing(request.run_id)
        move = backfill.move(request.backfill, standing, at_most=at_most, halted=halted)
        waiting = await rows.in_state(request.run_id, DateState.WAITING, limit=move.begins + 1)
        if not await _submit(change, request, waiting[: move.begins], outcome, work):
            break  # none of them has ended already, as it may have for a restored database
    following = waiting[move.begins :] if move.goes_on else []
    progress = Progress(
        total=standing.total,
        done=standing.done,
        failed=standing.failed,
        cancelled=standing.cancelled,
        open=standing.open + move.begins,
        next=following[0][0].first if following else None,
    )
    about = telling.told_of(request, None if isinstance(target, Refused) else target, request.number + 1, work.now)
    if move.is_over:
        message = RequestFinished(**about, code=move.code, message=move.message, progress=progress)
        _say(change, request, _over(request, move.code), message, outcome, work)
        await rows.forget(request.run_id)
        return
    blockers = _open_ones(change.world, request, await rows.in_state(request.run_id, DateState.OPEN, limit=MOST_OPEN))
    parked = RequestParked(
        **about, **telling.blockers_of(blockers), message=move.message, progress=progress, wait_until=None
    )
    shown = (("said", move.message), *((blocker.name, blocker.reason) for blocker in blockers))
    if shown != request.shown or request.state is State.UNDECIDED:
        _say(change, request, _parked(request, target, shown), parked, outcome, work)


async def _note_ends(change: Change, request: Request, work: Work[LineageStore]) -> None:
    """What became of the open dates, by how their children stand now."""
    dates_open = await work.store.backfills.in_state(request.run_id, DateState.OPEN, limit=MOST_OPEN)
    children = await _children(change, [run_id for _, run_id in dates_open], work)
    ended = {run_id: child.ended_as for run_id, child in children.items() if child.state is State.ENDED}
    await work.store.backfills.set_states(
        request.run_id, {run_id: backfill.state_after(how) for run_id, how in ended.items()}
    )
    for run_id in ended:
        if run_id in change.because:
            change.because[request.run_id] = change.because[run_id]


async def _children(change: Change, run_ids: Sequence[UUID], work: Work[LineageStore]) -> dict[UUID, Request]:
    """Those of these that are known: as this batch leaves them, or ended before it."""
    here = {run_id: change.requests[run_id] for run_id in run_ids if run_id in change.requests}
    elsewhere = [run_id for run_id in run_ids if run_id not in here]
    return {**here, **(await work.store.requests(elsewhere) if elsewhere else {})}


async def _submit(
    change: Change,
    request: Request,
    pieces: Sequence[tuple[Piece, UUID]],
    outcome: Outcome,
    work: Work[LineageStore],
) -> bool:
    """Ask for these dates, each once. Whether one of them was known to lineage, and has ended."""
    known = await _children(change, [run_id for _, run_id in pieces], work)
    for piece, run_id in pieces:
        if run_id not in known:
            command = _command(change.world, request, piece)
            change.put(translation.request_for(command, run_id, work.now))
            outcome.messages.append((command, change.because.get(request.run_id)))
            ref = translation.ask_ref(request.tenant, piece.command_id(request.run_id))
            work.schedule(conclusion.ASK_AGAIN, ref, work.now + conclusion.PATIENCE)
    await work.store.backfills.set_states(request.run_id, {run_id: DateState.OPEN for _, run_id in pieces})
    return any(child.state is State.ENDED for child in known.values())


def _command(world: World, request: Request, piece: Piece) -> SubmitRun:
    """One date: as the backfill was asked for, with the date among its parameters. It waits for room and, unless the
    upstreams are to be forced, for them.
    """
    asked = request.backfill
    assert asked is not None
    return SubmitRun(
        command_id=piece.command_id(request.run_id),
        tenant=request.tenant,
        actor=translation.SYSTEM,
        instance=str(request.instance_id),
        flow_kind=gate.flow_asked(world, request).kind,
        mode=asked.mode,
        parameters={**request.parameters, **piece.parameters(asked, _step(world, request))},
        gate=Gate.FORCE if request.gate is Gate.FORCE else Gate.WAIT,
        trigger=Trigger.BACKFILL,
        parent_run_id=request.run_id,
    )


async def asked_again(change: Change, ref: str, work: Work[LineageStore]) -> SubmitRun | None:
    """The command behind such a name (`translation.ask_ref`), the same as it was; None: its backfill is over."""
    _, _, parent, day = ref.split("/", 3)
    request = change.requests.get(UUID(parent))
    if request is None or request.backfill is None:
        return None
    open_ones = await work.store.backfills.in_state(request.run_id, DateState.OPEN, limit=MOST_OPEN)
    pieces = [piece for piece, _ in open_ones if str(piece.first) == day]
    return _command(change.world, request, pieces[0]) if pieces else None


async def _cancel(change: Change, request: Request, outcome: Outcome, work: Work[LineageStore]) -> None:
    """The whole was ended by somebody else: nothing more is begun, and what is open is asked to stop."""
    pieces = await work.store.backfills.in_state(request.run_id, DateState.OPEN, limit=MOST_OPEN)
    children = await _children(change, [run_id for _, run_id in pieces], work)
    for piece, run_id in pieces:
        if run_id in children and children[run_id].state is State.ENDED:
            continue
        cancel = CancelRun(
            command_id=f"{piece.command_id(request.run_id)}/cancel",
            tenant=request.tenant,
            actor=translation.SYSTEM,
            run_id=run_id,
            reason=f"its backfill {request.run_id} was cancelled",
        )
        outcome.messages.append((cancel, change.because.get(request.run_id)))
    await work.store.backfills.forget(request.run_id)


def _say(
    change: Change, before: Request, after: Request, message: Decision, outcome: Outcome, work: Work[LineageStore]
) -> None:
    """Tell submission. Kept as decisions are the first and the last word, not how far it is in between."""
    draft = draft_of(message)
    if before.state is State.UNDECIDED or after.state is State.ENDED:
        outcome.decisions.append(conclusion.decision_row(before, draft, after.number, change.world, work.now))
    outcome.messages.append((draft, change.because.get(before.run_id)))
    change.put(after)


def _parked(request: Request, target: Target | Refused, shown: tuple[tuple[str, str], ...]) -> Request:
    kind = request.kind if isinstance(target, Refused) else target.flow.kind
    return request.but(state=State.PARKED, kind=kind, shown=shown, number=request.number + 1)


def _over(request: Request, code: Code | None) -> Request:
    ended_as = RequestStatus.FINISHED if code is None else RequestStatus.FAILED
    return gate.ended(request.but(number=request.number + 1), ended_as)


def _room(world: World, target: Target | Refused) -> tuple[int, Halt | None]:
    """How many runs of its flow may be open; or why none is begun any more."""
    if isinstance(target, Refused):
        return 0, Halt(target.code, target.message)
    flow = world.flow(target.flow)
    assert flow is not None
    return flow.max_open_runs, None


def _open_ones(world: World, request: Request, pieces: Sequence[tuple[Piece, UUID]]) -> list[Blocked]:
    key = gate.flow_asked(world, request)
    instance, flow = world.instances.get(key.instance_id), world.flow(key)
    name = instance.name if instance else request.instance_name or str(request.instance_id)
    status = InstanceStatus(flow.status) if flow else InstanceStatus.NOT_INITIALIZED
    return [Blocked(key, name, status, f"{piece} is open: run {run_id}") for piece, run_id in pieces]


def _step(world: World, request: Request) -> BackfillStep:
    """As asked for, else as the date rule of its flow counts."""
    assert request.backfill is not None
    if request.backfill.step is not None:
        return request.backfill.step
    rule = _rule_of(world, gate.flow_asked(world, request))
    return BackfillStep.SESSION if rule is not None and rule.business_days_only else BackfillStep.DAY


def _rule_of(world: World, key: FlowKey) -> DateRule | None:
    instance = world.instances.get(key.instance_id)
    if instance is None or key.kind is None or not instance.has_date_rule(key.kind):
        return None
    assert instance.update_frequency is not None
    return dates.rule_of(instance.update_frequency)


def _dates_of(world: World, request: Request, *, most: int, now: datetime) -> tuple[Piece, ...] | str:
    """The dates that its instance's rule and calendar allow, or why there are none."""
    asked = request.backfill
    assert asked is not None
    rule = _rule_of(world, gate.flow_asked(world, request))
    calendar = (world.calendars or {}).get(rule.calendar) if rule and rule.calendar else None
    newest = now.astimezone(UTC).date()
    if rule is not None:
        expected = dates.expected_at(rule, calendar, now)
        if expected.doubt is not None:
            return expected.doubt
        newest = expected.day or newest
    return backfill.pieces(asked, _step(world, request), calendar or WEEKDAYS, newest=newest, most=most)
