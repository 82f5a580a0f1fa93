"""Flow runs that no request of ours named: what runs in Prefect, or ended lately, whoever started it.

The sweep asks for runs that we know; here is asked for what we may not know, because every event of it was lost: runs
of Prefect's schedules, of people in its UI, and those that went on after we had settled them. Planned runs are not
asked for. The fact not to break: the mark moves only when a whole look has been published, and looks overlap.
"""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from runtide_schemas.prefect import FlowRunStateObserved

from services.run_tracker.looking import look_regularly
from services.run_tracker.observations import of_flow_run, of_return
from services.run_tracker.settings import own
from services.run_tracker.store import RunTrackerStore
from services.run_tracker.upkeep import Mark, Upkeep
from shared.prefect import FlowRun, PrefectClient
from shared.service import Context

STARTED = ("PENDING", "RUNNING", "PAUSED", "CANCELLING")
BEGUN_BEFORE = ("AwaitingRetry", "Resuming")  # Scheduled in type, as plans are; no plan has such a name
ON_ITS_WAY = timedelta(seconds=3)  # a younger state is still on its way through the bridge; the next look asks again
_OVERLAP = timedelta(minutes=1)
_AT_FIRST = timedelta(minutes=15)  # as far back as the event stream goes


class Strangers:
    def __init__(self, ctx: Context[RunTrackerStore], prefect: PrefectClient) -> None:
        self.ctx, self.prefect = ctx, prefect
        self._deployments: dict[UUID, tuple[str, str] | None] = {}

    async def once(self) -> int:
        """Look through all of Prefect; says how many states nobody had seen.

        Raises:
            OrchestratorUnavailable: Prefect is away, and the mark stays.
        """
        started = self.ctx.clock()
        async with self.ctx.engine.connect() as conn:
            mark = (await Upkeep(conn).load_sweep(Mark.STRANGERS)).as_of
        published = 0
        async for page in self._pages((mark or started - _AT_FIRST) - _OVERLAP):
            published += await self._publish(page, started)
        async with self.ctx.unit_of_work() as work:
            await Upkeep(work.store.connection).note_sweep(Mark.STRANGERS, started, None, None)
        return published

    async def _pages(self, since: datetime) -> AsyncIterator[Sequence[FlowRun]]:
        looks = (
            ({"state": {"type": {"any_": list(STARTED)}}}, "ID_DESC"),
            ({"state": {"name": {"any_": list(BEGUN_BEFORE)}}}, "ID_DESC"),
            ({"end_time": {"after_": since.isoformat()}}, "END_TIME_DESC"),
        )
        for flow_runs, sort in looks:
            async for page in self.prefect.flow_run_pages(flow_runs, sort=sort):
                yield page

    async def _publish(self, page: Sequence[FlowRun], now: datetime) -> int:
        settled = [run for run in page if run.state is not None and run.state.timestamp <= now - ON_ITS_WAY]
        async with self.ctx.engine.connect() as conn:
            upkeep = Upkeep(conn)
            unseen = await upkeep.unseen([(run.id, run.state.id) for run in settled if run.state is not None])
            lost = await upkeep.lost([run.id for run in settled])
        found = [await self._named(run, now) for run in settled if run.state and (run.id, run.state.id) in unseen]
        found += [of_return(run, lost[run.id], now) for run in settled if run.id in lost]
        states = [seen for seen in found if seen is not None]
        if states:
            async with self.ctx.unit_of_work() as work:
                for seen in states:
                    work.publish(seen)
        return len(states)

    async def _named(self, flow_run: FlowRun, now: datetime) -> FlowRunStateObserved | None:
        """With the names of its flow and deployment, by which a run is told to be an instance's."""
        seen = of_flow_run(flow_run, now)
        if seen is None or flow_run.deployment_id is None:
            return seen
        if flow_run.deployment_id not in self._deployments:
            self._deployments[flow_run.deployment_id] = await self._names(flow_run.deployment_id)
        flow, deployment = self._deployments[flow_run.deployment_id] or (None, None)
        return seen.model_copy(update={"flow_name": flow, "deployment_name": deployment})

    async def _names(self, deployment_id: UUID) -> tuple[str, str] | None:
        deployment = await self.prefect.read_deployment(deployment_id)
        flow = await self.prefect.read_flow_name(deployment.flow_id) if deployment is not None else None
        return (flow, deployment.name) if deployment is not None and flow is not None else None


async def run(ctx: Context[RunTrackerStore]) -> None:
    settings = own(ctx.settings)
    strangers = Strangers(ctx, PrefectClient(settings.prefect, ctx.http))
    await look_regularly(ctx, "strangers", strangers.once, seconds=settings.look_around_seconds)
