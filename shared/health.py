"""Whether a process is alive, whether it can work, and what of its neighbours is away."""

from __future__ import annotations

import time
from importlib import metadata
from typing import TYPE_CHECKING, Any

from shared.postgres import fetch
from shared.revisions import pending

if TYPE_CHECKING:
    from shared.service import Context


def version() -> str:
    """Of the installed distribution."""
    return metadata.version("runtide-services")


def liveness(context: Context[Any]) -> list[str]:
    """Why this process should be restarted; empty = alive."""
    found = (upkeep.problem() for upkeep in context.upkeeps.values())
    return [problem for problem in found if problem]


async def readiness(context: Context[Any]) -> dict[str, Any]:
    """Each need with its state, and the seconds it took to find out."""
    checks: dict[str, Any] = {}
    started = time.monotonic()
    try:
        async with context.engine.connect() as conn:
            rows = await fetch(conn, "select count(*) as rows, min(created_at) as oldest from outbox")
            missing = await pending(conn, context.service.name)
        checks["postgres"] = {"ok": True}
        checks["migrations"] = {"ok": not missing, "pending": missing}
        checks["outbox"] = {"ok": True, "rows": rows[0]["rows"], "oldest_at": _iso(rows[0]["oldest"])}
    except Exception as error:  # noqa: BLE001 whatever it is, it is the answer
        checks["postgres"] = {"ok": False, "problem": str(error).splitlines()[0][:300]}
    consumers = {
        name: {
            "ok": consumer.kafka is not None and bool(consumer.positions),
            "partitions": len(consumer.positions),
            "lag": sum(context.upkeeps[name].lag.values()),
        }
        for name, consumer in context.consumers.items()
    }
    checks["consumers"] = {"ok": all(c["ok"] for c in consumers.values()), "topics": consumers}
    return {
        "service": context.service.name,
        "ready": all(check["ok"] for check in checks.values()),
        "checks": checks,
        "degraded": {part: {"problem": problem, "since": _iso(at)} for part, (problem, at) in context.degraded.items()},
        "as_of": _iso(context.clock()),
        "took_seconds": round(time.monotonic() - started, 3),
    }


def _iso(at: Any) -> str | None:
    return at.isoformat().replace("+00:00", "Z") if at is not None else None
