"""Taking facts into runs, step by step, with what is said about each step: the loop that all handlers share.

The fact not to break: a step is said when it is taken, so a run that catches up says what it went through, in order.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from prometheus_client import Counter
from pydantic_core import to_json
from runtide_schemas.vocabulary import RunType, SubState, Trigger

from services.run_tracker import reports
from services.run_tracker.domain.lifecycle import Observation, attempt_of, observe, status_of
from services.run_tracker.domain.outputs import take_progress
from services.run_tracker.domain.run import Run
from services.run_tracker.report_store import StoredReport
from services.run_tracker.store import Entry
from services.run_tracker.telling import Cause, Tracking, record_alerts, tell

OBSERVATIONS = Counter("runtide_run_tracker_observations_total", "Flow run states by what became of them", ["answer"])
REPORTS = Counter("runtide_run_tracker_reports_total", "Reports by what became of them", ["answer"])
_NEWEST, _LATE = OBSERVATIONS.labels("newest"), OBSERVATIONS.labels("late")

StoredReports = Mapping[UUID, Sequence[StoredReport]]


class Following:
    """One batch: which runs were loaded, which were touched and how, and what their histories gained.

    A run is one object here, however often and by whichever id it is loaded.
    """

    def __init__(self, work: Tracking) -> None:
        self.work, self.store = work, work.store
        self.loaded: dict[UUID, Run] = {}
        self.entries: list[Entry] = []
        self.created: dict[UUID, Run] = {}
        self.stepped: dict[UUID, Run] = {}
        self.whole: dict[UUID, Run] = {}
        self.remeasured: dict[UUID, Run] = {}
        self.artifacts: list[dict[str, Any]] = []
        self.late_artifacts: list[dict[str, Any]] = []
        self.newest = self.late = 0

    async def runs(self, run_ids: Collection[UUID]) -> dict[UUID, Run]:
        """run id → run, locked."""
        missing = [run_id for run_id in run_ids if run_id not in self.loaded]
        self.loaded |= await self.store.load_runs(missing)
        return {run_id: self.loaded[run_id] for run_id in run_ids if run_id in self.loaded}

    async def runs_of(self, flow_run_ids: Collection[UUID]) -> dict[UUID, Run]:
        """flow run id → its run, locked."""
        found = [self._one(run) for run in await self.store.load_runs_of(flow_run_ids)]
        return {run.orchestrator_run_id: run for run in found if run.orchestrator_run_id is not None}

    async def unsettled_of(self, instance_ids: Collection[UUID]) -> list[Run]:
        return [self._one(run) for run in await self.store.load_unsettled_of(instance_ids)]

    def create(self, run: Run) -> None:
        self.created[run.run_id] = self.loaded[run.run_id] = run

    def _one(self, run: Run) -> Run:
        return self.loaded.setdefault(run.run_id, run)

    # -- observations --------------------------------------------------------------------------------------------

    def step(self, run: Run, seen: Observation, reported: StoredReports, cause: Cause = None) -> None:
        """Take one observation in, and say what it changed."""
        if observe(run, seen):
            self.newest += 1
        else:
            self.late += 1
        if seen.at < run.created_at and run.trigger == Trigger.SCHEDULED:
            run.created_at = seen.at
            self.whole[run.run_id] = run
        attempt = attempt_of(run)
        anew = attempt != run.outputs_attempt and self.open_attempt(run, attempt, reported.get(run.run_id, ()))
        said = tell(run, self.work, cause, say=anew)
        self.stepped[run.run_id] = run
        status, sub_state = status_of(seen.type, seen.name, seen.run_count)
        if seen.gone:
            sub_state = SubState.LOST
        self.entries.append(
            Entry(
                run.run_id, str(seen.state_id), seen.at, "prefect", status, sub_state, max(1, seen.run_count),
                seen.name, seen.message, run.seq if said else None,
            )
        )  # fmt: skip

    def open_attempt(self, run: Run, attempt: int, stored: Sequence[StoredReport]) -> bool:
        """From now on the run shows what this attempt reported; says whether that looks different."""
        bucket = self.store.policy.bucket
        folded = reports.fold_stored(run, attempt, stored, bucket)
        listed, late = reports.artifact_rows(run, stored, bucket)
        self.artifacts += listed
        self.late_artifacts += late
        if attempt != run.outputs_attempt:
            run.said_decile = 0
        changed = reports.set_outputs(run, folded)
        self.whole[run.run_id] = run
        if changed:
            self.remeasured[run.run_id] = run
        return changed

    async def reports_for_new_attempts(self, seen: Iterable[tuple[Run, Observation, Any]]) -> StoredReports:
        """The stored reports of runs whose attempt these observations may change; most batches need none."""
        return await self.store.reports.load(
            {
                run.run_id
                for run, observation, _ in seen
                if observation.run_count > run.outputs_attempt or run.reported_attempt > max(1, observation.run_count)
            }
        )

    # -- reports -------------------------------------------------------------------------------------------------

    def catch_up_reports(self, run: Run, stored: Sequence[StoredReport], cause: Cause = None) -> None:
        """Take in reports that were stored before the run was known."""
        own = [report for report in stored if report.tenant == run.tenant]
        if not own:
            return
        run.reported_attempt = max(run.reported_attempt, *(report.attempt for report in own))
        for report in own:
            if report.kind == "progress":
                take_progress(run, reports.read(run, report, self.store.policy.bucket))
        self.refold(run, own, cause)

    def refold(self, run: Run, stored: Sequence[StoredReport], cause: Cause = None) -> None:
        """Fold the attempt's reports anew from storage, and say what that changed."""
        self.outputs_changed(run, self.open_attempt(run, attempt_of(run), stored), cause)

    def outputs_changed(self, run: Run, changed: bool, cause: Cause = None) -> None:
        tell(run, self.work, cause, say=changed)
        self.whole[run.run_id] = run
        if changed:
            self.remeasured[run.run_id] = run
            if run.run_type == RunType.MONITORING:
                record_alerts(run, self.work, cause)

    # -- the end of the batch ------------------------------------------------------------------------------------

    async def save(self) -> None:
        """Everything that was touched, set-based: new runs, states or whole rows, typed metrics, histories."""
        _NEWEST.inc(self.newest)
        _LATE.inc(self.late)
        await self.store.create_runs(list(self.created.values()))
        whole = {run_id: run for run_id, run in self.whole.items() if run_id not in self.created}
        await self.store.save_whole(whole.values())
        await self.store.save_states(
            [run for run_id, run in self.stepped.items() if run_id not in whole and run_id not in self.created]
        )
        by_type: dict[str, list[Run]] = {}
        for run in self.remeasured.values():
            by_type.setdefault(run.run_type, []).append(run)
        for run_type, runs in sorted(by_type.items()):
            rows = to_json([reports.headline_row(run) for run in runs]).decode()
            await self.store.reports.save_headlines(run_type, rows)
        await self.store.reports.forget_artifacts(self.late_artifacts)
        await self.store.reports.save_artifacts(self.artifacts)
        await self.store.record(self.entries)

    def note(self, entries: Iterable[Entry]) -> None:
        self.entries.extend(entries)
