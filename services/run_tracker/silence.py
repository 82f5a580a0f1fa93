"""Listening for heartbeats: a run whose process and runner were killed stays Running in Prefect for ever.

Heartbeats are read from Prefect's own store of events, so neither a restart of ours nor a dead bridge looks like
silence. A process that never sent one is not judged: its runner was not told to.
The fact not to break: after Prefect was away, everybody is silent for a while; only intervals of it answering count.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from services.run_tracker.cancelling import CANCELLER
from services.run_tracker.domain.lifecycle import BEATING_TYPES
from services.run_tracker.handlers import on_silences
from services.run_tracker.looking import look_regularly
from services.run_tracker.settings import own
from services.run_tracker.store import RunTrackerStore
from services.run_tracker.upkeep import Living, Upkeep
from shared.errors import OrchestratorUnavailable
from shared.prefect import PrefectClient
from shared.service import Context

MISSED = 3
_BEFORE_ITS_STATE = timedelta(minutes=1)  # clocks differ


def silences(
    living: Sequence[Living], heard: Mapping[UUID, datetime], now: datetime, patience: timedelta
) -> dict[UUID, datetime | None]:
    """run id → since when it is silent, or None where it is heard again; only of those where that changed."""
    changed: dict[UUID, datetime | None] = {}
    for run in living:
        last = heard.get(run.flow_run_id)
        silent = last is not None and max(last, run.state_at) < now - patience
        since = (run.silent_since or last) if silent else None
        if since != run.silent_since:
            changed[run.run_id] = since
    return changed


class Silence:
    def __init__(self, ctx: Context[RunTrackerStore], prefect: PrefectClient, interval: timedelta) -> None:
        self.ctx, self.prefect, self.patience = ctx, prefect, MISSED * interval
        self.answering_since: datetime | None = None

    async def once(self) -> int:
        """Listen for the processes of all running runs; says of how many the answer changed."""
        now = self.ctx.clock()
        async with self.ctx.engine.connect() as conn:
            living = await Upkeep(conn).load_living(BEATING_TYPES)
        try:
            since = min((run.state_at for run in living), default=now) - _BEFORE_ITS_STATE
            heard = await self.prefect.last_heartbeats([run.flow_run_id for run in living], since)
        except OrchestratorUnavailable:
            self.answering_since = None
            raise
        self.answering_since = self.answering_since or now
        if now - self.answering_since < self.patience:
            return 0
        changed = silences(living, heard, now, self.patience)
        if changed:
            async with self.ctx.unit_of_work() as work:
                await on_silences(changed, work)
            self.ctx.wake(CANCELLER)
        return len(changed)


async def run(ctx: Context[RunTrackerStore]) -> None:
    """Listen every half interval."""
    settings = own(ctx.settings)
    interval = timedelta(seconds=settings.heartbeat_seconds)
    silence = Silence(ctx, PrefectClient(settings.prefect, ctx.http), interval)
    await look_regularly(ctx, "silence", silence.once, seconds=settings.heartbeat_seconds / 2)
