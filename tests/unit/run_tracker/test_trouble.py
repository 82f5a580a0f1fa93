"""What is wrong has a name, and something that can be done about it."""

from dataclasses import replace
from datetime import timedelta

import pytest

from services.run_tracker.domain.trouble import TO_DO, Standing, Trouble, troubles
from tests.unit.run_tracker.recordings import NOW

WELL = Standing(swept_at=NOW, refused=None, bridged_at=NOW, drifted_at=None)


def test_nothing_is_said_while_all_is_well() -> None:
    assert troubles(WELL, [], NOW) == []


@pytest.mark.parametrize(
    ("standing", "code"),
    [
        (replace(WELL, swept_at=NOW - timedelta(seconds=121)), Trouble.SWEEP_LATE),
        (replace(WELL, swept_at=None), Trouble.SWEEP_LATE),
        (replace(WELL, refused="12 of 13 open runs are gone"), Trouble.LOSS_REFUSED),
        (replace(WELL, bridged_at=NOW - timedelta(seconds=61)), Trouble.BRIDGE_AWAY),
        (replace(WELL, drifted_at=NOW - timedelta(minutes=9), drift=50), Trouble.DRIFT),
    ],
)
def test_each_fault_of_our_own_eyes_is_named(standing: Standing, code: Trouble) -> None:
    [found] = troubles(standing, [], NOW)

    assert found.code is code
    assert found.to_do


def test_drift_of_long_ago_is_over() -> None:
    assert troubles(replace(WELL, drifted_at=NOW - timedelta(minutes=11), drift=50), [], NOW) == []


def test_runs_that_hang_are_counted_by_what_they_wait_for() -> None:
    found = troubles(WELL, ["unresponsive", None, "cancel_unconfirmed", "unresponsive"], NOW)

    assert {one.code: one.runs for one in found} == {
        Trouble.UNRESPONSIVE: 2, Trouble.LAUNCH_WAITS: 1, Trouble.CANCEL_UNCONFIRMED: 1,
    }  # fmt: skip


def test_every_trouble_says_what_to_do() -> None:
    assert set(TO_DO) == set(Trouble)
