"""Asking Prefect to end a run, from intents: leased, tried again, never inside a consumer's transaction.

The fact not to break: ask for CANCELLING, never for CANCELLED (that leaves the process running), with a transition id
that is the wish's own, so that asking twice is asking once. Only a run whose process is silent is set to CANCELLED:
nobody is left who would end it, and nobody who goes on. What became of it is seen on the event stream.
"""

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID, uuid5

from prometheus_client import Counter
from runtide_schemas.vocabulary import RUNTIDE, RunStatus

from services.run_tracker.cancelling import CANCELLER
from services.run_tracker.settings import own
from services.run_tracker.store import RunTrackerStore
from services.run_tracker.telling import refuse_cancel
from services.run_tracker.upkeep import Intent, Upkeep
from shared.errors import OrchestratorUnavailable
from shared.prefect import PrefectClient, SetStateAnswer
from shared.service import Context

CANCELS = Counter("runtide_run_tracker_cancels_total", "Cancels by what Prefect answered", ["answer"])
LEASE = timedelta(seconds=30)
MOST_WAIT_SECONDS = 60.0
AT_ONCE = 5
POLL_SECONDS = 1.0
_CANCELLED_ALREADY = frozenset({"CANCELLED", "CANCELLING"})


@dataclass(frozen=True, slots=True)
class Proposal:
    """The state that Prefect is asked for; its transition id is one per wish and kind."""

    state_type: str
    message: str
    transition_id: UUID


def proposal_of(intent: Intent) -> Proposal:
    """To end, and let its process end it; or the end itself, where no process is left."""
    wish = f"{intent.run_id}/cancel/{intent.requested_at.isoformat()}"
    said = f"Cancelled through Runtide by {intent.actor or 'somebody'}"
    if intent.silent:
        return Proposal("CANCELLED", f"{said}; its process is silent", uuid5(RUNTIDE, f"{wish}/silent"))
    return Proposal("CANCELLING", said, uuid5(RUNTIDE, wish))


def verdict_of(answer: SetStateAnswer | None) -> tuple[str, str]:
    """(state of the intent, word for it). A run that was still scheduled is answered REJECT with CANCELLED: success."""
    if answer is None:
        return "wanted", "flow run unknown"
    match answer.status:
        case "ACCEPT":
            return "asked", "accepted"
        case "REJECT" if answer.state_type in _CANCELLED_ALREADY:
            return "asked", "cancelled at once"
        case "ABORT":
            return "too_late", answer.reason or "the run has ended"
        case _:
            return "wanted", answer.reason or answer.status.lower()


class Canceller:
    def __init__(self, ctx: Context[RunTrackerStore]) -> None:
        self.ctx = ctx
        self.prefect = PrefectClient(own(ctx.settings).prefect, ctx.http)

    async def once(self) -> int:
        """Ask for what is wanted now; says how many were asked."""
        async with self.ctx.engine.begin() as conn:
            intents = await Upkeep(conn).lease_cancels(self.ctx.clock(), lease=LEASE, limit=AT_ONCE)
        await asyncio.gather(*(self._ask(intent) for intent in intents))
        return len(intents)

    async def _ask(self, intent: Intent) -> None:
        try:
            proposal = proposal_of(intent)
            answer = await self.prefect.set_state(
                intent.flow_run_id, state_type=proposal.state_type, name=proposal.state_type.title(),
                message=proposal.message, transition_id=proposal.transition_id,
            )  # fmt: skip
            state, word = verdict_of(answer)
            self.ctx.degrade("prefect", None)
        except OrchestratorUnavailable as error:
            state, word = "wanted", str(error)
            self.ctx.degrade("prefect", word)
        CANCELS.labels(state).inc()
        await self._note(intent, state, word)

    async def _note(self, intent: Intent, state: str, word: str) -> None:
        """Keep the answer; too late is said aloud, with the truth that the sweep is about to bring."""
        async with self.ctx.unit_of_work() as work:
            again = work.now + timedelta(seconds=min(MOST_WAIT_SECONDS, 2.0 ** min(intent.tries, 6)))
            run = (await work.store.load_runs([intent.run_id])).get(intent.run_id)
            if run is not None and state == "wanted" and RunStatus(run.status).is_terminal:
                state = "too_late" if run.status != RunStatus.CANCELLED else "asked"
            if run is not None and state == "too_late":
                refuse_cancel(run, intent.actor, intent.requested_at, work, because=word)
            await Upkeep(work.store.connection).answer_cancel(intent, state, word[:500], again)
        if state == "asked" or state == "too_late":
            self.ctx.wake("sweep")


async def run(ctx: Context[RunTrackerStore]) -> None:
    """Take intents for the life of the process; several processes share them by lease."""
    canceller = Canceller(ctx)
    while True:
        if not await canceller.once():
            await ctx.woken(CANCELLER, POLL_SECONDS)
