"""All SQL about the dates of backfills, in the caller's transaction, under the lock of their tenant.

The fact not to break: `place` is the order in which dates are begun, so the open ones are found by state, however many
there are in all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from services.lineage.domain.backfill import DateState, Piece, Standing
from shared.postgres import execute, fetch

_SHOWN = 6


class BackfillDates:
    def __init__(self, conn: AsyncConnection) -> None:
        self._conn = conn

    async def expand(self, parent: UUID, pieces: Sequence[tuple[Piece, UUID]]) -> None:
        """Each with the id that its child will have, in the order in which they are begun. Repeatable."""
        await execute(
            self._conn,
            """
            insert into backfill_dates (parent_run_id, place, first, last, run_id, state)
            select :parent, place, first, last, run_id, 'waiting'
            from unnest(cast(:firsts as date[]), cast(:lasts as date[]), cast(:ids as uuid[]))
                with ordinality as p (first, last, run_id, place)
            on conflict do nothing
            """,
            parent=parent, firsts=[piece.first for piece, _ in pieces], lasts=[piece.last for piece, _ in pieces],
            ids=[run_id for _, run_id in pieces],
        )  # fmt: skip

    async def set_states(self, parent: UUID, states: Mapping[UUID, DateState]) -> None:
        if states:
            await execute(
                self._conn,
                """
                update backfill_dates d set state = s.state
                from unnest(cast(:ids as uuid[]), cast(:states as text[])) as s (run_id, state)
                where d.parent_run_id = :parent and d.run_id = s.run_id
                """,
                parent=parent, ids=list(states), states=list(states.values()),
            )  # fmt: skip

    async def standing(self, parent: UUID) -> Standing:
        """Costs one look at each date of the backfill."""
        found = await fetch(
            self._conn,
            "select state, count(*) as n from backfill_dates where parent_run_id = :parent group by state",
            parent=parent,
        )
        numbers = {DateState(row["state"]): row["n"] for row in found}
        failed = await self.in_state(parent, DateState.FAILED, limit=_SHOWN) if DateState.FAILED in numbers else []
        return Standing(
            total=sum(numbers.values()),
            done=numbers.get(DateState.DONE, 0),
            failed=numbers.get(DateState.FAILED, 0),
            cancelled=numbers.get(DateState.CANCELLED, 0),
            open=numbers.get(DateState.OPEN, 0),
            failed_at=tuple(piece.first for piece, _ in failed),
        )

    async def in_state(self, parent: UUID, state: DateState, *, limit: int) -> list[tuple[Piece, UUID]]:
        """The first in the order in which they are begun, each with the id of its child."""
        found = await fetch(
            self._conn,
            """
            select first, last, run_id from backfill_dates
            where parent_run_id = :parent and state = :state order by place limit :limit
            """,
            parent=parent, state=state, limit=limit,
        )  # fmt: skip
        return [(Piece(row["first"], row["last"]), row["run_id"]) for row in found]

    async def retried(self, parent: UUID, failed: UUID, retry: UUID) -> None:
        """The child that failed is run once more: its date is open still, under another id."""
        await execute(
            self._conn,
            "update backfill_dates set run_id = :retry where parent_run_id = :parent and run_id = :failed",
            parent=parent, failed=failed, retry=retry,
        )  # fmt: skip

    async def forget(self, parent: UUID) -> None:
        """The backfill is over: what came of each date is known by its request."""
        await execute(self._conn, "delete from backfill_dates where parent_run_id = :parent", parent=parent)
