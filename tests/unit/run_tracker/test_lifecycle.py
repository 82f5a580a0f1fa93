"""The table of Prefect's states, and the fold over what really happened on a real server."""

import itertools
import random
from collections.abc import Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from runtide_schemas.prefect import FlowRunStateObserved
from runtide_schemas.vocabulary import RunStatus, SubState

from services.run_tracker.domain.lifecycle import STATE_TYPES, Observation, left_scheduled, status_of
from services.run_tracker.domain.run import Run
from services.run_tracker.following import Following
from services.run_tracker.observations import observation_of
from tests.unit.run_tracker.recordings import NOW, SCENARIOS, FakeWork, a_run, events, observed

ENDS = {
    "completed": ("completed", None, 1),
    "failed": ("failed", None, 1),
    "retried": ("completed", None, 2),
    "crashed-keyboardinterrupt": ("failed", "infrastructure", 1),
    "crashed-sigkill": ("failed", "infrastructure", 1),
    "cancelled-while-scheduled": ("cancelled", None, 1),
    "cancelling-then-cancelled": ("cancelled", None, 1),
    "cancelled-direct-then-completed": ("completed", None, 1),
    "late-then-deleted": ("pending", "late", 1),
}
NOT_COMPARED = {"seq", "supersedes", "terminal_seq", "said_progress_at", "ended_seen_at"}


def follow(arrivals: Sequence[FlowRunStateObserved], **changes: Any) -> tuple[Run, FakeWork, Following]:
    work = FakeWork()
    following = Following(work)  # type: ignore[arg-type]
    run = a_run(reports="none", **changes)
    for message in arrivals:
        following.step(run, observation_of(message), {})
    return run, work, following


def follow_by_arrival(arrivals: Sequence[FlowRunStateObserved]) -> str:
    """The control: whatever comes last is believed."""
    last = arrivals[-1]
    return status_of(last.state_type, last.state_name, last.run_count)[0]


def facts(run: Run) -> dict[str, Any]:
    return {name: value for name, value in asdict(run).items() if name not in NOT_COMPARED}


def last_snapshot(work: FakeWork) -> dict[str, Any]:
    return work.snapshots[-1].model_dump(exclude={"seq", "supersedes"})


def history(following: Following) -> set[tuple[Any, ...]]:
    return {entry[:-1] for entry in following.entries}


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_each_recording_ends_as_prefect_ended_it(scenario: str) -> None:
    run, _, _ = follow(observed(scenario))

    assert (run.status, run.sub_state, run.attempt) == ENDS[scenario]


def orders(arrivals: tuple[FlowRunStateObserved, ...]) -> list[tuple[FlowRunStateObserved, ...]]:
    """Every order where there are few, else many; each also doubled."""
    permutations = list(itertools.permutations(arrivals))
    if len(permutations) > 720:
        permutations = random.Random(7).sample(permutations, 720)
    return permutations + [(*order, *reversed(order)) for order in permutations]


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_order_of_arrival_ends_in_the_same_run_and_the_same_last_snapshot(scenario: str) -> None:
    expected_run, expected_work, expected_following = follow(observed(scenario))

    for order in orders(observed(scenario)):
        run, work, following = follow(order)
        assert facts(run) == facts(expected_run)
        assert last_snapshot(work) == last_snapshot(expected_work)
        assert history(following) == history(expected_following)


