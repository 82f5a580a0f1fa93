"""What wakes a person about runs: the troubles of `domain/trouble` as findings, and the gauges of alert rules."""

from prometheus_client import Gauge
from runtide_schemas.vocabulary import SubState
from sqlalchemy.ext.asyncio import AsyncConnection

from services.run_tracker.domain.trouble import SUB_STATES, Named, Trouble
from services.run_tracker.store import RunTrackerStore
from services.run_tracker.truth import standing_of
from services.run_tracker.upkeep import Hanging
from shared.findings import Finding, span, state_after
from shared.postgres import fetch
from shared.service import Context

SWEEP_AGE = Gauge("runtide_run_tracker_sweep_age_seconds", "Time since a sweep last reached Prefect")
HANGING = Gauge("runtide_run_tracker_hanging_runs", "Open runs that need a look, by why", ["sub_state"])
LATE = Gauge("runtide_run_tracker_late_oldest_seconds", "How long the oldest run waits for a worker")
_SHOWN = 3
_NAMES = {
    Trouble.SWEEP_LATE: "sweep_late", Trouble.LOSS_REFUSED: "mass_loss_refused", Trouble.BRIDGE_AWAY: "bridge_away",
    Trouble.DRIFT: "drift", Trouble.CANCEL_UNCONFIRMED: "cancel_unconfirmed", Trouble.UNRESPONSIVE: "run_unresponsive",
}  # fmt: skip


async def not_the_truth(ctx: Context[RunTrackerStore], conn: AsyncConnection) -> list[Finding]:
    """What keeps our states from being Prefect's; launches that wait are told by `runs_late`, sooner."""
    now = ctx.clock()
    standing, hanging, troubles = await standing_of(conn, now)
    SWEEP_AGE.set((now - (standing.swept_at or ctx.started_at)).total_seconds())
    for sub_state in SUB_STATES.values():
        HANGING.labels(sub_state).set(sum(run.sub_state == sub_state for run in hanging))
    return [_finding(trouble, hanging) for trouble in troubles if trouble.code in _NAMES]


def _finding(trouble: Named, hanging: list[Hanging]) -> Finding:
    about = [run for run in hanging if run.sub_state is not None and run.sub_state == SUB_STATES.get(trouble.code)]
    named = ", ".join(f"{run.instance_name} ({run.run_id})" for run in about[:_SHOWN])
    return Finding(
        _NAMES[trouble.code], "warning" if trouble.code is Trouble.DRIFT else "failed",
        f"{trouble.said}: {named}" if about else trouble.said, trouble.to_do,
        min((run.since for run in about), default=None),
    )  # fmt: skip


async def runs_late(ctx: Context[RunTrackerStore], conn: AsyncConnection) -> list[Finding]:
    """Launched, and nobody takes them: a deployment without worker."""
    rows = await fetch(
        conn,
        """
        select coalesce(deployment, instance_name) as deployment, count(*) as n, min(state_at) as since from runs
        where not settled and ended_seen_at is null and sub_state = :late group by 1 order by since
        """,
        late=SubState.LATE,
    )
    age = (ctx.clock() - rows[0]["since"]).total_seconds() if rows else 0.0
    LATE.set(age)
    if not rows:
        return []
    said = "; ".join(f"{row['n']} of {row['deployment']}" for row in rows[:_SHOWN])
    to_do = "has the deployment a worker or runner that is up, and room? The runs say Late in Prefect"
    state = state_after(age, warn=0, fail=300) or "warning"
    said = f"runs that no worker takes: {said}; the oldest waits for {span(age)}"
    return [Finding("runs_late", state, said, to_do, rows[0]["since"])]
