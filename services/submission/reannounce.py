"""Every request said again: the open ones, and those that changed lately."""

from __future__ import annotations

from dataclasses import replace

from services.submission.announcing import snapshot
from services.submission.store import SubmissionStore
from shared.messaging.work import Work
from shared.reannounce import Portion, Said


async def reannounce(work: Work[SubmissionStore], portion: Portion) -> Said:
    """The next requests by tenant and id; activities are not said again."""
    chosen = await work.store.live_after(portion)
    raised = await work.store.raise_seq([key for key, _, _ in chosen], by=portion.raise_by)
    said = 0
    for key, changed_at, lives in chosen:
        if lives:
            request = replace(raised[key], seq=raised[key].seq + portion.raise_by)
            work.publish(snapshot(request, at=changed_at))
            said += 1
    last = chosen[-1][0] if len(chosen) == portion.limit else None
    return Said(said, f"{last[0]}|{last[1]}" if last else None)
