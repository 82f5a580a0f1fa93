"""Schedules and retries between their three forms: what was registered, what is stored, what is told. And the commands
by which lineage asks for runs of its own.
"""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

from pydantic import BaseModel
from runtide_schemas.commands import SubmitRun
from runtide_schemas.policies import Retry, RetrySpec, ScheduleSpec

from services.lineage.domain.gate import Request
from services.lineage.domain.retry import Retries

SYSTEM = "system:lineage"


def schedule_text(spec: ScheduleSpec | None) -> str | None:
    """As stored: JSON with spans in seconds, the same for the same schedule."""
    if spec is None:
        return None
    return _text(spec, interval=spec.interval.total_seconds() if spec.interval else None)


def retry_text(spec: RetrySpec | None) -> str | None:
    """As stored."""
    if spec is None:
        return None
    return _text(spec, backoff=spec.backoff.total_seconds(), backoff_max=spec.backoff_max.total_seconds())


def _text(spec: BaseModel, **spans: Any) -> str:
    return json.dumps({**spec.model_dump(mode="json"), **spans}, sort_keys=True)


def schedule_spec(text: str | None) -> ScheduleSpec | None:
    """As told."""
    return None if text is None else ScheduleSpec.model_validate_json(text, strict=False)


def retry_spec(text: str | None) -> RetrySpec | None:
    """As told."""
    return None if text is None else RetrySpec.model_validate_json(text, strict=False)


def retries_of(said: Retry | None, on_behalf_of: str | None) -> Retries | None:
    return None if said is None else Retries(**dict(said), on_behalf_of=on_behalf_of)


def retry_command_id(failed: UUID) -> str:
    """Of the one retry that a run may get."""
    return f"retry/{failed}"


def command_for(asked: Request, command_id: str, *, on_behalf_of: str | None = None) -> SubmitRun:
    """The command that asks for this request of lineage's own, in the same words whenever it is asked."""
    retries = asked.retries
    return SubmitRun(
        command_id=command_id,
        tenant=asked.tenant,
        actor=SYSTEM,
        instance=str(asked.instance_id),
        flow_kind=asked.kind,
        mode=asked.mode,
        parameters=dict(asked.parameters),
        gate=asked.gate,
        skip_if_ready=asked.skip_if_ready,
        wait_until=asked.wait_until,
        trigger=asked.trigger,
        parent_run_id=asked.parent_run_id,
        on_behalf_of=on_behalf_of or (retries.on_behalf_of if retries else None),
        planned_for=asked.planned_for,
        retries=None
        if retries is None
        else Retry(
            run_id=retries.run_id,
            first_run_id=retries.first_run_id,
            number=retries.number,
            max=retries.max,
            not_before=retries.not_before,
            reason=retries.reason,
        ),
    )
