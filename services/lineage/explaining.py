"""`why`, put together: the events of one flow after the other are read, from the symptom to its root."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from runtide_schemas.vocabulary import FlowKind, InstanceStatus

from services.lineage.domain import why
from services.lineage.domain.graph import FlowKey
from services.lineage.domain.why import Event, Link, Run
from services.lineage.domain.world import WORST_FIRST, Instance, World
from services.lineage.reading import Reading

LONGEST = 100


@dataclass(slots=True)
class Explaining:
    """One question: why was this flow, at this instant, what it was?"""

    reading: Reading
    world: World
    at: datetime
    is_past: bool
    runs: dict[UUID, Run] = field(default_factory=dict)

    async def explain(self, instance: Instance, kind: FlowKind | None) -> dict[str, Any]:
        """The answer as JSON values. Without a kind it is about the flow that gave the instance its status."""
        tenant = self.world.tenant
        past = {
            flow.kind: await self.reading.events(tenant, FlowKey(instance.instance_id, flow.kind), until=self.at)
            for flow in instance.flows
            if kind in (None, flow.kind)
        }
        kind = kind or _worst(instance, past)
        key = FlowKey(instance.instance_id, kind)
        events = past[kind] if past[kind] or self.is_past else [_as_it_is(instance, key)]
        newest, name = (events[0] if events else None), self.world.name_of(key)
        chain = await self._chain(events)
        return {
            "instance_id": instance.instance_id,
            "name": instance.name,
            "flow_kind": kind,
            "at": self.at,
            "status": newest.status if newest else None,
            "freshness": newest.freshness if newest else None,
            "rule": newest.rule if newest else None,
            "reason": newest.reason if newest else None,
            "since": why.since(events),
            "sentence": summary(name, newest, why.since(events)),
            "chain": [_shown(link) for link in chain],
            "version": await self._version(newest),
            "run": await self._open_run(newest),
            "requests": [
                {**one, "flow_kind": one.pop("kind")}
                for one in await self.reading.waiting(tenant, key.instance_id, at=self.at)
                if one["kind"] in (None, kind)
            ],
        }

    async def _chain(self, events: Sequence[Event]) -> list[Link]:
        """From the root cause to the symptom; each part before it explains why its first run was asked for."""
        chain: list[Link] = []
        while events and len(chain) < LONGEST:
            part = await self._way(events)
            run = await self._run(part[0].run_id) if part else None
            links = [why.link_of(event, self.world.name_of) for event in part]
            chain = ([why.request_link(run, self.world.name_of)] if run else []) + links + chain
            if run is None or not run.is_automatic or run.asked_at is None:
                break
            events = await self.reading.events(self.world.tenant, run.flow, until=run.asked_at)
            first = why.beginning(events)
            if first is None or first.above is None:
                break
        return chain[-LONGEST:]

    async def _way(self, events: Sequence[Event]) -> list[Event]:
        """The events from the root to the one that began what the newest of these shows."""
        first = why.beginning(events)
        way: list[Event] = []
        while first is not None and len(way) < LONGEST:
            way.append(first)
            if first.above is None:
                break
            above = await self.reading.events(self.world.tenant, first.above, until=first.at)
            together = next((event for event in above if event.at == first.at), None)  # said in the same transaction
            first = together or why.beginning(above)
        return list(reversed(way))

    async def _run(self, run_id: UUID | None) -> Run | None:
        if run_id is None:
            return None
        if run_id not in self.runs:
            self.runs |= await self.reading.runs(self.world.tenant, [run_id])
        return self.runs.get(run_id)

    async def _version(self, newest: Event | None) -> dict[str, Any] | None:
        if newest is None or newest.version_id is None:
            return None
        return await self.reading.version(newest.version_id, until=self.at)

    async def _open_run(self, newest: Event | None) -> dict[str, Any] | None:
        run = await self._run(newest.open_run_id if newest else None)
        shown = ("run_id", "trigger", "actor", "asked_at", "started_at", "parent_run_id", "parent_actor")
        return {name: getattr(run, name) for name in shown} if run else None


def _as_it_is(instance: Instance, key: FlowKey) -> Event:
    """What there is to say of a flow that moved last when nothing was remembered yet."""
    flow = instance.flow(key.kind)
    assert flow is not None
    version_id = flow.version.version_id if flow.version else None
    status = InstanceStatus.RETIRED.value if instance.retired_at is not None else flow.status.value
    return Event(
        flow=key,
        at=instance.announced_at or datetime.min.replace(tzinfo=UTC),
        seq=instance.seq,
        old_status=status,
        status=status,
        old_freshness=flow.freshness,
        freshness=flow.freshness,
        rule=why.rule_of(flow),
        reason=flow.reason,
        old_version_id=version_id,
        version_id=version_id,
        open_run_id=flow.open_run_id,
        run_id=None,
        above=None,
        message_id=None,
    )


def summary(name: str, newest: Event | None, since: datetime | None) -> str:
    """The answer in one sentence."""
    if newest is None:
        return f"nothing is known of {name} then"
    shown = newest.status if newest.status == newest.freshness else f"{newest.status} ({newest.freshness} underneath)"
    reason = f": {newest.reason}" if newest.reason else ""
    return f"{name} is {shown}{f' since {since:%Y-%m-%d %H:%M:%SZ}' if since else ''}{reason}"


def _worst(instance: Instance, past: dict[FlowKind, list[Event]]) -> FlowKind:
    """The flow that gives the instance its status; of several the main one, else the first."""
    order = {status: place for place, status in enumerate(WORST_FIRST)}

    def badness(kind: FlowKind) -> tuple[int, bool]:
        shown = InstanceStatus(past[kind][0].status) if past[kind] else InstanceStatus.READY
        return order.get(shown, -1), kind is not instance.main_kind

    return min(past, key=badness)


def _shown(link: Link) -> dict[str, Any]:
    flow = link.flow
    return {
        "at": link.at,
        "instance_id": flow.instance_id,
        "flow_kind": flow.kind,
        "name": link.name,
        "sentence": link.sentence,
        "status": link.status,
        "rule": link.rule,
        "run_id": link.run_id,
        "version_id": link.version_id,
        "message_id": link.message_id,
    }
