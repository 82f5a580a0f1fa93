"""Why is it so? Events of the past, read backwards from the symptom to its root, and told forwards as sentences.

An event is what one snapshot said anew about one flow. `above` is the flow by which the change came, None where it
began here; so the way to the root is in the events themselves, and nothing has to be guessed from names.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from runtide_schemas.vocabulary import FlowStatus, InstanceStatus, Trigger

from services.lineage.domain.graph import FlowKey
from services.lineage.domain.world import Flow

_RUNNING, _RETIRED = InstanceStatus.RUNNING.value, InstanceStatus.RETIRED.value


@dataclass(frozen=True, slots=True)
class Event:
    """`run_id`: of the root, if it was a run; `message_id`: of the message by which it came, None: by the clock or
    over HTTP. `old_…` None: the flow was new.
    """

    flow: FlowKey
    at: datetime
    seq: int
    old_status: str | None
    status: str
    old_freshness: str | None
    freshness: str
    rule: int
    reason: str | None
    old_version_id: UUID | None
    version_id: UUID | None
    open_run_id: UUID | None
    run_id: UUID | None
    above: FlowKey | None
    message_id: str | None


@dataclass(frozen=True, slots=True)
class Run:
    """A run as far as it explains something. `asked_at` None: nobody asked for it here. `parent_run_id`: the recursive
    request that it was asked for, and `parent_actor`, whose. `retries`: the run that it does over.
    """

    run_id: UUID
    flow: FlowKey
    trigger: Trigger
    started_at: datetime | None
    actor: str | None = None
    asked_at: datetime | None = None
    parent_run_id: UUID | None = None
    parent_actor: str | None = None
    planned_for: datetime | None = None
    retries: UUID | None = None

    @property
    def is_automatic(self) -> bool:
        """It was asked for because of a change above it."""
        return self.trigger is Trigger.UPSTREAM and self.parent_run_id is None and self.retries is None


@dataclass(frozen=True, slots=True)
class Link:
    """One step from the root cause to the symptom. `rule` None: a request, which no rule of freshness answers."""

    at: datetime | None
    flow: FlowKey
    name: str
    sentence: str
    status: str | None = None
    rule: int | None = None
    run_id: UUID | None = None
    version_id: UUID | None = None
    message_id: str | None = None


def rule_of(flow: Flow) -> int:
    """The number of the rule of freshness that gave the flow its answer."""
    match flow.freshness:
        case FlowStatus.NOT_INITIALIZED:
            return 3 if flow.version is not None else 1
        case FlowStatus.ERROR:
            return 2
        case FlowStatus.STALE_SOURCE_DELAYED:
            return 4
        case FlowStatus.STALE:
            return 5 if flow.stale_by_version is not None else 6
        case _:
            return 7


def beginning(events: Sequence[Event]) -> Event | None:
    """Of a flow's events, newest first: the one that began what the newest shows: its answer with this reason, or, of
    what is ready, with this version.
    """
    first: Event | None = None
    for event in events:
        if first is not None and _what(event) != _what(first):
            break
        first = event
    return first


def since(events: Sequence[Event]) -> datetime | None:
    """Of a flow's events, newest first: when what the newest shows as freshness began."""
    found: Event | None = None
    for event in events:
        if found is not None and event.freshness != found.freshness:
            break
        found = event
    return found.at if found is not None else None


def _what(event: Event) -> tuple[object, ...]:
    is_ready = event.freshness == FlowStatus.READY
    return is_retired(event), event.freshness, event.version_id if is_ready else event.reason


def is_retired(event: Event) -> bool:
    return event.status == _RETIRED


def link_of(event: Event, name_of: Callable[[FlowKey], str]) -> Link:
    """An event as a step of the story."""
    return Link(
        at=event.at,
        flow=event.flow,
        name=name_of(event.flow),
        sentence=sentence(event, name_of(event.flow)),
        status=event.status,
        rule=event.rule,
        run_id=event.run_id,
        version_id=event.version_id,
        message_id=event.message_id,
    )


def sentence(event: Event, name: str) -> str:
    """What the event says, for people."""
    so = event.freshness + (f": {event.reason}" if event.reason else "")
    own_run = event.run_id if event.above is None else None
    if event.old_freshness is None:
        return f"{name} was registered and is {so}"
    if event.status != event.old_status and _RETIRED in (event.status, event.old_status):
        return f"{name} was retired" if is_retired(event) else f"{name} was registered again and is {so}"
    if event.freshness != event.old_freshness:
        return _turned(event, name, so, own_run)
    if event.version_id != event.old_version_id:
        what = f"has version {event.version_id}" if event.version_id else "has no version any more"
        return f"run {event.run_id} ended: {name} {what} and is {so}"
    if event.status != event.old_status and event.status == _RUNNING:
        return f"run {event.open_run_id} of {name} started"
    if event.status != event.old_status:
        return f"a run of {name} ended; it is {so}, as before"
    return f"{name} is still {so}"


def _turned(event: Event, name: str, so: str, own_run: UUID | None) -> str:
    turned = f"{name} turned from {event.old_freshness} to {so}"
    if own_run is None and event.freshness == FlowStatus.READY:
        return f"{name} is ready again: what it read is what is current above it"
    if own_run is None:
        return turned
    if event.freshness == FlowStatus.ERROR:
        return f"run {own_run} failed: {turned}"
    if event.version_id != event.old_version_id and event.version_id is not None:
        return f"run {own_run} completed with version {event.version_id}: {turned}"
    return f"by run {own_run}: {turned}"


def request_link(run: Run, name_of: Callable[[FlowKey], str]) -> Link:
    """Who asked for a run, and why; or that nobody did."""
    name = name_of(run.flow)
    if run.asked_at is None:
        said = f"run {run.run_id} of {name} was not requested here"
        said += ": Prefect started it" if run.trigger is Trigger.SCHEDULED else ""
        return Link(run.started_at, run.flow, name, said, run_id=run.run_id)
    if run.retries is not None:
        ground = f"by the policy of its flow, because run {run.retries} failed"
    elif run.planned_for is not None:
        ground = f"by its schedule, for {run.planned_for:%Y-%m-%d %H:%M} UTC"
    elif run.parent_run_id is not None:
        ground = f"by gate recursive of run {run.parent_run_id}, which {run.parent_actor or 'somebody'} wants"
    elif run.is_automatic:
        ground = "because something above it changed"
    else:
        return Link(
            run.asked_at, run.flow, name, f"{run.actor or 'somebody'} asked for run {run.run_id} of {name}",
            run_id=run.run_id,
        )  # fmt: skip
    return Link(run.asked_at, run.flow, name, f"run {run.run_id} of {name} was asked for {ground}", run_id=run.run_id)
