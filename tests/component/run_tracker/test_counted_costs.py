"""What a batch costs, counted: statements do not grow with it, and each event says no more than it must."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid5

from runtide_schemas.prefect import FlowRunStateObserved
from runtide_schemas.vocabulary import RUNTIDE, ReportsPolicy
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

from services.run_tracker.domain.run import Run
from services.run_tracker.store import RunTrackerStore
from tests.component.run_tracker.desk import START, Desk

STATEMENTS = 5  # observations, runs loaded, runs saved, history, outbox
STATES = (("SCHEDULED", 0), ("PENDING", 0), ("RUNNING", 1), ("COMPLETED", 1))


async def test_statements_per_batch_do_not_grow_with_the_batch(desk: Desk) -> None:
    for state_type, run_count in STATES:
        counts = []
        for size in (3, 300):
            runs = await known(desk, size, state_type)
            with counted(desk.engine) as statements:
                await desk.deliver(*(observed(run, state_type, run_count) for run in runs))
            counts.append(sum(statements.values()))
        assert counts[0] == counts[1] <= STATEMENTS, (state_type, counts, statements)


async def test_a_batch_that_was_seen_before_costs_one_statement_and_says_nothing(desk: Desk) -> None:
    runs = await known(desk, 50, "again")
    batch = [observed(run, "RUNNING", 1) for run in runs]
    await desk.deliver(*batch)
    before = await desk.rows("select count(*) as said from outbox")
    with counted(desk.engine) as statements:
        await desk.deliver(*batch)
    assert sum(statements.values()) == 1, statements
    assert await desk.rows("select count(*) as said from outbox") == before


async def test_each_state_is_one_snapshot_and_only_the_start_is_an_activity(desk: Desk) -> None:
    runs = await known(desk, 20, "rows")
    for state_type, run_count in STATES:
        await desk.deliver(*(observed(run, state_type, run_count) for run in runs))
    topics = Counter(row["topic"] for row in await desk.rows("select topic from outbox"))
    assert topics == {"runs.status.v1": 20 * len(STATES), "activities.v1": 20}


@contextmanager
def counted(engine: AsyncEngine) -> Iterator[Counter[str]]:
    """The statements that were sent meanwhile, by their beginning; BEGIN and COMMIT are not among them."""
    statements: Counter[str] = Counter()

    def note(_: Any, __: Any, statement: str, *___: Any) -> None:
        statements[" ".join(statement.split())[:60]] += 1

    event.listen(engine.sync_engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(engine.sync_engine, "before_cursor_execute", note)


async def known(desk: Desk, size: int, story: str) -> list[Run]:
    """So many runs of flows that report nothing, admitted and launched."""
    runs = [_run(uuid5(RUNTIDE, f"{story}/{size}/{number}")) for number in range(size)]
    async with desk.engine.begin() as conn:
        await RunTrackerStore(conn).create_runs(runs)
    return runs


def _run(run_id: UUID) -> Run:
    return Run(
        run_id=run_id, tenant="acme", run_type="BacktestRun", instance_id=uuid5(RUNTIDE, "momentum"),
        instance_name="momentum", flow_kind="backtest", trigger="manual", mode="incremental", created_at=START,
        orchestrator_run_id=uuid5(run_id, "flow run"), reports=ReportsPolicy.NONE, occurred_at=START, seq=1,
    )  # fmt: skip


def observed(run: Run, state_type: str, run_count: int) -> FlowRunStateObserved:
    assert run.orchestrator_run_id is not None
    at = START + timedelta(seconds=[name for name, _ in STATES].index(state_type))
    return FlowRunStateObserved(
        flow_run_id=run.orchestrator_run_id, state_id=uuid5(run.orchestrator_run_id, state_type),
        state_type=state_type, state_name=state_type.title(), state_timestamp=at, run_count=run_count, source="event",
        observed_at=at,
    )  # fmt: skip
