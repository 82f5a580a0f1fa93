"""Saying everything again: for readers that missed it, and after a restore, for readers that know more than we do.

A snapshot that is said again has the next `seq`, so that every reader takes it and no `seq` has two payloads; after a
restore it lies 1,000 further on, beyond all that was said and forgotten. The fact not to break: who says it holds the
entity's lock, as for any other word.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from shared.messaging.work import Work

AFTER_RESTORE = 1000


@dataclass(frozen=True, slots=True)
class Portion:
    """What to say in one transaction. `tenant` None: of all. `since`: what has ended before is not live any more.

    `raise_by`: how far each `seq` goes; after a restore also that of what is not live. `after`: where the portion
    before ended.
    """

    tenant: str | None
    since: datetime
    raise_by: int
    after: str | None
    limit: int

    @property
    def is_after_restore(self) -> bool:
        return self.raise_by > 1

    def key(self, parts: int) -> list[str | None]:
        """`after` in its parts."""
        return list(self.after.split("|", parts - 1)) if self.after is not None else [None] * parts


@dataclass(frozen=True, slots=True)
class Said:
    """How many snapshots were said, and where the next portion goes on; None: that was all."""

    announced: int
    cursor: str | None


Reannounce = Callable[[Work[Any], Portion], Awaitable[Said]]


async def nothing(work: Work[Any], portion: Portion) -> Said:
    """For a service whose tables nobody else reads about."""
    return Said(0, None)
