"""What an operator should look at: a fault that has a name, since when, and what to do first."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy.ext.asyncio import AsyncConnection

State = Literal["warning", "failed"]
Alarm = Callable[[Any, AsyncConnection], Awaitable[list["Finding"]]]  # given the service's context; sets its gauges


@dataclass(frozen=True, slots=True)
class Finding:
    """`name` is kept: alert rules and people know it. `warning`: it mends itself, or has time; `failed`: it needs you.

    `since` None: nobody wrote it down, so it counts from when it was seen first.
    """

    name: str
    state: State
    said: str
    to_do: str
    since: datetime | None = None


def state_after(age_seconds: float, *, warn: float, fail: float) -> State | None:
    """What something of this age is worth saying as; None: nothing yet."""
    if age_seconds >= fail:
        return "failed"
    return "warning" if age_seconds >= warn else None


def span(seconds: float) -> str:
    """A duration for people: `45 s`, `12 min`, `3 h`, `2 d`."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
