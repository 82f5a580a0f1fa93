"""`activities.v1`: who did what to what, for people. Of one tenant they are not ordered: sort by `occurred_at`.

Actions: `vocabulary.action_prefix(run type)` + `.created|started|progress|completed|failed|cancelled|escalated`,
`monitoring_run.alerted`, `version.superseded|spread`, `instance.registered|ready|stale|error|retired`,
`request.parked|refused|skipped|released|expired|cancelled|finished|failed`, `command.refused`.
"""

from typing import Any, Literal
from uuid import UUID

from pydantic import Field

from runtide_schemas.message import TenantMessage, Time


class ActivityRecorded(TenantMessage):
    """`activity_id` must be computed from what happened, so that the same fact told twice is one row."""

    type: Literal["activity.recorded"] = "activity.recorded"
    activity_id: UUID
    actor: str | None = None
    resource_type: str
    resource_id: str
    action: str = Field(pattern=r"^[a-z_]+\.[a-z_]+$")
    payload: dict[str, Any] = Field(default={})
    correlation_id: str | None = None
    occurred_at: Time
