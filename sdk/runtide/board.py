"""Many runs at once, each by the one client rule. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from runtide_schemas.requests import RequestStatusChanged
from runtide_schemas.runs import RunProgressed, RunStatusChanged

from runtide.following import Followed, Following, Update


@dataclass(slots=True)
class Row:
    run_id: UUID
    following: Following
    update: Update
    name: str = "-"
    flow_kind: str = "-"


class Board:
    """`rows`: run id → what is known of it."""

    def __init__(self) -> None:
        self.rows: dict[UUID, Row] = {}
        self._early: dict[UUID, Following] = {}

    def apply(self, message: Followed) -> list[Update]:
        """What it changed; nothing for what is old."""
        run_id = message.run_id
        row = self.rows.get(run_id)
        following = row.following if row else self._early.setdefault(run_id, Following(run_id))
        if _goes_on(following, message):
            following = Following(run_id)
        updates = following.apply(message)
        if updates:
            self._early.pop(run_id, None)
            if row is None:
                row = self.rows[run_id] = Row(run_id, following, updates[-1])
            row.following, row.update = following, updates[-1]
        if row is not None and not isinstance(message, RunProgressed):
            row.name = message.instance_name or row.name
            row.flow_kind = message.flow_kind or row.flow_kind
        return updates

    def newest(self, count: int) -> Sequence[Row]:
        """Those that changed last, the newest first."""
        return sorted(self.rows.values(), key=lambda row: row.update.occurred_at, reverse=True)[:count]


def _goes_on(following: Following, message: Followed) -> bool:
    """An ended run that was reopened or corrected, or says more about its end."""
    end = following.end
    if end is None or isinstance(end.snapshot, RequestStatusChanged):
        return False
    return isinstance(message, RunStatusChanged) and message.seq > end.seq
