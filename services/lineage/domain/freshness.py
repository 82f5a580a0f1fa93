"""The one answer to "is it fresh?": pure, total, and the only place where it is decided. What is stored is its cache.

The rules are asked in the order of their numbers; the first that applies answers. `running` is no rule: it is shown
over the answer while a run is open and started.
"""

from __future__ import annotations

from datetime import date
from typing import NamedTuple

from runtide_schemas.vocabulary import FlowStatus


class Evidence(NamedTuple):
    """All that the answer depends on, of one flow. `delayed`, `stale_by_version`, `stale_by_date`: why rules 4, 5 and 6
    hold, None if they do not.
    """

    has_completed: bool
    newest_end_failed: bool
    has_date_rule: bool
    last_data_date: date | None
    stale_by_version: str | None
    delayed: str | None = None
    stale_by_date: str | None = None


class Answer(NamedTuple):
    """The status, the number of the rule that gave it, and a sentence for people (none for `ready`)."""

    status: FlowStatus
    rule: int
    reason: str | None = None


def freshness(evidence: Evidence) -> Answer:
    """Rules 1 to 7, in that order."""
    if not evidence.has_completed:
        return Answer(FlowStatus.NOT_INITIALIZED, 1, "no run has completed yet")
    if evidence.newest_end_failed:
        return Answer(FlowStatus.ERROR, 2, "the newest run failed")
    if evidence.has_date_rule and evidence.last_data_date is None:
        return Answer(FlowStatus.NOT_INITIALIZED, 3, "no run has said up to which date its data goes")
    if evidence.delayed is not None:
        return Answer(FlowStatus.STALE_SOURCE_DELAYED, 4, evidence.delayed)
    if evidence.stale_by_version is not None:
        return Answer(FlowStatus.STALE, 5, evidence.stale_by_version)
    if evidence.stale_by_date is not None:
        return Answer(FlowStatus.STALE, 6, evidence.stale_by_date)
    return Answer(FlowStatus.READY, 7)
