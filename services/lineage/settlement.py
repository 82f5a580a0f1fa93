"""What snapshots of runs do to the memory of runs and versions, and to the flows that they belong to."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from runtide_schemas.runs import RunStatusChanged
from runtide_schemas.vocabulary import RunStatus

from services.lineage import rows, translation
from services.lineage.conclusion import Change
from services.lineage.domain import endings
from services.lineage.domain.endings import BEGINNING, NEVER, Completion, Run, Seen
from services.lineage.domain.graph import FlowKey
from services.lineage.domain.staleness import Root
from services.lineage.store import LineageStore
from shared.messaging.decode import Received
from shared.messaging.work import Work


@dataclass(slots=True)
class Folded:
    """A batch of snapshots, folded. `moved`: those that say anything new about freshness, in the order of their runs'
    seq; `completed`: those by which a run became completed; `ended`: the attempts that have ended, as last told;
    `froms`: run → the earliest end that it changes.
    """

    runs: dict[UUID, Run] = field(default_factory=dict)
    moved: list[tuple[Received[RunStatusChanged], Run]] = field(default_factory=list)
    completions: dict[tuple[UUID, int], Seen] = field(default_factory=dict)
    ended: dict[tuple[UUID, int], Seen] = field(default_factory=dict)
    withdrawn: dict[UUID, None] = field(default_factory=dict)
    completed: list[Received[RunStatusChanged]] = field(default_factory=list)
    froms: dict[UUID, datetime] = field(default_factory=dict)

    @property
    def tenants(self) -> set[str]:
        return {run.tenant for _, run in self.moved}


def folded(batch: Sequence[Received[Any]], known: Mapping[UUID, Run]) -> Folded:
    """Each run's snapshots in the order of their `seq`; what is not newer than what is known is dropped."""
    result, runs = Folded(), dict(known)
    for received in sorted(batch, key=lambda received: received.message.seq):
        seen = translation.seen_of(received.message)
        before = runs.get(seen.run_id)
        now = endings.after(before, seen)
        if now is None:
            continue
        result.runs[seen.run_id] = runs[seen.run_id] = now
        if endings.moved(before, now) or seen.mints:
            result.moved.append((received, now))
            _note(result, before, now, seen)
        if endings.completes(before, now):
            result.completed.append(received)
    return result


def _note(result: Folded, before: Run | None, now: Run, seen: Seen) -> None:
    ends = [run.ended_at for run in (before, now) if run is not None and run.ended_at is not None]
    result.froms[seen.run_id] = min([result.froms.get(seen.run_id, NEVER), *ends])
    if seen.status.is_terminal:
        result.ended[seen.run_id, seen.attempt] = seen
    if seen.mints:
        result.completions[seen.run_id, seen.attempt] = seen
    elif seen.status.is_terminal:
        result.withdrawn[seen.run_id] = None
        for key in [key for key in result.completions if key[0] == seen.run_id]:
            del result.completions[key]


async def remember(result: Folded, changes: Mapping[str, Change], work: Work[LineageStore]) -> set[str]:
    """Store what the runs said, and bring the facts of their flows up to it; name them as roots. Answers which of the
    tenants have restatements.
    """
    await work.store.save_runs(list(result.runs.values()))
    for run_id, ended_at in (await work.store.withdraw(list(result.withdrawn), now=work.now)).items():
        result.froms[run_id] = min(result.froms[run_id], ended_at)
    await work.store.save_completions(
        [(result.runs[seen.run_id], _completion(seen, changes, {})) for seen in result.completions.values()],
        now=work.now,
    )
    assumed: dict[UUID, Mapping[FlowKey, UUID]] = {}
    for tenant, change in changes.items():
        froms: dict[FlowKey, datetime] = {}
        for _, run in result.moved:
            if run.tenant == tenant and change.world.flow(run.flow) is not None:
                froms[run.flow] = min(froms.get(run.flow, NEVER), result.froms[run.run_id])
        before = change.world
        await settle(change, froms, work)
        assumed |= await _look_back(result, change, froms, work)
        for received, run in result.moved:
            if run.flow in froms and run.tenant == tenant:
                _name_root(change, received, run, before.flow(run.flow) != change.world.flow(run.flow))
        for key in froms:
            _mark_changed(change, key, result.withdrawn)
    return await _tell_reads(result, changes, assumed, work) if result.ended else set()


async def _tell_reads(
    result: Folded,
    changes: Mapping[str, Change],
    assumed: Mapping[UUID, Mapping[FlowKey, UUID]],
    work: Work[LineageStore],
) -> set[str]:
    """What every attempt that has ended read, also one that made no version: people may have looked at it."""
    reads: list[dict[str, Any]] = []
    ended: dict[UUID, str] = {}
    for seen in result.ended.values():
        completion = _completion(seen, changes, assumed.get(seen.run_id, {}) if seen.mints else {})
        ended[completion.completion_id] = seen.tenant
        changes[seen.tenant].touched.add(completion.completion_id)
        reads += rows.read_rows(seen.tenant, completion)
    return await work.store.restatements.tell_reads(reads, ended)


