"""What becomes true by the clock happens once, whoever takes it, and one fault holds nobody else up."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy.exc import DBAPIError

from shared.messaging.due import Due
from shared.messaging.work import Work
from tests.component.messaging.counting import Counting
from tests.support.eventually import eventually
from tests.support.harness import ServiceHarness


class Rings:
    """Rows in the handler's own transaction (`effects` by ref would hide a second time; `n` counts them)."""

    def __init__(self, *, fails: str = "") -> None:
        self.fails, self.tried = fails, list[str]()

    async def __call__(self, due: Sequence[Due], work: Work[Any]) -> None:
        self.tried += [one.ref for one in due]
        if any(one.ref == self.fails for one in due):
            raise ValueError(f"{self.fails} can never work")
        for one in due:
            await work.store.ring(one.ref)


async def schedule(harness: ServiceHarness, *refs: str, at: datetime | None = None) -> None:
    async with harness.running.context.unit_of_work() as work:
        for ref in refs:
            work.schedule("ring", ref, at or datetime.now(UTC))


async def rung(counting: Counting) -> list[str]:
    return sorted(row["ref"] for row in await counting.rows("select ref from effects"))


async def until_rung(counting: Counting, *refs: str) -> None:
    async def all_rung() -> bool:
        return set(refs) <= set(await rung(counting))

    await eventually(all_rung, what=f"{refs} rung")


async def test_what_is_due_fires_once_also_with_two_processes_and_what_is_not_stays(counting: Counting) -> None:
    rings = Rings()
    first = await counting.start("first", due={"ring": rings})
    await counting.start("second", due={"ring": rings})
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    await schedule(first, "later", "moved", "taken back", at=tomorrow)
    refs = [f"r{n:03}" for n in range(60)]
    await asyncio.gather(*(schedule(first, *refs[start::6]) for start in range(6)))
    await schedule(first, "moved")  # one row per thing: the last call wins
    async with first.running.context.unit_of_work() as work:
        work.unschedule("ring", "taken back")
    await until_rung(counting, "moved", *refs)
    assert await rung(counting) == sorted(["moved", *refs])
    assert [row["ref"] for row in await counting.rows("select ref from due")] == ["later"]


async def test_one_that_can_never_work_holds_nobody_up_and_is_tried_again_later(counting: Counting) -> None:
    rings = Rings(fails="broken")
    harness = await counting.start(due={"ring": rings})
    await schedule(harness, "a", "broken", "z")
    await until_rung(counting, "a", "z")
    assert await rung(counting) == ["a", "z"]

    async def postponed() -> bool:
        [row] = await counting.rows("select ref, due_at > now() + interval '30 seconds' as later from due")
        return bool(row["ref"] == "broken" and row["later"])

    await eventually(postponed)


async def test_a_cut_connection_rings_nothing_twice(counting: Counting) -> None:
    rings = Rings()
    await counting.start(due={"ring": rings})
    refs = [f"r{n}" for n in range(8)]
    for ref in refs:
        await counting.rows("insert into due (kind, ref, due_at) values ('ring', $1, now())", ref)
        await eventually(counting.terminate_backends, every_seconds=0.01)
    await until_rung(counting, *refs)
    assert await rung(counting) == refs


@pytest.mark.parametrize("locked_first", [True, False], ids=["locked first", "control: taken first"])
async def test_who_answers_a_row_and_who_moves_it_never_wait_for_each_other_in_a_ring(
    counting: Counting, locked_first: bool
) -> None:
    ended_by_postgres: list[DBAPIError] = []

    async def lock(due: Sequence[Due], work: Work[Any]) -> None:
        with noted(ended_by_postgres):
            await work.store.lock([one.ref for one in due])

    async def ring(due: Sequence[Due], work: Work[Any]) -> None:
        await lock(due, work)
        for one in due:
            await work.store.ring(f"{one.ref} rang")

    harness = await counting.start(due={"ring": ring}, lock_due=lock if locked_first else None)
    await counting.rows("insert into effects (id, ref, n) values (gen_random_uuid(), 'a', 0)")
    with suppress(DBAPIError), noted(ended_by_postgres):
        async with harness.running.context.unit_of_work() as work:  # a consumer's: first the aggregate
            await work.store.lock(["a"])
            await schedule(harness, "a")
            await eventually(lambda: _someone_waits(counting))
            work.schedule("ring", "a", datetime.now(UTC) + timedelta(days=1))  # at its end the row
    assert len(ended_by_postgres) == (0 if locked_first else 1)
    if locked_first:
        await eventually(lambda: _nobody_waits(counting))
        assert await rung(counting) == ["a"]


@contextmanager
def noted(errors: list[DBAPIError]) -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        errors.append(error)
        raise


async def _someone_waits(counting: Counting) -> bool:
    sql = "select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
    return bool(await counting.rows(sql))


async def _nobody_waits(counting: Counting) -> bool:
    return not await _someone_waits(counting)


async def test_a_kind_that_this_version_does_not_know_waits_for_one_that_does(counting: Counting) -> None:
    harness = await counting.start(due={"ring": Rings()})
    async with harness.running.context.unit_of_work() as work:
        work.schedule("sing", "s", datetime.now(UTC))
    await schedule(harness, "r")
    await until_rung(counting, "r")
    assert [row["kind"] for row in await counting.rows("select kind from due")] == ["sing"]
