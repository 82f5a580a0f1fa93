"""Does a run that failed get another one, and when? The policy of a flow, asked about one failure. Pure.

A retry is a request of its own. The fact not to break: a failed run is retried at most once, and that one again at most
once, so there is one chain, and its numbers end.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from uuid import UUID

from runtide_schemas.vocabulary import Gate, Mode, SubState, Trigger

from services.lineage.domain.calendar import nearest

if TYPE_CHECKING:
    from services.lineage.domain.gate import Request
    from services.lineage.domain.world import Flow

ERROR = "error:"
FAILED = "failed"
REASONS = (FAILED, SubState.TIMED_OUT.value, SubState.INFRASTRUCTURE.value, SubState.LOST.value)
PATIENCE = timedelta(days=1)  # for what is in the way of a retry, once its time has come
_LONGEST = 32  # doublings; more would not be a time any more


@dataclass(frozen=True, slots=True)
class Policy:
    max: int
    backoff: timedelta
    backoff_max: timedelta
    on: frozenset[str]

    def wait(self, number: int) -> timedelta:
        """Before the retry with this number, from 1."""
        doubled = self.backoff.total_seconds() * 2 ** min(number - 1, _LONGEST)
        return min(timedelta(seconds=min(doubled, self.backoff_max.total_seconds())), self.backoff_max)


@dataclass(frozen=True, slots=True)
class Retries:
    """The run that a request does over, the first of them all, and why. `on_behalf_of`: who asked for the first."""

    run_id: UUID
    first_run_id: UUID
    number: int
    max: int
    not_before: datetime
    reason: str
    on_behalf_of: str | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """How a run failed. `sub_state` None: its own code raised. `launched`: Prefect had taken it; what it refused, it
    will refuse again. `was_to_end`: somebody had asked for its cancel.
    """

    run_id: UUID
    at: datetime
    launched: bool = True
    was_to_end: bool = False
    sub_state: str | None = None
    error_type: str | None = None

    @property
    def reasons(self) -> tuple[str, ...]:
        """The words of a policy that mean it, the plainest first; none that is never retried."""
        if self.was_to_end or not self.launched:
            return ()
        named = (f"{ERROR}{self.error_type}",) if self.error_type else ()
        return (self.sub_state if self.sub_state in REASONS else FAILED, *named)


@lru_cache(maxsize=1024)
def policy_of(text: str) -> Policy:
    """The policy as registered (JSON, spans in seconds)."""
    said: dict[str, Any] = json.loads(text)
    backoff, longest = (timedelta(seconds=said[name]) for name in ("backoff", "backoff_max"))
    return Policy(said["max"], backoff, longest, frozenset(said["on"]))


def wrong(policy: Policy) -> str | None:
    """Why it can not be kept, None if it can."""
    for reason in sorted(policy.on):
        if reason not in REASONS and not (reason.startswith(ERROR) and reason != ERROR):
            near = nearest(reason, REASONS)
            return f"retry.on names {reason!r}; allowed: {', '.join(REASONS)}, {ERROR}<type of the error>{near}"
    if policy.backoff > policy.backoff_max:
        return f"retry.backoff {policy.backoff} is longer than backoff_max {policy.backoff_max}"
    return None


def after(request: Request, policy: Policy, failure: Failure) -> Retries | None:
    """The retry of this request's run, None if it gets none."""
    number = (request.retries.number if request.retries else 0) + 1
    reason = next((one for one in failure.reasons if one in policy.on), None)
    if reason is None or number > policy.max or request.mode is Mode.PREVIEW:
        return None
    return Retries(
        run_id=failure.run_id,
        first_run_id=request.retries.first_run_id if request.retries else failure.run_id,
        number=number,
        max=policy.max,
        not_before=failure.at + policy.wait(number),
        reason=reason,
        on_behalf_of=request.retries.on_behalf_of if request.retries else request.actor,
    )


def again(request: Request, retries: Retries, run_id: UUID) -> Request:
    """The request for it: as the one before, but that it waits for what is in the way unless that is forced."""
    endless = request.trigger in (Trigger.UPSTREAM, Trigger.BACKFILL)
    return request.but(
        run_id=run_id,
        gate=request.gate if request.gate is Gate.FORCE else Gate.WAIT,
        wait_until=None if endless else retries.not_before + PATIENCE,
        shown=(),
        number=0,
        seq=0,
        ended_as=None,
        due_at=None,
        stands_for=None,
        plan_id=None,
        asked=(),
        retries=retries,
    )


def instead(asking: Request, failed: UUID, retry: UUID) -> Request:
    """A recursive request that asked for the failed run waits for its retry."""
    return asking.but(asked=tuple(replace(one, run_id=retry) if one.run_id == failed else one for one in asking.asked))


def not_yet(request: Request, now: datetime) -> str | None:
    """Why it waits, until its time has come."""
    one = request.retries
    if one is None or one.not_before <= now:
        return None
    due = f"{one.not_before:%Y-%m-%d %H:%M:%S} UTC"
    return f"retry {one.number} of {one.max} of run {one.run_id}, which ended as {one.reason}, is due at {due}"


def made_up_for(request: Request, flow: Flow) -> str | None:
    """Why it is not needed any more. Runs of a flow that may lie side by side are about different things, and so is the
    past that a backfill is about: there each is done over for itself. An automatic refresh stands for changes that came
    while it waited, so it is done with only when its flow is ready.
    """
    one = request.retries
    alone = flow.max_open_runs == 1 and request.trigger is not Trigger.BACKFILL and not request.is_automatic
    if one is None or not alone or flow.newest_end_failed:
        return None
    return f"a run has ended well since run {one.run_id} failed"
