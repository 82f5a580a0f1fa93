"""A backfill: one request for a range of data dates, which becomes one child request per date."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from runtide_schemas.message import Count, Day, Part
from runtide_schemas.vocabulary import BackfillOrder, BackfillStep, OnFailure

MOST_OPEN = 100
PARAMETER_PATTERN = r"^[A-Za-z_][A-Za-z0-9_]{0,59}$"


class Backfill(Part):
    """The dates from `start` to `end`, both included. `step` None: sessions where the instance's date rule counts in
    them, else days. Each child gets its date as `parameter`; of a week or month, cut off at the range, that is the
    first day, and `<parameter>_end` the last.
    """

    start: Day
    end: Day
    step: BackfillStep | None = None
    max_open: int = Field(default=1, ge=1, le=MOST_OPEN)
    order: BackfillOrder = BackfillOrder.OLDEST_FIRST
    parameter: Annotated[str, Field(pattern=PARAMETER_PATTERN)] = "data_date"
    on_failure: OnFailure = OnFailure.STOP

    @property
    def end_parameter(self) -> str:
        return f"{self.parameter}_end"

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.end < self.start:
            raise ValueError(f"end {self.end} is before start {self.start}")
        return self


class Progress(Part):
    """How far a backfill is, in dates. `failed`: ended without success, and not by a cancel; `next`: the date that is
    begun next, None where all have been begun or none will be.
    """

    total: Count
    done: Count = 0
    failed: Count = 0
    cancelled: Count = 0
    open: Count = 0
    next: Day | None = None
