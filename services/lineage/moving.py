"""What most passes write, in one statement: of one tenant the answers that moved at one time, the facts of its flows,
and the count of the change. What all of it shares is said once.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from runtide_schemas.vocabulary import InstanceStatus

from services.lineage import rows
from services.lineage.domain.world import Instance

_MOVED = """
update standings s set revision = :revision, seq = n.seq, announced_at = :at, status = n.status,
    old_status = n.old_status, cause = cast(n.cause as jsonb), answers = cast(n.answers as jsonb)
from unnest(
    cast(:ids as uuid[]), cast(:seqs as bigint[]), cast(:causes as text[]), cast(:answers as text[]),
    cast(:statuses as text[]), cast(:old_statuses as text[])
) as n (instance_id, seq, cause, answers, status, old_status)
where s.instance_id = n.instance_id
"""
_TURNED = """
update standings s set revision = :revision, seq = n.seq, announced_at = :at, status = 'stale', old_status = 'ready',
    cause = cast(n.cause as jsonb), answers = cast(n.answers as jsonb)
from unnest(
    cast(:turned_ids as uuid[]), cast(:turned_seqs as bigint[]), cast(:turned_causes as text[]),
    cast(:turned_answers as text[])
) as n (instance_id, seq, cause, answers)
where s.instance_id = n.instance_id
"""
_READY = InstanceStatus.READY


class Moved(NamedTuple):
    """`turned`: those that were ready and are stale, and show that as everybody does."""

    others: list[Instance]
    turned: list[Instance]

    @classmethod
    def of(cls, changed: Sequence[Instance], turned: Sequence[Instance]) -> Moved:
        """`turned`: those of `domain.spread.is_plain` that turned stale."""
        alike = [one for one in turned if one.old_status is _READY and one.status_order is None]
        if len(alike) == len(turned):
            return cls(list(changed), alike)
        return cls([*changed, *(one for one in turned if one.old_status is not _READY or one.status_order)], alike)

    def shared(self) -> tuple[str, datetime | None] | None:
        """The tenant and the time of all; None: they have several, or there is nobody."""
        every = [*self.others, *self.turned]
        tenants, ats = {one.tenant for one in every}, [one.announced_at for one in every]
        if len(tenants) != 1 or ats.count(ats[0]) != len(ats):
            return None
        return tenants.pop(), ats[0]

    def statement(self, besides: Sequence[str]) -> tuple[str, dict[str, Any]]:
        """It takes `:tenant`, `:revision` and `:at` as well. `besides`: what else is to be done in it."""
        parts = ["update tenants set revision = :revision where tenant = :tenant", *besides]
        params: dict[str, Any] = {}
        if self.others or not self.turned:
            parts.append(_MOVED)
            params |= rows.answer_columns(self.others)
            params |= {"statuses": [one.status for one in self.others]}
            params |= {"old_statuses": [one.old_status for one in self.others]}
        if self.turned:
            parts.append(_TURNED)
            params |= {f"turned_{name}": values for name, values in rows.answer_columns(self.turned).items()}
        *first, last = parts
        return f"with {', '.join(f'part{n} as ({sql})' for n, sql in enumerate(first))} {last}", params
