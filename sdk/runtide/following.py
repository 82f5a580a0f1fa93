"""How the snapshots of one request and its run become one story, in whatever order they arrive. Pure.

The one client rule: follow the request until it is `launched` or has ended, then the run. Compare `seq` per (type, id)
and drop what is not newer; drop progress that is older than the status at hand. What comes too early is kept, not
lost: of each kind only the newest, because a snapshot is the whole entity. So every order of arrival tells a story
that only moves forward, and has the same end.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from runtide_schemas.requests import Blocker, RequestStatusChanged
from runtide_schemas.runs import RunProgressed, RunStatusChanged
from runtide_schemas.vocabulary import RequestStatus, RunStatus, Trigger

Followed = RequestStatusChanged | RunStatusChanged | RunProgressed


@dataclass(frozen=True, slots=True)
class Update:
    """One step of the story. `status` is the request's until it is launched, the run's from then on. `blockers` are
    none of a backfill, which is held up by nothing but its own dates.
    """

    snapshot: Followed
    status: RequestStatus | RunStatus
    progress_pct: float | None = None
    step: str | None = None
    detail: str | None = None
    message: str | None = None
    blockers: tuple[Blocker, ...] = ()
    is_end: bool = False

    @property
    def run_id(self) -> UUID:
        return self.snapshot.run_id

    @property
    def seq(self) -> int:
        return self.snapshot.seq

    @property
    def occurred_at(self) -> datetime:
        return self.snapshot.occurred_at


def _percent(request: RequestStatusChanged) -> float | None:
    """Of a backfill: how many of its dates have ended, however they did."""
    progress = request.progress
    if progress is None or not progress.total:
        return None
    return 100 * (progress.done + progress.failed + progress.cancelled) / progress.total


class Following:
    """Folds messages about one run id into updates."""

    def __init__(self, run_id: UUID) -> None:
        self.run_id = run_id
        self.request: RequestStatusChanged | None = None
        self.run: RunStatusChanged | None = None
        self.end: Update | None = None
        self._progress: RunProgressed | None = None
        self._told_request_seq = 0
        self._told_run_seq = 0

    def apply(self, message: Followed) -> list[Update]:
        """What this message adds to the story, oldest first; mostly one update, none for what is old or early."""
        if message.run_id != self.run_id or self.end is not None or not self._keep(message):
            return []
        updates = [update for update in (self._tell_request(), self._tell_run(), self._tell_progress()) if update]
        self.end = next((update for update in updates if update.is_end), None)
        return updates

    def _keep(self, message: Followed) -> bool:
        """Remember it if it is the newest of its kind."""
        match message:
            case RequestStatusChanged():
                if self.request is not None and message.seq <= self.request.seq:
                    return False
                self.request = message
            case RunStatusChanged():
                if self.run is not None and message.seq <= self.run.seq:
                    return False
                self.run = message
            case RunProgressed():
                if self._progress is not None and message.seq <= self._progress.seq:
                    return False
                self._progress = message
        return True

    def _tell_request(self) -> Update | None:
        request = self.request
        if request is None or request.seq <= self._told_request_seq or self._told_run_seq or self._is_adopted:
            return None
        self._told_request_seq = request.seq
        return Update(
            snapshot=request,
            status=request.status,
            progress_pct=_percent(request),
            message=request.message or request.warning,
            blockers=() if request.progress else tuple(request.blockers),
            is_end=request.status.is_end,
        )

    def _tell_run(self) -> Update | None:
        run = self.run
        if run is None or run.seq <= self._told_run_seq or not self._has_launched(run):
            return None
        self._told_run_seq = run.seq
        return Update(
            snapshot=run,
            status=run.status,
            progress_pct=100.0 if run.status is RunStatus.COMPLETED else run.progress_pct,
            step=run.step,
            message=run.error.message if run.error else None,
            is_end=run.status.is_terminal,
        )

    def _tell_progress(self) -> Update | None:
        progress = self._progress
        if progress is None or not self._told_run_seq or progress.seq <= self._told_run_seq:
            return None
        self._told_run_seq = progress.seq
        return Update(
            snapshot=progress,
            status=progress.status,
            progress_pct=progress.progress_pct,
            step=progress.step,
            detail=progress.detail,
        )

    @property
    def _is_adopted(self) -> bool:
        """Nobody requested it, so its request (if somebody cancels it there is one) decides nothing. What our schedules
        start has an actor.
        """
        return self.run is not None and self.run.trigger is Trigger.SCHEDULED and self.run.actor is None

    def _has_launched(self, run: RunStatusChanged) -> bool:
        """The request said so, or the run shows it: only a launch gives it an id in the orchestrator."""
        if self._is_adopted or run.orchestrator_run_id is not None:
            return True
        return self.request is not None and self.request.status is RequestStatus.LAUNCHED
