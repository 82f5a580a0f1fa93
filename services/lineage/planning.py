"""Plans as they are asked for, stored and shown."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from services.lineage.domain import plan
from services.lineage.domain.plan import Node, Plan
from services.lineage.domain.world import Instance


@dataclass(frozen=True, slots=True)
class Stored:
    """A plan with what makes it a row: who asked, when, and what it promises, with a digest of that."""

    plan_id: UUID
    tenant: str
    actor: str
    as_of: datetime
    instance: Instance
    skip_if_ready: bool
    plan: Plan

    def row(self) -> dict[str, Any]:
        promises = plan.promises(self.plan)
        canonical = json.dumps(promises, sort_keys=True, separators=(",", ":"))
        return {
            "plan_id": self.plan_id,
            "tenant": self.tenant,
            "actor": self.actor,
            "as_of": self.as_of,
            "instance_id": self.plan.target.instance_id,
            "kind": self.plan.target.kind,
            "skip_if_ready": self.skip_if_ready,
            "content": self._content(),
            "promises": promises,
            "digest": hashlib.sha256(canonical.encode()).hexdigest(),
        }

    def _content(self) -> dict[str, Any]:
        made = self.plan
        return {
            "instance_name": self.instance.name,
            "is_possible": made.is_possible,
            "runs": sum(node.action is plan.Action.RUN for node in made.nodes),
            "batches": [[_shown(node) for node in batch] for batch in made.batches],
            "aside": [_shown(node) for node in made.aside],
            "blast_radius": [
                {
                    "instance_id": one.flow.instance_id,
                    "flow_kind": one.flow.kind,
                    "name": one.name,
                    "effect": one.effect,
                    "status": one.status,
                    "below": one.below,
                }
                for one in made.affected
            ],
            "expected_seconds": made.expected_seconds,
            "at_least_seconds": made.at_least_seconds,
            "critical_path": list(made.critical_path),
        }


def shown(row: dict[str, Any]) -> dict[str, Any]:
    """A stored plan as an answer."""
    about = ("plan_id", "tenant", "actor", "as_of", "instance_id", "skip_if_ready", "digest")
    return {**{name: row[name] for name in about}, "flow_kind": row["kind"], **row["content"]}


def _shown(node: Node) -> dict[str, Any]:
    return {
        "instance_id": node.flow.instance_id,
        "flow_kind": node.flow.kind,
        "name": node.name,
        "action": node.action,
        "reason": node.reason,
        "because": node.because,
        "status": node.status,
        "version_id": node.version_id,
        "deployment": node.deployment,
        "expected_seconds": node.expected_seconds,
    }
