"""What lineage says of its decisions, made into bytes without the model of each (docs/adr/0036).

The fact not to break: the models in `schemas/` are the only definition. What is said of thousands at once is said in
Structs that are made of them, in the same words; whatever both might write differently goes to the model.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
from runtide_schemas.decisions import (
    Decision as DecisionMessage,
)
from runtide_schemas.decisions import (
    RequestAdmitted,
    RequestExpired,
    RequestParked,
    RequestRefused,
    RequestSkipped,
)
from runtide_schemas.message import LIST_LIMIT
from runtide_schemas.requests import Blocker, InputVersion
from runtide_schemas.topics import REQUESTS_DECISIONS

from services.lineage.domain.gate import Admitted, Blocked, Decision, Expired, Parked, Refused, Request, Skipped, Target
from services.lineage.domain.world import Read
from shared.messaging.drafts import Draft, draft_of, dump_of
from shared.messaging.structs import bare_of

_encode = msgspec.json.Encoder().encode
_dump_parameters = dump_of(RequestAdmitted, "parameters")


class Words(NamedTuple):
    """What decisions are put into: the models, or what stands for them."""

    admitted: Any = RequestAdmitted
    parked: Any = RequestParked
    refused: Any = RequestRefused
    skipped: Any = RequestSkipped
    expired: Any = RequestExpired
    blocker: Any = Blocker
    input_version: Any = InputVersion


MODELS = Words()
_BARE = Words(*map(bare_of, MODELS))


def decision_draft(request: Request, decision: Decision, number: int, now: datetime) -> Draft:
    """What submission is told, ready to be sent."""
    said = _said(request, decision, number, now, _BARE)
    value = _encode(said)
    if b"\\u" in value:  # a control character, or NUL, which the model may replace
        return draft_of(decision_message(request, decision, number, now))
    return Draft(said.type, REQUESTS_DECISIONS.name, str(request.run_id).encode(), value)


def decision_message(request: Request, decision: Decision, number: int, now: datetime) -> DecisionMessage:
    """The same as the model."""
    message: DecisionMessage = _said(request, decision, number, now, MODELS)
    return message


def _said(request: Request, decision: Decision, number: int, now: datetime, words: Words) -> Any:
    about = told_of(request, decision.target, number, now)
    match decision:
        case Admitted():
            return words.admitted(
                **about,
                parameters=_parameters(request.parameters, words),
                input_versions=_inputs(decision.reads, words),
                warning=decision.warning,
            )
        case Parked():
            return words.parked(**about, **blockers_of(decision.blockers, words), wait_until=decision.wait_until)
        case Refused():
            statuses = dict(sorted(decision.statuses.items())[:LIST_LIMIT])
            return words.refused(
                **about,
                **blockers_of(decision.blockers, words),
                code=decision.code,
                message=decision.message,
                status_map=statuses,
            )
        case Skipped():
            return words.skipped(**about, message=decision.message, version_id=decision.version_id)
        case Expired():
            return words.expired(**about, **blockers_of(decision.blockers, words), message=decision.message)


def told_of(request: Request, target: Target | None, number: int, now: datetime) -> dict[str, Any]:
    """What every decision says of its request."""
    return {
        "tenant": request.tenant,
        "run_id": request.run_id,
        "number": number,
        "instance_id": request.instance_id,
        "instance_name": target.name if target else request.instance_name,
        "run_type": target.run_type if target else None,
        "flow_kind": target.flow.kind if target else request.kind,
        "deployment": target.deployment if target else None,
        "occurred_at": now,
    }


def _parameters(parameters: Mapping[str, Any], words: Words) -> Any:
    """What people wrote is left to the model's own field."""
    return dict(parameters) if words is MODELS or not parameters else _dump_parameters(dict(parameters))


def _inputs(reads: Iterable[Read], words: Words) -> dict[str, Any]:
    return {
        read.role: words.input_version(
            instance_id=read.upstream.instance_id,
            flow_kind=read.upstream.kind,
            version_id=read.version_id,
            artifact_version=read.artifact_version,
            basis=read.basis,
        )
        for read in reads
        if read.upstream.kind is not None
    }


def blockers_of(blockers: Sequence[Blocked], words: Words = MODELS) -> dict[str, Any]:
    return {
        "blockers": [
            words.blocker(
                instance_id=one.flow.instance_id,
                name=one.name,
                flow_kind=one.flow.kind,
                status=one.status,
                reason=one.reason or None,
            )
            for one in blockers[:LIST_LIMIT]
        ],
        "blockers_total": len(blockers),
    }