async def settle(change: Change, froms: Mapping[FlowKey, datetime], work: Work[LineageStore]) -> None:
    """Give these flows of a tenant the facts of their past, which may have changed from these instants on."""
    if not froms:
        return
    flows, confirmed = {}, list[Completion]()
    for key, past in (await work.store.pasts(change.world.tenant, froms)).items():
        flow = change.world.flow(key)
        assert flow is not None
        chain = endings.chained(past)
        for now, was in zip(chain, past.completions, strict=True):
            if now != was:
                confirmed.append(now)
                change.touched |= {one for one in (now.completion_id, now.confirms, was.confirms) if one is not None}
        flows[key] = endings.settled(flow, past, chain)
    await work.store.save_confirmed(confirmed)
    change.settled |= flows.keys()
    change.world = change.world.with_flows(flows)


async def _look_back(
    result: Folded, change: Change, froms: Mapping[FlowKey, datetime], work: Work[LineageStore]
) -> Mapping[UUID, Mapping[FlowKey, UUID]]:
    """Complete what runs read by the memory of versions: what nobody said, which is the answer, and the columns of it
    by schema edges.
    """
    own = [s for s in result.completions.values() if s.tenant == change.world.tenant and s.flow in froms]
    assumed = await _assumed(own, change, work)
    again: dict[UUID, tuple[Completion, frozenset[FlowKey]]] = {}
    for seen in own:
        upstreams = endings.by_schema(change.world.graph.into(seen.flow))
        if upstreams or seen.run_id in assumed:
            completion = _completion(seen, {seen.tenant: change}, assumed.get(seen.run_id, {}))
            again[completion.completion_id] = completion, upstreams
    if not again:
        return assumed
    schemas = await work.store.schemas(endings.versions_read(again.values()))
    completed = [
        (result.runs[one.run_id], endings.with_schemas(one, upstreams, schemas)) for one, upstreams in again.values()
    ]
    await work.store.save_completions(completed, now=work.now)
    await settle(change, {run.flow: froms[run.flow] for run, _ in completed}, work)
    return assumed


async def _assumed(own: Iterable[Seen], change: Change, work: Work[LineageStore]) -> dict[UUID, dict[FlowKey, UUID]]:
    """Of runs that nobody requested and that do not say what they read: what was current when they started."""
    asked = [(seen, upstream) for seen in own for upstream in endings.unsaid(seen, change.world.graph.into(seen.flow))]
    if not asked:
        return {}
    found = await work.store.versions_at(
        change.world.tenant, [(upstream, seen.started_at or seen.at) for seen, upstream in asked]
    )
    assumed: dict[UUID, dict[FlowKey, UUID]] = {}
    for (seen, upstream), version_id in zip(asked, found, strict=True):
        if version_id is not None:
            assumed.setdefault(seen.run_id, {})[upstream] = version_id
    return assumed


def _completion(seen: Seen, changes: Mapping[str, Change], assumed: Mapping[FlowKey, UUID]) -> Completion:
    edges = changes[seen.tenant].world.graph.into(seen.flow)
    return endings.completion_of(seen, endings.reads_of(seen, edges, assumed))


def _name_root(change: Change, received: Received[RunStatusChanged], run: Run, differs: bool) -> None:
    """The flow's newest moved snapshot is the cause of what it does below."""
    message = received.message
    change.because[run.run_id] = received
    known = change.roots.get(run.flow)
    blamed = change.because.get(known.run_id) if known is not None and known.run_id is not None else None
    newer = blamed is None or (blamed.message.occurred_at, blamed.message.run_id) <= (message.occurred_at, run.run_id)
    if differs and newer:
        change.roots[run.flow] = Root(f"{run.run_id}/{message.seq}", changed=False, run_id=run.run_id)


def _mark_changed(change: Change, key: FlowKey, withdrawn: Collection[UUID]) -> None:
    root, was, now = change.roots.get(key), change.stored.world.flow(key), change.world.flow(key)
    if root is None or now is None:
        return
    before = was.version.version_id if was and was.version else None
    after = now.version.version_id if now.version else None
    said = change.because[root.run_id].message.status if root.run_id else None
    version_id = after if said is RunStatus.COMPLETED else None
    taken_back = was is not None and was.version is not None and was.version.run_id in withdrawn
    columns = [flow.version.schema if flow and flow.version else None for flow in (was, now)]
    change.roots[key] = replace(
        root,
        changed=before != after,
        itself=taken_back,
        appeared=columns[0] != columns[1],
        version_id=version_id,
    )


def affected(changes: Iterable[Change], received: Received[RunStatusChanged]) -> FlowKey | None:
    """The flow whose downstream this completion is to blame for, if it is the newest of its flow."""
    message = received.message
    key = FlowKey(message.instance_id, message.flow_kind)
    for change in changes:
        root = change.roots.get(key)
        if change.world.tenant == message.tenant and root is not None and root.run_id == message.run_id:
            return key
    return None


async def settle_new(change: Change, work: Work[LineageStore]) -> None:
    """Flows that were not there before this batch get the facts of runs that were: their versions are news below."""
    stored = change.stored.world
    new = {key: BEGINNING for key in change.world.flow_keys() if stored.flow(key) is None}
    await settle(change, new, work)
    for key in new:
        flow = change.world.flow(key)
        if flow is not None and flow.version is not None:
            change.roots[key] = replace(change.roots[key], changed=True)
