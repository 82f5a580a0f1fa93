"""What a command about an instance does to its tenant, in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from runtide_schemas import instances as wire
from runtide_schemas.vocabulary import Code

from services.lineage import translation
from services.lineage.conclusion import Change
from services.lineage.domain import definition
from services.lineage.domain.definition import Rejected
from services.lineage.domain.graph import FlowKey
from services.lineage.domain.staleness import Root
from services.lineage.domain.world import Flow, Heard, Instance, World
from shared.messaging.decode import Received


def about(command: wire.InstanceCommand) -> UUID:
    """The instance that a command names."""
    if isinstance(command, wire.RegisterInstance):
        return command.id
    assert isinstance(command, translation.ON_INSTANCE)
    return command.instance_id


def hear(change: Change, received: Received[Any], owners: Mapping[UUID, str], *, now: datetime) -> Rejected | None:
    """Apply one command of the log, unless it was applied before. The answer is why it was not, if it can not be."""
    command, record = received.message, received.record
    if was_heard(change, received):
        return None
    heard = _heard(received)
    known = change.world.instances.get(about(command))
    before = known.heard if known is not None else ()
    instance = applied(change.world, command, owners, at=min(received.at, now))
    if isinstance(instance, Rejected):
        return instance
    take(change, command, replace(instance, heard=heard.added_to(before)), ref=record.position)
    change.because[instance.instance_id] = received
    return None


def was_heard(change: Change, received: Received[Any]) -> bool:
    """Whether this very record, or a later one about the instance, was applied before."""
    known = change.world.instances.get(about(received.message))
    return known is not None and any(one.covers(_heard(received)) for one in known.heard)


def _heard(received: Received[Any]) -> Heard:
    record = received.record
    return Heard(record.partition, record.offset, datetime.fromtimestamp(record.timestamp_ms / 1000, UTC))


def applied(
    world: World, command: wire.InstanceCommand, owners: Mapping[UUID, str], *, at: datetime
) -> Instance | Rejected:
    """The instance as the command leaves it. What belongs to another tenant does not exist."""
    instance_id = about(command)
    if owners.get(instance_id, world.tenant) != world.tenant:
        return Rejected(Code.UNKNOWN_INSTANCE, f"tenant {world.tenant} has no instance {instance_id}")
    match command:
        case wire.RegisterInstance():
            return definition.registered(world, translation.registration_of(command))
        case wire.RetireInstance():
            return definition.retired(world, instance_id, now=at)
        case wire.ConnectInstances():
            return definition.connected(world, instance_id, translation.upstreams_of(command.tenant, command.upstreams))
        case wire.DisconnectInstances():
            return definition.disconnected(
                world, instance_id, translation.upstreams_of(command.tenant, command.upstreams)
            )
        case wire.ChangeDefinition():
            return definition.redefined(world, instance_id, command.digest, at=at)
        case wire.DelaySource():
            return definition.delayed(world, instance_id, until=command.until, reason=command.reason, at=at)
        case _:
            raise AssertionError(f"no command about an instance: {command.type}")


def take(change: Change, command: wire.InstanceCommand, after: Instance, *, ref: str) -> None:
    """Put the instance into the world, and name what must be asked again: its own flows and, where one of them went,
    those that read it.
    """
    before = change.world.instances.get(after.instance_id)
    if before is not None and replace(before, heard=after.heard) == after:
        change.world = change.world.with_announced([after])
        return
    gone = [flow.kind for flow in before.flows if after.flow(flow.kind) is None] if before else []
    below = [
        edge.downstream
        for kind in gone
        for edge in change.world.graph.out_of(FlowKey(after.instance_id, kind))
        if edge.downstream.kind not in gone or edge.downstream.instance_id != after.instance_id
    ]
    change.world = change.world.with_instance(after)
    for key in below:
        change.roots.setdefault(key, Root(ref, changed=False))
    for flow in after.flows:
        key = FlowKey(after.instance_id, flow.kind)
        known = change.roots.get(key)
        change.roots[key] = Root(
            ref,
            changed=False,
            itself=_is_another(before, after, flow) or (known is not None and known.itself),
            appeared=before is None or before.flow(flow.kind) is None or (known is not None and known.appeared),
        )
    match command:
        case wire.RegisterInstance():
            change.said[after.instance_id] = "instance.registered", command.actor
        case wire.RetireInstance():
            change.said[after.instance_id] = "instance.retired", command.actor
        case _:
            pass


def _is_another(before: Instance | None, after: Instance, flow: Flow) -> bool:
    """The flow is defined or wired otherwise than before, is back, or refreshes itself only now."""
    was = before.flow(flow.kind) if before is not None else None
    if before is None or was is None:
        return True
    said = (before.definition_digest, before.upstreams, before.retired_at, was.on_upstream)
    return said != (after.definition_digest, after.upstreams, after.retired_at, flow.on_upstream)
