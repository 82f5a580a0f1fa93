"""Prefect's vocabulary at the edge: its events and flow runs become observations. Pure.

The fact not to break: the natural key of an observation is (flow run id, state id), whether event, sweep or
confirmation saw it; Prefect's event id *is* the new state's id.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID, uuid5

from runtide_schemas.prefect import STATE_TYPES, FlowRunStateObserved
from runtide_schemas.vocabulary import RUNTIDE

from services.run_tracker.domain.lifecycle import Observation
from shared.prefect import FlowRun

_FLOW_RUN = "prefect.flow-run."
GONE_NAME, RETURNED_NAME = "Gone", "Returned"


def of_event(event: Mapping[str, Any], observed_at: datetime) -> FlowRunStateObserved | None:
    """The observation in one of Prefect's events; None for a heartbeat and for everything that is no flow run state."""
    try:
        resource = event["resource"]
        resource_id = resource["prefect.resource.id"]
        state_type = resource.get("prefect.state-type")
        if not resource_id.startswith(_FLOW_RUN) or state_type not in STATE_TYPES:
            return None
        related = event.get("related") or []
        deployment_id = _related_id(related, "deployment")
        return FlowRunStateObserved(
            flow_run_id=UUID(resource_id.removeprefix(_FLOW_RUN)),
            flow_run_name=resource.get("prefect.resource.name"),
            state_id=UUID(event["id"]),
            state_type=state_type,
            state_name=resource.get("prefect.state-name") or state_type.title(),
            state_message=resource.get("prefect.state-message") or None,
            state_timestamp=datetime.fromisoformat(resource["prefect.state-timestamp"]),
            run_count=int(resource.get("prefect.run-count") or 0),
            deployment_id=UUID(deployment_id) if deployment_id is not None else None,
            flow_name=_related_name(related, "flow"),
            deployment_name=_related_name(related, "deployment"),
            tags=_tags(related),
            source="event",
            observed_at=observed_at,
            raw=dict(event),
        )
    except (KeyError, ValueError, TypeError, AttributeError):
        return None


def _related(related: list[Mapping[str, Any]], role: str) -> Mapping[str, Any]:
    return next((item for item in related if item.get("prefect.resource.role") == role), {})


def _related_name(related: list[Mapping[str, Any]], role: str) -> str | None:
    return _related(related, role).get("prefect.resource.name")


def _related_id(related: list[Mapping[str, Any]], role: str) -> str | None:
    found = _related(related, role).get("prefect.resource.id")
    return found.rpartition(".")[2] if found else None


def _tags(related: list[Mapping[str, Any]]) -> list[str]:
    ids = (item["prefect.resource.id"] for item in related if item.get("prefect.resource.role") == "tag")
    return [tag.removeprefix("prefect.tag.") for tag in ids]


def confirmed(seen: FlowRunStateObserved, flow_run: FlowRun) -> FlowRunStateObserved:
    """The same observation, with what only REST knows."""
    return seen.model_copy(
        update={"start_time": flow_run.start_time, "end_time": flow_run.end_time, "source": "confirm"}
    )


def of_flow_run(flow_run: FlowRun, observed_at: datetime) -> FlowRunStateObserved | None:
    """The state that a flow run has now, as REST gives it; None where it has none."""
    state = flow_run.state
    if state is None or state.type not in STATE_TYPES:
        return None
    return FlowRunStateObserved(
        flow_run_id=flow_run.id,
        flow_run_name=flow_run.name,
        state_id=state.id,
        state_type=state.type,
        state_name=state.name or state.type.title(),
        state_message=state.message,
        state_timestamp=state.timestamp,
        run_count=flow_run.run_count,
        start_time=flow_run.start_time,
        end_time=flow_run.end_time,
        deployment_id=flow_run.deployment_id,
        tags=list(flow_run.tags),
        source="sweep",
        observed_at=observed_at,
    )


def of_absence(flow_run_id: UUID, missing_since: datetime, observed_at: datetime) -> FlowRunStateObserved:
    """Prefect no longer knows the flow run; the same absence seen by two sweeps is one observation."""
    return FlowRunStateObserved(
        flow_run_id=flow_run_id,
        state_id=uuid5(RUNTIDE, f"{flow_run_id}/gone/{missing_since.isoformat()}"),
        state_type="CRASHED",
        state_name=GONE_NAME,
        state_message="Prefect no longer knows this flow run.",
        state_timestamp=missing_since,
        source="sweep",
        gone=True,
        observed_at=observed_at,
    )


def of_return(flow_run: FlowRun, gone_at: datetime, observed_at: datetime) -> FlowRunStateObserved | None:
    """Prefect knows a flow run again that was gone; its own state says nothing of that, for it may be the old one."""
    seen = of_flow_run(flow_run, observed_at)
    return seen and seen.model_copy(
        update={
            "state_id": uuid5(RUNTIDE, f"{flow_run.id}/returned/{gone_at.isoformat()}"),
            "state_name": RETURNED_NAME, "state_message": "Prefect knows this flow run again.",
            "state_timestamp": observed_at, "returned": True,
        }
    )  # fmt: skip


def is_drift(message: FlowRunStateObserved) -> bool:
    """A state that the sweep saw first: the bridge missed it, or is far behind."""
    return message.source == "sweep" and not message.gone and not message.returned


def observation_of(message: FlowRunStateObserved) -> Observation:
    """What the domain folds of it."""
    return Observation(
        message.state_id, message.state_timestamp, message.state_type, message.state_name, message.state_message,
        message.run_count, message.start_time, message.gone, message.returned,
    )  # fmt: skip
