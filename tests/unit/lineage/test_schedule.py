"""When a flow runs by itself: named dates, both changes of clocks, closures and horizons, and what is missed."""

import json
from datetime import UTC, date, datetime, timedelta
from itertools import islice, pairwise
from typing import Any

import pytest
from runtide_schemas.vocabulary import Gate

from services.lineage.domain.schedule import (
    Planned,
    Schedule,
    doubt,
    instants,
    parameters_of,
    schedule_of,
    turn,
    wrong,
)
from tests.unit.lineage.sessions import XNYS, closed

NEW_YORK = "America/New_York"
CALENDARS = {"XNYS": closed(XNYS, "2025-01-09")}


def said(**fields: Any) -> Schedule:
    return schedule_of(json.dumps(fields))


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"{text}+00:00")


def following(schedule: Schedule, after: str, count: int = 3) -> list[str]:
    found = islice(instants(schedule, CALENDARS, at(after)), count)
    return [f"{one.at.astimezone(UTC):%m-%d %H:%M}" for one in found]


EACH_SESSION = said(sessions="XNYS", at="18:05", timezone=NEW_YORK)
HOURLY = said(interval=3600)


def test_each_session_of_xnys_at_1805_new_york() -> None:
    assert following(EACH_SESSION, "2025-01-08 12:00") == ["01-08 23:05", "01-10 23:05", "01-13 23:05"]  # 01-09 closed


def test_the_run_of_a_session_is_about_that_session_also_days_later() -> None:
    later = said(sessions="XNYS", at="06:00", days_later=1, parameter="data_date", parameters={"full": True})
    friday = next(instants(later, CALENDARS, at("2025-01-10 12:00")))
    assert friday == Planned(at("2025-01-11 11:00"), date(2025, 1, 10))
    assert parameters_of(later, friday) == {"full": True, "data_date": "2025-01-10"}
    assert parameters_of(EACH_SESSION, friday) == {}


def test_weekdays_are_monday_to_friday_whatever_the_market_does() -> None:
    schedule = said(sessions="weekdays", at="07:00", timezone="UTC")
    assert following(schedule, "2025-01-09 06:00") == ["01-09 07:00", "01-10 07:00", "01-13 07:00"]


def test_an_instant_is_later_than_what_is_asked() -> None:
    for schedule, first in ((EACH_SESSION, "2025-01-08 23:05"), (HOURLY, "2025-01-08 10:00")):
        assert next(instants(schedule, CALENDARS, at(first))).at > at(first)


@pytest.mark.parametrize(
    ("fields", "after", "expected"),
    [
        ({"cron": "30 2 * * *"}, "2025-03-09 05:00", ["03-09 07:00", "03-10 06:30"]),
        ({"sessions": "weekdays", "at": "02:30", "days_later": 2}, "2025-03-09 05:00", ["03-09 07:00", "03-12 06:30"]),
        ({"cron": "30 1 * * *"}, "2025-11-02 03:00", ["11-02 05:30", "11-03 06:30"]),
        ({"sessions": "weekdays", "at": "01:30", "days_later": 2}, "2025-11-02 03:00", ["11-02 05:30", "11-05 06:30"]),
        ({"interval": 3600}, "2025-03-09 05:30", ["03-09 06:00", "03-09 07:00"]),
        ({"cron": "0 * * * *"}, "2025-11-02 04:30", ["11-02 05:00", "11-02 06:00"]),
    ],
)
def test_a_time_that_is_left_out_comes_at_the_next_one_that_exists_and_one_that_comes_twice_counts_once(
    fields: dict[str, Any], after: str, expected: list[str]
) -> None:
    zone = {} if "interval" in fields else {"timezone": NEW_YORK}
    assert following(said(**fields, **zone), after, 2) == expected


