"""Reading Prefect again: what the event stream lost is found here, and published under the same state ids.

The fact not to break: absence alone never ends many runs. A flow run is gone when two sweeps, some time apart, miss it;
and when too many vanish at once, or the server is another one, nothing is marked: that is a wrong server, and an alert.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from prometheus_client import Gauge
from runtide_schemas.prefect import FlowRunStateObserved
from runtide_schemas.vocabulary import is_uuid

from services.run_tracker.looking import look_regularly
from services.run_tracker.observations import of_absence, of_flow_run, of_return
from services.run_tracker.settings import RunTrackerSettings, own
from services.run_tracker.store import RunTrackerStore
from services.run_tracker.strangers import ON_ITS_WAY
from services.run_tracker.upkeep import Mark, Marked, Open, Upkeep
from shared.prefect import FlowRun, PrefectClient
from shared.service import Context

LOSSES_REFUSED = Gauge("runtide_run_tracker_mass_loss_refused", "1 while a sweep refuses to mark many runs as lost")
SWEPT_AT = Gauge("runtide_run_tracker_swept_at_seconds", "Time of the last sweep that reached Prefect")
_CONFIRMED_FOR = timedelta(minutes=10)  # a confirmation is of the losses of now, not of the next ones


@dataclass(slots=True)
class Absences:
    """Which flow runs were missed, and since when; a leader's memory."""

    since: dict[UUID, datetime] = field(default_factory=dict)

    def judge(self, open_: Sequence[Open], present: set[UUID], now: datetime, gone_after: timedelta) -> list[UUID]:
        """Those that have been missed for long enough; whoever is back is forgotten."""
        missing = {run.flow_run_id for run in open_} - present
        self.since = {flow_run_id: self.since.get(flow_run_id, now) for flow_run_id in missing}
        return sorted(flow_run_id for flow_run_id, since in self.since.items() if now - since >= gone_after)


def is_mass_loss(missing: int, open_runs: int, most: int) -> bool:
    """More than `most`, and more than a fifth."""
    return missing > most and missing * 5 > open_runs


class Sweep:
    def __init__(self, ctx: Context[RunTrackerStore], settings: RunTrackerSettings) -> None:
        self.ctx, self.settings = ctx, settings
        self.prefect = PrefectClient(settings.prefect, ctx.http)
        self.absences = Absences()

    async def once(self) -> int:
        """Compare every unsettled run with Prefect; says how many differences were published.

        Raises:
            OrchestratorUnavailable: Prefect is away, and nothing was judged.
        """
        started = self.ctx.clock()
        async with self.ctx.engine.connect() as conn:
            mark = await Upkeep(conn).load_sweep(Mark.SWEEP)
            open_ = await Upkeep(conn).load_unsettled(
                started,
                first=timedelta(seconds=self.settings.recheck_first_seconds),
                last=timedelta(seconds=self.settings.recheck_last_seconds),
            )
        found = {run.id: run for run in await self.prefect.read_flow_runs([run.flow_run_id for run in open_])}
        drifted = self._drifted(open_, found, started)
        same = bool(found) or mark.server is None or await self._knows(mark.server)
        gone, refused = self._gone(open_, found, started, mark, same=same)
        server = mark.server if same and mark.server is not None else await self.prefect.server_identity()
        async with self.ctx.unit_of_work() as work:
            for seen in [*drifted, *gone]:
                work.publish(seen)
            upkeep = Upkeep(work.store.connection)
            await upkeep.note_rechecked([run.run_id for run in open_ if run.ended])
            await upkeep.note_sweep(Mark.SWEEP, started, server if refused is None else None, refused)
            if mark.confirmed_at is not None and len(gone) == len(self.absences.since):
                await upkeep.confirm_loss(Mark.SWEEP, None)
        self.ctx.degrade("prefect", None)
        SWEPT_AT.set(started.timestamp())
        return len(drifted) + len(gone)

    def _drifted(self, open_: Sequence[Open], found: dict[UUID, FlowRun], now: datetime) -> list[FlowRunStateObserved]:
        drifted = []
        for run in open_:
            flow_run = found.get(run.flow_run_id)
            if flow_run is None or flow_run.state is None:
                continue
            if flow_run.state.id != run.state_id:
                seen = of_flow_run(flow_run, now)
                if seen is not None and seen.state_timestamp <= now - ON_ITS_WAY:
                    drifted.append(seen)
            if run.lost_at is not None and (back := of_return(flow_run, run.lost_at, now)) is not None:
                drifted.append(back)
        return drifted

    async def _knows(self, server: str) -> bool:
        """A server is told by a flow that it knew: the newest when we first met it."""
        return not is_uuid(server) or await self.prefect.read_flow_name(UUID(server)) is not None

    def _gone(
        self, open_: Sequence[Open], found: dict[UUID, FlowRun], now: datetime, mark: Marked, *, same: bool
    ) -> tuple[list[FlowRunStateObserved], str | None]:
        """Absences long enough to believe, or why none is believed."""
        alive = [run for run in open_ if not run.ended]
        gone = self.absences.judge(alive, set(found), now, timedelta(seconds=self.settings.gone_after_seconds))
        missing = len(self.absences.since)
        refused = None
        if missing and not same:
            refused = f"Prefect's server is another one: it knows none of our runs, nor flow {mark.server}"
        elif is_mass_loss(missing, len(alive), self.settings.mass_loss_runs):
            refused = f"{missing} of {len(alive)} open runs are gone from Prefect at once"
        if mark.confirmed_at is not None and now - mark.confirmed_at < _CONFIRMED_FOR:
            refused = None
        LOSSES_REFUSED.set(0 if refused is None else 1)
        if refused is not None:
            self.ctx.log.error("nothing is marked as lost", because=refused, prefect=self.settings.prefect.api_url)
            return [], refused
        return [of_absence(flow_run_id, self.absences.since[flow_run_id], now) for flow_run_id in gone], None


async def run(ctx: Context[RunTrackerStore]) -> None:
    settings = own(ctx.settings)
    await look_regularly(ctx, "sweep", Sweep(ctx, settings).once, seconds=settings.sweep_seconds)
