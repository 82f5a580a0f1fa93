"""Prefect's event stream → `prefect.flow-run-states`. One leader; two at once are harmless, by state id.

The fact not to break: events are emitted before Prefect commits, so a *terminal* goes to Kafka only after REST confirms
it. What the stream loses (it drops beyond 256 waiting messages and backfills at most 15 minutes) the sweep repairs.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from uuid import UUID

from prometheus_client import Counter
from runtide_schemas.prefect import FlowRunStateObserved

from services.run_tracker.domain.lifecycle import TERMINAL_TYPES
from services.run_tracker.observations import confirmed, of_event
from services.run_tracker.settings import own
from services.run_tracker.store import RunTrackerStore
from services.run_tracker.upkeep import Mark, Upkeep
from shared.errors import OrchestratorUnavailable
from shared.messaging.backoff import Backoff
from shared.prefect import FlowRun, PrefectClient
from shared.service import Context

EVENTS = Counter("runtide_run_tracker_bridge_events_total", "Prefect's events by what became of them", ["answer"])
MARK_SECONDS = 5.0
BATCH = 200
CONFIRM_TRIES = 6
CONFIRM_WAIT_SECONDS = 0.1
REMEMBERED = 20_000


class Bridge:
    """Reads as fast as the socket gives, and writes in batches behind it."""

    def __init__(self, ctx: Context[RunTrackerStore], written: OrderedDict[tuple[UUID, UUID], None]) -> None:
        self.ctx = ctx
        self.prefect = PrefectClient(own(ctx.settings).prefect, ctx.http)
        self.waiting: asyncio.Queue[FlowRunStateObserved] = asyncio.Queue()
        self.connected = False
        self._written = written  # what the backfill of the next connection brings again

    async def read(self) -> None:
        """From the socket into memory: nothing here waits for anything else."""
        async for event in self.prefect.events(opened=self._opened):
            seen = of_event(event, self.ctx.clock())
            if seen is None:
                EVENTS.labels("not_a_state").inc()
            elif (seen.flow_run_id, seen.state_id) in self._written:
                EVENTS.labels("repeated").inc()
            else:
                self.waiting.put_nowait(seen)

    def _opened(self) -> None:
        self.connected = True
        self.ctx.degrade("prefect", None)

    async def mark(self) -> None:
        """Note now and then that the stream is open, for whoever asks whether events reach us."""
        while True:
            if self.connected:
                async with self.ctx.engine.begin() as conn:
                    await Upkeep(conn).note_sweep(Mark.BRIDGE, self.ctx.clock(), None, None)
            await asyncio.sleep(MARK_SECONDS)

    async def write(self) -> None:
        """From memory into the outbox, terminals confirmed."""
        while True:
            batch = [await self.waiting.get()]
            while len(batch) < BATCH and not self.waiting.empty():
                batch.append(self.waiting.get_nowait())
            await self.publish(await self.confirm(batch))

    async def publish(self, batch: Sequence[FlowRunStateObserved]) -> None:
        async with self.ctx.unit_of_work() as work:
            for seen in batch:
                work.publish(seen)
        for seen in batch:
            self._written[seen.flow_run_id, seen.state_id] = None
            EVENTS.labels("published").inc()
        while len(self._written) > REMEMBERED:
            self._written.popitem(last=False)

    async def confirm(self, batch: Sequence[FlowRunStateObserved]) -> list[FlowRunStateObserved]:
        """The batch, without the terminals that Prefect's database does not know; those it does, with their times."""
        terminals = {(s.flow_run_id, s.state_id): s for s in batch if s.state_type in TERMINAL_TYPES}
        answers: dict[tuple[UUID, UUID], FlowRunStateObserved] = {}
        for attempt in range(CONFIRM_TRIES):
            open_ = {key: seen for key, seen in terminals.items() if key not in answers}
            if not open_:
                break
            if attempt:
                await asyncio.sleep(CONFIRM_WAIT_SECONDS * attempt)
            flow_runs = {run.id: run for run in await self.prefect.read_flow_runs([key[0] for key in open_])}
            for key, seen in open_.items():
                if (flow_run := flow_runs.get(key[0])) is not None and await self._has(flow_run, seen):
                    answers[key] = confirmed(seen, flow_run)
        EVENTS.labels("not_confirmed").inc(len(terminals) - len(answers))
        return [
            answers.get((seen.flow_run_id, seen.state_id), seen)
            for seen in batch
            if seen.state_type not in TERMINAL_TYPES or (seen.flow_run_id, seen.state_id) in answers
        ]

    async def _has(self, flow_run: FlowRun, seen: FlowRunStateObserved) -> bool:
        """The flow run is in this state, or has been."""
        if flow_run.state_id == seen.state_id:
            return True
        if flow_run.state is None or flow_run.state.timestamp < seen.state_timestamp:
            return False
        return any(state.id == seen.state_id for state in await self.prefect.flow_run_states(flow_run.id))


async def run(ctx: Context[RunTrackerStore]) -> None:
    """Lead, connect, copy; when Prefect is away, say so, wait, and connect again."""
    backoff = Backoff()
    written: OrderedDict[tuple[UUID, UUID], None] = OrderedDict()
    async with ctx.lead("bridge") as lock:
        while not lock.is_closed():
            bridge = Bridge(ctx, written)
            tasks = [asyncio.create_task(work) for work in (bridge.read(), bridge.write(), bridge.mark())]
            try:
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
            except OrchestratorUnavailable as error:
                ctx.degrade("prefect", str(error))
                if not bridge.waiting.empty():
                    ctx.log.warning("events left to the sweep", events=bridge.waiting.qsize())
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
            if bridge.connected:
                backoff.reset()
            await asyncio.sleep(backoff.next_seconds())