def test_an_interval_is_counted_from_its_anchor_before_and_after_it() -> None:
    schedule = said(interval=5400, anchor="2025-01-08T10:15:00+00:00")
    assert following(schedule, "2025-01-08 08:00", 3) == ["01-08 08:45", "01-08 10:15", "01-08 11:45"]


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({}, "a schedule names one of cron, interval, sessions; got none of them"),
        ({"cron": "* * * * *", "interval": 60}, "got cron and interval"),
        ({"cron": "61 * * * *"}, "cron '61 * * * *': minute is '61'; allowed: 0-59, with * , - and /"),
        ({"cron": "0 24 * * *"}, "hour is '24'; allowed: 0-23"),
        ({"cron": "0 0 0 * *"}, "day-of-month is '0'; allowed: 1-31 or L"),
        ({"cron": "0 0 30 2 *"}, "day-of-month is '30'; allowed: 1-31 or L, on days that its months have"),
        ({"cron": "0 0 * FOO *"}, "month is 'FOO'; allowed: 1-12 or JAN-DEC"),
        ({"cron": "0 0 * * 8"}, "day-of-week is '8'; allowed: 0-7 or SUN-SAT"),
        ({"cron": "0 0 * *"}, "has 4 fields; allowed: five (minute, hour, day-of-month, month, day-of-week)"),
        ({"cron": "0 0 * * * *"}, "has 6 fields"),
        ({"cron": "@daily"}, "has 1 fields"),
        ({"cron": "0 0 * * *", "timezone": "America/NewYork"}, "'America/NewYork'; nearest: America/New_York"),
        ({"cron": "0 0 * * *", "at": "18:00"}, "at and days_later go with sessions (got cron)"),
        ({"cron": "0 0 * * *", "anchor": "2025-01-01T00:00:00+00:00"}, "anchor goes with interval (got cron)"),
        ({"interval": 59}, "interval is 0:00:59; allowed: at least 0:01:00"),
        ({"interval": 60, "timezone": "UTC"}, "an interval is elapsed time, on no clocks"),
        ({"sessions": "XNYS"}, "says when: at, as HH:MM"),
        ({"sessions": "XNYE", "at": "18:05"}, "'XNYE' is not known; nearest: XNYS; run: runtide calendars sync XNYE"),
        ({"sessions": "weekday", "at": "18:05"}, "nearest: weekdays"),
        ({"cron": "0 0 * * *", "parameter": "day", "parameters": {"day": 1}}, "gives its date as 'day'"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(fields: dict[str, Any], sentence: str) -> None:
    fault = wrong(said(**fields), CALENDARS)
    assert fault is not None
    assert sentence in fault


@pytest.mark.parametrize(
    "fields",
    [{"cron": "5 18 * * MON-FRI", "timezone": NEW_YORK}, {"cron": "0 6 L * *"}, {"interval": 60},
     {"sessions": "XNYS", "at": "18:05"}, {"sessions": "weekdays", "at": "00:00", "gate": "recursive"}],
)  # fmt: skip
def test_what_makes_sense_is_kept(fields: dict[str, Any]) -> None:
    assert wrong(said(**fields), CALENDARS) is None


def test_what_is_not_said_waits_and_makes_up_for_what_was_missed() -> None:
    assert (EACH_SESSION.gate, EACH_SESSION.missed.value, EACH_SESSION.skip_if_ready) == (Gate.WAIT, "run_once", False)


def test_beyond_the_horizon_there_is_doubt_with_the_command_to_run() -> None:
    end = datetime.combine(XNYS.last, datetime.max.time(), UTC)
    assert doubt(EACH_SESSION, CALENDARS, end - timedelta(days=30)) is None
    assert doubt(EACH_SESSION, CALENDARS, end) == f"calendar XNYS ends on {XNYS.last}; run: runtide calendars sync XNYS"
    assert doubt(EACH_SESSION, {}, end) == "calendar XNYS is not known; run: runtide calendars sync XNYS"


def test_on_time_the_instant_runs_and_the_next_one_is_waited_for() -> None:
    now = at("2025-01-08 23:05")
    found = turn(EACH_SESSION, CALENDARS, now, now + timedelta(seconds=2))
    assert found.run == Planned(now, date(2025, 1, 8))
    assert found.next is not None
    assert (found.missed, found.next.day) == (None, date(2025, 1, 10))


@pytest.mark.parametrize(("missed", "ran"), [("run_once", True), ("skip", False)])
def test_of_what_was_missed_the_newest_is_run_once_or_none(missed: str, ran: bool) -> None:
    schedule = said(interval=3600, missed=missed)
    found = turn(schedule, None, at("2025-01-08 10:00"), at("2025-01-09 14:20"))
    newest = Planned(at("2025-01-09 14:00"), date(2025, 1, 9))
    assert (found.run, found.missed) == ((newest, None) if ran else (None, newest))
    assert found.next == Planned(at("2025-01-09 15:00"), date(2025, 1, 9))


def test_a_little_late_is_not_missed() -> None:
    schedule = said(interval=3600, missed="skip")
    newest = Planned(at("2025-01-09 14:00"), date(2025, 1, 9))
    assert turn(schedule, None, at("2025-01-08 10:00"), at("2025-01-09 14:05")).run == newest
    assert turn(schedule, None, at("2025-01-08 10:00"), at("2025-01-09 14:06")).missed == newest


def test_an_instant_that_a_closure_took_away_does_not_run() -> None:
    planned = at("2025-01-09 23:05")  # a session when it was planned, a one-off closure since
    found = turn(EACH_SESSION, CALENDARS, planned, planned + timedelta(seconds=1))
    assert (found.run, found.missed) == (None, None)
    assert found.next is not None
    assert found.next.day == date(2025, 1, 10)


def test_nothing_runs_before_its_time() -> None:
    found = turn(HOURLY, None, at("2025-01-08 10:00"), at("2025-01-08 09:30"))
    assert (found.run, found.next) == (None, Planned(at("2025-01-08 10:00"), date(2025, 1, 8)))


@pytest.mark.parametrize("fields", [{"cron": "*/10 * * * *"}, {"cron": "30 2 * * 7"}, {"interval": 420},
                                    {"sessions": "XNYS", "at": "02:30"}])  # fmt: skip
def test_whenever_it_is_asked_the_instants_are_the_same(fields: dict[str, Any]) -> None:
    """Asking from any time between two of them gives the later one; a turn at any time runs the earlier one."""
    schedule = said(**fields, **({} if "interval" in fields else {"timezone": NEW_YORK}))
    begin = at("2025-03-07 00:00")
    found = list(islice(instants(schedule, CALENDARS, begin), 60))
    for earlier, later in pairwise(found):
        between = earlier.at + (later.at - earlier.at) / 3
        assert next(instants(schedule, CALENDARS, between)) == later
        assert turn(schedule, CALENDARS, found[0].at, between).run == earlier


def test_years_of_minutes_are_passed_over_quickly() -> None:
    found = turn(said(cron="* * * * *"), None, at("2020-01-01 00:00"), at("2025-01-08 09:30"))
    assert found.run is not None
    assert found.run.at == at("2025-01-08 09:30")
