"""Whatever comes first, comes twice, or comes late: the same rows and the same last snapshot, but for seq."""

import random
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from runtide_schemas import reports
from runtide_schemas.message import Message
from runtide_schemas.vocabulary import RequestStatus, RunStatus

from services.run_tracker import following
from services.run_tracker.domain.lifecycle import Observation, observe
from services.run_tracker.domain.run import Run
from tests.component.run_tracker.desk import Desk
from tests.component.run_tracker.stories import (
    admitted,
    launched,
    reference,
    registered,
    report,
    reported,
    request,
    states,
)

TOLD_BY_ARRIVAL = {"seq", "supersedes", "terminal_seq", "said_progress_at", "said_progress_n", "said_decile",
                   "ended_seen_at", "rechecks"}  # fmt: skip
COMPARED = {
    "runs": "select * from runs",
    "run_history": "select run_id, entry, at, source, status, sub_state, attempt, detail, message from run_history",
    "observations": "select * from observations",
    "waiting_flow_runs": "select flow_run_id from waiting_flow_runs",
    "reports": "select * from reports where kind <> 'progress'",
    "artifacts": "select * from artifacts",
    "known_flows": "select * from known_flows",
    "pipeline_runs": "select * from pipeline_runs",
    "seen_requests": "select * from seen_requests",
}


def lost_and_found() -> list[Message]:
    """Running, gone from Prefect, known again, completed; and gone again after its end, which says nothing."""
    *begun, completed = states("completed")
    lost_at = completed.state_timestamp - timedelta(milliseconds=3)

    def sweep(n: int, **changes: Any) -> Message:
        at = lost_at + timedelta(milliseconds=n)
        return begun[-1].model_copy(
            update={"state_id": UUID(int=n), "state_timestamp": at, "source": "sweep"} | changes
        )

    return [*begun, sweep(1, gone=True), sweep(2, returned=True), completed, sweep(600, gone=True)]


def talked_on(attempt: int) -> list[Message]:
    """A sealed attempt that goes on listing artifacts: one that it had, and one more."""
    late = [(8, "frame"), (9, "more")]
    return [
        *reported(attempt),
        *(report(reports.ArtifactReported, n, attempt, name=of, ref=reference("late", attempt)) for n, of in late),
    ]


STORIES: dict[str, list[Message]] = {
    "completed": [registered(), admitted(), launched(), *states("completed"), *reported()],
    "retried": [
        registered(), admitted(), launched(), *states("retried"), *reported(1, sealed=False), *reported(2),
    ],
    "failed": [
        admitted(), launched(), *states("failed"), *reported(sealed=False),
        report(reports.ErrorReported, 8, error={"type": "ValueError", "message": "boom", "code": None}),
    ],
    "corrected": [registered(), admitted(), launched(), *states("cancelled-direct-then-completed"), *reported()],
    "cancelled while scheduled": [admitted(), launched(), *states("cancelled-while-scheduled")],
    "launch failed": [admitted(), request(RequestStatus.LAUNCH_FAILED, 3, message="no such deployment")],
    "crashed": [admitted(), launched(), *states("crashed-sigkill"), *reported(sealed=False)],
    "cancelled while running": [registered(), admitted(), launched(), *states("cancelling-then-cancelled")],
    "lost and found": [registered(), admitted(), launched(), *lost_and_found(), *reported()],
    "talked on": [
        registered(), admitted(), launched(), *states("retried"), *talked_on(1), *talked_on(2),
    ],
    "nobody asked": [registered(), *states("retried", tags=[])],
}  # fmt: skip


async def tell(desk: Desk, story: Sequence[Message], arrivals: Sequence[int], dice: random.Random) -> None:
    """Deliver in this order, in batches of one topic."""
    at = 0
    while at < len(arrivals):
        kind = _topic(story[arrivals[at]])
        size = dice.randint(1, 4)
        batch = list(arrivals[at : at + size])
        while _topic(story[batch[-1]]) != kind or any(_topic(story[n]) != kind for n in batch):
            batch.pop()
        await desk.deliver(*(story[n] for n in batch), offsets=batch)
        at += len(batch)


