"""The parts of the proof that nothing is missed: a source of truth, its announcer, and the client."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import centrifuge  # type: ignore[import-untyped]
import httpx

from tests.integration.realtime.node import Api, connection_token, eventually, subscription_token

FEED = "tenant:acme:feed"
Row = tuple[int, str]  # seq, state


def status_channel(entity: str) -> str:
    return f"instance:{entity}:status"


@dataclass
class Truth:
    """What the database holds: entity → its last seq and state. Stands in for the HTTP snapshot's source."""

    rows: dict[str, Row]
    changes: int = 0
    finished: bool = False

    def change(self, entity: str) -> dict[str, Any]:
        seq = self.rows[entity][0] + 1
        self.rows[entity] = (seq, f"state {seq} of {entity}")
        self.changes += 1
        return {"type": "instance", "id": entity, "seq": seq, "state": self.rows[entity][1]}

    async def snapshot(self, during: int = 50) -> dict[str, Row]:
        """The rows as they are now, delivered only after that many further changes: a slow answer is a stale one."""
        rows, until = dict(self.rows), self.changes + during
        await eventually(lambda: self.finished or self.changes >= until)
        return rows


@dataclass
class Announcer:
    """Publishes changes as notifier does: batches, one at a time, the same batch with the same keys until it is in."""

    truth: Truth
    api: Api
    entities: list[str]
    random: random.Random = field(default_factory=lambda: random.Random(5400))

    async def announce(self, count: int, *, last: str | None = None) -> None:
        """Change and publish `count` entities at random; `last` then changes for the last time, if named."""
        if last is not None:
            self.entities.remove(last)
        chosen = [self.random.choice(self.entities) for _ in range(count - (last is not None))]
        chosen += [last] if last is not None else []
        for start in range(0, count, 50):
            await self._publish([self.truth.change(entity) for entity in chosen[start : start + 50]])

    async def _publish(self, messages: Iterable[dict[str, Any]]) -> None:
        commands: list[dict[str, Any]] = []
        for message in messages:
            key = f"{message['type']}:{message['id']}:{message['seq']}"
            one = {"channel": status_channel(message["id"]), "version": message["seq"]}
            for channel in ({"channel": FEED}, one):  # a version only where the channel carries one entity
                commands.append({"publish": channel | {"data": message, "idempotency_key": key}})

        async def accepted() -> list[dict[str, Any]]:
            with contextlib.suppress(httpx.TransportError):
                answer = await self.api("batch", commands=commands)
                return list(answer["replies"])
            return []

        replies = await eventually(accepted)
        assert all("publish" in reply for reply in replies), replies


class Follower(centrifuge.SubscriptionEventHandler):  # type: ignore[misc]
    """A client that keeps rows right by the rule: subscribe; when `recovered` is false take the snapshot; apply
    everything by seq, drop what is older. With `heeds_recovered=False` it takes the first snapshot only."""

    def __init__(self, name: str, url: str, channels: list[str], truth: Truth, *, heeds_recovered: bool = True) -> None:
        self.name, self.truth, self.heeds_recovered = name, truth, heeds_recovered
        self.rows: dict[str, Row] = {}
        self.subscribed: list[bool] = []  # `recovered`, once per time that any channel was subscribed
        self.snapshots: set[asyncio.Task[None]] = set()
        self.client = centrifuge.Client(
            url, get_token=self._connection_token, min_reconnect_delay=0.05, max_reconnect_delay=0.3, proxy=None
        )
        self.subscriptions = [
            self.client.new_subscription(
                channel, self, get_token=self._subscription_token, min_resubscribe_delay=0.05, max_resubscribe_delay=0.3
            )
            for channel in channels
        ]

    async def _connection_token(self) -> str:
        return connection_token(user=self.name)

    async def _subscription_token(self, channel: str) -> str:
        return subscription_token(channel, user=self.name)

    async def start(self) -> None:
        for subscription in self.subscriptions:
            await subscription.subscribe()
        await self.client.connect()
        await eventually(self.is_live)

    async def stop(self) -> None:
        await self.client.disconnect()
        await asyncio.gather(*self.snapshots)

    def is_live(self) -> bool:
        return all(s.state is centrifuge.SubscriptionState.SUBSCRIBED for s in self.subscriptions)

    def is_lost(self) -> bool:
        return self.client.state is centrifuge.ClientState.CONNECTING

    def is_settled(self) -> bool:
        return self.is_live() and not self.snapshots

    async def on_subscribed(self, ctx: centrifuge.contexts.SubscribedContext) -> None:
        first = len(self.subscribed) < len(self.subscriptions)
        self.subscribed.append(ctx.recovered)
        if not ctx.recovered and (first or self.heeds_recovered):
            task = asyncio.create_task(self._take_snapshot())
            self.snapshots.add(task)
            task.add_done_callback(self.snapshots.discard)

    async def _take_snapshot(self) -> None:
        for entity, row in (await self.truth.snapshot()).items():
            self._apply(entity, row)

    async def on_publication(self, ctx: centrifuge.PublicationContext) -> None:
        message = ctx.pub.data
        self._apply(message["id"], (message["seq"], message["state"]))

    def _apply(self, entity: str, row: Row) -> None:
        if entity not in self.rows or row[0] > self.rows[entity][0]:
            self.rows[entity] = row

    def wrong(self, entities: Iterable[str]) -> set[str]:
        return {entity for entity in entities if self.rows.get(entity) != self.truth.rows[entity]}
