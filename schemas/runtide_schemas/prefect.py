"""`prefect.flow-run-states.v1`: Prefect's states as they were seen, normalised, beside the raw event.

The fact not to break: (flow run id, state id) is the natural key, whatever saw it: event, sweep or confirmation.
"""

from typing import Literal
from uuid import UUID

from pydantic import Field

from runtide_schemas.message import ForeignObject, LongText, Message, Text, Time

STATE_TYPES = (
    "SCHEDULED",
    "PENDING",
    "RUNNING",
    "PAUSED",
    "CANCELLING",
    "COMPLETED",
    "FAILED",
    "CRASHED",
    "CANCELLED",
)


class FlowRunStateObserved(Message):
    """One state of one flow run. It has no tenant, for Prefect knows none.

    `gone`: Prefect lost the flow run; `returned`: it knows it again, in the state that it is in.
    """

    type: Literal["prefect.flow_run_state_observed"] = "prefect.flow_run_state_observed"
    flow_run_id: UUID
    flow_run_name: Text | None = None
    state_id: UUID
    state_type: str = Field(pattern=r"^[A-Z]+$")
    state_name: Text
    state_message: LongText | None = None
    state_timestamp: Time
    run_count: int = Field(default=0, ge=0)
    start_time: Time | None = None
    end_time: Time | None = None
    deployment_id: UUID | None = None
    flow_name: Text | None = None
    deployment_name: Text | None = None
    tags: list[Text] = Field(default=[])
    source: Literal["event", "sweep", "confirm"]
    gone: bool = False
    returned: bool = False
    observed_at: Time
    raw: ForeignObject | None = None
