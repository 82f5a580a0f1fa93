"""Facts before questions: a batch of questions waits until what Kafka held when it came has been saved."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from runtide_schemas.topics import INSTANCES_COMMANDS, REQUESTS_STATUS, RUNS_STATUS, Topic

from shared.messaging import facts
from shared.messaging.decode import Bad, Record
from shared.messaging.facts import facts_before_questions


class FakeFacts:
    """Kafka's ends and our rows, both set by hand; each wait saves what `saves` says next."""

    def __init__(self, ends: dict[Topic, dict[int, int]], rows: dict[Topic, dict[int, int]]) -> None:
        self.ends, self.rows, self.saves = ends, rows, list[tuple[Topic, int, int]]()
        self.waits = self.asked = 0
        self.engine = self

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[FakeFacts]:
        yield self

    def consumer_name(self, topic: Topic) -> str:
        return topic.name

    async def end_offsets(self, topic: Topic) -> dict[int, int]:
        self.asked += 1
        return dict(self.ends[topic])

    async def wait_saved(self, topics: Sequence[Topic], timeout_seconds: float) -> None:
        self.waits += 1
        if self.saves:
            topic, partition, offset = self.saves.pop(0)
            self.rows[topic][partition] = offset


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    async def read(conn: FakeFacts, *, consumer: str, topic: str) -> dict[int, int]:
        return next(dict(rows) for known, rows in conn.rows.items() if known.name == topic)

    monkeypatch.setattr(facts.offsets, "read", read)
    monkeypatch.setattr(facts, "PATIENCE_SECONDS", 0.0)


def questions(*offsets: int) -> list[Any]:
    return [Bad("x", "y", Record(REQUESTS_STATUS.name, 0, n, 0, None, None, (), n)) for n in offsets]


def both(partition_ends: dict[int, int]) -> dict[Topic, dict[int, int]]:
    return {RUNS_STATUS: dict(partition_ends), INSTANCES_COMMANDS: {0: 0}}


async def test_it_goes_on_at_once_when_everything_is_read() -> None:
    fake = FakeFacts(both({0: 5, 1: 0}), both({0: 5}))
    assert await facts_before_questions(RUNS_STATUS, INSTANCES_COMMANDS)(fake)(questions(1))
    assert fake.waits == 0


async def test_it_does_not_wait_for_a_partition_that_never_held_anything() -> None:
    fake = FakeFacts(both({0: 0, 1: 0}), {RUNS_STATUS: {}, INSTANCES_COMMANDS: {}})
    assert await facts_before_questions(RUNS_STATUS, INSTANCES_COMMANDS)(fake)(questions(1))


async def test_one_partition_behind_holds_the_questions_up() -> None:
    fake = FakeFacts(both({0: 5, 1: 3}), both({0: 5, 1: 2}))
    assert not await facts_before_questions(RUNS_STATUS, INSTANCES_COMMANDS)(fake)(questions(1))


async def test_a_partition_without_a_row_of_ours_holds_them_up() -> None:
    fake = FakeFacts(both({0: 5}), {RUNS_STATUS: {}, INSTANCES_COMMANDS: {}})
    assert not await facts_before_questions(RUNS_STATUS, INSTANCES_COMMANDS)(fake)(questions(1))


async def test_it_goes_on_when_the_last_partition_has_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "PATIENCE_SECONDS", 5.0)
    fake = FakeFacts(both({0: 5, 1: 3}), both({0: 4, 1: 2}))
    fake.saves = [(RUNS_STATUS, 0, 5), (RUNS_STATUS, 1, 3)]
    assert await facts_before_questions(RUNS_STATUS, INSTANCES_COMMANDS)(fake)(questions(1))
    assert fake.waits == 2


async def test_the_same_questions_read_again_keep_the_ends_that_were_read_first() -> None:
    fake = FakeFacts(both({0: 5}), both({0: 4}))
    before = facts_before_questions(RUNS_STATUS)(fake)
    assert not await before(questions(1, 2))
    fake.ends[RUNS_STATUS][0] = 900  # facts go on coming; these questions were asked before them
    fake.rows[RUNS_STATUS][0] = 5
    assert await before(questions(1, 2))
    assert await before(questions(1))  # also a part of them
    assert fake.asked == 1


async def test_new_questions_ask_for_new_ends() -> None:
    fake = FakeFacts(both({0: 5}), both({0: 5}))
    before = facts_before_questions(RUNS_STATUS)(fake)
    assert await before(questions(1))
    fake.ends[RUNS_STATUS][0] = 6
    assert not await before(questions(2))


async def test_questions_that_came_meanwhile_hold_nobody_up_and_wait_for_their_own_facts() -> None:
    fake = FakeFacts(both({0: 5}), both({0: 4}))
    before = facts_before_questions(RUNS_STATUS)(fake)
    assert await before(questions(1, 2)) == []
    fake.ends[RUNS_STATUS][0] = 900
    fake.rows[RUNS_STATUS][0] = 5
    batch = questions(1, 2, 3)
    assert await before(batch) == batch[:2]
    assert await before(batch[2:]) == []
    fake.rows[RUNS_STATUS][0] = 900
    assert await before(batch[2:]) == batch[2:]
