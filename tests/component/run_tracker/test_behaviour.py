"""What the tracker does with one message after another, on a real database."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from runtide_schemas import reports
from runtide_schemas.vocabulary import (
    Code,
    FlowKind,
    InstanceStatus,
    ReportsPolicy,
    RequestStatus,
    RunType,
    adopted_run_id,
)

from services.run_tracker.reading import Reading
from services.run_tracker.store import RunTrackerStore
from shared.errors import InvalidMessage
from tests.component.run_tracker.desk import START, Desk
from tests.component.run_tracker.stories import (
    ADMITTED_VERSION,
    FLOW_RUN_ID,
    OTHER_VERSION,
    RUN_ID,
    TENANT,
    admitted,
    launched,
    reference,
    registered,
    report,
    reported,
    request,
    seal,
    states,
)

OTHER_RUN_ID, OTHER_FLOW_RUN_ID = uuid4(), uuid4()


async def running(desk: Desk) -> None:
    await desk.each([registered(), admitted(), launched(), *states("completed")[:4]])


def shown(snapshots: list[dict[str, Any]]) -> list[tuple[str, str | None]]:
    return [(snapshot["status"], snapshot["sub_state"]) for snapshot in snapshots]


# -- a life ------------------------------------------------------------------------------------------------------------


async def test_an_admitted_request_is_a_pending_run(desk: Desk) -> None:
    await desk.deliver(admitted(parameters={"start": "2020-01-01"}))

    [snapshot] = await desk.said()
    assert (snapshot["status"], snapshot["seq"], snapshot["attempt"]) == ("pending", 1, 1)
    assert snapshot["parameters"] == {"start": "2020-01-01"}
    assert snapshot["input_versions"]["prices"]["basis"] == "admitted"
    assert await desk.actions() == ["pipeline_run.created"]


async def test_launched_alone_would_do_too(desk: Desk) -> None:
    await desk.deliver(launched())

    assert (await desk.said())[-1]["orchestrator_run_id"] == str(FLOW_RUN_ID)


async def test_a_request_that_is_no_run_leaves_no_run(desk: Desk) -> None:
    await desk.each([request(RequestStatus.REQUESTED, 1), request(RequestStatus.PARKED, 2)])

    assert await desk.rows("select * from runs") == []
    assert await desk.rows("select status from seen_requests") == [{"status": "parked"}]


async def test_completed_is_published_when_the_seal_is_there(desk: Desk) -> None:
    await running(desk)
    await desk.each(states("completed")[4:])
    assert shown(await desk.said())[-1] == ("running", "waiting_outputs")

    await desk.deliver(seal())

    last = (await desk.said())[-1]
    assert (last["status"], last["outputs"], last["previous_status"]) == ("completed", "sealed", "running")
    assert last["metrics"] == {"rows_added": 3}
    assert await desk.wait(31) == []


async def test_completed_without_a_seal_is_said_after_thirty_seconds_and_a_late_seal_again(desk: Desk) -> None:
    await running(desk)
    await desk.each(states("completed")[4:])

    assert await desk.wait(29) == []
    assert await desk.wait(2) == ["seal"]
    last = (await desk.said())[-1]
    assert (last["status"], last["outputs"]) == ("completed", "unreported")

    await desk.deliver(seal())
    late = (await desk.said())[-1]
    assert (late["status"], late["outputs"], late["output_digest"]) == ("completed", "sealed", "d")
    assert late["schema_digest"] == "s"
    assert late["seq"] == last["seq"] + 1
    assert late["supersedes"] is None


async def test_a_flow_registered_without_reports_is_not_waited_for(desk: Desk) -> None:
    await desk.each([registered(policy=ReportsPolicy.NONE), admitted(), launched(), *states("completed")])

    last = (await desk.said())[-1]
    assert (last["status"], last["outputs"]) == ("completed", "unreported")


async def test_a_policy_that_comes_behind_its_run_holds_for_it_too(desk: Desk) -> None:
    await desk.each([admitted(), launched(), *states("completed"), registered(policy=ReportsPolicy.NONE)])

    assert (await desk.said())[-1]["status"] == "completed"


async def test_completed_is_left_to_lineage_to_record(desk: Desk) -> None:
    await desk.each([registered(), admitted(), launched(), *states("completed"), *reported()])

    assert [a for a in await desk.actions() if "progress" not in a] == ["pipeline_run.created", "pipeline_run.started"]


async def test_a_launch_that_failed_is_a_failed_run_with_the_reason(desk: Desk) -> None:
    await desk.each(
        [admitted(), request(RequestStatus.LAUNCH_FAILED, 3, code=Code.DEPLOYMENT_NOT_FOUND, message="no f/d")]
    )

    last = (await desk.said())[-1]
    assert last["status"] == "failed"
    assert last["error"] == {
        "type": "LaunchFailed", "message": "no f/d", "code": "DEPLOYMENT_NOT_FOUND", "traceback_ref": None,
    }  # fmt: skip
    assert await desk.actions() == ["pipeline_run.created", "pipeline_run.failed"]


async def test_the_failed_activity_cuts_the_message(desk: Desk) -> None:
    await desk.each([admitted(), launched(), *states("failed", state_message="x" * 5000)])

    [failed] = [body for body in await desk.said("activities.v1") if body["action"] == "pipeline_run.failed"]
    assert len(failed["payload"]["message"]) == 1000
    assert failed["payload"]["error_type"] == "unknown"


# -- reports -----------------------------------------------------------------------------------------------------------


async def test_invalid_metrics_do_not_lose_the_run(desk: Desk) -> None:
    await running(desk)
    await desk.deliver(seal(metrics={"rows_added": "many", "rows_fetched": 5, "mine": [1]}))
    await desk.each(states("completed")[4:])

    run = await desk.run()
    assert run["status"] == "completed"
    assert (await desk.said())[-1]["metrics"] == {"rows_fetched": 5, "mine": [1]}
    assert "rows_added" in str(run["warnings"])
    assert await desk.rows("select rows_added, rows_fetched from pipeline_runs") == [
        {"rows_added": None, "rows_fetched": 5}
    ]


async def test_a_reference_outside_the_runs_own_prefix_is_refused(desk: Desk) -> None:
    await running(desk)
    for n, ref in enumerate(
        [reference("x", run_id=uuid4()), f"s3://runs/{RUN_ID}/../other/x", f"s3://other/{RUN_ID}/x"]
    ):
        await desk.deliver(report(reports.ArtifactReported, n, name=f"a{n}", ref=ref))

    assert await desk.rows("select * from artifacts") == []
    assert len((await desk.run())["warnings"]) == 3


async def test_what_the_flow_reports_as_read_wins_over_the_admission(desk: Desk) -> None:
    await running(desk)
    await desk.deliver(report(reports.InputsReported, 1, inputs={"prices": None, "unheard": OTHER_VERSION}))
    prices = (await desk.said())[-1]["input_versions"]
    assert (prices["prices"]["version_id"], prices["prices"]["basis"]) == (str(ADMITTED_VERSION), "reported")
    assert set(prices) == {"prices"}

    await desk.deliver(report(reports.InputsReported, 2, inputs={"prices": OTHER_VERSION}))
    assert (await desk.said())[-1]["input_versions"]["prices"]["version_id"] == str(OTHER_VERSION)


async def test_reports_after_the_seal_or_of_an_older_attempt_are_not_applied(desk: Desk) -> None:
    await desk.each([admitted(), launched(), *states("retried")[:-1]])
    await desk.deliver(seal(3, attempt=2))
    said = len(await desk.said())

    await desk.deliver(report(reports.MetricsReported, 4, 2, metrics={"rows_fetched": 1}))
    await desk.deliver(report(reports.MetricsReported, 9, 1, metrics={"rows_fetched": 1}))

    assert len(await desk.said()) == said


async def test_whatever_a_sealed_run_is_said_to_have_done_after_its_end_changes_nothing_of_it(desk: Desk) -> None:
    """Who holds its token may go on talking. The control: the same words before the end are its own."""
    later = [
        report(reports.MetricsReported, 10, metrics={"rows_added": 99}),
        report(reports.ArtifactReported, 11, name="frame", ref=reference("other")),
        report(reports.ErrorReported, 12, error=reports.RunError(type="ValueError", message="boom")),
        report(reports.ProgressReported, 13, progress_pct=1.0, step="again"),
        report(reports.MetricsReported, None, None, metrics={"rows_added": 98}),
        seal(14, digest="another"),
        *reported(2),
    ]
    await running(desk)
    await desk.each([report(reports.ArtifactReported, 4, name="frame", ref=reference("frame")), seal(9)])
    await desk.each(states("completed")[4:])
    run, said = await shown_run(desk), len(await desk.said())
    assert (run["status"], run["outputs"], run["output_digest"]) == ("completed", "sealed", "d")
    assert [artifact["ref"] for artifact in run["listed"]] == [reference("frame")]
    await desk.deliver(*later, offsets=range(100, 100 + len(later)))
    assert (await shown_run(desk), len(await desk.said())) == (run, said)
    assert await desk.said("runs.progress.v1", step="again") == []

    await desk.reset()
    await running(desk)
    await desk.deliver(*later[:-7], offsets=range(100, 100 + len(later) - 7))
    await desk.each(states("completed")[4:])
    taken = await shown_run(desk)
    assert (taken["output_digest"], taken["metrics"]) == ("another", {"rows_added": 3})
    assert [artifact["ref"] for artifact in taken["listed"]] == [reference("other")]


async def shown_run(desk: Desk) -> dict[str, Any]:
    """What anybody can see of the run, over HTTP."""
    async with desk.engine.connect() as conn:
        run = await Reading(conn).run(TENANT, RUN_ID)
        assert run is not None
        return run | {"listed": await Reading(conn).artifacts(RUN_ID)}


async def test_a_report_of_a_newer_attempt_opens_it(desk: Desk) -> None:
    await desk.each([admitted(), launched(), *states("retried")[:5], *reported(1, sealed=False)])
    await desk.deliver(report(reports.MetricsReported, 1, 2, metrics={"rows_fetched": 7}))

    last = (await desk.said())[-1]
    assert (last["attempt"], last["metrics"], last["artifacts"]) == (2, {"rows_fetched": 7}, {})
    assert last["outputs_ref"].endswith("/attempt-2/")


async def test_a_report_without_attempt_and_number_takes_the_newest_attempt_and_its_position(desk: Desk) -> None:
    await desk.each([admitted(), launched(), *states("retried")[:-1]])
    await desk.deliver(report(reports.MetricsReported, None, None, metrics={"rows_fetched": 7}), offsets=[41])

    assert await desk.rows("select attempt, n from reports") == [{"attempt": 2, "n": 41}]
    assert (await desk.said())[-1]["metrics"] == {"rows_fetched": 7}


async def test_another_tenants_report_changes_nothing(desk: Desk) -> None:
    await desk.deliver(seal(tenant="globex"))
    await running(desk)
    said = len(await desk.said())
    await desk.deliver(seal(tenant="globex"), report(reports.ProgressReported, 1, tenant="globex", progress_pct=99.0))

    assert len(await desk.said()) == said
    await desk.deliver(seal())
    assert (await desk.said())[-1]["output_digest"] == "d"


async def test_the_flows_own_error_wins_over_prefects_message(desk: Desk) -> None:
    error = {
        "type": "ValueError",
        "message": "boom",
        "code": "E1",
        "traceback_ref": f"s3://logs/{RUN_ID}/traceback.txt",
    }
    await desk.each([admitted(), launched(), *states("failed")])
    await desk.deliver(report(reports.ErrorReported, 1, error=reports.RunError(**error)))

    assert (await desk.said())[-1]["error"] == error


async def test_an_empty_run_reports_no_data_date(desk: Desk) -> None:
    await running(desk)
    await desk.deliver(seal(empty=True, last_data_date=START.date()))

    assert (await desk.said())[-1]["last_data_date"] is None


async def test_a_monitoring_run_above_its_thresholds_raises_an_alert(desk: Desk) -> None:
    await desk.each([admitted(run_type=RunType.MONITORING, flow_kind=FlowKind.MONITORING), launched()])
    await desk.deliver(seal(metrics={"psi": 0.21, "ks_statistic": 0.1, "missing_pct": 0.5}))

    [alert] = [body for body in await desk.said("activities.v1") if body["action"] == "monitoring_run.alerted"]
    assert alert["payload"]["above_threshold"] == {"psi": 0.21}


# -- progress ----------------------------------------------------------------------------------------------------------


def progress(n: int, percent: float) -> reports.Report:
    return report(reports.ProgressReported, n, progress_pct=percent, step="s")


async def test_a_batch_of_progress_is_one_message_with_the_newest_value(desk: Desk) -> None:
    await running(desk)
    desk.now += timedelta(seconds=1)
    await desk.deliver(*(progress(n, float(n)) for n in (3, 1, 25, 2)))

    [said] = await desk.said("runs.progress.v1")
    assert said["progress_pct"] == 25
    assert said["seq"] == (await desk.said())[-1]["seq"] + 1
    assert (await desk.actions())[-1] == "pipeline_run.progress"


async def test_progress_is_said_at_most_four_times_a_second_and_the_last_value_always(desk: Desk) -> None:
    await running(desk)
    desk.now += timedelta(seconds=1)
    for n in range(20):
        await desk.deliver(progress(n, float(n)))
        await desk.wait(0.05)
    await desk.wait(0.25)

    said = await desk.said("runs.progress.v1")
    assert 3 <= len(said) <= 5
    assert said[-1]["progress_pct"] == 19
    assert [message["seq"] for message in said] == sorted({message["seq"] for message in said})


async def test_progress_activities_come_once_per_ten_percent(desk: Desk) -> None:
    await running(desk)
    for n, percent in enumerate([1.0, 9.0, 10.0, 11.0, 35.0, 36.0]):
        desk.now += timedelta(seconds=1)
        await desk.deliver(progress(n, percent))

    assert (await desk.actions()).count("pipeline_run.progress") == 2


# -- cancel ------------------------------------------------------------------------------------------------------------


def cancelled_at(seconds: float, seq: int = 4, **changes: Any) -> Any:
    return launched(seq=seq, cancel_requested_at=START + timedelta(seconds=seconds), **changes)


async def test_a_cancel_leaves_one_intent_and_is_shown(desk: Desk) -> None:
    await running(desk)
    await desk.deliver(cancelled_at(1))
    await desk.deliver(cancelled_at(1, seq=5))

    assert len(await desk.rows("select * from cancel_intents")) == 1
    assert (await desk.said())[-1]["cancel_requested_at"] is not None


async def test_a_cancel_that_prefect_does_not_confirm_within_a_minute_is_escalated(desk: Desk) -> None:
    await running(desk)
    await desk.deliver(cancelled_at(1))

    assert await desk.wait(61) == ["cancel_unconfirmed"]
    assert shown(await desk.said())[-1] == ("running", "cancel_unconfirmed")

    await desk.each(states("cancelling-then-cancelled")[-1:])
    assert shown(await desk.said())[-1] == ("cancelled", None)


async def test_a_confirmed_cancel_is_not_escalated(desk: Desk) -> None:
    await running(desk)
    await desk.deliver(cancelled_at(1))
    await desk.each(states("cancelling-then-cancelled"))

    assert shown(await desk.said())[-2:] == [("running", "cancelling"), ("cancelled", None)]
    assert await desk.wait(61) == []


async def test_a_cancel_of_an_ended_run_is_refused_and_changes_nothing(desk: Desk) -> None:
    await running(desk)
    await desk.each([*states("completed"), seal()])
    said = len(await desk.said())
    await desk.deliver(cancelled_at(600))

    assert len(await desk.said()) == said
    [refused] = [body for body in await desk.said("activities.v1") if body["action"] == "command.refused"]
    assert refused["payload"]["code"] == "TOO_LATE"
    assert await desk.rows("select * from cancel_intents") == []


async def test_a_completion_that_wins_the_race_stays_completed(desk: Desk) -> None:
    await running(desk)
    await desk.deliver(cancelled_at(600))
    await desk.each([*states("completed")[4:], seal()])

    last = (await desk.said())[-1]
    assert (last["status"], last["cancel_requested_at"]) == ("completed", None)


async def test_an_admitted_request_that_is_cancelled_before_its_launch_is_a_cancelled_run(desk: Desk) -> None:
    await desk.each([admitted(), request(RequestStatus.CANCELLED, 3, cancel_requested_at=START)])

    assert shown(await desk.said())[-1] == ("cancelled", None)
    assert await desk.rows("select * from cancel_intents") == []


async def test_a_cancel_of_a_run_that_nobody_requested_reaches_it_whichever_comes_first(desk: Desk) -> None:
    run_id = adopted_run_id(FLOW_RUN_ID)
    bare: Any = dict.fromkeys(
        ["command_id", "instance_id", "instance_name", "run_type", "flow_kind", "mode", "deployment", "actor"]
    )
    cancel = request(
        RequestStatus.CANCELLED, 1, run_id=run_id, cancel_requested_at=START + timedelta(seconds=4), **bare,
        input_versions={},
    )  # fmt: skip
    story = [registered(), *states("completed", tags=[])[:4]]
    for order in ([cancel, *story], [*story, cancel]):
        await desk.reset()
        await desk.each(order)
        assert await desk.rows("select run_id, state from cancel_intents") == [{"run_id": run_id, "state": "wanted"}]


# -- runs nobody requested ---------------------------------------------------------------------------------------------


async def test_a_flow_run_of_a_registered_deployment_that_left_scheduled_becomes_a_run(desk: Desk) -> None:
    scheduled, *rest = states("completed", tags=[])
    await desk.each([registered(), scheduled])
    assert await desk.said() == []

    await desk.deliver(*rest)
    first, *_, last = await desk.said()
    assert (first["run_id"], first["trigger"]) == (str(adopted_run_id(FLOW_RUN_ID)), "scheduled")
    assert (last["status"], last["sub_state"]) == ("running", "waiting_outputs")


async def test_a_registration_that_comes_behind_finds_the_flow_runs_that_were_seen(desk: Desk) -> None:
    await desk.deliver(*states("failed", tags=[]))
    assert await desk.said() == []

    await desk.deliver(registered())
    assert (await desk.said())[-1]["status"] == "failed"


async def test_what_ran_before_its_deployment_was_registered_is_not_a_run(desk: Desk) -> None:
    await desk.each([*states("failed", tags=[]), registered(at=START + timedelta(days=1))])

    assert await desk.said() == []


async def test_unrequested_runs_of_a_shared_deployment_belong_to_none(desk: Desk) -> None:
    await desk.each([registered(), registered(name="value"), *states("completed", tags=[])])

    assert await desk.said() == []


async def test_a_retired_instance_adopts_nothing(desk: Desk) -> None:
    await desk.each([registered(), registered(seq=2, status=InstanceStatus.RETIRED), *states("completed", tags=[])])

    assert await desk.said() == []


async def test_a_tag_counts_only_with_the_runs_own_deployment(desk: Desk) -> None:
    await desk.each([admitted(), *states("completed", deployment_name="other")])
    assert (await desk.run())["status"] == "pending"

    await desk.each(states("failed", flow_run_id=uuid4()))
    assert (await desk.run())["status"] == "failed"


async def test_a_second_flow_run_with_the_same_tag_is_not_the_run(desk: Desk) -> None:
    await desk.each([admitted(), launched(), *states("completed")[:4], *states("failed", flow_run_id=uuid4())])

    assert (await desk.run())["status"] == "running"


# -- two at once -------------------------------------------------------------------------------------------------------


async def test_facts_that_come_while_somebody_creates_runs_find_their_run_a_moment_later(desk: Desk) -> None:
    await desk.each([admitted(), launched()])
    async with desk.engine.begin() as somebody:
        await RunTrackerStore(somebody).be_only_creator()
        await desk.deliver(*states("failed", flow_run_id=OTHER_FLOW_RUN_ID, tags=[f"run:{OTHER_RUN_ID}"]))
        await desk.deliver(seal(run_id=OTHER_RUN_ID))
        # Our own run is known: it is not held up.
        await desk.deliver(*states("completed")[:4])
    assert (await desk.run())["status"] == "running"

    await desk.deliver(launched(run_id=OTHER_RUN_ID, orchestrator_run_id=OTHER_FLOW_RUN_ID))
    assert await desk.wait(1) == ["link", "link"]

    last = (await desk.said(run_id=str(OTHER_RUN_ID)))[-1]
    assert (last["status"], last["output_digest"]) == ("failed", "d")


async def test_a_run_created_in_the_same_moment_as_its_facts_does_not_miss_them(desk: Desk) -> None:
    for _ in range(10):
        await desk.reset()
        await asyncio.gather(
            desk.deliver(launched()),
            desk.deliver(*states("failed")),
            desk.deliver(seal()),
        )
        await desk.wait(2)
        run = await desk.run()
        assert (run["status"], run["output_digest"]) == ("failed", "d")


# -- absurd ------------------------------------------------------------------------------------------------------------


async def test_a_state_from_the_future_is_a_dead_letter(desk: Desk) -> None:
    with pytest.raises(InvalidMessage, match="from the future"):
        await desk.deliver(*states("completed", state_timestamp=START + timedelta(days=3650)))


async def test_a_report_that_says_tomorrow_counts_as_said_when_it_came(desk: Desk) -> None:
    await running(desk)
    await desk.deliver(seal(occurred_at=START + timedelta(days=3650)))

    assert (await desk.run())["reported_at"] == desk.now


# -- how much it costs -------------------------------------------------------------------------------------------------


async def test_a_batch_of_states_costs_the_same_number_of_statements_however_large(desk: Desk) -> None:
    from sqlalchemy import event

    async def statements(size: int) -> int:
        await desk.reset()
        flow_runs = [uuid4() for _ in range(size)]
        ids = [uuid4() for _ in range(size)]
        await desk.deliver(*(launched(run_id=i, orchestrator_run_id=f) for i, f in zip(ids, flow_runs, strict=True)))
        seen: list[str] = []
        listen = desk.engine.sync_engine
        note = lambda *args: seen.append(args[2])  # noqa: E731
        event.listen(listen, "before_cursor_execute", note)
        batch = [s for f in flow_runs for s in states("failed", flow_run_id=f)]
        await desk.deliver(*batch)
        event.remove(listen, "before_cursor_execute", note)
        return len(seen)

    assert await statements(2) == await statements(40) == 5