@pytest.mark.parametrize("scenario", [s for s in SCENARIOS if len(observed(s)) > 1])
def test_the_control_that_folds_by_arrival_ends_differently(scenario: str) -> None:
    ends = {follow_by_arrival(order) for order in orders(observed(scenario))}

    assert len(ends) > 1 or scenario == "late-then-deleted"


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_any_shuffle_with_any_repetitions_ends_in_the_same_run(data: st.DataObject) -> None:
    scenario = data.draw(st.sampled_from(SCENARIOS))
    states = observed(scenario)
    repeated = data.draw(st.lists(st.sampled_from(states), max_size=8))
    order = data.draw(st.permutations([*states, *repeated]))

    run, work, _ = follow(order)

    assert facts(run) == facts(follow(states)[0])
    assert last_snapshot(work) == last_snapshot(follow(states)[1])


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_seq_grows_by_one_with_each_message_and_no_two_say_the_same(data: st.DataObject) -> None:
    states = observed(data.draw(st.sampled_from(SCENARIOS)))
    _, work, _ = follow(data.draw(st.permutations([*states, *states])))

    assert [snapshot.seq for snapshot in work.snapshots] == list(range(1, len(work.snapshots) + 1))
    said = [snapshot.model_dump(exclude={"seq", "supersedes"}) for snapshot in work.snapshots]
    assert all(before != after for before, after in itertools.pairwise(said))


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_the_fold_is_total_and_order_does_not_matter_for_any_states_at_all(data: st.DataObject) -> None:
    def state(n: int) -> Observation:
        return Observation(
            UUID(int=n + 1), NOW + timedelta(seconds=data.draw(st.integers(0, 5))),
            data.draw(st.sampled_from(sorted(STATE_TYPES))), data.draw(st.sampled_from(["Late", "Suspended", "Mine"])),
            run_count=data.draw(st.integers(0, 3)), start_time=data.draw(st.sampled_from([None, NOW])),
            gone=(gone := data.draw(st.booleans())), returned=not gone and data.draw(st.booleans()),
        )  # fmt: skip

    states = [state(n) for n in range(data.draw(st.integers(1, 6)))]
    runs = []
    for order in (states, data.draw(st.permutations(states))):
        following = Following(FakeWork())  # type: ignore[arg-type]
        run = a_run(reports="none")
        for seen in order:
            following.step(run, seen, {})
        runs.append(facts(run))

    assert runs[0] == runs[1]


def test_names_are_free_text_and_only_the_type_decides() -> None:
    assert status_of("FAILED", "Completed", 1) == (RunStatus.FAILED, None)
    assert status_of("RUNNING", "Cancelled", 1) == (RunStatus.RUNNING, None)


@pytest.mark.parametrize(
    ("state", "shown"),
    [
        (("SCHEDULED", "Scheduled", 0), ("pending", "queued")),
        (("SCHEDULED", "Late", 0), ("pending", "late")),
        (("SCHEDULED", "AwaitingConcurrencySlot", 0), ("pending", "queued")),
        (("SCHEDULED", "AwaitingRetry", 1), ("running", "waiting_retry")),
        (("SCHEDULED", "Resuming", 2), ("running", "waiting_retry")),
        (("PENDING", "Submitting", 0), ("pending", "starting")),
        (("PENDING", "InfrastructurePending", 1), ("running", "starting")),
        (("RUNNING", "Retrying", 2), ("running", None)),
        (("PAUSED", "Paused", 1), ("running", "paused")),
        (("PAUSED", "Suspended", 1), ("running", "suspended")),
        (("CANCELLING", "Cancelling", 1), ("running", "cancelling")),
        (("COMPLETED", "Completed", 1), ("completed", None)),
        (("COMPLETED", "Cached", 1), ("completed", "cached")),
        (("COMPLETED", "RolledBack", 1), ("completed", "rolled_back")),
        (("FAILED", "TimedOut", 1), ("failed", "timed_out")),
        (("CRASHED", "Crashed", 1), ("failed", "infrastructure")),
        (("CANCELLED", "Cancelled", 0), ("cancelled", None)),
    ],
)
def test_each_row_of_the_table(state: tuple[str, str, int], shown: tuple[str, str | None]) -> None:
    assert status_of(*state) == shown


def test_planned_future_runs_are_not_runs() -> None:
    assert not left_scheduled(Observation(uuid4(), NOW, "SCHEDULED", "Late"))
    assert left_scheduled(Observation(uuid4(), NOW, "SCHEDULED", "AwaitingRetry", run_count=1))
    assert left_scheduled(Observation(uuid4(), NOW, "CANCELLED", "Cancelled"))


def test_a_terminal_that_comes_first_implies_running_with_a_start_that_is_unknown_or_the_sources() -> None:
    completed = observed("completed")[-1]

    run, work, _ = follow([completed])
    assert (run.status, run.previous_status, run.started_at) == ("completed", "running", None)

    start = completed.state_timestamp - timedelta(seconds=3)
    run, work, _ = follow([completed.model_copy(update={"start_time": start, "source": "confirm"})])
    assert run.started_at == start
    assert run.duration_seconds == 3
    assert work.actions == ["pipeline_run.started"]


def test_a_flow_run_that_never_started_has_no_start_although_prefect_gives_it_one() -> None:
    cancelled = observed("cancelled-while-scheduled")[-1]

    run, _, _ = follow([cancelled.model_copy(update={"start_time": cancelled.state_timestamp})])

    assert (run.status, run.started_at) == ("cancelled", None)


def test_a_terminal_that_prefect_takes_back_is_corrected_and_says_what_it_supersedes() -> None:
    _, work, _ = follow(observed("cancelled-direct-then-completed"))

    cancelled, completed = work.snapshots[-2:]
    assert (cancelled.status, completed.status) == ("cancelled", "completed")
    assert completed.previous_status == "cancelled"
    assert completed.supersedes == cancelled.seq


