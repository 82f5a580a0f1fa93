"""Every dated example of the design is a row here, and what must be true of any rule at any instant."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from runtide_schemas.vocabulary import Frequency

from services.lineage.domain.calendar import Calendar, between, moved, on_or_before
from services.lineage.domain.dates import DateRule, Expected, expected_at, lag_of, rule_of
from tests.unit.lineage.sessions import NEW_YORK, XNYS, closed

DAILY = DateRule(Frequency.DAILY)
BUSINESS = DateRule(Frequency.DAILY, business_days_only=True)
ON_XNYS = DateRule(Frequency.DAILY, business_days_only=True, calendar="XNYS")
AT_SIX = DateRule(Frequency.DAILY, business_days_only=True, calendar="XNYS", available_at=time(18))
MONTHLY = DateRule(Frequency.MONTHLY)
MONTHLY_ON_XNYS = DateRule(Frequency.MONTHLY, business_days_only=True, calendar="XNYS")


def day(text: str) -> date:
    return date.fromisoformat(text)


def at(text: str, zone: str = "UTC") -> datetime:
    """`2025-01-15` is its noon."""
    moment = datetime.fromisoformat(text if "T" in text else f"{text}T12:00")
    return moment.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)


def asked(rule: DateRule, now: datetime, calendar: Calendar | None = XNYS) -> Expected:
    return expected_at(rule, calendar if rule.calendar else None, now)


@pytest.mark.parametrize(
    ("rule", "now", "expected"),
    [
        (DAILY, at("2025-01-15"), "2025-01-14"),
        (BUSINESS, at("2025-01-13"), "2025-01-10"),  # Monday → Friday
        (DateRule(Frequency.WEEKLY), at("2025-01-15"), "2025-01-13"),  # Wednesday → Monday
        (DateRule(Frequency.WEEKLY), at("2025-01-13"), "2025-01-06"),  # on Monday itself: a week ago
        (MONTHLY, at("2025-01-15"), "2024-12-31"),
        (DateRule(Frequency.QUARTERLY), at("2025-02-15"), "2024-12-31"),
        (DateRule(Frequency.QUARTERLY), at("2025-04-15"), "2025-03-31"),
        (ON_XNYS, at("2025-09-02", NEW_YORK), "2025-08-29"),  # Tuesday after Labor Day
        (MONTHLY_ON_XNYS, at("2025-09-02", NEW_YORK), "2025-08-29"),  # the month ended on a Sunday
        # the rest of what the rules say
        (BUSINESS, at("2025-01-11"), "2025-01-10"),
        (DateRule(Frequency.WEEKLY, day_of_week=4), at("2025-01-15"), "2025-01-10"),
        (DateRule(Frequency.MONTHLY, day_of_month=10), at("2025-01-15"), "2025-01-10"),
        (DateRule(Frequency.MONTHLY, day_of_month=10), at("2025-01-10"), "2024-12-10"),
        (DateRule(Frequency.MONTHLY, day_of_month=31), at("2025-03-01"), "2025-02-28"),
        (DateRule(Frequency.WEEKLY, True, "XNYS", day_of_week=0), at("2025-09-03", NEW_YORK), "2025-08-29"),
        (MONTHLY, at("2025-02-28"), "2025-01-31"),  # the last day itself is not over
        (MONTHLY, at("2025-03-01"), "2025-02-28"),
        # a publication time: the same day from then on, in its own zone, also where the server's day is another
        (AT_SIX, at("2025-01-15T17:59", NEW_YORK), "2025-01-14"),
        (AT_SIX, at("2025-01-15T18:00", NEW_YORK), "2025-01-15"),
        (AT_SIX, at("2025-01-15T22:59"), "2025-01-14"),
        (AT_SIX, at("2025-01-15T23:00"), "2025-01-15"),
        (AT_SIX, at("2025-01-16T04:59"), "2025-01-15"),  # still the 15th in New York
        (DateRule(Frequency.DAILY, available_at=time(18), zone=NEW_YORK), at("2025-01-16T02:00"), "2025-01-15"),
        # T+n, in sessions or in days
        (DateRule(Frequency.DAILY, True, "XNYS", available_at=time(8), lag=1), at("2025-09-02T07:59", NEW_YORK),
         "2025-08-28"),
        (DateRule(Frequency.DAILY, True, "XNYS", available_at=time(8), lag=1), at("2025-09-02T08:00", NEW_YORK),
         "2025-08-29"),
        (DateRule(Frequency.MONTHLY, lag=10), at("2025-02-09T23:59"), "2024-12-31"),
        (DateRule(Frequency.MONTHLY, lag=10), at("2025-02-10T00:00"), "2025-01-31"),
        # the hour that summer time takes away, and the one that it gives twice
        (DateRule(Frequency.DAILY, available_at=time(2, 30), zone=NEW_YORK), at("2025-03-09T07:29"), "2025-03-08"),
        (DateRule(Frequency.DAILY, available_at=time(2, 30), zone=NEW_YORK), at("2025-03-09T07:30"), "2025-03-09"),
        (DateRule(Frequency.DAILY, available_at=time(1, 30), zone=NEW_YORK), at("2025-11-02T05:30"), "2025-11-02"),
        (AT_SIX, at("2025-03-10T21:59"), "2025-03-07"),  # Monday after the change: 18:00 is 22:00 UTC now
        (AT_SIX, at("2025-03-10T22:00"), "2025-03-10"),
    ],
)  # fmt: skip
def test_the_expected_data_date(rule: DateRule, now: datetime, expected: str) -> None:
    answer = asked(rule, now)
    assert (answer.day, answer.doubt) == (day(expected), None)


@pytest.mark.parametrize(
    ("rule", "now", "fresh", "stale"),
    [
        (DateRule(Frequency.DAILY, grace=2), at("2025-01-15"), "2025-01-12", "2025-01-11"),
        (DateRule(Frequency.DAILY, True, "XNYS", grace=1, available_at=time(18)), at("2025-09-02T18:00", NEW_YORK),
         "2025-08-29", "2025-08-28"),  # Friday's data is one session late on Tuesday
        (DateRule(Frequency.DAILY, True, grace=2), at("2025-01-14"), "2025-01-09", "2025-01-08"),
        (DAILY, at("2025-01-15"), "2025-01-14", "2025-01-13"),
    ],
)  # fmt: skip
def test_the_threshold_itself_is_fresh(rule: DateRule, now: datetime, fresh: str, stale: str) -> None:
    threshold = asked(rule, now).threshold
    assert threshold is not None
    assert day(stale) < threshold <= day(fresh)


def test_a_one_off_closure_is_no_session() -> None:
    mourning = closed(XNYS, "2025-01-09")
    morning_after = at("2025-01-10T09:00", NEW_YORK)
    assert asked(ON_XNYS, morning_after).day == day("2025-01-09")
    assert asked(ON_XNYS, morning_after, mourning).day == day("2025-01-08")


def test_irregular_data_is_never_late() -> None:
    assert asked(DateRule(Frequency.IRREGULAR), at("2025-01-15")) == Expected()


@pytest.mark.parametrize(
    ("rule", "now", "says"),
    [
        (ON_XNYS, at("2026-01-01T12:00", NEW_YORK), "XNYS ends on 2025-12-31; run: runtide calendars sync XNYS"),
        (ON_XNYS, at("2023-12-31T12:00", NEW_YORK), "calendar XNYS begins on 2024-01-01"),
        (DateRule(Frequency.DAILY, True, "XNYS", grace=40), at("2024-02-01"), "calendar XNYS begins on 2024-01-01"),
        (DateRule(Frequency.DAILY, zone="America/New_Yrok"), at("2025-01-15"), "America/New_Yrok"),
    ],
)  # fmt: skip
def test_beyond_what_is_known_the_answer_is_doubt(rule: DateRule, now: datetime, says: str) -> None:
    answer = asked(rule, now)
    assert (answer.day, answer.threshold, answer.changes_at) == (None, None, None)
    assert says in str(answer.doubt)


def test_a_calendar_that_nobody_knows_is_doubt() -> None:
    assert "runtide calendars sync XNYS" in str(expected_at(ON_XNYS, None, at("2025-01-15")).doubt)


def test_days_that_are_no_sessions_need_no_horizon() -> None:
    every_day = DateRule(Frequency.DAILY, calendar="XNYS")
    assert asked(every_day, at("2031-01-15")).day == day("2031-01-14")


def test_the_horizon_is_a_change_too() -> None:
    answer = asked(AT_SIX, at("2025-12-31T18:00", NEW_YORK))
    assert answer.day == day("2025-12-31")
    assert answer.changes_at == at("2026-01-01T00:00", NEW_YORK)


@pytest.mark.parametrize(
    ("rule", "now", "changes"),
    [
        (AT_SIX, at("2025-01-15T12:00", NEW_YORK), at("2025-01-15T18:00", NEW_YORK)),
        (AT_SIX, at("2025-01-17T18:00", NEW_YORK), at("2025-01-21T18:00", NEW_YORK)),  # a long weekend
        (DAILY, at("2025-01-15"), at("2025-01-16T00:00")),
        (MONTHLY, at("2025-01-15"), at("2025-02-01T00:00")),
        (DateRule(Frequency.WEEKLY), at("2025-01-15"), at("2025-01-21T00:00")),
    ],
)
def test_the_next_change(rule: DateRule, now: datetime, changes: datetime) -> None:
    assert asked(rule, now).changes_at == changes


@pytest.mark.parametrize(("data", "behind"), [("2025-08-29", 0), ("2025-08-28", 1), ("2025-08-22", 5)])
def test_lag_is_counted_in_sessions(data: str, behind: int) -> None:
    assert lag_of(ON_XNYS, XNYS, day(data), day("2025-08-29")) == behind
    assert lag_of(DateRule(Frequency.DAILY, calendar="XNYS"), XNYS, day(data), day("2025-08-31")) == behind


def test_lag_before_the_beginning_is_not_known() -> None:
    assert lag_of(ON_XNYS, XNYS, day("1999-01-01"), day("2025-08-29")) is None


def test_a_rule_is_read_as_it_was_registered() -> None:
    said = '{"frequency": "weekly", "day_of_week": null, "available_at": "18:00", "timezone": "America/New_York"}'
    assert rule_of(said) == DateRule(Frequency.WEEKLY, available_at=time(18), zone=NEW_YORK)


rules = st.builds(
    DateRule,
    frequency=st.sampled_from([frequency for frequency in Frequency if frequency is not Frequency.IRREGULAR]),
    business_days_only=st.booleans(),
    calendar=st.sampled_from([None, "XNYS"]),
    grace=st.integers(0, 5),
    day_of_week=st.integers(0, 6),
    day_of_month=st.none() | st.integers(1, 31),
    available_at=st.none() | st.times().map(lambda at: at.replace(second=0, microsecond=0)),
    lag=st.none() | st.integers(0, 12),
    zone=st.sampled_from([None, "UTC", NEW_YORK, "Asia/Tokyo", "Pacific/Apia", "America/Santiago"]),
)
instants = st.integers(0, 333 * 24 * 60 - 1).map(lambda minutes: at("2025-01-01T00:00") + timedelta(minutes=minutes))


@settings(max_examples=300, deadline=None)
@given(rules, instants)
def test_what_is_expected_was_published(rule: DateRule, now: datetime) -> None:
    answer = asked(rule, now)
    assert answer.day is not None
    assert answer.threshold is not None
    zone = ZoneInfo(rule.zone or (NEW_YORK if rule.calendar else "UTC"))
    days = rule.days(XNYS if rule.calendar else None)
    lag_days = moved(days, answer.day, rule.lag) if rule.lag is not None else answer.day
    assert lag_days is not None
    published = datetime.combine(lag_days, rule.available_at or time(), zone)
    if rule.lag is None and rule.available_at is None:
        published += timedelta(days=1)
    assert published.astimezone(UTC) <= now
    assert on_or_before(days, answer.day) == answer.day
    assert between(days, answer.threshold, answer.day) == rule.grace


@settings(max_examples=300, deadline=None)
@given(rules, instants, instants)
def test_it_never_goes_back(rule: DateRule, one: datetime, other: datetime) -> None:
    before, after = asked(rule, min(one, other)), asked(rule, max(one, other))
    assert before.day is not None
    assert after.day is not None
    assert before.day <= after.day


@settings(max_examples=60, deadline=None)
@given(rules, instants)
def test_it_changes_exactly_when_it_says(rule: DateRule, now: datetime) -> None:
    """By brute force: every hour until then the answer is the same, and every minute of the last hour."""
    answer = asked(rule, now)
    changes_at = answer.changes_at
    assert changes_at is not None
    assert changes_at > now
    hours = int((changes_at - now) / timedelta(hours=1))
    instants_before = [now + timedelta(hours=hour) for hour in range(hours + 1)]
    instants_before += [changes_at - timedelta(minutes=minute) for minute in range(1, 60)]
    for instant in instants_before:
        if now <= instant < changes_at:
            assert asked(rule, instant) == answer
    assert asked(rule, changes_at) != answer
    assert asked(rule, changes_at - timedelta(microseconds=1)) == answer
