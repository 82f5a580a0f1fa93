"""Whose process is silent: three intervals without a heartbeat, of those that sent one."""

from datetime import timedelta
from uuid import uuid4

from services.run_tracker.domain.lifecycle import refresh
from services.run_tracker.silence import silences
from services.run_tracker.upkeep import Living
from tests.unit.run_tracker.recordings import NOW, RUN_ID, a_run

FLOW_RUN_ID = uuid4()
PATIENCE = timedelta(seconds=90)
LONG_AGO = NOW - timedelta(hours=1)
LAST = NOW - timedelta(seconds=91)


def a_living(**changes: object) -> Living:
    return Living(RUN_ID, FLOW_RUN_ID, LONG_AGO, None)._replace(**changes)


def test_three_intervals_without_a_heartbeat_are_silence_since_the_last_one() -> None:
    assert silences([a_living()], {FLOW_RUN_ID: LAST}, NOW, PATIENCE) == {RUN_ID: LAST}
    assert silences([a_living()], {FLOW_RUN_ID: NOW - PATIENCE}, NOW, PATIENCE) == {}


def test_a_process_that_never_sent_one_is_not_judged() -> None:
    assert silences([a_living()], {}, NOW, PATIENCE) == {}


def test_what_was_said_is_not_said_again_and_is_taken_back_when_it_is_heard() -> None:
    silent = a_living(silent_since=LAST)

    assert silences([silent], {FLOW_RUN_ID: LAST}, NOW, PATIENCE) == {}
    assert silences([silent], {FLOW_RUN_ID: NOW}, NOW, PATIENCE) == {RUN_ID: None}


def test_a_new_attempt_has_its_own_time_to_be_heard() -> None:
    begun_again = a_living(silent_since=LAST, state_at=NOW)

    assert silences([begun_again], {FLOW_RUN_ID: LAST}, NOW, PATIENCE) == {RUN_ID: None}


def test_only_a_run_whose_process_should_live_is_shown_as_unresponsive() -> None:
    shown = {}
    for state_type in ("RUNNING", "CANCELLING", "PAUSED", "COMPLETED"):
        run = a_run(reports="none", silent_since=LAST, state_type=state_type, state_at=LONG_AGO, run_count=1)
        refresh(run)
        shown[state_type] = run.sub_state

    assert shown == {"RUNNING": "unresponsive", "CANCELLING": "unresponsive", "PAUSED": "paused", "COMPLETED": None}
