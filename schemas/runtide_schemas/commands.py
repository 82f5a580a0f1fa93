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
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, Field, ValidationError

from runtide_schemas import vocabulary
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
from runtide_schemas.vocabulary import Gate, InstanceId, Mode, Trigger

UNKNOWN_ACTOR = "unknown"
_NOT_IN_DIGEST = frozenset({"type", "command_id", "actor", "tenant", "instance"})


class SubmitRun(TenantMessage):
    """Ask for a run of one flow of an instance (a name or an id); without `flow_kind`, the only one that it has."""

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
    asked = {name: value for name, value in body.items() if name not in _NOT_IN_DIGEST}
    text = json.dumps([str(instance_id), asked], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
