"""Is the data of a flow late, and may it be? The clock's part of freshness: rules 4 and 6.

Only the main flow of an instance has a date rule, and a delayed source is its source. Staleness by date does not
travel: it closes the gate below, and each flow has its own rule.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime

from runtide_schemas.vocabulary import FlowStatus

from services.lineage.domain.calendar import Calendar, moved
from services.lineage.domain.dates import Expected, expected_at, lag_of, rule_of
from services.lineage.domain.world import Delay, Flow, Instance


@dataclass(frozen=True, slots=True)
class Lateness:
    """`stale`: why rule 6 holds, `delayed`: why rule 4 does; None if not. `next_due_at`: the next instant at which any
    of this may be another, None: the clock changes nothing. `delay_is_over`: the delay need not be kept.
    """

    expected: date | None = None
    next_due_at: datetime | None = None
    stale: str | None = None
    delayed: str | None = None
    delay_is_over: bool = False


_NO_CLOCK = Lateness()


def lateness(instance: Instance, flow: Flow, calendars: Mapping[str, Calendar] | None, now: datetime) -> Lateness:
    """How late the flow is at this instant."""
    has_clock = instance.update_frequency is not None or instance.delay is not None
    if not has_clock or instance.retired_at is not None or flow.kind is not instance.main_kind:
        return _NO_CLOCK
    expected = Expected()
    if instance.update_frequency is not None:
        rule = rule_of(instance.update_frequency)
        expected = expected_at(rule, (calendars or {}).get(rule.calendar or ""), now)
    stale, delay = _stale(expected, flow.last_data_date), instance.delay
    if delay is None:
        return Lateness(expected.day, expected.changes_at, stale)
    by_date = expected.day is not None or expected.doubt is not None
    caught_up = stale is None if by_date else flow.version is not None and flow.version.ended_at > delay.since
    over = now >= delay.until if delay.until else caught_up and (not by_date or _is_newer(flow, delay))
    ends_at = delay.until if delay.until and delay.until > now else None
    return Lateness(
        expected=expected.day,
        next_due_at=min((at for at in (expected.changes_at, ends_at) if at is not None), default=None),
        stale=stale,
        delayed=None if over or caught_up else _said(delay),
        delay_is_over=over,
    )


def sessions_late(instance: Instance, flow: Flow, calendars: Mapping[str, Calendar] | None) -> int | None:
    """How many sessions the data is behind its threshold; None where it is not late, not by date only, or nobody knows
    how much.
    """
    by_date = flow.status in (FlowStatus.STALE, FlowStatus.STALE_SOURCE_DELAYED) and flow.stale_by_version is None
    expected, last = flow.expected_data_date, flow.last_data_date
    if not by_date or instance.update_frequency is None or expected is None or last is None:
        return None
    rule = rule_of(instance.update_frequency)
    calendar = (calendars or {}).get(rule.calendar or "")
    threshold = moved(rule.days(calendar), expected, -rule.grace)
    return None if threshold is None else lag_of(rule, calendar, last, threshold)


def _stale(expected: Expected, last_data_date: date | None) -> str | None:
    if expected.doubt is not None:
        return expected.doubt
    if last_data_date is None or expected.threshold is None or last_data_date >= expected.threshold:
        return None
    least = f", at least {expected.threshold}" if expected.threshold != expected.day else ""
    return f"its data goes to {last_data_date}; expected is {expected.day}{least}"


def _is_newer(flow: Flow, delay: Delay) -> bool:
    """Data came since the delay was announced; before that it had only not fallen due."""
    date = flow.last_data_date
    return date is not None and (delay.data_date is None or date > delay.data_date)


def _said(delay: Delay) -> str:
    until = f" until {delay.until:%Y-%m-%d %H:%M}Z" if delay.until else ""
    return f"its source is delayed{until}{f': {delay.reason}' if delay.reason else ''}"
