"""From what Prefect said to what a run is: a table and a fold. Total: every input gets an answer, none raises.

The fact not to break: facts are folded by (state timestamp, state id), never by arrival. `observe` keeps only what
grows or is newest, so that any order, and any repetition, ends in the same `Run`; `refresh` computes what is shown.

Source: Prefect 3 `StateType`, nine values (docs "States"); names are free text, but for those listed in `_NAMED`.
"""

import json
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple
from uuid import UUID

from runtide_schemas.vocabulary import Outputs, ReportsPolicy, RequestStatus, RunStatus, SubState

from services.run_tracker.domain.run import Run

PENDING, RUNNING, COMPLETED, FAILED, CANCELLED = RunStatus

_BY_TYPE: dict[str, tuple[RunStatus, SubState | None]] = {
    "SCHEDULED": (PENDING, SubState.QUEUED),
    "PENDING": (PENDING, SubState.STARTING),
    "RUNNING": (RUNNING, None),
    "PAUSED": (RUNNING, SubState.PAUSED),
    "CANCELLING": (RUNNING, SubState.CANCELLING),
    "COMPLETED": (COMPLETED, None),
    "FAILED": (FAILED, None),
    "CRASHED": (FAILED, SubState.INFRASTRUCTURE),
    "CANCELLED": (CANCELLED, None),
}
_AFTER_A_START: dict[str, tuple[RunStatus, SubState | None]] = {
    "SCHEDULED": (RUNNING, SubState.WAITING_RETRY),
    "PENDING": (RUNNING, SubState.STARTING),
}
_NAMED: dict[tuple[str, str], SubState] = {
    ("SCHEDULED", "Late"): SubState.LATE,
    ("PAUSED", "Suspended"): SubState.SUSPENDED,
    ("COMPLETED", "Cached"): SubState.CACHED,
    ("COMPLETED", "RolledBack"): SubState.ROLLED_BACK,
    ("FAILED", "TimedOut"): SubState.TIMED_OUT,
}
TERMINAL_TYPES = frozenset({"COMPLETED", "FAILED", "CRASHED", "CANCELLED"})
BEATING_TYPES = frozenset({"RUNNING", "CANCELLING"})  # in which a process lives, and says so
STATE_TYPES = frozenset(_BY_TYPE)
MESSAGE_LIMIT = 10_000
_ENDS = frozenset({COMPLETED, FAILED, CANCELLED})


class Observation(NamedTuple):
    """One state of one flow run. `gone`: Prefect no longer knows the flow run; `returned`: it knows it again."""

    state_id: UUID
    at: datetime
    type: str
    name: str
    message: str | None = None
    run_count: int = 0
    start_time: datetime | None = None
    gone: bool = False
    returned: bool = False


class Moved(NamedTuple):
    """What a refresh changed: `shown` belongs in a status snapshot, `progress` alone only in a progress message."""

    status: str
    sub_state: str | None
    attempt: int
    shown: bool
    progress: bool


@lru_cache(maxsize=1024)
def status_of(state_type: str, state_name: str, run_count: int) -> tuple[RunStatus, SubState | None]:
    """The table of semantics §2. An unknown type is read as what it says least: not started."""
    if run_count >= 1 and state_type in _AFTER_A_START:
        return _AFTER_A_START[state_type]
    status, sub_state = _BY_TYPE.get(state_type, (PENDING, None))
    return status, _NAMED.get((state_type, state_name), sub_state)


def left_scheduled(observation: Observation) -> bool:
    """Prefect's planned runs are not runs; whatever began, or ended, is."""
    return observation.type != "SCHEDULED" or observation.run_count >= 1


