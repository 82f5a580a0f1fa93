"""Which run this code belongs to: run id, tenant, attempt.

The fact not to break: a flow run's tag `run:<id>` names its run; without one it is the adopted run, whose id is a
computation from Prefect's flow run id, the same here and in run_tracker.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

from runtide_schemas.vocabulary import adopted_run_id, is_tenant, is_uuid

UNKNOWN_TENANT = "local"


@dataclass(frozen=True, slots=True)
class FlowRunFacts:
    """What Prefect says about the flow run that runs this code."""

    id: str
    run_count: int
    tags: tuple[str, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reporter:
    """Who reports. Without attempt (outside of Prefect) a report belongs to the newest attempt known."""

    run_id: UUID
    tenant: str
    attempt: int | None
    token: str | None = None
    tenant_known: bool = True

    @property
    def prefix(self) -> str:
        """Where in its buckets the attempt's objects lie: a retry never overwrites what somebody read."""
        attempt = self.attempt or 1
        return f"{self.run_id}" if attempt == 1 else f"{self.run_id}/attempt-{attempt}"


def current_flow_run() -> FlowRunFacts | None:
    """The flow run around the caller; None outside of one. Costs nothing where Prefect was never imported."""
    if "prefect" not in sys.modules:
        return None
    from prefect.runtime import flow_run

    if not flow_run.id:
        return None
    return FlowRunFacts(
        id=str(flow_run.id),
        run_count=int(flow_run.run_count or 0),
        tags=tuple(flow_run.tags or ()),
        parameters=dict(flow_run.parameters or {}),
    )


def identify(
    run_id: UUID | str | None,
    tenant: str | None,
    attempt: int | None,
    token: str | None,
    flow_run: FlowRunFacts | None,
    environment: Mapping[str, str],
) -> Reporter:
    """Arguments win, then the flow run's tags, then the environment.

    Raises: ValueError for a run id that is no UUID, a tenant that is none, or an attempt below 1.
    """
    tags = flow_run.tags if flow_run else ()
    tenant = tenant or _tagged("tenant", tags) or environment.get("RUNTIDE_TENANT") or None
    if tenant is not None and not is_tenant(tenant):
        raise ValueError(f"{tenant[:80]!r} is no tenant; allowed are 1 to 63 of a-z, 0-9 and '-', not '-' first")
    if attempt is None and flow_run is not None:
        attempt = max(1, flow_run.run_count)
    if attempt is not None and attempt < 1:
        raise ValueError(f"attempt is {attempt}, allowed is 1 or more")
    return Reporter(
        run_id=_run_id(run_id, flow_run, tags),
        tenant=tenant or UNKNOWN_TENANT,
        attempt=attempt,
        token=token or _own_token(flow_run, environment) or _tenants_token(tenant, environment),
        tenant_known=tenant is not None,
    )


def _run_id(run_id: UUID | str | None, flow_run: FlowRunFacts | None, tags: Iterable[str]) -> UUID:
    if run_id is not None:
        if isinstance(run_id, str) and not is_uuid(run_id):
            raise ValueError(f"run_id is {run_id[:80]!r}, allowed is a UUID")
        return UUID(str(run_id))
    tagged = _tagged("run", tags)
    if tagged is not None and is_uuid(tagged):
        return UUID(tagged)
    return adopted_run_id(flow_run.id) if flow_run else uuid4()


def _tagged(name: str, tags: Iterable[str]) -> str | None:
    return next((tag[len(name) + 1 :] for tag in tags if tag.startswith(f"{name}:")), None)


def _own_token(flow_run: FlowRunFacts | None, environment: Mapping[str, str]) -> str | None:
    """The run's own token: a parameter where the deployment takes it, else in the environment of its process."""
    token = flow_run.parameters.get("runtide_token") if flow_run else None
    return token if isinstance(token, str) else environment.get("RUNTIDE_RUN_TOKEN") or None


def _tenants_token(tenant: str | None, environment: Mapping[str, str]) -> str | None:
    """The environment's token speaks for the environment's tenant, and for no other."""
    return environment.get("RUNTIDE_TOKEN") or None if tenant == environment.get("RUNTIDE_TENANT") else None
