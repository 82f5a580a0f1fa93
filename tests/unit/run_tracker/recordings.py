"""Prefect's own recordings as observations, and a run that follows them without any server."""

import json
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID

from runtide_schemas.message import Message
from runtide_schemas.prefect import FlowRunStateObserved
from runtide_schemas.runs import RunStatusChanged
from runtide_schemas.topics import topic_named

from services.run_tracker.domain.run import Run
from services.run_tracker.observations import of_event
from services.run_tracker.settings import Policy
from shared.messaging.drafts import Draft

GOLDEN = Path(__file__).parents[2] / "golden" / "prefect"
SCENARIOS = tuple(sorted(path.stem.removeprefix("prefect-events-") for path in GOLDEN.glob("prefect-events-*.json")))
NOW = datetime(2026, 11, 23, 4, 0, tzinfo=UTC)
RUN_ID = UUID("11111111-1111-5111-8111-111111111111")


@cache
def events(scenario: str) -> tuple[dict[str, Any], ...]:
    """The raw events of a scenario, as the websocket brought them."""
    recorded = json.loads((GOLDEN / f"prefect-events-{scenario}.json").read_text())
    return tuple(item["event"] for item in recorded["events"])


@cache
def observed(scenario: str) -> tuple[FlowRunStateObserved, ...]:
    """What the bridge makes of them."""
    found = (of_event(event, NOW) for event in events(scenario))
    return tuple(seen for seen in found if seen is not None)


def a_run(**changes: Any) -> Run:
    values: dict[str, Any] = {
        "run_id": RUN_ID, "tenant": "acme", "run_type": "PipelineRun", "flow_kind": "refresh",
        "instance_id": UUID("22222222-2222-5222-8222-222222222222"), "instance_name": "prices", "trigger": "manual",
        "mode": "incremental", "created_at": datetime(2026, 11, 23, 2, 0, tzinfo=UTC), "deployment": "f/d",
    }  # fmt: skip
    return Run(**(values | changes))


class FakeStore:
    policy = Policy()


class FakeWork:
    """What telling needs of a transaction: it only remembers."""

    def __init__(self) -> None:
        self.store, self.now = FakeStore(), NOW
        self.published: list[Message] = []
        self.due: dict[tuple[str, str], datetime] = {}

    def publish(self, message: Draft, *, cause: object = None) -> None:
        self.published.append(topic_named(message.topic).adapter.validate_json(message.payload))

    def schedule(self, kind: str, ref: str, due_at: datetime) -> None:
        self.due[kind, ref] = due_at

    def unschedule(self, kind: str, ref: str) -> None:
        self.due.pop((kind, ref), None)

    @property
    def snapshots(self) -> list[RunStatusChanged]:
        return [message for message in self.published if isinstance(message, RunStatusChanged)]

    @property
    def actions(self) -> list[str]:
        return [message.action for message in self.published if message.type == "activity.recorded"]  # type: ignore[attr-defined]
