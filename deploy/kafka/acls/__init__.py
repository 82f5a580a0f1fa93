"""Kafka's ACLs, from the list of topics: one file per principal, one call of `kafka-acls.sh` per line.

The fact not to break: a service writes to its own topics alone, and nobody but its reader reads an open door, for the
tokens of its senders lie there.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from runtide_schemas.topics import ACTIVITIES, RUNS_COMMANDS, TOPICS, Topic

HERE = Path(__file__).resolve().parent
SERVICES = ("submission", "run_tracker", "lineage", "notifier")
# Who reads what, as `services/*/app.py` has it; the push of notifier has groups of its own.
READERS: dict[str, tuple[str, ...]] = {
    "submission": ("runs.commands.v1", "requests.decisions.v1"),
    "run_tracker": ("requests.status.v1", "instances.status.v1", "prefect.flow-run-states.v1", "runs.reports.v1"),
    "lineage": ("instances.commands.v1", "runs.status.v1", "requests.status.v1"),
    "notifier": (
        "requests.status.v1", "runs.status.v1", "runs.progress.v1", "instances.status.v1", "activities.v1",
    ),
}  # fmt: skip
TEAM = "team"


def writes(service: str) -> list[Topic]:
    """What a service says: its own topics, its part of the activities, and lineage what it asks for itself."""
    own = [topic for topic in TOPICS if topic.writer == service]
    also = [topic for topic in (ACTIVITIES,) if service != "notifier"]
    return [*own, *also, *([RUNS_COMMANDS] if service == "lineage" else [])]


def of_service(service: str) -> Iterator[str]:
    """The lines of a service's principal, `runtide-<service>`."""
    principal, dashed = f"runtide-{service.replace('_', '-')}", service.replace("_", "-")
    for topic in writes(service):
        yield _allow(principal, "Write", "Describe", f"--topic {topic.name}")
    for name in READERS[service]:
        yield _allow(principal, "Read", "Describe", f"--topic {name}")
    for start in (f"runtide.{dashed}.", *(["runtide.notifier-push."] if service == "notifier" else [])):
        yield _allow(principal, "Read", "Describe", f"--group {start} --resource-pattern-type prefixed")
    if not writes(service):  # its relay has nothing to say, and introduces itself all the same
        yield f"--add --allow-principal User:{principal} --operation IdempotentWrite --cluster"
    yield from (_allow(principal, "Describe", "DescribeConfigs", f"--topic {topic.name}") for topic in TOPICS)


def of_team() -> Iterator[str]:
    """The lines of a team's principal: it says what it wants and reads what became of it."""
    for topic in TOPICS:
        if topic.open_door:
            yield _allow(TEAM, "Write", "Describe", f"--topic {topic.name}")
        elif topic.public:
            yield _allow(TEAM, "Read", "Describe", f"--topic {topic.name}")


def files() -> dict[str, str]:
    """File name → text."""
    said = {f"{service}.acl": "\n".join(of_service(service)) + "\n" for service in SERVICES}
    return {**said, f"{TEAM}.acl": "\n".join(of_team()) + "\n"}


def _allow(principal: str, first: str, second: str, resource: str) -> str:
    return f"--add --allow-principal User:{principal} --operation {first} --operation {second} {resource}"