def observe(run: Run, seen: Observation) -> bool:
    """Take one observation in; says whether it is the newest (else it is history, or a repetition)."""
    if seen.gone:
        if run.gone_at is None or seen.at > run.gone_at:
            run.gone_at = seen.at
            return True
        return False
    if seen.returned:
        if run.returned_at is None or seen.at > run.returned_at:
            run.returned_at = seen.at
            return True
        return False
    if seen.run_count > run.run_count:
        run.run_count = seen.run_count
    if seen.type == "RUNNING" and (run.first_running_at is None or seen.at < run.first_running_at):
        run.first_running_at = seen.at
    if (
        seen.start_time is not None
        and seen.run_count >= 1
        and (run.source_started_at is None or seen.start_time < run.source_started_at)
    ):
        run.source_started_at = seen.start_time
    status = status_of(seen.type, seen.name, seen.run_count)[0]
    if run.state_at is None or run.state_id is None:
        newest = True
    else:
        newest = (seen.at, seen.state_id) > (run.state_at, run.state_id)
        if newest and run.state_status != status:
            run.other_status, run.other_at, run.other_id = run.state_status, run.state_at, run.state_id
    if newest:
        run.state_id, run.state_at, run.state_type, run.state_name = seen.state_id, seen.at, seen.type, seen.name
        run.state_message, run.state_status = seen.message, status
    elif status != run.state_status and (
        run.other_at is None or run.other_id is None or (seen.at, seen.state_id) > (run.other_at, run.other_id)
    ):
        run.other_status, run.other_at, run.other_id = status, seen.at, seen.state_id
    return newest


def forget_observations(run: Run) -> None:
    """The run turned out to be another flow run: fold anew from that one's observations."""
    run.state_id = run.state_at = run.state_type = run.state_name = run.state_message = run.state_status = None
    run.other_status = run.other_at = run.other_id = None
    run.first_running_at = run.source_started_at = run.gone_at = run.returned_at = None
    run.run_count = 0


def attempt_of(run: Run) -> int:
    """Prefect's run count, at least 1; while it runs, a report of a newer attempt opens that one."""
    observed = max(1, run.run_count)
    return observed if run.state_type in TERMINAL_TYPES else max(observed, run.reported_attempt)


def is_lost(run: Run) -> bool:
    """Gone from Prefect, and nothing says that it had ended before, or was seen after."""
    return _was_lost(run) and not _is_back(run)


def _was_lost(run: Run) -> bool:
    if run.gone_at is None or run.state_type in TERMINAL_TYPES:
        return False
    return run.state_at is None or run.state_at <= run.gone_at


def _is_back(run: Run) -> bool:
    return run.gone_at is not None and run.returned_at is not None and run.returned_at > run.gone_at


def is_sealed(run: Run, attempt: int) -> bool:
    return run.sealed_n is not None and run.outputs_attempt == attempt


def _shown(run: Run, attempt: int, sealed: bool) -> tuple[RunStatus, SubState | None, Outputs | None]:
    """Status, sub_state and outputs; `completed` waits for the attempt's seal."""
    if run.state_type is None:
        if is_lost(run):
            return FAILED, SubState.LOST, None
        match run.request_end:
            case RequestStatus.LAUNCH_FAILED:
                return FAILED, None, None
            case RequestStatus.CANCELLED:
                return CANCELLED, None, None
        status, sub_state = PENDING, None
    elif is_lost(run):
        return FAILED, SubState.LOST, None
    else:
        status, sub_state = status_of(run.state_type, run.state_name or "", run.run_count)
        if status is COMPLETED:
            if sealed:
                return COMPLETED, sub_state, Outputs.SEALED
            if run.reports == ReportsPolicy.NONE or run.unreported_attempt == attempt:
                return COMPLETED, sub_state, Outputs.UNREPORTED
            return RUNNING, SubState.WAITING_OUTPUTS, None
    if run.cancel_unconfirmed_at is not None and status not in _ENDS:
        return status, SubState.CANCEL_UNCONFIRMED, None
    if run.silent_since is not None and run.state_type in BEATING_TYPES:
        return status, SubState.UNRESPONSIVE, None
    return status, sub_state, None


def _previous(run: Run, status: RunStatus, sub_state: SubState | None) -> str | None:
    """The status before this one in the folded story; a terminal seen alone implies `running`."""
    if _was_lost(run) and _is_back(run):
        return FAILED
    if status is PENDING:
        return None
    seen = run.other_status
    if sub_state is SubState.LOST:
        return run.state_status or PENDING
    if status is RUNNING:
        if sub_state is SubState.WAITING_OUTPUTS and seen not in _ENDS:
            return PENDING
        return seen or PENDING
    if run.run_count >= 1 and (seen is None or seen == PENDING):
        return RUNNING
    return seen or PENDING


