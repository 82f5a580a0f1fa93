"""The order of steps for what submission reads: load, decide, save, announce."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from runtide_schemas.commands import CancelRun, InvalidSubmission, SubmitRun
from runtide_schemas.decisions import Decision
from runtide_schemas.vocabulary import COMMAND_ID_MAX_LENGTH, Gate, RequestStatus, Trigger, run_id_of

from services.submission.announcing import announce, announce_with_answers, answer_of, refuse
from services.submission.domain import request as requests
from services.submission.domain.request import Asked, Nothing, Refusal, Request
from services.submission.store import Key, SubmissionStore
from shared.errors import InvalidMessage
from shared.messaging.decode import Received
from shared.messaging.door import Unproven, refusal
from shared.messaging.work import Work

Submission = SubmitRun | InvalidSubmission
SYSTEM_LINEAGE = "system:lineage"


async def on_runs_commands(batch: Sequence[Received[Any]], work: Work[SubmissionStore]) -> None:
    """Submissions and cancels, in the order of the log."""
    named = [(received, _key(received)) for received in batch]
    known = await work.store.open([key for _, key in named], now=work.now)
    cancels = [key for received, key in named if isinstance(received.message, CancelRun)]
    launching = await work.store.launching(cancels) if cancels else set()
    changed: dict[Key, Request] = {}
    for received, key in named:
        before = known[key]
        after = _apply(before, received, launching=key in launching, work=work)
        if isinstance(after, Request):
            known[key] = changed[key] = announce_with_answers(after, work, cause=received)
        elif isinstance(after, Refusal):
            refuse(before, received.message, received.id, after, work, cause=received)
    await save(changed, work)
    await work.store.drop_launches([k for k, r in changed.items() if r.status is RequestStatus.CANCELLED])


async def on_requests_decisions(batch: Sequence[Received[Decision]], work: Work[SubmissionStore]) -> None:
    """lineage's answers; one that comes too late, or twice, changes nothing, and one that comes too early waits."""
    keys = {_decided(received) for received in batch}
    known = await work.store.load(keys)
    if unknown := keys - known.keys():
        known |= await work.store.open(unknown, now=work.now)
    changed: dict[Key, Request] = {}
    for received in batch:
        key, decision = _decided(received), received.message
        if known[key].seq == 0:
            after = requests.keep(known[key], decision.model_dump(mode="json"))
        else:
            after = requests.decide(known[key], answer_of(decision))
        if isinstance(after, Request):
            known[key] = changed[key] = after
            if after.seq > 0:
                announce(after, work, cause=received)
    await save(changed, work)


async def refuse_unproven(batch: Sequence[Unproven], work: Work[SubmissionStore]) -> None:
    """Answered, and no request is made of it: its id stays free. A submission that was taken before, under a key that
    has gone since, was taken.
    """
    keys = [_key(one.received) for one in batch]
    known = await work.store.load(keys)
    for one, key in zip(batch, keys, strict=True):
        message, held = one.received.message, known.get(key)
        if held is None or held.digest is None or getattr(message, "digest", None) != held.digest:
            command_id = message.command_id or one.received.id
            answer = refusal(one, about=str(key[1]), of="request", command_id=command_id, now=work.now)
            work.publish(answer, cause=one.received)


async def save(changed: Mapping[Key, Request], work: Work[SubmissionStore]) -> None:
    """Write these, and ask for the launch of those that were admitted."""
    await work.store.save(changed.values(), now=work.now)
    await work.store.ask_launch([r for r in changed.values() if r.status is RequestStatus.ADMITTED], now=work.now)


def _apply(
    before: Request, received: Received[Any], *, launching: bool, work: Work[SubmissionStore]
) -> Request | Refusal | Nothing:
    message = received.message
    if isinstance(message, CancelRun):
        return requests.cancel(before, at=work.now, launching=launching, reason=message.reason)
    return requests.submit(before, asked_by(message, command_id=command_id_of(received)))


def command_id_of(received: Received[Any]) -> str:
    """Of the body, else `ce_id`, else the record's position.

    Raises:
        InvalidMessage: the `ce_id` that stands for it is too long.
    """
    command_id = received.message.command_id or received.id
    if len(command_id) > COMMAND_ID_MAX_LENGTH:
        raise InvalidMessage(f"ce_id has {len(command_id)} characters; a command id has 1 to {COMMAND_ID_MAX_LENGTH}")
    return str(command_id)


def asked_by(message: Submission, *, command_id: str) -> Asked:
    """The domain's form of a submission. Only lineage asks with a trigger of its own, and for another request."""
    if isinstance(message, InvalidSubmission):
        return Asked(
            command_id, message.digest, message.instance_id, message.instance_name, message.actor,
            invalid=message.reason,
        )  # fmt: skip
    lineages = message.actor == SYSTEM_LINEAGE
    return Asked(
        command_id, message.digest, message.instance_id, message.instance_name, message.actor,
        flow_kind=message.flow_kind, mode=message.mode, parameters=message.parameters,
        gate=Gate.RECURSIVE if message.plan_id else message.gate, plan_id=message.plan_id,
        skip_if_ready=message.skip_if_ready, wait_until=message.wait_until,
        trigger=message.trigger if lineages else Trigger.MANUAL,
        parent_run_id=message.parent_run_id if lineages else None,
        backfill=message.backfill.model_dump(mode="json") if message.backfill else None,
        on_behalf_of=message.on_behalf_of if lineages else None,
        planned_for=message.planned_for if lineages else None,
        retries=message.retries.model_dump(mode="json") if message.retries and lineages else None,
    )  # fmt: skip


def _key(received: Received[Any]) -> Key:
    message = received.message
    if isinstance(message, CancelRun):
        return message.tenant, message.run_id
    return message.tenant, UUID(str(run_id_of(message.tenant, command_id_of(received))))


def _decided(received: Received[Decision]) -> Key:
    return received.message.tenant, received.message.run_id
