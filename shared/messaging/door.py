"""The open doors of Kafka, kept by tokens: who may say what is read here, as of when the broker took it.

The fact not to break: a token is judged at the record's own time, which is the broker's (`LogAppendTime`), so reading
again, a replay and a restore judge as the first reading did, however long ago the token has expired since.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid5

import msgspec
from runtide_schemas.activities import ActivityRecorded
from runtide_schemas.commands import UNKNOWN_ACTOR, InvalidSubmission
from runtide_schemas.topics import Topic
from runtide_schemas.vocabulary import RUNTIDE, Code

from shared import auth
from shared.auth import Caller, Unauthenticated
from shared.keys import Keys
from shared.messaging.decode import Bad, Received, Record

HEADER = "authorization"
OWN_TOKEN_MINUTES = 15


class _Sender(msgspec.Struct):
    tenant: str
    actor: str


_sender_of = msgspec.json.Decoder(_Sender).decode


@dataclass(frozen=True, slots=True)
class Unproven:
    """A message that changes nothing because of its token. `tenant`: whose the answer is; the sender's, if proven."""

    received: Received[Any]
    code: Code
    reason: str
    tenant: str


class Door:
    """One open door: splits what comes in into what is proven, with its proven actor, and what is not."""

    def __init__(self, topic: Topic, keys: Keys) -> None:
        self._scope, self._keys = topic.scope, keys

    async def learn(self, batch: Sequence[Received[Any] | Bad]) -> None:
        """Before the transaction: have the keys that these name. Raises: KeysUnavailable."""
        await self._keys.learn([token for item in batch for token in _tokens(item.record)])

    def judge(self, batch: Sequence[Received[Any]]) -> tuple[list[Received[Any]], list[Unproven]]:
        """Those that may be handled, in order, and those that are only answered."""
        believed: list[Received[Any]] = []
        unproven: list[Unproven] = []
        for received in batch:
            judged = self._judge(received)
            (unproven if isinstance(judged, Unproven) else believed).append(judged)  # type: ignore[arg-type]
        return believed, unproven

    def _judge(self, received: Received[Any]) -> Received[Any] | Unproven:
        message = received.message
        try:
            caller = self._keys.judge(_only_token(received.record), at=_appended_at(received.record))
        except Unauthenticated as error:
            return Unproven(received, Code.UNAUTHENTICATED, f"the token does not hold: {error}", message.tenant)
        if problem := _contradiction(message, caller):
            return Unproven(received, Code.TENANT_MISMATCH, problem, caller.tenant)
        if problem := self._not_allowed(message, caller):
            return Unproven(received, Code.FORBIDDEN, problem, caller.tenant)
        return _by(caller.actor, received)

    def _not_allowed(self, message: Any, caller: Caller) -> str | None:
        if self._scope not in caller.scopes:
            return f"the token lacks a scope: needs {self._scope}; it has {', '.join(sorted(caller.scopes)) or 'none'}"
        if caller.run_id is not None and caller.run_id != getattr(message, "run_id", None):
            return f"the token speaks for run {caller.run_id} alone"
        return None


def _contradiction(message: Any, caller: Caller) -> str | None:
    if message.tenant != caller.tenant:
        return f"the message says tenant {message.tenant}, its token says {caller.tenant}"
    actor = getattr(message, "actor", UNKNOWN_ACTOR)
    if actor not in (UNKNOWN_ACTOR, None, caller.actor):
        return f"the message says actor {actor}, its token says {caller.actor}"
    return None


def _by(actor: str, received: Received[Any]) -> Received[Any]:
    """With the actor that the token names, where the kind of message has one."""
    message = received.message
    if getattr(message, "actor", actor) == actor:
        return received
    if isinstance(message, InvalidSubmission):
        return replace(received, message=replace(message, actor=actor))
    return replace(received, message=message.model_copy(update={"actor": actor}))


def refusal(unproven: Unproven, *, about: str, of: str, command_id: str | None, now: datetime) -> ActivityRecorded:
    """The one answer to it. `about`: the id of what it names, `of`: what that is."""
    message, record = unproven.received.message, unproven.received.record
    return ActivityRecorded(
        activity_id=uuid5(RUNTIDE, f"{record.position}/{record.timestamp_ms}/unproven"),
        tenant=unproven.tenant,
        resource_type=of,
        resource_id=about,
        action="command.refused",
        payload={
            "code": unproven.code,
            "message": unproven.reason,
            "command": message.type,
            "command_id": command_id,
            "sender": getattr(message, "actor", None),
        },
        correlation_id=unproven.received.correlation_id or unproven.received.id,
        occurred_at=now,
    )


def own_token(keys: Keys, topic: Topic, payload: bytes, *, now: datetime) -> str:
    """What a service says of itself when it sends through an open door: made as it sends, and never stored."""
    sender = _sender_of(payload)
    valid = timedelta(minutes=OWN_TOKEN_MINUTES)
    return auth.mint(
        keys.settings, tenant=sender.tenant, actor=sender.actor, scopes=(topic.scope,), valid=valid, now=now
    )


def _only_token(record: Record) -> str:
    tokens = _tokens(record)
    if len(tokens) != 1:
        said = "there is none" if not tokens else f"there are {len(tokens)}"
        raise Unauthenticated(f"{said}; send one header `{HEADER}: Bearer <token>`")
    return tokens[0]


def _tokens(record: Record) -> list[str]:
    values = [value or b"" for name, value in record.headers if name.lower() == HEADER]
    return [value.decode("utf-8", "replace").strip().removeprefix("Bearer ").strip() for value in values]


def _appended_at(record: Record) -> datetime:
    try:
        return datetime.fromtimestamp(record.timestamp_ms / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        raise Unauthenticated(f"the record's time {record.timestamp_ms} is none") from None
