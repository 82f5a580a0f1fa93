"""Our own seam in memory: a log that keeps everything, and services that answer as a test says."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from runtide.log import Follow, Follower
from runtide_schemas.message import Message
from runtide_schemas.topics import Topic, key_of, topic_of

Answer = Callable[[Message], Iterable[Message]]


@dataclass
class MemoryLog:
    """`answers`: what the services publish when a message of a client arrives."""

    answers: Answer = lambda _: ()
    kept: list[tuple[Topic, bytes, datetime, Message]] = field(default_factory=list)
    sent: list[tuple[Message, str, bytes]] = field(default_factory=list)
    wishes: list[Follow] = field(default_factory=list)
    followers: list[Follower] = field(default_factory=list)
    closed: bool = False

    async def publish(self, message: Message, *, message_id: str, value: bytes | None = None) -> None:
        self.sent.append((message, message_id, message.to_json() if value is None else value))
        self.add(message, *self.answers(message))

    def add(self, *messages: Message, at: datetime | None = None) -> None:
        for message in messages:
            topic, key, time = topic_of(message), key_of(message), at or datetime.now(UTC)
            self.kept.append((topic, key, time, message))
            for follower in self.followers:
                if follower.wish.wants(topic, key):
                    follower.put(message)

    @asynccontextmanager
    async def follow(self, wish: Follow) -> AsyncIterator[Follower]:
        follower = Follower(wish)
        self.wishes.append(wish)
        for topic, key, time, message in self.kept:
            if wish.wants(topic, key) and (wish.since is None or time >= wish.since):
                follower.put(message)
        self.followers.append(follower)
        try:
            yield follower
        finally:
            self.followers.remove(follower)

    async def newest(self, topic: Topic) -> Sequence[Message]:
        return list({key: message for of, key, _, message in self.kept if of is topic}.values())

    async def close(self) -> None:
        self.closed = True
