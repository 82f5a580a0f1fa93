"""What an admitted request becomes for Prefect: the parameters it is called with, and who is called next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

TOKEN_PARAMETER = "runtide_token"


@dataclass(frozen=True, slots=True)
class Rejected:
    """Parameters that the deployment's flow does not take."""

    message: str


def parameters_for(
    takes: Collection[str] | None, asked: Mapping[str, Any], *, run_id: UUID, mode: str | None, deployment: str,
    token: str | None = None,
) -> Mapping[str, Any] | Rejected:  # fmt: skip
    """The asked parameters, with `run_id`, `mode` and the run's own `token` where the flow names them.

    `takes`: the names in the deployment's parameter schema; None when it has none, and then nothing is judged.
    Prefect fails a flow, after it started, on a parameter that it does not take; so it is refused here.
    """
    if TOKEN_PARAMETER in asked:
        return Rejected(f"{TOKEN_PARAMETER} is given at the launch; parameters are seen by the whole tenant")
    if takes is None:
        return dict(asked)
    unknown = sorted(set(asked) - set(takes))
    if unknown:
        allowed = ", ".join(sorted(set(takes) - {"run_id", "mode", TOKEN_PARAMETER})) or "none"
        return Rejected(f"{deployment} does not take {', '.join(unknown)}; it takes: {allowed}")
    added = {"run_id": str(run_id), "mode": mode, TOKEN_PARAMETER: token}
    return {**{name: value for name, value in added.items() if name in takes and value is not None}, **asked}


@dataclass(frozen=True, slots=True)
class Candidate:
    """A launch that is due."""

    tenant: str
    run_id: UUID
    deployment: str


def fair_share(
    candidates: Iterable[Candidate], *, busy: Mapping[str, int], per_deployment: int, at_most: int
) -> list[Candidate]:
    """Which to launch now: tenants take turns, no deployment has more than its share under way.

    `candidates` oldest first; `busy`: deployment → launches under way.
    """
    queues: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        queues.setdefault(candidate.tenant, []).append(candidate)
    under_way = Counter(busy)
    chosen: list[Candidate] = []
    while queues and len(chosen) < at_most:
        for tenant in list(queues):
            queue = queues[tenant]
            while queue and under_way[queue[0].deployment] >= per_deployment:
                queue.pop(0)
            if not queue:
                del queues[tenant]
                continue
            chosen.append(queue.pop(0))
            under_way[chosen[-1].deployment] += 1
            if len(chosen) == at_most:
                break
    return chosen
