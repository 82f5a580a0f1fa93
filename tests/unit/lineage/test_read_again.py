"""A story whose whole log is read once more, from its beginning and in other batches: nothing changes, nothing is said.

Each topic keeps its order; how the topics lie between each other, and where batches end, is up to the dice. This is I9
for lineage, over its own handlers.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from typing import Any

import pytest

from services.lineage import handlers
from tests.unit.lineage.memory import MemoryWork, done
from tests.unit.lineage.stories import Story, lived

WORLDS, WORLDS_OF_THE_CONTROL = 500, 100


def read_again(story: Story, dice: random.Random) -> list[Any]:
    """What the second reading says."""
    said: list[Any] = []
    left = {handler: list(log) for handler, log in story.log.items()}
    while left:
        handler = dice.choice(list(left))
        size = dice.choice((1, 1, 2, 5, 20))
        batch, left[handler] = left[handler][:size], left[handler][size:]
        if not left[handler]:
            del left[handler]
        work = MemoryWork(story.now, story.store)
        done(handler(batch, work))
        said += work.said
    return said


def kept(story: Story) -> dict[str, Any]:
    store = story.store
    return {
        "world": {each: store.world.flow(each) for each in store.world.flow_keys()},
        "instances": dict(store.world.instances),
        "requests": dict(store.all_requests),
        "runs": dict(store.all_runs),
        "versions": copy.deepcopy(store.versions),
        "decisions": list(store.decisions),
    }


def differing(seed: int) -> list[str]:
    """What is not as it was."""
    story = lived(seed)
    before = kept(story)
    said = read_again(story, random.Random(f"{seed}/again"))
    after = kept(story)
    return [what for what in before if before[what] != after[what]] + [type(one).__name__ for one in said]


def test_what_is_read_again_in_other_batches_changes_nothing_and_says_nothing(show: Callable[[str], None]) -> None:
    found = {seed: differs for seed in range(WORLDS) if (differs := differing(seed))}
    assert found == {}
    show(f"read again: the logs of {WORLDS} random worlds, in other batches, changed nothing")


def test_control_requests_that_ended_at_once_and_are_forgotten_are_decided_when_read_again(
    monkeypatch: pytest.MonkeyPatch, show: Callable[[str], None]
) -> None:
    heard = handlers._heard

    def forgetting(asked: Any, message: Any, known: Any, run: Any) -> Any:
        return None if known is None and message.status.is_end else heard(asked, message, known, run)

    monkeypatch.setattr(handlers, "_heard", forgetting)
    found = [seed for seed in range(WORLDS_OF_THE_CONTROL) if differing(seed)]
    assert found
    show(
        f"read again, control: {len(found)} of {WORLDS_OF_THE_CONTROL} worlds change where such requests are forgotten"
    )