def test_a_run_that_starts_again_after_its_end_is_reopened_with_a_new_attempt() -> None:
    failed = observed("failed")
    again = failed[-1].model_copy(
        update={
            "state_id": uuid4(), "state_type": "RUNNING", "state_name": "Running", "run_count": 2,
            "state_timestamp": failed[-1].state_timestamp + timedelta(seconds=5),
        }
    )  # fmt: skip

    run, work, _ = follow([*failed, again])

    assert (run.status, run.attempt, run.ended_at) == ("running", 2, None)
    assert work.snapshots[-1].supersedes == work.snapshots[-2].seq
    assert work.actions == [f"pipeline_run.{verb}" for verb in ("started", "failed", "started")]


def test_a_flow_run_that_is_gone_is_lost_unless_it_had_ended() -> None:
    def gone(message: FlowRunStateObserved) -> FlowRunStateObserved:
        at = message.state_timestamp + timedelta(seconds=60)
        return message.model_copy(update={"state_id": uuid4(), "state_timestamp": at, "gone": True})

    late = observed("late-then-deleted")
    run, work, _ = follow([*late, gone(late[-1])])
    assert (run.status, run.sub_state) == ("failed", "lost")
    assert work.snapshots[-1].error is not None

    completed = observed("completed")
    run, _, _ = follow([*completed, gone(completed[-1])])
    assert run.status == "completed"


def test_a_lost_flow_run_that_prefect_knows_again_is_what_it_was_and_says_what_it_supersedes() -> None:
    *_, running = observed("completed")[:-1]
    lost_at, back_at = (running.state_timestamp + timedelta(seconds=seconds) for seconds in (60, 90))
    gone = running.model_copy(update={"state_id": uuid4(), "state_timestamp": lost_at, "gone": True})
    back = running.model_copy(update={"state_id": uuid4(), "state_timestamp": back_at, "returned": True})
    again = gone.model_copy(update={"state_id": uuid4(), "state_timestamp": back_at + timedelta(seconds=60)})
    story = [*observed("completed")[:-1], gone, back]

    run, work, _ = follow(story)
    assert (run.status, run.sub_state, run.ended_at, run.previous_status) == ("running", None, None, "failed")
    assert work.snapshots[-1].supersedes == work.snapshots[-2].seq
    assert facts(run) == facts(follow([*reversed(story)])[0])

    run, _, _ = follow([*story, again])
    assert (run.status, run.sub_state, run.ended_at) == ("failed", "lost", again.state_timestamp)

    run, _, _ = follow([*story, observed("completed")[-1]])
    assert run.status == "completed"


def test_completed_waits_for_the_seal_where_reports_are_expected() -> None:
    work = FakeWork()
    run = a_run()
    following = Following(work)  # type: ignore[arg-type]
    for message in observed("completed"):
        following.step(run, observation_of(message), {})

    assert (run.status, run.sub_state) == ("running", SubState.WAITING_OUTPUTS)
    assert work.due == {("seal", str(run.run_id)): NOW + timedelta(seconds=30)}


def test_failed_and_cancelled_never_wait_for_the_seal() -> None:
    for scenario, status in (("failed", "failed"), ("cancelling-then-cancelled", "cancelled")):
        work = FakeWork()
        run = a_run()
        following = Following(work)  # type: ignore[arg-type]
        for message in observed(scenario):
            following.step(run, observation_of(message), {})
        assert run.status == status
        assert work.due == {}


def test_without_a_report_the_error_is_prefects_message_and_its_type_is_unknown() -> None:
    _, work, _ = follow(observed("failed"))

    error = work.snapshots[-1].error
    assert error is not None
    assert error.type == "unknown"
    assert error.message == "Flow run encountered an exception: ValueError: boom"


def test_heartbeats_and_foreign_events_are_no_observations() -> None:
    states = sum(1 for event in events("retried") if "prefect.state-type" in event["resource"])

    assert len(observed("retried")) == states < len(events("retried"))


def test_an_event_becomes_an_observation_under_its_states_id_with_names_and_tags() -> None:
    event, seen = events("retried")[0], observed("retried")[0]

    assert str(seen.state_id) == event["id"]
    assert (seen.flow_name, seen.deployment_name) == ("retry-flow", "d")
    assert set(seen.tags) == {"org:acme", "run:abc"}
    assert seen.raw == event
