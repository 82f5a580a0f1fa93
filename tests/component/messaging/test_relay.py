"""What a transaction said leaves once it commits, in the order of each key, whatever happens to the relay."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from typing import Any

import asyncpg
import pytest

from shared import running
from shared.messaging.relay import Relay
from shared.postgres import MANY
from tests.chaos import invariants
from tests.component.messaging.counting import SAID, Counting, progressed
from tests.support.eventually import eventually
from tests.support.harness import ServiceHarness

KEYS = [uuid.uuid4() for _ in range(5)]
EACH = 400


async def say(harness: ServiceHarness, seqs: range) -> None:
    """One transaction that says something about every key."""
    async with harness.running.context.unit_of_work() as work:
        for seq in seqs:
            for key in KEYS:
                work.publish(progressed(key, seq))


async def test_each_key_keeps_its_order_and_nothing_is_lost_when_the_relays_connection_is_cut(
    counting: Counting,
) -> None:
    harness = await counting.start()
    for start in range(1, EACH + 1, 100):
        await say(harness, range(start, start + 100))
        await eventually(lambda: counting.terminate_backends(only_the_relay=True), what="a relay to cut off")
    said = await counting.said()
    for key in KEYS:
        seqs = [message["seq"] for message in said if message["run_id"] == str(key)]
        assert list(dict.fromkeys(seqs)) == list(range(1, EACH + 1))


@pytest.mark.parametrize("many", [1, MANY])
async def test_what_a_rolled_back_transaction_said_never_leaves(counting: Counting, many: int) -> None:
    harness = await counting.start()

    async def changes_its_mind() -> None:
        async with harness.running.context.unit_of_work() as work:
            for _ in range(many):
                work.publish(progressed(KEYS[0], 1))
            await work.flush()
            raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        await changes_its_mind()
    await say(harness, range(2, 3))
    assert {message["seq"] for message in await counting.said()} == {2}


async def _first_taken_last_committed(counting: Counting, harness: ServiceHarness) -> list[Any]:
    """A transaction takes the lower id and commits after one that took the higher; answers the records that left."""
    conn = await asyncpg.connect(counting.world.dsn, server_settings={"search_path": counting.name})
    try:
        transaction = conn.transaction()
        await transaction.start()
        await conn.execute(
            "insert into outbox (topic, key, payload, headers) values ($1, $2, $3, $4)",
            SAID, b"k", progressed(KEYS[0], 1).to_json(), f'{{"ce_source": "/runtide/{counting.name}"}}',
        )  # fmt: skip
        await say(harness, range(2, 3))
        await eventually(lambda: _has_left(counting, 2), every_seconds=0.2)
        await transaction.commit()
    finally:
        await conn.close()
    await say(harness, range(3, 4))
    await eventually(lambda: _has_left(counting, 3), every_seconds=0.2)
    return [r for r in await counting.world.kafka.records(SAID) if str(KEYS[0]).encode() in r.value]


async def _has_left(counting: Counting, seq: int) -> bool:
    mine = f"/runtide/{counting.name}".encode()
    records = await counting.world.kafka.records(SAID)
    return any(dict(r.headers).get("ce_source") == mine and f'"seq":{seq}'.encode() in r.value for r in records)


@pytest.fixture
def own_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.component.messaging.test_relay.KEYS", [uuid.uuid4()])


@pytest.mark.usefixtures("own_keys")
async def test_ids_that_commit_out_of_order_all_leave(counting: Counting) -> None:
    left = await _first_taken_last_committed(counting, await counting.start())
    assert invariants.numbered({"run": left}) == []
    assert len({record.value for record in left}) == 3


@pytest.mark.usefixtures("own_keys")
async def test_control_a_relay_that_remembers_the_last_id_loses_the_row_that_commits_late(
    counting: Counting, monkeypatch: pytest.MonkeyPatch, show: Callable[[str], None]
) -> None:
    class CursorRelay(Relay):
        last_id = 0

        async def drain_once(self, connection: Any, producer: Any) -> int:
            rows = await connection.fetch("select * from outbox where id > $1 order by id", self.last_id)
            for row in rows:
                await producer.send_and_wait(
                    self._prefix + row["topic"], row["payload"], key=row["key"],
                    headers=[("ce_source", f"/runtide/{counting.name}".encode())],
                )  # fmt: skip
                self.last_id = row["id"]
            return len(rows)

    monkeypatch.setattr(running, "Relay", CursorRelay)
    [broken] = invariants.numbered({"run": await _first_taken_last_committed(counting, await counting.start())})
    assert "has no seq [1] of 3" in broken
    show(f"control, cursor relay: I4 broken: {broken}")


async def test_of_two_relays_one_leads_and_the_other_takes_over_when_it_is_gone(counting: Counting) -> None:
    first = await counting.start("first")
    await say(first, range(1, 2))
    await counting.said()
    second = await counting.start("second")
    await first.stop()
    await say(second, range(2, 3))
    assert {message["seq"] for message in await counting.said()} == {1, 2}


async def test_a_message_too_large_for_any_topic_is_refused_where_it_is_said(counting: Counting) -> None:
    from shared.errors import InvalidMessage

    harness = await counting.start()
    large = progressed(KEYS[0], 1).model_copy(update={"detail": "x" * 300_000})
    with pytest.raises(InvalidMessage, match="allowed are 262144"):
        async with harness.running.context.unit_of_work() as work:
            work.publish(large)
    await asyncio.gather(say(harness, range(1, 2)), say(harness, range(2, 3)))
    assert {message["seq"] for message in await counting.said()} == {1, 2}