def _topic(message: Message) -> str:
    return message.type.split(".")[0] if not message.type.startswith("run.") else "report"


async def ending(desk: Desk) -> dict[str, Any]:
    """Everything that must not depend on the order."""
    found: dict[str, Any] = {}
    for table, sql in COMPARED.items():
        rows = await desk.rows(sql)
        kept = [{name: value for name, value in row.items() if name not in TOLD_BY_ARRIVAL} for row in rows]
        found[table] = sorted(kept, key=str)
    last = (await desk.said())[-1]
    found["last snapshot"] = {name: value for name, value in last.items() if name not in ("seq", "supersedes")}
    return found


def differences(expected: Any, got: Any, path: str = "") -> list[str]:
    """Where two endings differ."""
    if isinstance(expected, dict) and isinstance(got, dict):
        names = sorted(expected.keys() | got.keys())
        return [line for name in names for line in differences(expected.get(name), got.get(name), f"{path}/{name}")]
    if isinstance(expected, list) and isinstance(got, list) and len(expected) == len(got):
        return [
            line
            for n, (a, b) in enumerate(zip(expected, got, strict=True))
            for line in differences(a, b, f"{path}/{n}")
        ]
    return [] if expected == got else [f"{path}: expected {expected!r}, got {got!r}"]


@pytest.mark.parametrize("name", STORIES)
async def test_every_order_of_arrival_ends_in_the_same_rows_and_the_same_last_snapshot(desk: Desk, name: str) -> None:
    story = STORIES[name]
    dice = random.Random(name)
    await tell(desk, story, range(len(story)), dice)
    expected = await ending(desk)
    assert RunStatus(expected["last snapshot"]["status"]).is_terminal or name == "nobody asked"

    for _ in range(12):
        await desk.reset()
        arrivals = [*range(len(story)), *dice.sample(range(len(story)), dice.randint(0, len(story)))]
        dice.shuffle(arrivals)
        await tell(desk, story, arrivals, dice)
        await desk.wait(1)
        assert differences(expected, await ending(desk)) == [], f"arrivals {arrivals}"
        said = [*await desk.said("runs.status.v1"), *await desk.said("runs.progress.v1")]
        seqs = sorted(message["seq"] for message in said)
        assert seqs == list(range(1, len(seqs) + 1))


@pytest.mark.parametrize("name", ["retried", "corrected", "lost and found"])
async def test_the_control_that_believes_what_came_last_ends_in_other_rows(
    desk: Desk, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def believe(run: Run, seen: Observation) -> bool:
        if not seen.gone and not seen.returned:
            run.state_at = run.state_id = None
        return observe(run, seen)

    story = STORIES[name]
    dice = random.Random(name)
    await tell(desk, story, range(len(story)), dice)
    expected = await ending(desk)
    monkeypatch.setattr(following, "observe", believe)

    await desk.reset()
    await tell(desk, story, [*range(len(story) - 1, -1, -1)], dice)
    await desk.wait(1)

    assert differences(expected, await ending(desk)) != []


@pytest.mark.parametrize("name", STORIES)
async def test_a_second_replay_changes_no_row_and_sends_nothing(desk: Desk, name: str) -> None:
    story = STORIES[name]
    dice = random.Random(name)
    await tell(desk, story, range(len(story)), dice)
    await desk.wait(1)
    rows = await desk.rows("select * from runs")
    history = await desk.rows("select * from run_history order by entry")
    said = await desk.rows("select count(*) as n from outbox")

    for _ in range(2):
        await tell(desk, story, range(len(story)), dice)
        await desk.wait(1)

    assert await desk.rows("select * from runs") == rows
    assert await desk.rows("select * from run_history order by entry") == history
    assert await desk.rows("select count(*) as n from outbox") == said
