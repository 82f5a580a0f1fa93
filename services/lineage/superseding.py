"""Restatements in the course of a batch: hear one, follow what it taints, say so.

Everything is asked again of the facts, for what the batch touched and all that has read it: so a run that ends after
the declaration, a completion that is told late and a version that turns out confirmed end in the same marks.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from runtide_schemas import instances as wire
from runtide_schemas.vocabulary import Code, restatement_id_of

from services.lineage import restatement_words, translation
from services.lineage.conclusion import Change
from services.lineage.domain import restatement
from services.lineage.domain.definition import Rejected
from services.lineage.domain.graph import FlowKey
from services.lineage.domain.restatement import Path, Restatement
from services.lineage.domain.staleness import Root
from services.lineage.restatement_store import Attempt, taint_row
from services.lineage.store import LineageStore
from shared.messaging.decode import Received
from shared.messaging.work import Work


@dataclass(slots=True)
class Followed:
    """What a batch did to the marks of one tenant. `tainted`: restatement → the attempts that are so now and were not,
    each with its path.
    """

    change: Change
    tainted: dict[UUID, dict[UUID, Path]] = field(default_factory=dict)
    attempts: dict[UUID, Attempt] = field(default_factory=dict)


async def hear_all(
    batch: Sequence[Received[Any]], changes: Mapping[str, Change], work: Work[LineageStore]
) -> dict[UUID, tuple[Received[Any], Rejected]]:
    """Declare what these commands ask for, each once. Refusal → what can not be declared, and why."""
    refused: dict[UUID, tuple[Received[Any], Rejected]] = {}
    before = await work.store.restatements.refused([translation.refusal_id(one) for one in batch]) if batch else set()
    for received in batch:
        command, refusal_id = received.message, translation.refusal_id(received)
        if refusal_id in before:
            continue
        change = changes[command.tenant]
        answer = await hear(
            change, command, work, command_id=command.command_id or received.id, at=min(received.at, work.now)
        )
        if isinstance(answer, Rejected):
            refused[refusal_id] = received, answer
        elif answer.restatement_id in change.declared:
            change.because[answer.restatement_id] = change.because[answer.instance_id] = received
    return refused


async def was_heard(change: Change, received: Received[Any], work: Work[LineageStore]) -> bool:
    """Whether this command is one that has declared a restatement."""
    command = received.message
    if not isinstance(command, wire.SupersedeVersions):
        return False
    restatement_id = restatement_id_of(change.world.tenant, command.command_id or received.id)
    return await work.store.restatements.one(change.world.tenant, restatement_id) is not None


async def hear(
    change: Change, command: wire.SupersedeVersions, work: Work[LineageStore], *, command_id: str, at: datetime
) -> Restatement | Rejected:
    """The restatement that a command makes, or has made: then nothing happens."""
    store, tenant = work.store.restatements, change.world.tenant
    restatement_id = restatement_id_of(tenant, command_id)
    known = await store.one(tenant, restatement_id)
    instance = change.world.instances.get(command.instance_id)
    if instance is None:
        return Rejected(Code.UNKNOWN_INSTANCE, f"tenant {tenant} has no instance {command.instance}")
    kind = command.flow_kind or instance.main_kind
    asked = Restatement(
        restatement_id=restatement_id,
        tenant=tenant,
        instance_id=instance.instance_id,
        kind=kind,
        version_id=command.version_id,
        first_data_date=command.first_data_date,
        last_data_date=command.last_data_date,
        reason=command.reason,
        actor=command.actor,
        command_id=command_id,
        declared_at=at,
    )
    if known is not None:
        if known.said == asked.said:
            return known
        return Rejected(Code.COMMAND_CONFLICT, f"command {command_id} has declared another restatement")
    if instance.flow(kind) is None:
        has = ", ".join(flow.kind for flow in instance.flows)
        return Rejected(Code.UNKNOWN_FLOW, f"{instance.name} has no flow {kind.value!r}; it has: {has}")
    fault = restatement.unsound(asked)
    if fault is not None:
        return Rejected(Code.INVALID_COMMAND, fault)
    if command.version_id is not None and await store.flow_of(tenant, command.version_id) != asked.flow:
        return Rejected(Code.UNKNOWN_VERSION, f"{instance.name}/{kind} has no version {command.version_id}")
    change.touched |= await store.declare(asked)
    change.settled.add(asked.flow)
    change.declared[restatement_id] = asked
    return asked


async def follow(
    changes: Collection[Change], work: Work[LineageStore], *, restated: set[str] | None = None
) -> list[Followed]:
    """Bring the marks of these tenants up to what the batch did, and put why a flow's current version is superseded
    into its facts. `restated`: those that have restatements, where that is known.
    """
    moved = {change.world.tenant: change for change in changes if change.touched or change.settled}
    if restated is None:
        restated = await work.store.restatements.restated(moved) if moved else set()
    result = []
    for tenant in sorted(restated & moved.keys()):
        followed = Followed(moved[tenant])
        if followed.change.touched:
            await _spread(followed, work)
        await _mark_flows(followed.change, work)
        result.append(followed)
    return result


async def _spread(followed: Followed, work: Work[LineageStore]) -> None:
    change, store = followed.change, work.store.restatements
    tenant = change.world.tenant
    await store.supersede_late(tenant, change.touched)
    below = await store.below(tenant, change.touched)
    superseded, before = await store.superseded(tenant, below.versions), await store.paths(tenant, below.versions)
    rows, gone = [], []
    for restatement_id in superseded.keys() | before.keys():
        known = before.get(restatement_id, {})
        paths = restatement.spread(below.reads, superseded.get(restatement_id, ()), known)
        gone += [(restatement_id, one) for one in below.reads.keys() & known.keys() if one not in paths]
        rows += [
            taint_row(restatement_id, tenant, one, below.attempts[one], path, work.now)
            for one, path in paths.items()
            if known.get(one) != path
        ]
        new = {one: path for one, path in paths.items() if one not in known}
        if new:
            followed.tainted[restatement_id] = new
    followed.attempts = below.attempts
    await store.save_taints(rows, gone)


async def _mark_flows(change: Change, work: Work[LineageStore]) -> None:
    """A flow whose current version is superseded is stale, and so is what lies below it; what is to be refreshed
    there is asked for, as after a new definition.
    """
    world = change.world
    current = {
        key: flow.version.version_id
        for key in change.settled
        if (flow := world.flow(key)) is not None and flow.version is not None
    }
    why = await work.store.restatements.why_superseded(world.tenant, list(current.values()))
    flows = {}
    for key, version_id in current.items():
        flow = world.flow(key)
        assert flow is not None
        found = why.get(version_id)
        reason = found.why(version_id) if found else None
        if flow.superseded != reason:
            flows[key] = replace(flow, superseded=reason)
        before = change.stored.world.flow(key)
        if reason != (before.superseded if before else None):
            ref = f"superseded/{found.restatement_id}" if found else f"superseded/{version_id}"
            _name_root(change, key, ref, version_id, superseded=reason is not None)
    change.world = world.with_flows(flows)


def _name_root(change: Change, key: FlowKey, ref: str, version_id: UUID, *, superseded: bool) -> None:
    known = change.roots.get(key)
    if known is None:
        change.roots[key] = Root(ref, changed=superseded, version_id=version_id)
    elif superseded:
        change.roots[key] = replace(known, changed=True)


async def say(followed: Sequence[Followed], work: Work[LineageStore]) -> None:
    """One activity per declaration, and one per restatement that the batch has tainted more runs of."""
    for one in followed:
        for restatement_id in sorted(one.change.declared.keys() | one.tainted.keys()):
            declared = one.change.declared.get(restatement_id)
            about = declared or await work.store.restatements.one(one.change.world.tenant, restatement_id)
            assert about is not None
            tainted = one.tainted.get(restatement_id, {})
            counted = await work.store.restatement_pages.counted(restatement_id)
            cause = one.change.because.get(restatement_id)
            activity = restatement_words.restatement_activity(
                about, tainted, one.attempts, counted, one.change.world, declared=declared is not None, now=work.now,
                correlation_id=(cause.correlation_id or cause.id) if cause else None,
            )  # fmt: skip
            work.publish(activity, cause=cause)
