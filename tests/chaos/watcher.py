"""A browser's tab that is open all the time: subscribes, takes snapshots where nothing was recovered, and applies."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import centrifuge  # type: ignore[import-untyped]
import httpx

from services.notifier.tokens import connection_token, subscription_token
from shared.clock import utc_now

Said = tuple[int, str]  # seq, what is shown
HOUR = int(timedelta(hours=1).total_seconds())


class Watcher(centrifuge.SubscriptionEventHandler):  # type: ignore[misc]
    """`rows`: entity → the newest that this client knows. Without `snapshot` it only listens."""

    def __init__(self, env: Any, tenant: str, snapshot: Callable[[], Awaitable[dict[str, Said]]] | None = None) -> None:
        self._key, self._snapshot = env["RUNTIDE_CENTRIFUGO_TOKEN_HMAC_KEY"], snapshot
        self.rows: dict[str, Said] = {}
        self.snapshots = 0
        self._taking: set[asyncio.Task[None]] = set()
        self.subscriptions: list[Any] = []
        self.client = centrifuge.Client(
            env["RUNTIDE_CENTRIFUGO_WS_URL"], get_token=self._connect, min_reconnect_delay=0.1,
            max_reconnect_delay=1.0, proxy=None,
        )  # fmt: skip
        for channel in (f"tenant:{tenant}:feed", f"lineage:{tenant}"):
            self.subscriptions.append(
                self.client.new_subscription(
                    channel, self, get_token=self._subscribe, min_resubscribe_delay=0.1, max_resubscribe_delay=1.0
                )
            )

    async def _connect(self) -> str:
        return connection_token(self._key, user="watcher", now=utc_now(), seconds=HOUR)

    async def _subscribe(self, channel: str) -> str:
        return subscription_token(self._key, user="watcher", channel=channel, now=utc_now(), seconds=HOUR)

    async def open(self) -> Watcher:
        for subscription in self.subscriptions:
            await subscription.subscribe()
        await self.client.connect()
        return self

    async def close(self) -> None:
        await self.client.disconnect()
        for task in self._taking:
            task.cancel()
        await asyncio.gather(*self._taking, return_exceptions=True)

    async def on_subscribed(self, ctx: centrifuge.contexts.SubscribedContext) -> None:
        if self._snapshot is not None and not ctx.recovered:
            task = asyncio.create_task(self._take(self._snapshot))
            self._taking.add(task)
            task.add_done_callback(self._taking.discard)

    async def _take(self, snapshot: Callable[[], Awaitable[dict[str, Said]]]) -> None:
        while True:
            with contextlib.suppress(httpx.HTTPError):
                for entity, said in (await snapshot()).items():
                    self._apply(entity, said)
                self.snapshots += 1
                return
            await asyncio.sleep(0.5)  # the service is away: ask again

    async def on_publication(self, ctx: centrifuge.PublicationContext) -> None:
        self._apply(*said_by(ctx.pub.data))

    def _apply(self, entity: str, said: Said) -> None:
        if entity not in self.rows or said[0] > self.rows[entity][0]:
            self.rows[entity] = said


def said_by(message: Any) -> tuple[str, Said]:
    """Which entity a snapshot is of, and what of it is shown."""
    kind = message.get("type", "").partition(".")[0]
    if kind == "instance":
        return f"instance {message['instance_id']}", (message["seq"], message["status"])
    shown = f"{message['status']}/{message.get('sub_state') or ''}"
    return f"{kind} {message['run_id']}", (message["seq"], shown)


async def pages(http: httpx.AsyncClient, url: str, kind: str) -> dict[str, Said]:
    """All of a list, as a page reads it."""
    found: dict[str, Said] = {}
    cursor: str | None = None
    while True:
        answer = await http.get(url, params={"limit": 500, **({"cursor": cursor} if cursor else {})})
        said = answer.raise_for_status().json()
        entity = url.rpartition("/")[2]
        found |= dict(said_by({**row, "type": f"{kind}."}) for row in said[entity])
        cursor = said["cursor"]
        if cursor is None:
            return found
