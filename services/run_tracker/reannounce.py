"""Every run said again: the open ones, and those that ended lately."""

from uuid import UUID

from services.run_tracker.store import RunTrackerStore
from services.run_tracker.telling import snapshot
from services.run_tracker.upkeep import Upkeep
from shared.messaging.work import Work
from shared.reannounce import Portion, Said


async def reannounce(work: Work[RunTrackerStore], portion: Portion) -> Said:
    """The next runs by id; progress and activities are not said again."""
    upkeep = Upkeep(work.store.connection)
    chosen = await upkeep.live_after(portion)
    runs = await work.store.load_runs(list(chosen))
    await upkeep.raise_seq(list(runs), by=portion.raise_by)
    for run_id, run in runs.items():
        if chosen[run_id]:
            run.seq += portion.raise_by
            work.publish(snapshot(run))
    last: UUID | None = max(chosen) if len(chosen) == portion.limit else None
    return Said(sum(chosen.values()), str(last) if last else None)
