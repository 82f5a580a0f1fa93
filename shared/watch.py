"""Looks at the process and its tables every few seconds, so that a fault has a name before somebody looks for it.

`/v1/ops` shows what a look finds, `/metrics` what the last one found. The fact not to break: a look never stops the
service, and one that cannot reach PostgreSQL or Kafka finds exactly that.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from aiokafka.errors import KafkaError
from runtide_schemas import cluster
from runtide_schemas.refusal import refusal
from sqlalchemy.ext.asyncio import AsyncConnection

from shared import telemetry
from shared.findings import Finding, State, span, state_after
from shared.messaging import topics
from shared.messaging.consumer import BatchConsumer
from shared.messaging.failure import reason_of, verdict
from shared.postgres import fetch
from shared.revisions import pending

if TYPE_CHECKING:
    from shared.service import Context

EVERY_SECONDS = 10.0
TOPICS_EVERY_SECONDS = 30.0
_HOUR, _DAY = 3_600.0, 86_400.0
_AWAY = {
    "kafka": "is the broker up? What is to be said waits in the outbox",
    "prefect": "is Prefect up, and RUNTIDE_PREFECT_API_URL right? Launches and cancels wait and go on by themselves",
    "centrifugo": "is Centrifugo up, and its API key right? Nothing is lost; pages show their age",
}


class Watch:
    """One per process."""

    def __init__(self, ctx: Context[Any]) -> None:
        self._ctx = ctx
        self._first_seen: dict[str, datetime] = {}
        self._topics_at = -TOPICS_EVERY_SECONDS
        self._topics_found: list[Finding] = []
        self._login_refused = False

    async def run(self) -> None:
        """For the life of the process."""
        while True:
            try:
                await self.look()
            except Exception as error:  # noqa: BLE001 a look never stops the service
                self._ctx.log.error("could not look for faults", error=reason_of(error))
            await asyncio.sleep(EVERY_SECONDS)

    async def look(self) -> list[Finding]:
        """All that is wrong now, the worst first."""
        found = [*await self._topics(), *self._neighbours()]  # in this order: a refused login makes Kafka a neighbour
        for consumer in self._ctx.consumers.values():
            found += self._consumer(consumer)
        try:
            async with self._ctx.engine.connect() as conn:
                for alarm in (outbox_not_sent, dead_letters_new, tables_old, *self._ctx.service.alarms):
                    found += await alarm(self._ctx, conn)
        except Exception as error:
            if verdict(error) != "retry":
                raise
            to_do = "is it up, and RUNTIDE_POSTGRES_DSN right? Work waits in Kafka"
            found.append(Finding("postgres_away", "failed", reason_of(error), to_do))
        return self._dated(sorted(found, key=lambda finding: (finding.state, finding.name)))

    def _dated(self, found: list[Finding]) -> list[Finding]:
        """Each with its time; what is gone is forgotten, also by the gauge."""
        now = self._ctx.clock()
        self._first_seen = {one.name: self._first_seen.get(one.name, now) for one in found}
        telemetry.FINDINGS.clear()
        for one in found:
            telemetry.FINDINGS.labels(one.name, one.state).set(1)
        return [replace(one, since=one.since or self._first_seen[one.name]) for one in found]

    # -- what the process knows by itself ------------------------------------------------------------------------

    def _neighbours(self) -> list[Finding]:
        telemetry.AWAY.clear()
        found = []
        for part, (problem, since) in self._ctx.degraded.items():
            age = (self._ctx.clock() - since).total_seconds()
            telemetry.AWAY.labels(part).set(age)
            state: State = "failed" if age >= 60 else "warning"
            found.append(Finding(f"{part}_away", state, f"for {span(age)}: {problem}", _AWAY.get(part, part), since))
        return found

    async def _topics(self) -> list[Finding]:
        """Asked at most every 30 s: a connection of its own each time."""
        if time.monotonic() - self._topics_at >= TOPICS_EVERY_SECONDS:
            self._topics_found = await self._look_at_topics()
            self._topics_at = time.monotonic()
        return self._topics_found if "kafka" not in self._ctx.degraded else []

    async def _look_at_topics(self) -> list[Finding]:
        settings = self._ctx.settings.kafka
        try:
            async with asyncio.timeout(5), topics.admin_of(settings) as admin:
                changes = await cluster.plan(admin, prefix=settings.prefix)
        except (KafkaError, OSError, TimeoutError) as error:
            if refused := await refusal(settings.brokers, settings.login()):
                self._login_refused = True
                self._ctx.degrade("kafka", refused)
            return [Finding("kafka_away", "failed", reason_of(error), _AWAY["kafka"])]
        except cluster.NotAllowed as error:
            return [Finding("topics_differ", "warning", str(error), "python -m deploy.kafka.acls apply")]
        if self._login_refused:
            self._login_refused = False
            self._ctx.degrade("kafka", None)
        if not changes:
            return []
        said = "; ".join(f"{change.topic}: {change.what}" for change in changes[:3])
        more = f" and {len(changes) - 3} more" if len(changes) > 3 else ""
        state: State = "failed" if any(change.fatal for change in changes) else "warning"
        return [Finding("topics_differ", state, said + more, "runtide topics apply")]

    def _consumer(self, consumer: BatchConsumer[Any]) -> list[Finding]:
        """Stopped, trying the same batch again and again, or far behind."""
        now, found = self._ctx.clock(), []
        if consumer.lost:
            to_do = f"repair by the owners' announce, then `python -m services.{self._ctx.service.name} offsets skip`"
            found.append(Finding("data_lost", "failed", "; ".join(consumer.lost.values()), to_do))
        failing = 0.0 if consumer.failing_since is None else time.monotonic() - consumer.failing_since
        if (state := state_after(failing, warn=10, fail=60)) is not None:
            said = f"{consumer.name} tries the same batch for {span(failing)}: {consumer.failing_because}"
            to_do = "what it names; it goes on by itself when that is mended"
            found.append(Finding("consumer_failing", state, said, to_do, now - timedelta(seconds=failing)))
        behind = self._seconds_behind(consumer)
        telemetry.OLDEST.labels(consumer.name).set(behind)
        if (state := state_after(behind, warn=_HOUR, fail=_DAY)) is not None:
            said = f"{consumer.name} reads what is {span(behind)} old"
            to_do = f"its lag in /v1/ops/consumers; retention of {consumer.topic.name} is the last day to catch up"
            found.append(Finding("consumer_behind", state, said, to_do, now - timedelta(seconds=behind)))
        return found

    def _seconds_behind(self, consumer: BatchConsumer[Any]) -> float:
        """Age of the batch at hand, while there is anything left to read."""
        upkeep = self._ctx.upkeeps.get(consumer.topic.name)
        if consumer.at_hand_ms is None or upkeep is None or not any(upkeep.lag.values()):
            return 0.0
        return max(0.0, self._ctx.clock().timestamp() - consumer.at_hand_ms / 1000)


# -- what every service's tables say -----------------------------------------------------------------------------------


async def outbox_not_sent(ctx: Context[Any], conn: AsyncConnection) -> list[Finding]:
    [row] = await fetch(
        conn,
        "select count(*) as rows, min(created_at) as oldest_at, "
        "coalesce(extract(epoch from now() - min(created_at)), 0)::float as age from outbox",
    )
    telemetry.OUTBOX_DEPTH.set(row["rows"])
    telemetry.OUTBOX_OLDEST.set(row["age"])
    state = state_after(row["age"], warn=10, fail=30)
    if state is None:
        return []
    said = f"messages not sent yet: {row['rows']}, the oldest for {span(row['age'])}"
    to_do = f"is Kafka up, and does a process of {ctx.service.name} lead the relay? Its log says why a send failed"
    return [Finding("outbox_not_sent", state, said, to_do, row["oldest_at"])]


async def dead_letters_new(ctx: Context[Any], conn: AsyncConnection) -> list[Finding]:
    rows = await fetch(
        conn,
        """
        select topic, count(*) as letters, min(first_seen_at) as since,
               (array_agg(reason order by id desc))[1] as reason
        from dead_letters where status = 'new' group by topic order by topic
        """,
    )
    total = sum(row["letters"] for row in rows)
    telemetry.DEAD_LETTERS_NEW.set(total)
    if not total:
        return []
    of_topics = "; ".join(f"{row['letters']} of {row['topic']}, last: {row['reason'][:200]}" for row in rows)
    name = ctx.service.name
    to_do = (
        f"runtide dead-letters list -s {name}; mend the cause, deploy, `runtide dead-letters replay -s {name} --all`"
    )
    return [Finding("dead_letters", "warning", of_topics, to_do, min(row["since"] for row in rows))]


async def tables_old(ctx: Context[Any], conn: AsyncConnection) -> list[Finding]:
    missing = await pending(conn, ctx.service.name)
    if not missing:
        return []
    said = f"the tables are older than this code: {', '.join(missing)} not applied"
    return [Finding("tables_old", "failed", said, f"python -m services.{ctx.service.name} migrate")]
