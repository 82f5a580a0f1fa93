"""Which channels a public message goes to, and what they carry (semantics §5). Pure.

`version` only where a channel carries one entity: a channel has one version counter, and would silently drop others.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runtide_schemas.instances import InstanceStatusChanged
from runtide_schemas.message import Message
from runtide_schemas.requests import RequestStatusChanged
from runtide_schemas.runs import RunProgressed, RunStatusChanged
from runtide_schemas.vocabulary import RunStatus

MOST_BYTES = 60_000
_EVENTS = {
    RunStatus.RUNNING: "run_started",
    RunStatus.COMPLETED: "run_completed",
    RunStatus.FAILED: "run_failed",
    RunStatus.CANCELLED: "run_cancelled",
}
_ALWAYS = frozenset({"type", "tenant", "run_id", "instance_id", "status", "seq", "occurred_at", "event", "flow_kind"})


@dataclass(frozen=True, slots=True)
class Publication:
    """One item for Centrifugo. `entity` is what the newest replaces when we are behind."""

    channel: str
    data: Mapping[str, Any]
    entity: str
    seq: int
    version: int | None = None
    tags: Mapping[str, str] | None = None

    def command(self) -> dict[str, Any]:
        """The body of a `publish` command."""
        body: dict[str, Any] = {
            "channel": self.channel, "data": self.data, "idempotency_key": f"{self.entity}:{self.seq}",
        }  # fmt: skip
        if self.version is not None:
            body |= {"version": self.version}
        if self.tags:
            body |= {"tags": dict(self.tags)}
        return body


def route(message: Message) -> list[Publication]:
    """Every channel that this message goes to."""
    match message:
        case RequestStatusChanged():
            return _request(message)
        case RunStatusChanged():
            return _run(message)
        case RunProgressed():
            data = fitting(message.model_dump(mode="json"))
            return [Publication(f"run:{message.run_id}:progress", data, f"progress:{message.run_id}", message.seq)]
        case InstanceStatusChanged():
            return _instance(message)
        case _:
            return []


def coalesced(publications: Iterable[Publication]) -> list[Publication]:
    """The newest of each entity per channel, at the place of its first; events each stay."""
    newest: dict[tuple[str, str], Publication] = {}
    for publication in publications:
        key = (publication.channel, publication.entity)
        if key not in newest or publication.seq > newest[key].seq:
            newest[key] = publication
    return list(newest.values())


def fitting(data: Mapping[str, Any], most_bytes: int = MOST_BYTES) -> Mapping[str, Any]:
    """The payload, without its largest fields where it would be too large; then it says `truncated`."""
    sizes = {name: len(json.dumps(value)) + len(name) + 6 for name, value in data.items()}
    total = sum(sizes.values()) + 20
    if total <= most_bytes:
        return data
    kept = dict(data)
    for name in sorted(sizes, key=sizes.__getitem__, reverse=True):
        if total <= most_bytes:
            break
        if name not in _ALWAYS:
            total -= sizes[name]
            del kept[name]
    return {**kept, "truncated": True}


def _request(message: RequestStatusChanged) -> list[Publication]:
    data, entity = fitting(message.model_dump(mode="json")), f"request:{message.run_id}"
    if message.instance_id is None:  # a cancel that came first only names an id, perhaps that of another tenant's run
        return [Publication(f"tenant:{message.tenant}:feed", data, entity, message.seq)]
    tags = {"instance": str(message.instance_id)}
    return [
        Publication(f"tenant:{message.tenant}:feed", data, entity, message.seq, tags=tags),
        Publication(f"run:{message.run_id}:progress", data, entity, message.seq),
    ]


def _run(message: RunStatusChanged) -> list[Publication]:
    data, entity = fitting(message.model_dump(mode="json")), f"run:{message.run_id}"
    tags = {"instance": str(message.instance_id)}
    publications = [
        Publication(f"tenant:{message.tenant}:feed", data, entity, message.seq, tags=tags),
        Publication(f"run:{message.run_id}:progress", data, entity, message.seq),
    ]
    event = _EVENTS.get(message.status)
    if event is not None and message.status is not message.previous_status:
        payload = {
            "type": message.type, "event": event, "run_id": str(message.run_id), "flow_kind": message.flow_kind,
            "metrics": message.metrics, "seq": message.seq, "occurred_at": data["occurred_at"],
        }  # fmt: skip
        publications.append(
            Publication(
                f"instance:{message.instance_id}:runs", fitting(payload), f"{event}:{message.run_id}", message.seq
            )
        )
    return publications


def _instance(message: InstanceStatusChanged) -> list[Publication]:
    data, entity = fitting(message.model_dump(mode="json")), f"instance:{message.instance_id}"
    latest = _latest_flow(data.get("flows") or ())
    payload = {
        "type": message.type, "instance_id": str(message.instance_id), "status": message.status,
        "old_status": message.old_status, "flow_kind": latest.get("kind"), "last_run_id": latest.get("last_run_id"),
        "last_run_at": latest.get("last_run_at"), "cause": data.get("cause"), "seq": message.seq,
        "occurred_at": data["occurred_at"],
    }  # fmt: skip
    return [
        Publication(f"lineage:{message.tenant}", data, entity, message.seq),
        Publication(
            f"instance:{message.instance_id}:status", payload, f"{entity}:status", message.seq, version=message.seq
        ),
    ]


def _latest_flow(flows: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    ran = [flow for flow in flows if flow.get("last_run_at")]
    return max(ran, key=lambda flow: str(flow["last_run_at"])) if ran else {}
