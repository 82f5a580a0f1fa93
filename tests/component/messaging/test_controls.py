"""What each promise stands on, taken away: the invariant must be seen to break, and says by what."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from faststream import AckPolicy
from faststream.kafka import KafkaBroker

from shared.messaging import consumer as consumers
from shared.messaging.work import Work
from tests.chaos import invariants
from tests.component.messaging.counting import Counting, fact, on_facts, progressed
from tests.support.eventually import eventually
from tests.support.history import History, Outcome, digest_of

FACTS = 60
Show = Callable[[str], None]


async def without_natural_key(batch: Sequence[Any], work: Work[Any]) -> None:
    """As if every record were a fact of its own, however often it came."""
    for received in batch:
        fresh = uuid.uuid4()
        await work.store.take([received.message.model_copy(update={"activity_id": fresh})])
        work.publish(progressed(fresh, 1), cause=received)


@pytest.mark.parametrize(("handler", "breaks"), [(on_facts, False), (without_natural_key, True)])
async def test_reading_all_again_moves_nothing_but_without_the_natural_key(
    counting: Counting, handler: Any, breaks: bool, show: Show
) -> None:
    first = await counting.start(handler=handler)
    await counting.send([fact(n) for n in range(FACTS)])
    await counting.until_read()
    before = await _left_behind(counting)
    await first.stop()
    await counting.rows("update consumer_offsets set next_offset = 0")
    await counting.start(handler=handler)
    await counting.until_read()
    found = invariants.unmoved(before, await _left_behind(counting))
    assert bool(found) is breaks, found
    if breaks:
        show(f"control, natural key off: I9 broken: {found[0][:160]}")


async def _left_behind(counting: Counting) -> dict[str, Any]:
    said = {message["run_id"] for message in await counting.said()}
    return {"effects": {str(row) for row in await counting.rows("select * from effects")}, "said": said}


@pytest.mark.parametrize("lossy", [False, True])
async def test_dead_letters_are_the_poison_but_where_bytes_are_taken_for_text(
    counting: Counting, lossy: bool, monkeypatch: pytest.MonkeyPatch, show: Show
) -> None:
    history, key, value = History(), b"\x00\xff", b'{"type": "\xff\xfe"}'
    if lossy:
        store = consumers.dead_letters.store

        async def as_text(conn: Any, *, consumer: str, bad: Any) -> None:
            for item in bad:
                text = (item.record.value or b"").decode("utf-8", "replace").encode()
                await store(conn, consumer=consumer, bad=[replace(item, record=item.record._replace(value=text))])

        monkeypatch.setattr(consumers.dead_letters, "store", as_text)
    await counting.start()
    for _ in range(3):
        one = history.note("poison", digest=digest_of(value, key, []))
        await history.follow(one, counting.world.kafka.send(counting.topic.name, value, key=key), failures=())
    await counting.until_read()
    found = invariants.set_aside(history, await counting.rows("select * from dead_letters"))
    assert bool(found) is lossy, found
    if lossy:
        show(f"control, dead letters as text: I6 broken: {found[0][:160]}")


async def test_control_with_auto_ack_what_a_batch_could_not_do_is_lost(counting: Counting, show: Show) -> None:
    """The same records by FastStream's own policy: acknowledged, and gone when the database is away for a moment."""
    kafka, group = counting.world.kafka, f"{counting.world.id}.auto-ack"
    taken: set[str] = set()
    calls: list[int] = []

    async def handler(batch: list[dict[str, Any]]) -> None:
        calls.append(len(batch))
        if len(calls) == 1:
            raise ConnectionRefusedError("PostgreSQL is away")
        taken.update(message["activity_id"] for message in batch)

    history = History()
    for n in range(FACTS):
        value = fact(n)
        one = history.note("submit", run_id=value["activity_id"])
        await history.follow(one, kafka.send(counting.topic.name, value), failures=())
    broker = KafkaBroker(kafka.bootstrap, logger=None)
    broker.subscriber(
        kafka.prefix + counting.topic.name, group_id=group, batch=True, ack_policy=AckPolicy.ACK,
        auto_offset_reset="earliest", max_records=20,
    )(handler)  # fmt: skip
    await broker.start()
    try:
        await eventually(lambda: sum(calls) >= FACTS, what="the whole topic handed over")
    finally:
        await broker.stop()
    requests = [{"run_id": run_id, "status": "cancelled", "blockers": []} for run_id in taken]
    found = invariants.answered(history, requests, [])
    assert found
    assert len(found) == sum(1 for one in history.of("submit", outcome=Outcome.ACKNOWLEDGED) if one.run_id not in taken)
    show(f"control, auto-ack: I1 broken, {len(found)} of {FACTS}: {found[0][:160]}")


def test_every_check_sees_what_it_is_there_for() -> None:
    """Each with the smallest history that breaks it."""

    def record(**said: Any) -> Any:
        return type("Record", (), {"value": json.dumps({"tenant": "acme", **said}).encode()})

    run = str(uuid.uuid4())
    one, two, other = record(run_id=run, seq=1), record(run_id=run, seq=2), record(run_id=run, seq=2, status="x")
    assert invariants.numbered({"run": [one, two]}) == []
    assert "has no seq [1]" in invariants.numbered({"run": [two]})[0]
    assert "two things as seq 2" in invariants.numbered({"run": [one, two, other]})[0]
    assert invariants.said_in_order({}, {"t": [one, two, one, two]}) == []
    assert "seq 1 after 2" in invariants.said_in_order({}, {"t": [two, one]})[0]
    assert invariants.said_in_order({"lineage": 1}, {}) == ["the outbox of lineage holds 1 rows"]
    flow_run = {"id": "a", "tags": [f"run:{run}"], "state_type": "COMPLETED"}
    ours = {"run_id": run, "orchestrator_run_id": "a", "status": "completed", "sub_state": None}
    assert invariants.launched_once([flow_run], [ours]) == []
    assert "has 2 flow runs" in invariants.launched_once([flow_run, flow_run | {"id": "b"}], [ours])[0]
    assert invariants.true_to_prefect([ours], [flow_run], set()) == []
    assert "Prefect says FAILED" in invariants.true_to_prefect([ours], [flow_run | {"state_type": "FAILED"}], set())[0]
    assert "does not know" in invariants.true_to_prefect([ours], [], set())[0]
    assert invariants.seen_live({"run 1": (3, "a")}, {"run 1": (3, "a")}, []) == []
    assert len(invariants.seen_live({"run 1": (3, "a")}, {"run 1": (4, "b")}, ["run 9"])) == 2
    assert invariants.caught_up({"x": 1.0}, 30) == []
    assert len(invariants.caught_up({"x": 31.0, "y": None}, 30)) == 2
