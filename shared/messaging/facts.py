"""Facts before questions: decide only when everything that Kafka held when the question came has been read.

A consumer of questions reads the end offsets of the fact topics, then waits until this service's offset rows of those
topics, of every partition and process, have passed them. It waits before its transaction and holds no lock; every
10 s it lets the consumer poll, and keeps the end offsets that it read first. Questions that came meanwhile wait for
their own turn, so that those before them never wait for facts that are younger than they are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from runtide_schemas.topics import Topic

from shared.messaging import offsets
from shared.messaging.consumer import Decoded, Precondition

PATIENCE_SECONDS = 10.0
POLL_SECONDS = 0.05


class Facts(Protocol):
    """What the service offers to a precondition."""

    engine: Any

    def consumer_name(self, topic: Topic) -> str: ...
    async def end_offsets(self, topic: Topic) -> dict[int, int]: ...
    async def wait_saved(self, topics: Sequence[Topic], timeout_seconds: float) -> None: ...


def facts_before_questions(*topics: Topic) -> Callable[[Facts], Precondition]:
    """The precondition of a consumer whose decisions depend on these topics."""
    return lambda facts: _FactsBeforeQuestions(facts, topics)


class _FactsBeforeQuestions:
    def __init__(self, facts: Facts, topics: Sequence[Topic]) -> None:
        self._facts, self._topics = facts, topics
        self._asked: frozenset[str] = frozenset()
        self._ends: dict[Topic, dict[int, int]] = {}

    async def __call__(self, batch: Sequence[Decoded]) -> list[Decoded]:
        before = [item for item in batch if item.record.position in self._asked]
        if not before:
            self._ends = {topic: await self._facts.end_offsets(topic) for topic in self._topics}
            self._asked, before = frozenset(item.record.position for item in batch), list(batch)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + PATIENCE_SECONDS
        while not await self._passed():
            if loop.time() >= deadline:
                return []
            await self._facts.wait_saved(self._topics, POLL_SECONDS)
        return before

    async def _passed(self) -> bool:
        async with self._facts.engine.connect() as conn:
            for topic, ends in self._ends.items():
                rows = await offsets.read(conn, consumer=self._facts.consumer_name(topic), topic=topic.name)
                if any(end > 0 and rows.get(partition, 0) < end for partition, end in ends.items()):
                    return False
        return True
