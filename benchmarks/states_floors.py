"""The floors of P1: the least code that leaves the rows that run_tracker leaves, as a person in a hurry would write it.

They read the same records, trust them, know one story (scheduled, pending, running, completed) and nothing else: no
tenancy, no cancel, no reports, no dead letters, no late or repeated state but by the natural key.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID, uuid5

import asyncpg
import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from runtide_schemas.topics import PREFECT_FLOW_RUN_STATES, RUNS_STATUS
from runtide_schemas.vocabulary import RUNTIDE
from uuid_utils import uuid7

from benchmarks import states_sql as sql
from shared.clock import utc_now
from shared.settings import KafkaSettings

RECORDS = 500
TOPIC = PREFECT_FLOW_RUN_STATES.name
SHOWN = {
    "SCHEDULED": ("pending", "queued", None), "PENDING": ("pending", "starting", None),
    "RUNNING": ("running", None, "pending"), "COMPLETED": ("completed", None, "running"),
}  # fmt: skip


class Observed(msgspec.Struct, tag_field="type", tag="prefect.flow_run_state_observed"):
    flow_run_id: UUID
    state_id: UUID
    state_type: str
    state_name: str
    state_timestamp: datetime
    source: str
    state_message: str | None = None
    run_count: int = 0
    start_time: datetime | None = None
    gone: bool = False


class Snapshot(msgspec.Struct, tag_field="type", tag="run.status_changed"):
    """The fields of RunStatusChanged."""

    tenant: str
    run_id: UUID
    run_type: str
    instance_id: UUID
    instance_name: str
    flow_kind: str
    trigger: str
    mode: str
    parameters: msgspec.Raw
    actor: str | None
    orchestrator_run_id: UUID
    status: str
    previous_status: str | None
    sub_state: str | None
    progress_pct: float | None
    started_at: datetime | None
    ended_at: datetime | None
    duration_seconds: float | None
    outputs_ref: str
    outputs: str | None
    supersedes: int | None
    occurred_at: datetime
    seq: int
    orchestrator_kind: str = "prefect"
    attempt: int = 1
    step: None = None
    metrics: dict[str, Any] = {}
    artifacts: dict[str, str] = {}
    input_versions: dict[str, Any] = {}
    output_digest: None = None
    schema_digest: None = None
    last_data_date: None = None
    rows_processed: None = None
    error: None = None
    cancel_requested_at: None = None


class Activity(msgspec.Struct, tag_field="type", tag="activity.recorded"):
    """The fields of ActivityRecorded."""

    activity_id: UUID
    tenant: str
    actor: str | None
    resource_type: str
    resource_id: UUID
    action: str
    payload: dict[str, Any]
    correlation_id: str
    occurred_at: datetime


_decode = msgspec.json.Decoder(Observed).decode
_encode = msgspec.json.Encoder().encode


class Seen(NamedTuple):
    message: Observed
    cause: str
    traceparent: str


@dataclass(slots=True)
class Raw:
    """aiokafka, msgspec, asyncpg: fetch 500, save them in one transaction, fetch again."""

    connection: asyncpg.Connection
    kafka: KafkaSettings
    events: int

    async def load_decide_save(self, group: str) -> float:
        return await self._consume(group, self._load_decide_save)

    async def one_statement(self, group: str) -> float:
        return await self._consume(group, self._one_statement)

    async def _consume(self, group: str, save: Any) -> float:
        topic = self.kafka.prefix + TOPIC
        consumer = AIOKafkaConsumer(bootstrap_servers=self.kafka.bootstrap, enable_auto_commit=False)
        await consumer.start()
        try:
            tps = [TopicPartition(topic, partition) for partition in range(PREFECT_FLOW_RUN_STATES.partitions)]
            consumer.assign(tps)
            for tp in tps:
                consumer.seek(tp, 0)
            await self.connection.execute(
                "insert into consumer_offsets select $1, $2, p, 0 from generate_series(0, $3::int - 1) p",
                group, TOPIC, len(tps),
            )  # fmt: skip
            done, began = 0, 0.0
            while done < self.events:
                fetched = await consumer.getmany(max_records=RECORDS, timeout_ms=1000)
                began = began or time.perf_counter()
                batch = [_seen(record) for records in fetched.values() for record in records]
                if batch:
                    spans = [(tp.partition, rs[0].offset, rs[-1].offset) for tp, rs in fetched.items() if rs]
                    await save(group, batch, list(zip(*spans, strict=True)))
                done += len(batch)
            return done / (time.perf_counter() - began)
        finally:
            await consumer.stop()

    async def _load_decide_save(self, group: str, batch: list[Seen], spans: list[Sequence[int]]) -> None:
        connection, now = self.connection, utc_now()
        async with connection.transaction():
            moved = await connection.fetch(sql.MOVE, group, TOPIC, *spans)
            assert len(moved) == len(spans[0])
            seen = {(s.message.flow_run_id, s.message.state_id): s for s in batch}
            rows = [_observation(s.message) for s in batch]
            fresh = await connection.fetch(sql.KEEP, *zip(*rows, strict=True))
            found = await connection.fetch(sql.LOAD, list({row[0] for row in fresh}))
            story = _Story({row["orchestrator_run_id"]: dict(row) for row in found}, now)
            for item in sorted((seen[row[0], row[1]] for row in fresh), key=lambda s: s.message.state_timestamp):
                story.take(item)
            changed = [[run[name] for run in story.touched.values()] for name in ("run_id", *sql.CHANGED)]
            history, outbox = zip(*story.history, strict=True), zip(*story.outbox, strict=True)
            await connection.execute(sql.SAVE, *changed, *history, *outbox)

    async def _one_statement(self, group: str, batch: list[Seen], spans: list[Sequence[int]]) -> None:
        now = utc_now()
        rows = [
            (*_observation(s.message), *SHOWN[s.message.state_type], str(uuid7()), s.cause, s.traceparent)
            for s in batch
        ]
        moved = await self.connection.fetchval(sql.ALL_IN_ONE, group, TOPIC, now, *spans, *zip(*rows, strict=True))
        assert moved == len(spans[0])


@dataclass(slots=True)
class _Story:
    """What (a) decides: the newest state of each run, a line of history and a snapshot for each."""

    runs: dict[UUID, dict[str, Any]]
    now: datetime
    touched: dict[UUID, dict[str, Any]] = field(default_factory=dict)
    history: list[tuple[Any, ...]] = field(default_factory=list)
    outbox: list[tuple[str, bytes, bytes, str]] = field(default_factory=list)

    def take(self, item: Seen) -> None:
        seen = item.message
        run = self.runs[seen.flow_run_id]
        status, sub_state, previous = SHOWN[seen.state_type]
        at = seen.state_timestamp
        if run["state_at"] is None or (at, seen.state_id) > (run["state_at"], run["state_id"]):
            if run["state_status"] is not None and run["state_status"] != status:
                run["other_status"], run["other_at"], run["other_id"] = (
                    run["state_status"], run["state_at"], run["state_id"],
                )  # fmt: skip
            run["seq"] += 1
            run.update(
                state_id=seen.state_id, state_at=at, state_type=seen.state_type, state_name=seen.state_name,
                state_message=seen.state_message, state_status=status, run_count=seen.run_count, status=status,
                sub_state=sub_state, previous_status=previous, occurred_at=at, said_progress_at=self.now,
                outputs_ref=f"s3://runs/{run['run_id']}/1/",
            )  # fmt: skip
            if status == "running":
                run["first_running_at"] = run["started_at"] = at
            elif status == "completed":
                run.update(
                    ended_at=at, duration_seconds=(at - run["started_at"]).total_seconds(), knowledge_time=at,
                    outputs="unreported", progress_pct=100.0, terminal_seq=run["seq"], ended_seen_at=self.now,
                )  # fmt: skip
            self.touched[seen.flow_run_id] = run
            self._say(RUNS_STATUS.name, _encode(_snapshot(run)), "run.status_changed", run["run_id"], item)
            if status == "running":
                self._say("activities.v1", _encode(_started(run, item.cause)), "activity.recorded", run["run_id"], item)
        self.history.append(
            (run["run_id"], str(seen.state_id), at, "prefect", status, sub_state, 1, seen.state_name, None, run["seq"])
        )

    def _say(self, topic: str, payload: bytes, message_type: str, run_id: UUID, item: Seen) -> None:
        now, cause = self.now.isoformat(), item.cause
        headers = sql.HEADERS % (uuid7(), message_type, now, run_id, cause, cause, item.traceparent)
        self.outbox.append((topic, str(run_id).encode(), payload, headers))


def _seen(record: Any) -> Seen:
    headers = dict(record.headers)
    return Seen(_decode(record.value), headers["ce_id"].decode(), headers["traceparent"].decode())


def _observation(seen: Observed) -> tuple[Any, ...]:
    return (
        seen.flow_run_id, seen.state_id, seen.state_timestamp, seen.state_type, seen.state_name, seen.state_message,
        seen.run_count, seen.start_time, seen.gone, seen.source,
    )  # fmt: skip


def _snapshot(run: dict[str, Any]) -> Snapshot:
    return Snapshot(
        run["tenant"], run["run_id"], run["run_type"], run["instance_id"], run["instance_name"], run["flow_kind"],
        run["trigger"], run["mode"], msgspec.Raw(run["parameters"]), run["actor"], run["orchestrator_run_id"],
        run["status"], run["previous_status"], run["sub_state"], run["progress_pct"], run["started_at"],
        run["ended_at"], run["duration_seconds"], run["outputs_ref"], run["outputs"], None, run["occurred_at"],
        run["seq"],
    )  # fmt: skip


def _started(run: dict[str, Any], cause: str) -> Activity:
    return Activity(
        uuid5(RUNTIDE, f"{run['run_id']}/backtest_run.started/1"), run["tenant"], run["actor"], "backtest_run",
        run["run_id"], "backtest_run.started",
        {"instance_id": run["instance_id"], "instance_name": run["instance_name"], "attempt": 1}, cause,
        run["occurred_at"],
    )  # fmt: skip
