"""Wishing an end: what a cancel does to a run here; asking Prefect is the canceller's (`cancel.py`)."""

from datetime import datetime, timedelta

from runtide_schemas.vocabulary import RunStatus

from services.run_tracker.domain.run import Run
from services.run_tracker.following import Following
from services.run_tracker.store import Entry
from services.run_tracker.telling import CANCEL_UNCONFIRMED, Cause, refuse_cancel, tell

CANCELLER = "canceller"


async def wish(run: Run, asked_at: datetime, actor: str | None, following: Following, cause: Cause = None) -> None:
    """Remember the wish and leave an intent; a run that has ended refuses it by name, and nothing changes."""
    work, store = following.work, following.store
    if run.cancel_requested_at is not None and run.cancel_requested_at >= asked_at:
        return
    if RunStatus(run.status).is_terminal:
        refuse_cancel(run, actor, asked_at, work, cause)
        return
    run.cancel_requested_at = asked_at
    following.whole[run.run_id] = run
    following.note([Entry(run.run_id, f"cancel_requested/{asked_at.isoformat()}", asked_at, "request", message=actor)])
    tell(run, work, cause, say=True)
    await store.requests.want_cancelled(run.run_id, asked_at, actor, work.now)
    unconfirmed_at = work.now + timedelta(seconds=store.policy.cancel_unconfirmed_seconds)
    work.schedule(CANCEL_UNCONFIRMED, str(run.run_id), unconfirmed_at)
