"""What is old is forgotten, and nothing that anybody can ask about now, or may be told later, is answered otherwise."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.postgres import engine_for
from tests.component.lineage.forgotten import differing, endings
from tests.support.harness import World

WORLDS, WORLD_OF_THE_CONTROL = 5, 4
TOO_MUCH = {
    "what was read": ["it was read"],
    "what is tainted": ["it is tainted"],
    "the greatest date": ["it has the greatest date"],
    "the newest end": ["it was its flow's newest"],
    "the last good version": [
        "it was current", "it has the greatest date", "it was its flow's newest", "its end decided", "it was read",
        "it was confirmed", "an event names it", "an event names the version",
    ],
}  # fmt: skip


@pytest.fixture
async def conn(world: World) -> AsyncIterator[AsyncConnection]:
    """Of migrated tables, in a transaction that is rolled back."""
    await world.migrate("lineage")
    engine = engine_for(world.settings("lineage").postgres, schema="lineage", application="test")
    try:
        async with engine.connect() as opened:
            yield opened
            await opened.rollback()
    finally:
        await engine.dispose()


async def test_worlds_that_forget_in_the_middle_end_as_those_that_keep_all(
    conn: AsyncConnection, show: Callable[[str], None]
) -> None:
    forgotten = left = 0
    for seed in range(WORLDS):
        kept, [forgetful] = await endings(conn, seed, [])
        assert differing(kept, forgetful) == [], f"seed {seed}"
        assert kept.answers["recheck"][1] == [], f"seed {seed}"
        forgotten, left = forgotten + forgetful.forgotten, left + len(forgetful.runs)
    show(f"forgetting: {WORLDS} worlds lost {forgotten} runs, kept {left}, and nothing else is otherwise")
    assert forgotten > WORLDS


async def test_control_a_rule_that_forgets_too_much_is_noticed(
    conn: AsyncConnection, show: Callable[[str], None]
) -> None:
    kept, forgetful = await endings(conn, WORLD_OF_THE_CONTROL, *TOO_MUCH.values())
    found = {what: differing(kept, one) for what, one in zip(TOO_MUCH, forgetful, strict=True)}
    assert [what for what, differs in found.items() if not differs] == []
    assert "flows" in found["the last good version"]
    show(f"forgetting, control: without {', '.join(found)} the same world ends otherwise")
