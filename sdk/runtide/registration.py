"""Registering instances over Kafka: see what would change, publish it, wait for each answer.

The answer of a registration is a snapshot on `instances.status.v1`, or an activity `command.refused` that names the
command. What is registered already, just so, is not sent again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from uuid import UUID, uuid4

from pydantic import BaseModel, ValidationError
from pydantic_core import to_json
from runtide_schemas.activities import ActivityRecorded
from runtide_schemas.instances import FlowSpec, InstanceStatusChanged, RegisterInstance, UpstreamSpec
from runtide_schemas.message import Message, reason_of
from runtide_schemas.topics import ACTIVITIES, INSTANCES_STATUS
from runtide_schemas.vocabulary import (
    InstanceStatus,
    InstanceType,
    default_max_open_runs,
    instance_id_of,
    main_flow_kind,
)

from runtide.errors import InvalidCommand, RegistrationRefused, WaitTimedOut
from runtide.log import Follow, Log
from runtide.settings import ClientSettings

Kind = Literal["new", "changed", "unchanged"]
CLOCK_MARGIN = timedelta(minutes=2)


@dataclass(frozen=True, slots=True)
class Planned:
    """One registration against what is known; `changes` are sentences."""

    command: RegisterInstance
    before: InstanceStatusChanged | None
    changes: tuple[str, ...] = ()

    @property
    def kind(self) -> Kind:
        return "new" if self.before is None else "changed" if self.changes else "unchanged"


@dataclass(frozen=True, slots=True)
class Applied:
    planned: tuple[Planned, ...]
    snapshots: dict[UUID, InstanceStatusChanged] = field(default_factory=dict)


class Registrations:
    def __init__(self, settings: ClientSettings, log: Log) -> None:
        self._settings = settings
        self._log = log

    async def plan(self, wanted: Sequence[RegisterInstance]) -> list[Planned]:
        """What would change, against the compacted topic as it is now."""
        known: dict[UUID, InstanceStatusChanged] = {}
        for message in await self._log.newest(INSTANCES_STATUS):
            if isinstance(message, InstanceStatusChanged) and message.tenant == self._settings.tenant:
                known[message.instance_id] = message
        types = {instance_id: snapshot.instance_type for instance_id, snapshot in known.items()}
        types |= {command.id: command.instance_type for command in wanted if command.instance_type}
        return [
            Planned(command, before, tuple(differences(command, before, types)) if before else ())
            for command in wanted
            for before in (known.get(command.id),)
        ]

    async def apply(self, planned: Sequence[Planned], *, timeout_seconds: float) -> Applied:
        """Publish all that is new or changed, then wait for all.

        Raises: RegistrationRefused naming each refusal, WaitTimedOut naming who did not answer.
        """
        open_ones: dict[UUID, Planned] = {plan.command.id: plan for plan in planned if plan.kind != "unchanged"}
        done: dict[UUID, InstanceStatusChanged] = {
            plan.command.id: plan.before for plan in planned if plan.before and plan.kind == "unchanged"
        }
        if open_ones:
            done |= await self._send(open_ones, timeout_seconds)
        return Applied(tuple(planned), done)

    async def register(self, command: RegisterInstance, *, timeout_seconds: float) -> InstanceStatusChanged:
        """One registration, sent whatever is known."""
        [plan] = await self.plan([command])
        if plan.kind == "unchanged" and plan.before is not None:
            return plan.before
        applied = await self.apply([plan], timeout_seconds=timeout_seconds)
        return applied.snapshots[command.id]

    async def _send(self, plans: Mapping[UUID, Planned], timeout_seconds: float) -> dict[UUID, InstanceStatusChanged]:
        wish = Follow((INSTANCES_STATUS, ACTIVITIES), None, datetime.now(UTC) - CLOCK_MARGIN)
        waiting = _Waiting(self._settings.tenant, plans)
        async with self._log.follow(wish) as follower:
            for instance_id, plan in plans.items():
                command_id = str(uuid4())
                waiting.command_ids[command_id] = instance_id
                command = plan.command.model_copy(update={"command_id": command_id})
                await self._log.publish(command, message_id=command_id, value=body_of(command))
            deadline = datetime.now(UTC) + timedelta(seconds=timeout_seconds)
            while waiting.names:
                left_seconds = (deadline - datetime.now(UTC)).total_seconds()
                message = await follower.next(left_seconds) if left_seconds > 0 else None
                if message is None:
                    raise WaitTimedOut(
                        f"no answer in {timeout_seconds:g} s for: {', '.join(waiting.names)}; the registrations are in "
                        "Kafka and take effect once lineage reads them: see `runtide doctor`"
                    )
                waiting.see(message)
        if waiting.refused:
            raise RegistrationRefused("\n".join(waiting.refused))
        return waiting.answers


class _Waiting:
    """Which registrations are still unanswered."""

    def __init__(self, tenant: str, plans: Mapping[UUID, Planned]) -> None:
        self.command_ids: dict[str, UUID] = {}
        self.answers: dict[UUID, InstanceStatusChanged] = {}
        self.refused: list[str] = []
        self._tenant = tenant
        self._open = dict(plans)

    @property
    def names(self) -> list[str]:
        return [plan.command.name for plan in self._open.values()]

    def see(self, message: Message) -> None:
        match message:
            case InstanceStatusChanged():
                plan = self._open.get(message.instance_id)
                if plan is not None and _answers(plan, message):
                    self.answers[message.instance_id] = message
                    del self._open[message.instance_id]
            case ActivityRecorded() if message.action == "command.refused" and message.tenant == self._tenant:
                said = (str(message.payload.get("command_id")), str(message.correlation_id))
                instance_id = next((self.command_ids[text] for text in said if text in self.command_ids), None)
                refused = self._open.pop(instance_id, None) if instance_id else None
                if refused is not None:
                    reason = message.payload.get("message") or message.payload.get("code")
                    self.refused.append(f"{refused.command.name}: {reason}")


def registration_of(settings: ClientSettings, body: Mapping[str, Any]) -> RegisterInstance:
    """Raises: InvalidCommand saying what is wrong."""
    said = {**body, "type": "instance.register", "tenant": settings.tenant, "actor": settings.actor}
    try:
        return RegisterInstance.model_validate_json(to_json(said))
    except ValidationError as error:
        raise InvalidCommand(f"the registration is not valid: {reason_of(error)}") from None


def body_of(command: RegisterInstance) -> bytes:
    """Only what is named: absent is not the same as null or empty."""
    return to_json({**command.model_dump(mode="json", exclude_unset=True), "type": command.type})


def differences(
    command: RegisterInstance, before: InstanceStatusChanged, types: Mapping[UUID, InstanceType]
) -> list[str]:
    """What the command would change, with the defaults that lineage fills in; a sentence each."""
    found: list[str] = []
    if before.status is InstanceStatus.RETIRED:
        found.append("retired → revived")
    if command.name != before.name:
        found.append(f"name {before.name} → {command.name}")
    if command.instance_type is not None and command.instance_type is not before.instance_type:
        found.append(f"instance_type {before.instance_type} → {command.instance_type}")
    if command.names("owner") and command.owner != before.owner:
        found.append(f"owner {before.owner} → {command.owner}")
    if command.names("status_order") and command.status_order != before.status_order:
        found.append("status_order")
    if command.names("update_frequency") and command.update_frequency != before.update_frequency:
        found.append("update_frequency")
    if command.flows is not None:
        ours = {f"flow {flow.kind}": _flow_facts(flow) for flow in command.flows}
        theirs = {f"flow {flow.kind}": _facts(flow, _FLOW_FIELDS) for flow in before.flows}
        found += _between(ours, theirs)
    if command.upstreams is not None:
        kinds = [flow.kind for flow in command.flows or before.flows]
        own = dict(_edge_facts(command, upstream, kinds, types) for upstream in command.upstreams)
        held = {
            f"upstream {edge.role}": {
                "instance_id": edge.instance_id,
                "kind": edge.kind,
                "flow_kind": edge.flow_kind,
                "flows": sorted(edge.flows or kinds),
                "optional": edge.optional,
                "max_lag": edge.max_lag,
            }
            for edge in before.upstreams
        }
        found += _between(own, held)
    return found


_FLOW_FIELDS = (
    "deployment",
    "on_upstream",
    "reports",
    "max_open_runs",
    "max_wait",
    "min_interval",
    "schedule",
    "retry",
)


def _flow_facts(flow: FlowSpec) -> dict[str, Any]:
    facts = _facts(flow, _FLOW_FIELDS)
    return {**facts, "max_open_runs": flow.max_open_runs or default_max_open_runs(flow.kind)}


def _edge_facts(
    command: RegisterInstance, upstream: UpstreamSpec, kinds: Sequence[Any], types: Mapping[UUID, InstanceType]
) -> tuple[str, dict[str, Any]]:
    instance_id = instance_id_of(command.tenant, upstream.instance)
    upstream_type = types.get(instance_id)
    default = main_flow_kind(upstream_type) if upstream_type else None
    return f"upstream {upstream.role or upstream.instance}", {
        "instance_id": instance_id,
        "kind": upstream.kind,
        "flow_kind": upstream.flow_kind or default,
        "flows": sorted(upstream.flows if upstream.flows is not None else kinds),
        "optional": upstream.optional,
        "max_lag": upstream.max_lag,
    }


def _facts(part: Any, fields: Sequence[str]) -> dict[str, Any]:
    return {name: getattr(part, name) for name in fields}


def _between(ours: Mapping[str, dict[str, Any]], theirs: Mapping[str, dict[str, Any]]) -> list[str]:
    found = [f"{what} removed" for what in theirs if what not in ours]
    for what, facts in ours.items():
        held = theirs.get(what)
        if held is None:
            found.append(f"{what} added")
            continue
        differ = [name for name, value in facts.items() if held[name] != value]
        found += [f"{what}: {name} {_shown(held[name])} → {_shown(facts[name])}" for name in differ]
    return found


def _shown(value: Any) -> Any:
    """A part of several fields by those that say anything."""
    return value.model_dump_json(exclude_defaults=True) if isinstance(value, BaseModel) else value


def _answers(plan: Planned, snapshot: InstanceStatusChanged) -> bool:
    """It is newer than what we planned against, and no longer lacks a flow that we registered."""
    if plan.before is not None and snapshot.seq <= plan.before.seq:
        return False
    wanted = {(flow.kind, flow.deployment) for flow in plan.command.flows or ()}
    return snapshot.status is not InstanceStatus.RETIRED and wanted <= {
        (flow.kind, flow.deployment) for flow in snapshot.flows
    }
