"""A range of data dates as children of one request: which dates, how many at once, and when the whole is over. Pure.

The fact not to break: what comes next is answered from where the dates stand now, never from what has just happened;
so an end that is told twice, late or in another order changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from typing import Any, NamedTuple
from uuid import UUID

from runtide_schemas.vocabulary import BackfillOrder, BackfillStep, Code, Mode, OnFailure, RunStatus

from services.lineage.domain.calendar import EVERY_DAY, Calendar, Days

_DAY = timedelta(days=1)
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Range:
    """What was asked for. `step` None: as the instance's date rule counts. `mode` is that of every child."""

    start: date
    end: date
    step: BackfillStep | None = None
    max_open: int = 1
    order: BackfillOrder = BackfillOrder.OLDEST_FIRST
    parameter: str = "data_date"
    on_failure: OnFailure = OnFailure.STOP
    mode: Mode = Mode.INCREMENTAL


class Piece(NamedTuple):
    """What one child covers, both days included; of a session or day they are the same."""

    first: date
    last: date

    def __str__(self) -> str:
        return f"{self.first}" if self.first == self.last else f"{self.first} to {self.last}"

    def command_id(self, parent: UUID) -> str:
        """The same whenever it is asked for: a child is submitted once."""
        return f"backfill/{parent}/{self.first}"

    def parameters(self, of: Range, step: BackfillStep) -> dict[str, Any]:
        """What the child is told beyond the parent's parameters."""
        said = {of.parameter: self.first.isoformat()}
        if step in (BackfillStep.WEEK, BackfillStep.MONTH):
            said[f"{of.parameter}_end"] = self.last.isoformat()
        return said


@dataclass(frozen=True, slots=True)
class Standing:
    """Where the dates of a backfill stand, in numbers. `failed_at`: the first of those that failed."""

    total: int
    done: int = 0
    failed: int = 0
    cancelled: int = 0
    open: int = 0
    failed_at: tuple[date, ...] = ()

    @property
    def waiting(self) -> int:
        """Not begun."""
        return self.total - self.done - self.failed - self.cancelled - self.open


@dataclass(frozen=True, slots=True)
class Halt:
    """Why nothing more can be begun, whatever was asked for."""

    code: Code
    why: str


@dataclass(frozen=True, slots=True)
class Move:
    """What happens next: so many more are begun, or the whole is over. `code`: over, and not every date is done."""

    begins: int
    goes_on: bool
    is_over: bool
    code: Code | None
    message: str


class DateState(StrEnum):
    """Where one date stands. `waiting`: not begun; `failed`: its child ended without a run that completed, and not by a
    cancel.
    """

    WAITING = "waiting"
    OPEN = "open"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


def state_after(ended_as: str | None) -> DateState:
    """What the end of its child, a run's or a request's, makes of a date."""
    match ended_as:
        case RunStatus.COMPLETED.value:
            return DateState.DONE
        case RunStatus.CANCELLED.value:
            return DateState.CANCELLED
        case _:
            return DateState.FAILED


def pieces(asked: Range, step: BackfillStep, days: Days, *, newest: date, most: int) -> tuple[Piece, ...] | str:
    """The range cut into what each child covers, in the order asked for; or why it can not be. `days` count as
    sessions; `newest` is the last data date that there can be.
    """
    if asked.end > newest:
        return f"{asked.end} lies after {newest}, the newest data date that can be expected now"
    counted = days if step is BackfillStep.SESSION else EVERY_DAY
    for day in (asked.start, asked.end):
        if not counted.knows(day):
            return _outside(counted, day)
    found: list[Piece] = []
    for piece in _cut(asked, step, counted):
        if len(found) == most:
            return f"{asked.start} to {asked.end} has more than {most} dates, which is the most of one backfill"
        found.append(piece)
    if not found:
        return f"{asked.start} to {asked.end} is empty: no {step.value} lies in it"
    return tuple(found if asked.order is BackfillOrder.OLDEST_FIRST else reversed(found))


def _cut(asked: Range, step: BackfillStep, days: Days) -> Iterator[Piece]:
    """Oldest first; weeks begin on Monday, and the first and last are cut off at the range."""
    if step in (BackfillStep.SESSION, BackfillStep.DAY):
        for rank in range(days.rank(asked.start), days.rank(asked.end) + 1):
            day = days.at(rank)
            if day is not None and day >= asked.start:
                yield Piece(day, day)
        return
    first = asked.start
    while first <= asked.end:
        last = min(_end_of(first, step), asked.end)
        yield Piece(first, last)
        first = last + _DAY


def _end_of(day: date, step: BackfillStep) -> date:
    if step is BackfillStep.WEEK:
        return day + timedelta(days=6 - day.weekday())
    return (day.replace(day=28) + timedelta(days=4)).replace(day=1) - _DAY


def _outside(days: Days, day: date) -> str:
    if not isinstance(days, Calendar):
        return f"{day} lies outside of all time"
    return f"{day} lies outside of calendar {days.code}, which is known from {days.first} to {days.last}"


def move(asked: Range, standing: Standing, *, at_most: int, halted: Halt | None = None) -> Move:
    """What the backfill does next. `at_most`: how many runs of its flow may be open at once."""
    fell_short = standing.failed + standing.cancelled
    stops = halted is not None or (asked.on_failure is OnFailure.STOP and fell_short > 0)
    room = 0 if stops else max(0, min(asked.max_open, at_most) - standing.open)
    begins = min(room, standing.waiting)
    goes_on = not stops and standing.waiting > begins
    is_over = standing.open == 0 and begins == 0 and not goes_on
    code = None
    if is_over and standing.done < standing.total:
        code = halted.code if halted else Code.BACKFILL_INCOMPLETE
    return Move(begins, goes_on, is_over, code, said(standing, begins=begins, stops=stops, halted=halted))


def said(standing: Standing, *, begins: int = 0, stops: bool = False, halted: Halt | None = None) -> str:
    """`12 of 60 done, 2 open, 1 failed (2024-01-05)`, and what became of the rest."""
    numbers = [f"{standing.done} of {standing.total} done"]
    if standing.open + begins:
        numbers.append(f"{standing.open + begins} open")
    if standing.failed:
        dates = ", ".join(map(str, standing.failed_at[:_SHOWN]))
        numbers.append(f"{standing.failed} failed ({dates}{', …' if standing.failed > _SHOWN else ''})")
    if standing.cancelled:
        numbers.append(f"{standing.cancelled} cancelled")
    if stops and standing.waiting:
        numbers.append(f"{standing.waiting} not begun")
    text = ", ".join(numbers)
    return f"{text}: {halted.why}" if halted else text
