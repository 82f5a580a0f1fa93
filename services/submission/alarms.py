"""What wakes a person about requests: questions that nobody answers, and launches that do not happen."""

from __future__ import annotations

from prometheus_client import Gauge
from sqlalchemy.ext.asyncio import AsyncConnection

from services.submission.store import SubmissionStore
from shared.findings import Finding, span, state_after
from shared.postgres import fetch
from shared.service import Context

UNDECIDED = Gauge(
    "runtide_submission_undecided_oldest_seconds", "Age of the oldest request that lineage did not answer"
)
LAUNCHES = Gauge("runtide_submission_launches_oldest_seconds", "How long the oldest launch waits for Prefect")


async def undecided(ctx: Context[SubmissionStore], conn: AsyncConnection) -> list[Finding]:
    """The oldest request that has no answer; lineage answers within seconds, if only by parking."""
    now = ctx.clock()
    [row] = await fetch(
        conn, "select count(*) as n, min(requested_at) as since from requests where status = 'requested' and seq > 0"
    )
    age = (now - row["since"]).total_seconds() if row["n"] else 0.0
    UNDECIDED.set(age)
    state = state_after(age, warn=20, fail=60)
    if state is None:
        return []
    said = f"requests without an answer from lineage: {row['n']}, the oldest for {span(age)}"
    to_do = "is lineage up? Then its lag (/v1/ops/consumers) and its dead letters: runtide dead-letters list -s lineage"
    return [Finding("requests_undecided", state, said, to_do, row["since"])]


async def launches_waiting(ctx: Context[SubmissionStore], conn: AsyncConnection) -> list[Finding]:
    """Admitted requests of which Prefect has not said that it has them."""
    rows = await fetch(
        conn,
        "select deployment, count(*) as n, min(asked_at) as since from launches group by deployment order by since",
    )
    age = (ctx.clock() - rows[0]["since"]).total_seconds() if rows else 0.0
    LAUNCHES.set(age)
    state = state_after(age, warn=20, fail=300)
    if state is None:
        return []
    shown = ", ".join(f"{row['n']} of {row['deployment']}" for row in rows[:5])
    said = f"launches that Prefect has not taken: {shown}; the oldest waits for {span(age)}"
    to_do = "is Prefect up? Then the message of such a request: runtide requests --status admitted"
    return [Finding("launches_waiting", state, said, to_do, rows[0]["since"])]
