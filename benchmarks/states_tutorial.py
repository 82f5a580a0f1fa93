"""The shape of the tutorials: one message, one pydantic model, one ORM session, one awaited publish."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from faststream.kafka import KafkaBroker
from pydantic import AwareDatetime, BaseModel
from runtide_schemas.runs import RunStatusChanged
from runtide_schemas.topics import PREFECT_FLOW_RUN_STATES, RUNS_STATUS
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import DeclarativeBase

from benchmarks.states_floors import SHOWN
from services.run_tracker import tables
from shared.settings import KafkaSettings


class State(BaseModel):
    """As one would write it for FastStream: not strict, for it reads JSON into Python first."""

    flow_run_id: UUID
    state_id: UUID
    state_type: str
    state_name: str
    state_timestamp: AwareDatetime
    run_count: int
    source: str


class _Base(DeclarativeBase):
    pass


class _Run(_Base):
    __table__ = tables.runs


class _Seen(_Base):
    __table__ = tables.observations


class _Entry(_Base):
    __table__ = tables.run_history


@dataclass(slots=True)
class Tutorial:
    """The same story as the other floors tell, for a smaller number of messages."""

    engine: AsyncEngine
    kafka: KafkaSettings
    messages: int

    async def one_by_one(self, group: str) -> float:
        broker = KafkaBroker(self.kafka.bootstrap, logger=None)
        finished, times = asyncio.Event(), list[float]()

        @broker.subscriber(
            self.kafka.prefix + PREFECT_FLOW_RUN_STATES.name, group_id=group, auto_offset_reset="earliest"
        )
        async def on_state(seen: State) -> None:
            if finished.is_set():
                return
            times.append(time.perf_counter())
            async with AsyncSession(self.engine, expire_on_commit=False) as session:
                mine = select(_Run).where(tables.runs.c.orchestrator_run_id == seen.flow_run_id).with_for_update()
                run: Any = (await session.scalars(mine)).one()
                _follow(run, seen, session)
                await session.commit()
            snapshot = RunStatusChanged.model_validate(run, from_attributes=True, strict=False)
            await broker.publish(snapshot, topic=self.kafka.prefix + RUNS_STATUS.name, key=str(run.run_id).encode())
            if len(times) == self.messages:
                times.append(time.perf_counter())
                finished.set()

        await broker.start()
        try:
            await finished.wait()
            return self.messages / (times[-1] - times[0])
        finally:
            await broker.stop()


def _follow(run: Any, seen: State, session: AsyncSession) -> None:
    status, sub_state, previous = SHOWN[seen.state_type]
    run.state_id, run.state_at, run.state_type = seen.state_id, seen.state_timestamp, seen.state_type
    run.state_name, run.state_status, run.run_count = seen.state_name, status, seen.run_count
    run.status, run.sub_state, run.previous_status = status, sub_state, previous
    run.occurred_at, run.seq = seen.state_timestamp, run.seq + 1
    session.add(
        _Seen(
            flow_run_id=seen.flow_run_id, state_id=seen.state_id, state_at=seen.state_timestamp,
            state_type=seen.state_type, state_name=seen.state_name, run_count=seen.run_count, gone=False,
            source=seen.source,
        )
    )  # fmt: skip
    session.add(
        _Entry(
            run_id=run.run_id, entry=str(seen.state_id), at=seen.state_timestamp, source="prefect", status=status,
            sub_state=sub_state, attempt=1, detail=seen.state_name, seq=run.seq,
        )
    )  # fmt: skip
