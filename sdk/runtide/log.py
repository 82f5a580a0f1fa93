"""The log as the client sees it: publish a message, follow an entity, read what a compacted topic holds.

This is the seam: `kafka.Kafka` is the real one, tests have one in memory that passes the same behaviours.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from runtide_schemas.message import Message
from runtide_schemas.topics import ACTIVITIES, Topic


@dataclass(frozen=True, slots=True)
class Follow:
    """What a follower wants: some topics, one key of them (None: all), from a time on (None: all that is retained).
    `tenant`: the key in `activities.v1`, where answers lie to commands that became nothing.
    """

    topics: tuple[Topic, ...]
    key: bytes | None
    since: datetime | None
    tenant: bytes | None = None

    def key_in(self, topic: Topic) -> bytes | None:
        return self.tenant if topic is ACTIVITIES and self.tenant is not None else self.key

    def wants(self, topic: Topic, key: bytes | None) -> bool:
        return topic in self.topics and self.key_in(topic) in (None, key)


@dataclass(eq=False, slots=True)
class Follower:
    """The messages of a `Follow`, in log order per key; after an interruption some come twice."""

    wish: Follow
    _waiting: asyncio.Queue[Message | Exception] = field(default_factory=asyncio.Queue)

    def put(self, message: Message | Exception) -> None:
        self._waiting.put_nowait(message)

    async def next(self, timeout_seconds: float | None = None) -> Message | None:
        """None: nothing came in time. Raises: Unavailable once the log is lost."""
        try:
            async with asyncio.timeout(timeout_seconds):
                message = await self._waiting.get()
        except TimeoutError:
            return None
        if isinstance(message, Exception):
            raise message
        return message

    async def messages(self) -> AsyncGenerator[Message, None]:
        while True:
            message = await self.next()
            if message is not None:
                yield message


class Log(Protocol):
    async def publish(self, message: Message, *, message_id: str, value: bytes | None = None) -> None:
        """Returns when all replicas have it. `value`: other bytes than `message.to_json()`.

        Raises: KafkaUnavailable.
        """
        ...

    def follow(self, wish: Follow) -> AbstractAsyncContextManager[Follower]:
        """Inside the context every later message is seen. Raises: KafkaUnavailable, TopicsDiffer."""
        ...

    async def newest(self, topic: Topic) -> Sequence[Message]:
        """The last message of each key of a compacted topic, as of now."""
        ...

    async def close(self) -> None: ...
