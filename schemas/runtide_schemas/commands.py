"""`runs.commands.v1`: what anybody may ask for.

A `SubmitRun` is always valid. One that is not, but whose tenant and instance can be read, becomes an
`InvalidSubmission`: submission answers it with a request `refused`, where anything less readable is a dead letter.
`read_submission` makes one or the other out of bytes or a dict, and so does the adapter of the topic; a handler tells
them apart by `match`.
"""

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Self
from uuid import UUID

from pydantic import BaseModel, Field, ValidationError, model_validator

from runtide_schemas import vocabulary
from runtide_schemas.backfills import Backfill
from runtide_schemas.message import (
    CommandIdText,
    FlowKindText,
    InstanceText,
    JsonObject,
    Sentence,
    TenantMessage,
    Text,
    Time,
    reason_of,
    shown,
)
from runtide_schemas.policies import Retry
from runtide_schemas.vocabulary import Gate, InstanceId, Mode, Trigger

UNKNOWN_ACTOR = "unknown"
_NOT_IN_DIGEST = frozenset({"type", "command_id", "actor", "tenant", "instance", "on_behalf_of"})
_ONLY_IN_DIGEST_IF_SAID = frozenset(
    {"parent_run_id", "backfill", "plan_id", "planned_for", "retries"}
)  # younger than the digests that are stored


class SubmitRun(TenantMessage):
    """Ask for a run of one flow of an instance (a name or an id); without `flow_kind`, the only one that it has. With
    `backfill`, for one run per date of a range; with `plan_id`, for what this plan says, which is what gate `recursive`
    does. `trigger`, `parent_run_id` and all after `plan_id` are lineage's to say: the request that this one is a part
    of, or that it is asked for, and whose that is; the instant of a schedule; the run that is done over.
    """

    type: Literal["run.submit"] = "run.submit"
    command_id: CommandIdText | None = None
    actor: Text = Field(default=UNKNOWN_ACTOR, max_length=200)
    instance: InstanceText
    flow_kind: FlowKindText | None = None
    mode: Mode = Mode.INCREMENTAL
    parameters: JsonObject = Field(default={})
    gate: Gate = Gate.STRICT
    skip_if_ready: bool = False
    wait_until: Time | None = None
    trigger: Trigger = Trigger.MANUAL
    parent_run_id: UUID | None = None
    backfill: Backfill | None = None
    plan_id: UUID | None = None
    on_behalf_of: Text | None = Field(default=None, max_length=200)
    planned_for: Time | None = None
    retries: Retry | None = None

    @model_validator(mode="after")
    def _runs_its_plan(self) -> Self:
        """`strict` is what a submission says that names no gate."""
        if self.plan_id is not None and self.gate not in (Gate.STRICT, Gate.RECURSIVE):
            raise ValueError(f"gate is {self.gate.value!r}; with plan_id allowed: recursive")
        return self

    @model_validator(mode="after")
    def _backfill_fits(self) -> Self:
        """What would mean nothing for a range of dates is refused by name."""
        if self.backfill is None:
            return self
        if self.gate is Gate.RECURSIVE:
            raise ValueError("a backfill takes gate strict, wait or force (got 'recursive')")
        if self.plan_id is not None:
            raise ValueError("a backfill takes no plan_id: a plan is of one run")
        if self.skip_if_ready:
            raise ValueError("a backfill takes no skip_if_ready: what is ready today says nothing of its dates")
        if self.wait_until is not None:
            raise ValueError("a backfill takes no wait_until: it has no deadline, cancel it instead")
        given = {self.backfill.parameter, self.backfill.end_parameter}.intersection(self.parameters)
        if given:
            raise ValueError(
                f"parameters name {', '.join(sorted(given))}, which a backfill gives to each of its children"
            )
        return self

    @property
    def instance_id(self) -> InstanceId:
        return vocabulary.instance_id_of(self.tenant, self.instance)

    @property
    def instance_name(self) -> str | None:
        """None: it was asked for by id."""
        return None if vocabulary.is_uuid(self.instance) else self.instance

    @property
    def digest(self) -> str:
        """Equal for two submissions that ask for the same, after defaults and aliases, whoever asks."""
        return _digest(self.instance_id, self.model_dump(mode="json"))


class CancelRun(TenantMessage):
    type: Literal["run.cancel"] = "run.cancel"
    command_id: CommandIdText | None = None
    actor: Text = Field(default=UNKNOWN_ACTOR, max_length=200)
    run_id: UUID
    reason: Sentence | None = None


@dataclass(frozen=True, slots=True)
class InvalidSubmission:
    """A readable `run.submit` that says something impossible. `command_id` is None where it was not given, or not
    readable itself; `reason` says what was got and what is allowed; `digest` as in SubmitRun.
    """

    tenant: str
    instance: str
    command_id: str | None
    actor: str
    reason: str
    digest: str
    type: Literal["run.submit"] = "run.submit"

    @property
    def instance_id(self) -> InstanceId:
        return vocabulary.instance_id_of(self.tenant, self.instance)

    @property
    def instance_name(self) -> str | None:
        return None if vocabulary.is_uuid(self.instance) else self.instance


def read_submission(value: bytes | str | dict[str, Any]) -> SubmitRun | InvalidSubmission:
    """One door for every way in (Kafka, HTTP, SDK). A dict is read as if it had come as JSON.

    Raises: ValueError (also pydantic's ValidationError) where tenant or instance cannot be read: a dead letter.
    """
    text = json.dumps(value, default=_plain) if isinstance(value, dict) else value
    try:
        return SubmitRun.model_validate_json(text)
    except ValidationError as error:
        invalid = invalid_submission(_object_in(text), error)
        if invalid is None:
            raise
        return invalid


def invalid_submission(value: object, error: ValidationError) -> InvalidSubmission | None:
    """None: tenant or instance cannot be read either, or it is not a `run.submit` at all."""
    if not isinstance(value, dict) or value.get("type", "run.submit") != "run.submit":
        return None
    tenant, instance, actor = value.get("tenant"), value.get("instance"), value.get("actor")
    if not isinstance(tenant, str) or not vocabulary.is_tenant(tenant) or not _readable(instance, 256):
        return None
    command_id = value.get("command_id")
    readable_id = _readable(command_id, vocabulary.COMMAND_ID_MAX_LENGTH)
    return InvalidSubmission(
        tenant=tenant,
        instance=str(instance),
        command_id=str(command_id) if readable_id else None,
        actor=str(actor) if _readable(actor, 200) else UNKNOWN_ACTOR,
        reason=reason_of(error),
        digest=_digest(vocabulary.instance_id_of(tenant, str(instance)), value),
    )


def _readable(value: object, max_length: int) -> bool:
    if not isinstance(value, str) or not 0 < len(value) <= max_length or "\0" in value:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _object_in(text: bytes | str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _plain(value: object) -> object:
    match value:
        case datetime():
            return value.isoformat()
        case UUID():
            return str(value)
        case BaseModel():
            return value.model_dump(mode="json")
        case _:
            raise ValueError(f"a {type(value).__name__} is not JSON: {shown(value)}")


def _digest(instance_id: UUID, body: dict[str, Any]) -> str:
    asked = {
        name: value
        for name, value in body.items()
        if name not in _NOT_IN_DIGEST and (value is not None or name not in _ONLY_IN_DIGEST_IF_SAID)
    }
    text = json.dumps([str(instance_id), asked], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
