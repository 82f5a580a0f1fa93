"""P1: run_tracker's consumer of Prefect's states against bare consumers that leave the same rows behind.

Ours is the real handler and store behind the real BatchConsumer: validation, tenancy, history, outbox, fence. The
floors are in `states_floors`. One topic, one database; each round its own group, empty tables and untouched runs.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
from runtide_schemas.envelope import Envelope, to_headers
from runtide_schemas.prefect import FlowRunStateObserved
from runtide_schemas.topics import PREFECT_FLOW_RUN_STATES
from runtide_schemas.vocabulary import RUNTIDE, ReportsPolicy
from sqlalchemy.ext.asyncio import AsyncEngine

from benchmarks.measuring import Figure, Floor, compare_all
from benchmarks.states_floors import Raw
from benchmarks.states_tutorial import Tutorial
from services.run_tracker import handlers
from services.run_tracker.domain.run import Run
from services.run_tracker.store import RunTrackerStore
from shared import logs
from shared.clock import utc_now
from shared.messaging.broker import broker_for, subscribe
from shared.messaging.consumer import BatchConsumer, Consumes
from shared.migrate import migrate
from shared.postgres import engine_for
from shared.settings import KafkaSettings
from tests.support.harness import World
from tests.support.kafka import settings_for

RUNS, TUTORIAL_MESSAGES = 2_500, 100
ROUNDS = 11  # the ratio of one moves by 0.05, the median of five by 0.03
STATES = (
    ("SCHEDULED", "Scheduled", 0), ("PENDING", "Pending", 0), ("RUNNING", "Running", 1), ("COMPLETED", "Completed", 1),
)  # fmt: skip
EVENTS = RUNS * len(STATES)
OUTBOX_ROWS = RUNS * (len(STATES) + 1)  # a snapshot per state, and `started` as an activity
BEGAN = datetime(2026, 1, 5, tzinfo=UTC)
TABLES = "runs, observations, run_history, outbox, consumer_offsets, waiting_flow_runs, due, dead_letters"


async def figures(world: World) -> list[Figure]:
    """The three figures of P1; ours is the same measurement in all of them."""
    settings = world.settings("run_tracker")
    engine = engine_for(settings.postgres, schema="run_tracker", application="bench")
    await migrate(engine, "run_tracker")
    bench = Bench(world, engine, settings_for(world.env["RUNTIDE_KAFKA_BOOTSTRAP"], world.kafka.prefix))
    try:
        await bench.prepare()
        connection = await asyncpg.connect(world.dsn, server_settings={"search_path": "run_tracker", "jit": "off"})
        raw = Raw(connection, bench.kafka, EVENTS)
        tutorial = Tutorial(engine, bench.kafka, TUTORIAL_MESSAGES)
        try:
            return await compare_all(
                "P1", unit="events/s", ours=lambda: bench.round(bench.ours),
                floors=[
                    Floor("states followed, against load-decide-save in raw asyncpg", 0.75,
                          lambda: bench.round(raw.load_decide_save)),
                    Floor("states followed, against one statement a batch", 0.60,
                          lambda: bench.round(raw.one_statement)),
                    Floor("states followed, against one message, one ORM session", None,
                          lambda: bench.round(tutorial.one_by_one, whole=False)),
                ],
                rounds=ROUNDS,
            )  # fmt: skip
        finally:
            await connection.close()
    finally:
        await engine.dispose()


@dataclass(slots=True)
class Bench:
    """The topic, the database, and how a round of ours is run."""

    world: World
    engine: AsyncEngine
    kafka: KafkaSettings
    rounds: int = 0

    async def prepare(self) -> None:
        """Fill the topic, and keep the runs as they were before the first state."""
        runs = [_run(number) for number in range(RUNS)]
        async with self.engine.begin() as conn:
            await RunTrackerStore(conn).create_runs(runs)
            await conn.exec_driver_sql("create table runs_before as select * from runs")
        producer = self.world.kafka._producer
        assert producer is not None
        topic = self.kafka.prefix + PREFECT_FLOW_RUN_STATES.name
        for number, (state_type, name, run_count) in enumerate(STATES):
            for run in runs:
                value, headers = _event(run, number, state_type, name, run_count)
                await producer.send(topic, value, key=str(run.orchestrator_run_id).encode(), headers=headers)
        await producer.flush()

    async def round(self, work: Callable[[str], Awaitable[float]], *, whole: bool = True) -> float:
        """Events per second of one round, after checking that everything is there that must be."""
        self.rounds += 1
        async with self.engine.connect() as conn:
            await conn.execution_options(isolation_level="AUTOCOMMIT")
            await conn.exec_driver_sql(f"truncate {TABLES} cascade")
            await conn.exec_driver_sql("insert into runs select * from runs_before")
            await conn.exec_driver_sql("vacuum analyze runs")
        rate = await work(f"bench-{self.rounds}")
        if whole:
            await self._check()
        return rate

    async def _check(self) -> None:
        async with self.engine.connect() as conn:
            found = (await conn.exec_driver_sql(
                "select (select count(*) from observations), (select count(*) from run_history), "
                "(select count(*) from outbox), (select sum(next_offset) from consumer_offsets), "
                "(select count(*) from runs where status = 'completed' and outputs = 'unreported' and seq = 5 "
                "and terminal_seq = 5 and duration_seconds = 60 and started_at is not null and not settled)"
            )).one()  # fmt: skip
        assert tuple(found) == (EVENTS, EVENTS, OUTBOX_ROWS, EVENTS, RUNS), found

    async def ours(self, group: str) -> float:
        consumer: _Timed = _Timed(
            Consumes(PREFECT_FLOW_RUN_STATES, handlers.on_flow_run_states, as_structs=True, saves_at_once=2),
            service="run_tracker", engine=self.engine, store=RunTrackerStore, clock=utc_now,
            log=logs.configure(service="bench", fmt="console", level="WARNING"), topic_prefix=self.kafka.prefix,
        )  # fmt: skip
        consumer.name = group
        broker = broker_for(self.kafka, client_id=group)
        subscriber = subscribe(broker, consumer, self.kafka, instance=group)
        await broker.start()
        try:
            while sum(consumer.positions.values()) < EVENTS:
                await consumer.saved.wait()
                consumer.saved.clear()
            return EVENTS / (time.perf_counter() - consumer.began)
        finally:
            await subscriber.stop()
            await consumer.idle()
            await broker.stop()


class _Timed(BatchConsumer[RunTrackerStore]):
    began = 0.0

    async def on_batch(self, raw: Sequence[Any]) -> None:
        self.began = self.began or time.perf_counter()
        await super().on_batch(raw)


def _run(number: int) -> Run:
    run_id = uuid.uuid5(RUNTIDE, f"bench/{number}")
    return Run(
        run_id=run_id, tenant=f"tenant-{number % 7}", run_type="BacktestRun",
        instance_id=uuid.uuid5(RUNTIDE, f"bench/instance/{number % 200}"), instance_name=f"momentum-{number % 200}",
        flow_kind="backtest", trigger="manual", mode="incremental", created_at=BEGAN,
        parameters='{"start": "2020-01-01", "end": "2024-12-31", "lookback_days": 60}', actor="ada",
        deployment="backtest/momentum", name=f"charcoal-guillemot-{number}",
        orchestrator_run_id=uuid.uuid5(run_id, "flow run"), reports=ReportsPolicy.NONE, occurred_at=BEGAN, seq=1,
    )  # fmt: skip


def _event(run: Run, number: int, state_type: str, name: str, run_count: int) -> tuple[bytes, list[tuple[str, bytes]]]:
    """A state as the bridge writes it, with an event of Prefect's shape inside."""
    assert run.orchestrator_run_id is not None
    at = BEGAN + timedelta(seconds=60 * number)
    state_id = uuid.uuid5(run.orchestrator_run_id, state_type)
    observed = FlowRunStateObserved(
        flow_run_id=run.orchestrator_run_id, flow_run_name=run.name, state_id=state_id, state_type=state_type,
        state_name=name, state_timestamp=at, run_count=run_count, deployment_id=uuid.uuid5(RUNTIDE, "deployment"),
        flow_name="backtest", deployment_name="momentum", tags=[f"org:{run.tenant}", f"run:{run.run_id}"],
        source="event", observed_at=at, raw=_raw(run, state_id, state_type, name, run_count, at),
    )  # fmt: skip
    envelope = Envelope(
        id=str(uuid.uuid5(state_id, "message")), type=observed.type, source="/runtide/run_tracker", time=at,
        subject=str(run.orchestrator_run_id), traceparent=f"00-{run.run_id.hex}-{state_id.hex[:16]}-01",
    )  # fmt: skip
    return observed.to_json(), to_headers(envelope)


