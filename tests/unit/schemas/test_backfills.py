"""A submission that asks for a range of dates: its defaults, and what it can not be asked together with."""

from datetime import date
from typing import Any

import pytest
from runtide_schemas.commands import InvalidSubmission, SubmitRun, read_submission
from runtide_schemas.vocabulary import BackfillOrder, OnFailure

RANGE = {"start": "2024-01-02", "end": "2024-03-28"}


def submission(backfill: dict[str, Any] | None = None, **fields: Any) -> SubmitRun | InvalidSubmission:
    asked = {"tenant": "acme", "instance": "prices", "command_id": "1", **fields}
    return read_submission({**asked, "backfill": {**RANGE, **(backfill or {})}})


def test_a_range_alone_is_one_date_at_a_time_oldest_first_that_stops_at_a_failure() -> None:
    read = submission()
    assert isinstance(read, SubmitRun)
    asked = read.backfill
    assert asked is not None
    assert (asked.start, asked.end, asked.step) == (date(2024, 1, 2), date(2024, 3, 28), None)
    assert (asked.max_open, asked.order, asked.on_failure) == (1, BackfillOrder.OLDEST_FIRST, OnFailure.STOP)
    assert (asked.parameter, asked.end_parameter) == ("data_date", "data_date_end")


@pytest.mark.parametrize(
    ("backfill", "fields", "reason"),
    [
        ({"end": "2024-01-01"}, {}, "backfill: end 2024-01-01 is before start 2024-01-02"),
        ({"start": "soon"}, {}, "backfill.start: Input should be a valid date"),
        ({"step": "hour"}, {}, "backfill.step: Input should be 'session', 'day', 'week' or 'month' (got 'hour')"),
        ({"max_open": 0}, {}, "backfill.max_open: Input should be greater than or equal to 1 (got 0)"),
        ({"max_open": 101}, {}, "backfill.max_open: Input should be less than or equal to 100 (got 101)"),
        ({"parameter": "a b"}, {}, "backfill.parameter: String should match pattern"),
        ({}, {"gate": "recursive"}, "a backfill takes gate strict, wait or force (got 'recursive')"),
        ({}, {"skip_if_ready": True}, "a backfill takes no skip_if_ready"),
        ({}, {"plan_id": "0b9f3f52-7b1c-5d2a-9c4e-0a1b2c3d4e5f"}, "a backfill takes no plan_id"),
        ({}, {"wait_until": "2026-01-01T00:00:00Z"}, "a backfill takes no wait_until"),
        ({}, {"parameters": {"data_date": "2024-01-02"}}, "parameters name data_date, which a backfill gives"),
        ({"parameter": "day"}, {"parameters": {"day_end": "x"}}, "parameters name day_end, which a backfill gives"),
    ],
)  # fmt: skip
def test_what_means_nothing_for_a_range_is_refused_by_name(
    backfill: dict[str, Any], fields: dict[str, Any], reason: str
) -> None:
    read = submission(backfill, **fields)
    assert isinstance(read, InvalidSubmission)
    assert reason in read.reason


def test_a_submission_without_a_range_keeps_the_digest_that_it_had_before_there_were_ranges() -> None:
    """Digests are stored: the same command again, after an upgrade, must not be another one."""
    plain = SubmitRun(tenant="acme", instance="prices", command_id="1")
    assert plain.digest == "88b78fa5087bfe2a89767fd0cb36a4a32e90b27c94ae9c53f4a6a8a66743784e"
    asked = submission()
    assert asked.digest != plain.digest
    assert asked.digest == submission({"max_open": 1, "order": "oldest_first"}).digest
    assert asked.digest != submission({"max_open": 2}).digest