def _ended_at(run: Run, status: RunStatus, sub_state: SubState | None) -> datetime | None:
    if status not in _ENDS:
        return None
    if sub_state is SubState.LOST:
        return run.gone_at
    return run.state_at if run.state_type is not None else run.request_ended_at


def _started_at(run: Run) -> datetime | None:
    """From the source, or unknown; never invented."""
    first, source = run.first_running_at, run.source_started_at
    if first is None or source is None:
        return first or source
    return first if first < source else source


def _latest(*times: datetime | None) -> datetime | None:
    return max(filter(None, times), default=None)


def refresh(run: Run) -> Moved:
    """Compute what the run shows from its facts, and say what changed. A second call changes nothing.

    What its outputs show (metrics, artifacts, versions) is `outputs.py`'s; a caller that changed those says so itself.
    """
    attempt = attempt_of(run)
    sealed = is_sealed(run, attempt)
    status, sub_state, outputs = _shown(run, attempt, sealed)
    previous = _previous(run, status, sub_state)
    started_at, ended_at = _started_at(run), _ended_at(run, status, sub_state)
    before = (
        run.status, run.sub_state, run.previous_status, run.attempt, run.started_at, run.ended_at, run.outputs,
    )  # fmt: skip
    after = (status, sub_state, previous, attempt, started_at, ended_at, outputs)
    percent, step = _progress(run, status, attempt, sealed)
    progress = percent != run.progress_pct or step != run.step
    run.progress_pct, run.step = percent, step
    moved = Moved(run.status, run.sub_state, run.attempt, before != after, progress)
    if moved.shown:
        run.status, run.sub_state, run.previous_status, run.attempt = status, sub_state, previous, attempt
        run.started_at, run.ended_at, run.outputs = started_at, ended_at, outputs
        run.duration_seconds = (
            max(0.0, (ended_at - started_at).total_seconds())
            if started_at is not None and ended_at is not None
            else None
        )
    run.knowledge_time = _latest(ended_at, run.sealed_at if sealed else None) if status is COMPLETED else None
    run.occurred_at = _latest(
        run.created_at, run.request_ended_at, run.state_at, run.returned_at, run.reported_at, run.clock_at,
        shown_cancel_request(run), ended_at, None if sealed or run.progress_attempt != attempt else run.progress_at,
    )  # fmt: skip
    return moved


def _progress(run: Run, status: RunStatus, attempt: int, sealed: bool) -> tuple[float | None, str | None]:
    """Whatever was reported whole is at 100 %, in no step; else the newest progress of this attempt."""
    if status is PENDING or (run.progress_attempt != attempt and not sealed and status is not COMPLETED):
        return None, None
    if sealed or status is COMPLETED:
        return 100.0, None
    return run.progress_value, run.progress_step


def error_of(run: Run) -> dict[str, Any] | None:
    """Why it failed: what the flow reported of this attempt, else what Prefect or the launch said."""
    if run.status != FAILED:
        return None
    if run.sub_state == SubState.LOST:
        return {"type": "unknown", "message": "The flow run is gone from Prefect.", "code": None, "traceback_ref": None}
    if run.state_type is None:
        message = run.request_message or "The run could not be launched."
        return {"type": "LaunchFailed", "message": message, "code": run.request_code, "traceback_ref": None}
    if run.reported_error is not None and run.outputs_attempt == run.attempt:
        reported: dict[str, Any] = json.loads(run.reported_error)
        return reported
    message = (run.state_message or "")[:MESSAGE_LIMIT]
    return {"type": "unknown", "message": message, "code": None, "traceback_ref": None}


def shown_cancel_request(run: Run) -> datetime | None:
    """A cancel that came after the end changes nothing, so it is not shown."""
    asked = run.cancel_requested_at
    if asked is None or (run.ended_at is not None and run.ended_at < asked):
        return None
    return asked
