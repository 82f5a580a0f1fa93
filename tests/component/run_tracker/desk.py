"""The tracker's handlers on a real database, one transaction per delivery, without Kafka in between."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import msgspec
from runtide_schemas.instances import InstanceStatusChanged
from runtide_schemas.message import Message
from runtide_schemas.prefect import FlowRunStateObserved
from runtide_schemas.reports import Report
from runtide_schemas.requests import RequestStatusChanged
from runtide_schemas.topics import topic_of
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.run_tracker import handlers, tables, telling
from services.run_tracker.settings import Policy
from services.run_tracker.store import RunTrackerStore
from shared.messaging.decode import Received, Record
from shared.messaging.due import Due
from shared.messaging.work import Work
from shared.postgres import engine_for, fetch
from tests.support.harness import World

START = datetime(2026, 11, 23, 2, 35, tzinfo=UTC)
_DUE = {
    telling.SEAL: handlers.on_seals_due,
    telling.CANCEL_UNCONFIRMED: handlers.on_cancels_unconfirmed,
    telling.PROGRESS: handlers.on_progress_due,
    telling.LINK: handlers.on_links_due,
}
_TABLES = [t.name for t in tables.metadata.sorted_tables if t.name not in ("consumer_offsets", "dead_letters")]


class Said(NamedTuple):
    """A message as it waits in the outbox."""

    topic: str
    body: dict[str, Any]


class Desk:
    """`deliver` messages, let time pass with `wait`, read `rows` and what was `said`."""

    def __init__(self, engine: AsyncEngine, policy: Policy | None = None) -> None:
        self.engine, self.policy, self.now = engine, policy or Policy(), START
        self._offset = 0

    @classmethod
    async def open(cls, world: World) -> "Desk":
        await world.migrate("run_tracker")
        settings = world.settings("run_tracker")
        return cls(engine_for(settings.postgres, schema="run_tracker", application="desk"))

    async def reset(self) -> None:
        self.now, self._offset = START, 0
        async with self.engine.begin() as conn:
            for table in reversed(_TABLES):
                await conn.execute(text(f"delete from {table}"))

    async def deliver(self, *messages: Message, offsets: Sequence[int] | None = None) -> None:
        """One batch of one topic."""
        handler = _handler_of(messages[0])
        batch = [self._received(m, offsets[i] if offsets else None) for i, m in enumerate(messages)]
        async with self.engine.begin() as conn:
            work = Work(conn, RunTrackerStore(conn, self.policy), now=self.now, source="/desk")
            await handler(batch, work)
            await work.flush()

    async def each(self, messages: Iterable[Message]) -> None:
        for message in messages:
            await self.deliver(message)

    async def wait(self, seconds: float) -> list[str]:
        """Let time pass, and answer what falls due; says which kinds did."""
        self.now += timedelta(seconds=seconds)
        async with self.engine.begin() as conn:
            rows = await fetch(conn, "delete from due where due_at <= :now returning kind, ref, due_at", now=self.now)
            for row in rows:
                work = Work(conn, RunTrackerStore(conn, self.policy), now=self.now, source="/desk")
                await _DUE[row["kind"]]([Due(row["kind"], row["ref"], row["due_at"])], work)
                await work.flush()
        return sorted(row["kind"] for row in rows)

    async def rows(self, sql: str, **params: Any) -> list[dict[str, Any]]:
        async with self.engine.connect() as conn:
            return [dict(row) for row in await fetch(conn, sql, **params)]

    async def run(self) -> dict[str, Any]:
        """The only run there is."""
        [row] = await self.rows("select * from runs")
        return row

    async def said(self, topic: str = "runs.status.v1", **fields: Any) -> list[dict[str, Any]]:
        rows = await self.rows("select payload from outbox where topic = :topic order by id", topic=topic)
        bodies = [msgspec.json.decode(row["payload"]) for row in rows]
        return [body for body in bodies if all(body.get(name) == value for name, value in fields.items())]

    async def actions(self) -> list[str]:
        return [body["action"] for body in await self.said("activities.v1")]

    def _received(self, message: Message, offset: int | None) -> Received[Any]:
        self._offset += 1
        at = offset if offset is not None else self._offset
        record = Record(topic_of(message).name, 0, at, int(self.now.timestamp() * 1000), None, b"", (), at)
        return Received(message, f"m{at}", self.now, None, None, record)


def _handler_of(message: Message) -> Any:
    match message:
        case FlowRunStateObserved():
            return handlers.on_flow_run_states
        case RequestStatusChanged():
            return handlers.on_requests_status
        case InstanceStatusChanged():
            return handlers.on_instances_status
        case Report():
            return handlers.on_runs_reports
    raise TypeError(type(message))
