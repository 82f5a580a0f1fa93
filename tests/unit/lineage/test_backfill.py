"""A backfill: which dates, how many at once, in which order, and when the whole is over."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from runtide_schemas.vocabulary import BackfillOrder, BackfillStep, Code, OnFailure, RequestStatus, RunStatus

from services.lineage.domain import backfill
from services.lineage.domain.backfill import DateState, Halt, Piece, Range, Standing
from services.lineage.domain.calendar import EVERY_DAY, WEEKDAYS, Calendar

PARENT = UUID(int=7)
NEWEST = date(2026, 1, 2)
SESSION, DAY, WEEK, MONTH = BackfillStep.SESSION, BackfillStep.DAY, BackfillStep.WEEK, BackfillStep.MONTH


def asked(start: str, end: str, **fields: object) -> Range:
    return Range(date.fromisoformat(start), date.fromisoformat(end), **fields)  # type: ignore[arg-type]


def dates(found: tuple[Piece, ...] | str) -> list[str]:
    assert not isinstance(found, str), found
    return [str(piece) for piece in found]


def cut(of: Range, step: BackfillStep, days: object = WEEKDAYS, most: int = 1000) -> tuple[Piece, ...] | str:
    return backfill.pieces(of, step, days, newest=NEWEST, most=most)  # type: ignore[arg-type]


def test_days_are_every_day_and_sessions_only_those_of_the_calendar() -> None:
    over_a_weekend = asked("2025-01-10", "2025-01-13")
    assert dates(cut(over_a_weekend, DAY)) == ["2025-01-10", "2025-01-11", "2025-01-12", "2025-01-13"]
    assert dates(cut(over_a_weekend, SESSION)) == ["2025-01-10", "2025-01-13"]
    closed_on_the_ninth = Calendar(
        "XNYS", "America/New_York", date(2025, 1, 1), date(2025, 1, 31), (date(2025, 1, 8), date(2025, 1, 10))
    )
    assert dates(cut(asked("2025-01-08", "2025-01-12"), SESSION, closed_on_the_ninth)) == ["2025-01-08", "2025-01-10"]


def test_newest_first_is_the_same_dates_the_other_way_round() -> None:
    of = asked("2025-01-10", "2025-01-14")
    backwards = replace(of, order=BackfillOrder.NEWEST_FIRST)
    assert dates(cut(backwards, SESSION)) == dates(cut(of, SESSION))[::-1]


def test_weeks_begin_on_monday_and_months_on_the_first_cut_off_at_the_range() -> None:
    assert dates(cut(asked("2025-01-08", "2025-01-21"), WEEK)) == [
        "2025-01-08 to 2025-01-12", "2025-01-13 to 2025-01-19", "2025-01-20 to 2025-01-21",
    ]  # fmt: skip
    assert dates(cut(asked("2024-01-31", "2024-03-01"), MONTH)) == [
        "2024-01-31",
        "2024-02-01 to 2024-02-29",
        "2024-03-01",
    ]


def test_a_week_or_month_tells_both_of_its_ends_and_a_day_one() -> None:
    piece, of = Piece(date(2025, 1, 6), date(2025, 1, 12)), asked("2025-01-06", "2025-01-12", parameter="day")
    assert piece.parameters(of, WEEK) == {"day": "2025-01-06", "day_end": "2025-01-12"}
    assert Piece(piece.first, piece.first).parameters(of, SESSION) == {"day": "2025-01-06"}
    assert piece.command_id(PARENT) == f"backfill/{PARENT}/2025-01-06"


@pytest.mark.parametrize(
    ("of", "step", "says"),
    [
        (asked("2025-01-11", "2025-01-12"), SESSION, "2025-01-11 to 2025-01-12 is empty: no session lies in it"),
        (asked("2026-01-02", "2026-01-03"), DAY, "2026-01-03 lies after 2026-01-02, the newest data date"),
        (asked("2025-01-01", "2025-01-10"), DAY, "has more than 5 dates, which is the most of one backfill"),
    ],
)
def test_a_range_that_can_not_be_is_refused_by_name(of: Range, step: BackfillStep, says: str) -> None:
    found = cut(of, step, most=5)
    assert isinstance(found, str)
    assert says in found


@pytest.mark.parametrize(("start", "end"), [("2024-12-31", "2025-01-08"), ("2025-01-08", "2025-02-03")])
def test_what_lies_beyond_the_calendars_horizon_is_refused_with_the_horizon(start: str, end: str) -> None:
    calendar = Calendar("XNYS", "America/New_York", date(2025, 1, 1), date(2025, 1, 31), (date(2025, 1, 8),))
    found = cut(asked(start, end), SESSION, calendar)
    assert isinstance(found, str)
    assert "lies outside of calendar XNYS, which is known from 2025-01-01 to 2025-01-31" in found
    assert not isinstance(cut(asked(start, end), DAY, calendar), str)  # days need no calendar


@given(
    st.dates(date(2000, 1, 1), NEWEST), st.integers(0, 800), st.sampled_from(list(BackfillStep)),
    st.sampled_from(list(BackfillOrder)), st.sampled_from([EVERY_DAY, WEEKDAYS]),
)  # fmt: skip
def test_pieces_are_in_order_do_not_overlap_and_leave_out_only_days_that_do_not_count(
    start: date, length: int, step: BackfillStep, order: BackfillOrder, days: object
) -> None:
    of = Range(start, min(start + timedelta(days=length), NEWEST), order=order)
    found = cut(of, step, days)
    if isinstance(found, str):
        assert step is SESSION
        return
    oldest_first = found if order is BackfillOrder.OLDEST_FIRST else found[::-1]
    covered = [p.first + timedelta(days=n) for p in oldest_first for n in range((p.last - p.first).days + 1)]
    every = [of.start + timedelta(days=n) for n in range((of.end - of.start).days + 1)]
    weekdays_only = step is SESSION and days is WEEKDAYS
    assert covered == [day for day in every if not weekdays_only or day.weekday() < 5]
    assert len({p.command_id(PARENT) for p in found}) == len(found)


def test_as_many_are_begun_as_there_is_room_for_and_never_more_than_the_flow_may_have_open() -> None:
    of, standing = asked("2025-01-01", "2025-01-31", max_open=4), Standing(total=10, done=1, open=1)
    assert backfill.move(of, standing, at_most=10).begins == 3
    assert backfill.move(of, standing, at_most=2).begins == 1
    assert backfill.move(of, standing, at_most=1).begins == 0
    assert backfill.move(of, Standing(total=10, done=8, open=1), at_most=10).begins == 1


def test_a_failure_stops_it_or_not_as_asked_and_open_ones_finish_first() -> None:
    standing = Standing(total=60, done=12, failed=1, open=2, failed_at=(date(2025, 1, 20),))
    stopping = backfill.move(asked("2025-01-01", "2025-03-01", max_open=9), standing, at_most=9)
    assert (stopping.begins, stopping.goes_on, stopping.is_over) == (0, False, False)
    assert stopping.message == "12 of 60 done, 2 open, 1 failed (2025-01-20), 45 not begun"
    going = asked("2025-01-01", "2025-03-01", max_open=9, on_failure=OnFailure.CONTINUE)
    assert backfill.move(going, standing, at_most=9).begins == 7
    over = backfill.move(asked("2025-01-01", "2025-03-01"), replace(standing, open=0), at_most=9)
    assert (over.is_over, over.code) == (True, Code.BACKFILL_INCOMPLETE)


def test_a_cancelled_date_is_a_hole_as_a_failed_one_is() -> None:
    over = backfill.move(asked("2025-01-01", "2025-03-01"), Standing(total=2, done=1, cancelled=1), at_most=1)
    assert (over.is_over, over.code) == (True, Code.BACKFILL_INCOMPLETE)
    assert over.message == "1 of 2 done, 1 cancelled"


def test_when_nothing_can_be_begun_any_more_it_is_over_for_that_reason() -> None:
    halted = Halt(Code.INSTANCE_RETIRED, "prices is retired")
    of = asked("2025-01-01", "2025-03-01", on_failure=OnFailure.CONTINUE)
    assert not backfill.move(of, Standing(total=9, done=3, open=1), at_most=0, halted=halted).is_over
    over = backfill.move(of, Standing(total=9, done=4), at_most=0, halted=halted)
    assert (over.is_over, over.code) == (True, Code.INSTANCE_RETIRED)
    assert over.message == "4 of 9 done, 5 not begun: prices is retired"


def test_all_done_is_over_without_a_code() -> None:
    over = backfill.move(asked("2025-01-01", "2025-03-01"), Standing(total=3, done=3), at_most=1)
    assert (over.begins, over.is_over, over.code, over.message) == (0, True, None, "3 of 3 done")


@pytest.mark.parametrize(
    ("end", "state"),
    [
        (RunStatus.COMPLETED, DateState.DONE), (RunStatus.FAILED, DateState.FAILED),
        (RunStatus.CANCELLED, DateState.CANCELLED), (RequestStatus.CANCELLED, DateState.CANCELLED),
        (RequestStatus.REFUSED, DateState.FAILED), (RequestStatus.EXPIRED, DateState.FAILED),
        (RequestStatus.LAUNCH_FAILED, DateState.FAILED), (None, DateState.FAILED),
    ],
)  # fmt: skip
def test_a_date_is_done_only_by_a_run_that_completed(end: str | None, state: DateState) -> None:
    assert backfill.state_after(end) is state


@given(st.data(), st.integers(1, 30), st.integers(1, 8), st.integers(1, 8), st.sampled_from(list(OnFailure)))
def test_whatever_the_children_do_each_date_is_begun_once_in_order_and_the_whole_ends(
    data: st.DataObject, total: int, max_open: int, at_most: int, on_failure: OnFailure
) -> None:
    of = Range(date(2025, 1, 1), NEWEST, max_open=max_open, on_failure=on_failure)
    states = [DateState.WAITING] * total
    begun: list[int] = []
    while True:
        move = backfill.move(of, _standing(states), at_most=at_most)
        for place in [place for place, state in enumerate(states) if state is DateState.WAITING][: move.begins]:
            states[place] = DateState.OPEN
            begun.append(place)
        open_ones = [place for place, state in enumerate(states) if state is DateState.OPEN]
        assert len(open_ones) <= min(max_open, at_most)
        if move.is_over:
            break
        assert open_ones, "nothing is open, nothing begins, and it is not over: it stands for ever"
        ended = data.draw(st.sampled_from(open_ones))
        states[ended] = data.draw(st.sampled_from([DateState.DONE] * 6 + [DateState.FAILED, DateState.CANCELLED]))
    assert begun == sorted(set(begun))
    assert DateState.OPEN not in states
    assert (move.code is None) == (set(states) == {DateState.DONE})
    if on_failure is OnFailure.CONTINUE or move.code is None:
        assert DateState.WAITING not in states


def test_control_a_failure_that_is_not_looked_at_lets_the_next_date_begin() -> None:
    """What `stop` is for: the same numbers without the failure begin another date."""
    of, standing = asked("2025-01-01", "2025-03-01"), Standing(total=9, done=3, failed=1)
    assert backfill.move(of, standing, at_most=1).begins == 0
    assert backfill.move(of, replace(standing, failed=0), at_most=1).begins == 1


def _standing(states: list[DateState]) -> Standing:
    return Standing(
        total=len(states),
        done=states.count(DateState.DONE),
        failed=states.count(DateState.FAILED),
        cancelled=states.count(DateState.CANCELLED),
        open=states.count(DateState.OPEN),
    )
