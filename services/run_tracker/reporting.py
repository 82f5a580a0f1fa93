"""Taking a batch of reports into their runs: in order where it comes in order, from storage where it does not."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from runtide_schemas.reports import ProgressReported, Report

from services.run_tracker import reports
from services.run_tracker.domain.lifecycle import attempt_of
from services.run_tracker.domain.outputs import apply, place, take_progress
from services.run_tracker.domain.run import Run
from services.run_tracker.following import REPORTS, Following
from services.run_tracker.report_store import StoredReport
from services.run_tracker.telling import tell, tell_progress
from shared.messaging.decode import Received

Causes = Mapping[UUID, Received[Report]]
_LISTED_BY = ("artifact", "output")  # what decides which artifacts an attempt has, also one that is over


async def take_in(fresh: Sequence[StoredReport], causes: Causes, following: Following) -> None:
    """Apply what comes in its order; a run with a report out of order is folded anew from storage."""
    store = following.store
    by_run: dict[UUID, list[StoredReport]] = {}
    for row in fresh:
        by_run.setdefault(row.run_id, []).append(row)
    refold: list[UUID] = []
    for run_id, rows in by_run.items():
        run = following.loaded.get(run_id)
        if run is None:
            REPORTS.labels("kept_for_later").inc(len(rows))
            continue
        run.reported_attempt = max(run.reported_attempt, *(row.attempt for row in rows))
        outputs, in_order = reports.outputs_of(run), True
        for row in rows:
            report = reports.read(run, row, store.policy.bucket)
            answer = place(outputs, report)
            REPORTS.labels(answer).inc()
            if answer == "applied":
                apply(outputs, report)
                if (artifact := reports.artifact_row(run, row, store.policy.bucket)) is not None:
                    following.artifacts.append(artifact)
            elif answer in ("out_of_order", "newer_attempt") or (answer == "older_attempt" and row.kind in _LISTED_BY):
                in_order = False
        if in_order:
            following.outputs_changed(run, reports.set_outputs(run, outputs), causes[run_id])
        else:
            refold.append(run_id)
    everything = await store.reports.load(refold)
    for run_id in refold:
        following.refold(following.loaded[run_id], everything.get(run_id, ()), causes[run_id])


def take_progress_in(batch: Sequence[Received[ProgressReported]], causes: Causes, following: Following) -> list[Run]:
    """The newest progress of each run of the batch, said at most a few times a second; the runs that moved."""
    moved: dict[UUID, Run] = {}
    for item in batch:
        run = following.loaded[item.message.run_id]
        report = reports.progress_of(item, run.attempt)
        if take_progress(run, report):
            moved[run.run_id] = run
        if report.attempt > run.reported_attempt:
            run.reported_attempt = report.attempt
            following.whole[run.run_id] = run
    for run in moved.values():
        shown, cause = (run.progress_pct, run.step), causes[run.run_id]
        attempt = attempt_of(run)
        if attempt != run.outputs_attempt:
            following.open_attempt(run, attempt, ())
        if tell(run, following.work, cause):
            following.whole[run.run_id] = run
        elif (run.progress_pct, run.step) != shown:
            tell_progress(run, following.work, cause)
    return list(moved.values())
