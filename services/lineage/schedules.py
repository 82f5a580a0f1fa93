"""Flows that run by themselves: each instant of a schedule becomes one request, asked for like any other.

The fact not to break: the request is named after its flow and its instant, so whatever is told twice, and whoever dies
in between, an instant is one request. What is due is read from `planned_at`; a row of the clock that comes too early
asks in vain.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid5

from runtide_schemas.activities import ActivityRecorded
from runtide_schemas.vocabulary import RUNTIDE, Gate, Trigger, run_id_of

from services.lineage import conclusion, policies, translation
from services.lineage.domain.calendar import Calendar
from services.lineage.domain.gate import Request, State
from services.lineage.domain.graph import FlowKey
from services.lineage.domain.schedule import Planned, Schedule, instants, parameters_of, schedule_of, turn
from services.lineage.domain.world import World
from services.lineage.schedule_store import Kept
from services.lineage.store import LineageStore
from shared.messaging.work import Work

if TYPE_CHECKING:
    from services.lineage.conclusion import Change

SCHEDULE = "schedule"
_NOTHING_PLANNED = timedelta(days=1)


async def follow_definitions(change: Change, work: Work[LineageStore]) -> None:
    """After commands: a schedule that is new, another one, or back from retirement is planned from now on; one that
    went, or whose instance was retired, stops.
    """
    touched = {key.instance_id for key in change.roots}
    before, after = _defined(change.stored.world, touched), _defined(change.world, touched)
    if not before and not after:
        return
    known = await work.store.schedules.of(touched)
    calendars = await _calendars(after.values(), work)
    for key, definition in after.items():
        kept = known.get(key) or Kept(key, change.world.tenant, definition)
        stops = kept.paused_at is not None or change.world.instances[key.instance_id].retired_at is not None
        same = kept.definition == definition and kept.planned_at is not None
        planned_at = None if stops else kept.planned_at if same else _next(definition, calendars, work.now)
        await _keep(known.get(key), replace(kept, definition=definition, planned_at=planned_at), work)
    gone = [kept for key, kept in known.items() if key not in after]
    await work.store.schedules.forget([kept.flow for kept in gone])
    for kept in gone:
        work.unschedule(SCHEDULE, kept.ref)


async def take_turns(change: Change, flows: Collection[FlowKey], work: Work[LineageStore]) -> None:
    """The clock has come to an instant of these, or a calendar says something else now."""
    known = await work.store.schedules.of({key.instance_id for key in flows})
    due = [known[key] for key in flows if key in known and known[key].paused_at is None]
    calendars = await _calendars((kept.definition for kept in due), work)
    for kept in due:
        instance = change.world.instances.get(kept.flow.instance_id)
        if instance is None or instance.retired_at is not None:
            continue
        schedule = schedule_of(kept.definition)
        found = turn(schedule, calendars, kept.planned_at or work.now + _NOTHING_PLANNED, work.now)
        after = replace(kept, planned_at=found.next.at if found.next else None)
        if found.run is not None:
            run_id = _ask(change, kept.flow, schedule, found.run, until=after.planned_at, work=work)
            after = replace(after, last_planned_for=found.run.at, last_run_id=run_id)
        if found.missed is not None:
            after = replace(after, missed_at=found.missed.at)
            payload = {"planned_for": _text(found.missed.at), "missed": schedule.missed}
            _tell(kept, change.world, "schedule.missed", payload, translation.SYSTEM, work)
        await _keep(kept, after, work)


async def pause(kept: Kept, name: str, actor: str, work: Work[LineageStore]) -> Kept:
    """Nothing of it is asked for until it is resumed; what was asked for goes on."""
    if kept.paused_at is not None:
        return kept
    after = replace(kept, planned_at=None, paused_at=work.now, paused_by=actor)
    await _keep(kept, after, work)
    _tell(after, name, "schedule.paused", {}, actor, work)
    return after


async def resume(kept: Kept, name: str, actor: str, work: Work[LineageStore]) -> Kept:
    """It goes on with its next instant; what lay in the pause is not made up for."""
    if kept.paused_at is None:
        return kept
    calendars = await _calendars([kept.definition], work)
    planned_at = _next(kept.definition, calendars, work.now)
    after = replace(kept, planned_at=planned_at, paused_at=None, paused_by=None)
    await _keep(kept, after, work)
    _tell(after, name, "schedule.resumed", {"planned_at": _text(planned_at)}, actor, work)
    return after


def _ask(
    change: Change,
    flow: FlowKey,
    schedule: Schedule,
    planned: Planned,
    *,
    until: datetime | None,
    work: Work[LineageStore],
) -> UUID:
    """One request for this instant. One that waits does so until the next."""
    command_id = f"{SCHEDULE}/{flow.instance_id}/{flow.kind}/{_text(planned.at)}"
    run_id = run_id_of(change.world.tenant, command_id)
    if run_id in change.requests:
        return run_id
    request = Request(
        run_id=run_id,
        tenant=change.world.tenant,
        instance_id=flow.instance_id,
        instance_name=None,
        kind=flow.kind,
        gate=schedule.gate,
        skip_if_ready=schedule.skip_if_ready,
        wait_until=until if schedule.gate in (Gate.WAIT, Gate.RECURSIVE) else None,
        asked_at=work.now,
        parameters=parameters_of(schedule, planned),
        trigger=Trigger.SCHEDULED,
        state=State.ASKED,
        actor=translation.SYSTEM,
        planned_for=planned.at,
    )
    change.put(request)
    work.publish(policies.command_for(request, command_id))
    ref = translation.ask_ref(request.tenant, command_id)
    work.schedule(conclusion.ASK_AGAIN, ref, work.now + conclusion.PATIENCE)
    return run_id


async def _keep(before: Kept | None, after: Kept, work: Work[LineageStore]) -> None:
    if before != after:
        await work.store.schedules.save([after])
    if after.planned_at is not None:
        work.schedule(SCHEDULE, after.ref, after.planned_at)
    else:
        work.unschedule(SCHEDULE, after.ref)


def _defined(world: World, instance_ids: Iterable[UUID]) -> dict[FlowKey, str]:
    instances = (world.instances.get(one) for one in instance_ids)
    return {
        FlowKey(instance.instance_id, flow.kind): flow.schedule
        for instance in instances
        if instance is not None
        for flow in instance.flows
        if flow.schedule is not None
    }


def _next(definition: str, calendars: Mapping[str, Calendar], now: datetime) -> datetime | None:
    planned = next(instants(schedule_of(definition), calendars, now), None)
    return planned.at if planned else None


async def _calendars(definitions: Iterable[str], work: Work[LineageStore]) -> Mapping[str, Calendar]:
    """As they are now, where any of these counts in one."""
    if any(schedule_of(definition).calendar is not None for definition in definitions):
        return await work.store.calendars()
    return {}


def _tell(
    kept: Kept, about: World | str, action: str, payload: dict[str, Any], actor: str, work: Work[LineageStore]
) -> None:
    name = about if isinstance(about, str) else about.name_of_instance(kept.flow.instance_id)
    at = payload.get("planned_for") or _text(work.now)
    work.publish(
        ActivityRecorded(
            activity_id=uuid5(RUNTIDE, f"{kept.ref}/{action}/{at}"),
            tenant=kept.tenant,
            actor=actor,
            resource_type="instance",
            resource_id=str(kept.flow.instance_id),
            action=action,
            payload={"name": name, "flow_kind": kept.flow.kind, **payload},
            correlation_id=None,
            occurred_at=work.now,
        )
    )


def _text(at: datetime | None) -> str | None:
    return None if at is None else at.astimezone(UTC).isoformat().replace("+00:00", "Z")
