"""Restatements as people and clients read them. No decision lives here."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID, uuid5

from runtide_schemas.activities import ActivityRecorded
from runtide_schemas.message import LIST_LIMIT
from runtide_schemas.vocabulary import RUNTIDE

from services.lineage.domain.graph import FlowKey
from services.lineage.domain.restatement import Path, Restatement
from services.lineage.domain.world import World
from services.lineage.restatement_store import Attempt, Counted

SYSTEM = "system:lineage"


def restatement_activity(
    restatement: Restatement, tainted: Mapping[UUID, Path], attempts: Mapping[UUID, Attempt], counted: Counted,
    world: World, *, declared: bool, now: datetime, correlation_id: str | None,
) -> ActivityRecorded:  # fmt: skip
    """`version.superseded` at the declaration; `version.spread` where runs were tainted since, one per batch. Both name
    the first 100 of those runs, nearest first, and how many there are in all.
    """
    action = "version.superseded" if declared else "version.spread"
    nearest = sorted(tainted, key=lambda one: (len(tainted[one]), one))
    what = "" if declared else f"/{uuid5(RUNTIDE, ','.join(map(str, sorted(tainted))))}"
    return ActivityRecorded(
        activity_id=uuid5(RUNTIDE, f"{restatement.restatement_id}/{action}{what}"),
        tenant=restatement.tenant,
        actor=restatement.actor if declared else SYSTEM,
        resource_type="instance",
        resource_id=str(restatement.instance_id),
        action=action,
        payload={
            **summary(restatement, counted, world),
            "newly_tainted": [
                {**attempt_shown(attempts[one], world), "hops": len(tainted[one]) - 1} for one in nearest[:LIST_LIMIT]
            ],
            "newly_tainted_total": len(tainted),
        },
        correlation_id=correlation_id,
        occurred_at=restatement.declared_at if declared else now,
    )


def summary(restatement: Restatement, counted: Counted, world: World) -> dict[str, Any]:
    """What was declared, and how far it reaches."""
    return {
        "restatement_id": str(restatement.restatement_id),
        "instance_id": str(restatement.instance_id),
        "instance_name": world.name_of_instance(restatement.instance_id),
        "flow_kind": restatement.kind,
        "version_id": str(restatement.version_id) if restatement.version_id else None,
        "first_data_date": restatement.first_data_date.isoformat(),
        "last_data_date": restatement.last_data_date.isoformat(),
        "reason": restatement.reason,
        "actor": restatement.actor,
        "declared_at": restatement.declared_at.isoformat().replace("+00:00", "Z"),
        "versions_total": counted.versions,
        "tainted_total": counted.tainted,
    }


def attempt_shown(attempt: Attempt, world: World) -> dict[str, Any]:
    return {
        "run_id": str(attempt.run_id),
        "attempt": attempt.attempt,
        "instance_id": str(attempt.flow.instance_id),
        "instance_name": world.name_of_instance(attempt.flow.instance_id),
        "flow_kind": attempt.flow.kind,
    }


def path_shown(path: Path, made_by: Mapping[UUID, Attempt], world: World) -> list[dict[str, Any]]:
    """Step by step from the superseded version to the run: which version, in which role it was read, whose it is."""
    return [
        {
            "version_id": str(step.version_id),
            "role": after.role if after is not None else None,
            **(attempt_shown(made_by[step.version_id], world) if step.version_id in made_by else {}),
        }
        for step, after in zip(path, (*path[1:], None), strict=True)
    ]


def names(path: Path, flow: FlowKey, made_by: Mapping[UUID, Attempt], world: World) -> list[str]:
    """`["prices", "momentum"]`: the instances along the path to an attempt of `flow`, each once."""
    flows = [made_by[step.version_id].flow for step in path[:-1] if step.version_id in made_by]
    return list(dict.fromkeys(world.name_of_instance(one.instance_id) for one in (*flows, flow)))