def _raw(run: Run, state_id: uuid.UUID, state_type: str, name: str, run_count: int, at: datetime) -> dict[str, Any]:
    related = [("flow", "prefect.flow", "backtest"), ("deployment", "prefect.deployment", "momentum")]
    tags = [f"prefect.tag.org:{run.tenant}", f"prefect.tag.run:{run.run_id}"]
    event = {
        "occurred": at.isoformat(), "event": f"prefect.flow-run.{name}", "id": str(state_id), "follows": None,
        "resource": {
            "prefect.resource.id": f"prefect.flow-run.{run.orchestrator_run_id}",
            "prefect.resource.name": run.name, "prefect.run-count": str(run_count), "prefect.state-message": "",
            "prefect.state-name": name, "prefect.state-timestamp": at.isoformat(), "prefect.state-type": state_type,
        },
        "related": [
            {"prefect.resource.id": f"{kind}.{uuid.uuid5(RUNTIDE, role)}", "prefect.resource.role": role,
             "prefect.resource.name": said} for role, kind, said in related
        ] + [{"prefect.resource.id": tag, "prefect.resource.role": "tag"} for tag in tags],
        "payload": {"intended": {"from": None, "to": state_type}, "initial_state": None,
                    "validated_state": {"type": state_type, "name": name}},
    }  # fmt: skip
    found: dict[str, Any] = json.loads(json.dumps(event))
    return found
