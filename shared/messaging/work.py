"""What a handler is given: its store, the time, and a way to say things that leave with the commit and never before."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Generic, TypeVar

from msgspec import UNSET
from runtide_schemas.envelope import CONTENT_TYPE, time_text
from runtide_schemas.message import Message
from sqlalchemy.ext.asyncio import AsyncConnection
from uuid_utils import uuid7

from shared.messaging import outbox
from shared.messaging.decode import Received
from shared.messaging.drafts import Draft, draft_of
from shared.postgres import execute
from shared.telemetry import child_of

S = TypeVar("S", covariant=True)


class Work(Generic[S]):
    """One transaction in the hands of a handler. Nobody but its owner commits it."""

    def __init__(self, conn: AsyncConnection, store: S, *, now: datetime, source: str) -> None:
        self.store = store
        self.now = now
        self._conn = conn
        self._source = source
        self._rows: list[outbox.OutboxRow] = []
        self._due: dict[tuple[str, str], datetime | None] = {}
        self._wakes: list[Callable[[], None]] = []

    def publish(self, message: Message | Draft, *, cause: Received[Any] | None = None) -> None:
        """Say this with the commit; in the order of the calls. Topic and key follow from the message."""
        draft = message if isinstance(message, Draft) else draft_of(message)
        correlation_id = (cause.correlation_id or cause.id) if cause else UNSET
        headers = outbox.Headers(
            "1.0", str(uuid7()), draft.type, self._source, time_text(self.now), CONTENT_TYPE, draft.key.decode(),
            correlation_id, cause.id if cause else UNSET, child_of(cause.traceparent if cause else None),
        )  # fmt: skip
        self._rows.append(outbox.row_of(draft, headers))

    def schedule(self, kind: str, ref: str, due_at: datetime) -> None:
        """Ask to be called at `due_at`; one row per (kind, ref), the last call wins."""
        self._due[kind, ref] = due_at

    def unschedule(self, kind: str, ref: str) -> None:
        """Take a schedule back."""
        self._due[kind, ref] = None

    def after_commit(self, wake: Callable[[], None]) -> None:
        """Wake a worker when this is committed: a convenience, never a guarantee."""
        self._wakes.append(wake)

    async def flush(self) -> None:
        """Write what was said and scheduled. For the owner of the transaction, right before its commit."""
        await outbox.write(self._conn, self._rows)
        if self._due:
            await self._write_due()

    def committed(self) -> None:
        """For the owner of the transaction, right after its commit."""
        for wake in self._wakes:
            wake()

    async def _write_due(self) -> None:
        set_rows = [(kind, ref, at) for (kind, ref), at in sorted(self._due.items()) if at is not None]
        if set_rows:
            await execute(
                self._conn,
                """
                insert into due (kind, ref, due_at)
                select * from unnest(cast(:kinds as text[]), cast(:refs as text[]), cast(:ats as timestamptz[]))
                on conflict (kind, ref) do update set due_at = excluded.due_at
                """,
                kinds=[row[0] for row in set_rows], refs=[row[1] for row in set_rows], ats=[row[2] for row in set_rows],
            )  # fmt: skip
        gone = [key for key, at in self._due.items() if at is None]
        if gone:
            await execute(
                self._conn,
                """
                delete from due d using unnest(cast(:kinds as text[]), cast(:refs as text[])) as g (kind, ref)
                where d.kind = g.kind and d.ref = g.ref
                """,
                kinds=[key[0] for key in gone], refs=[key[1] for key in gone],
            )  # fmt: skip
