"""What a flow does by itself: when it runs, and when it runs once more. Whether it makes sense is lineage's to say, so
that a wrong one is answered by name.
"""

from datetime import timedelta
from typing import Annotated
from uuid import UUID

from pydantic import Field

from runtide_schemas.message import Count, JsonObject, Part, Text, Time
from runtide_schemas.vocabulary import Gate, Missed

ShortText = Annotated[Text, Field(min_length=1, max_length=200)]
Span = Annotated[timedelta, Field(gt=timedelta(0), le=timedelta(days=366))]
"""How long something lasts; on the wire an ISO 8601 duration: `PT2H`, `P1D`."""
ClockText = Annotated[str, Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]
"""`HH:MM` on the clocks of a time zone."""


class ScheduleSpec(Part):
    """One of: `cron`, five fields on the clocks of `timezone`; `interval`, counted from `anchor` in elapsed time;
    `sessions` of a calendar (or `weekdays`), `days_later` calendar days after each, at `at` on those clocks.

    Each instant is one request, with this `gate`; `missed` says what becomes of those that nobody was there for.
    `parameters` are given to each run, and under the name `parameter` its date.
    """

    cron: ShortText | None = None
    interval: Span | None = None
    anchor: Time | None = None
    sessions: ShortText | None = None
    at: ClockText | None = None
    days_later: Annotated[int, Field(ge=0, le=31)] = 0
    timezone: ShortText | None = None
    gate: Gate = Gate.WAIT
    skip_if_ready: bool = False
    missed: Missed = Missed.RUN_ONCE
    parameter: ShortText | None = None
    parameters: JsonObject = Field(default={})


class RetrySpec(Part):
    """At most `max` further runs after one that failed for a reason in `on`: `failed`, `timed_out`, `infrastructure`,
    `lost`, or `error:` and the type of its error. The first comes `backoff` after the failure, each next one after
    twice as long, never longer than `backoff_max`.
    """

    max: Annotated[int, Field(ge=1, le=20)]
    backoff: Span = timedelta(minutes=1)
    backoff_max: Span = timedelta(hours=1)
    on: Annotated[list[ShortText], Field(min_length=1, max_length=20)] = Field(
        default=["failed", "timed_out", "infrastructure"]
    )


class Retry(Part):
    """A run that does another one over: the `number`th of at most `max` after the first, because `run_id` ended so
    (`reason`), and not before that time.
    """

    run_id: UUID
    first_run_id: UUID
    number: Count
    max: Count
    not_before: Time
    reason: Text
