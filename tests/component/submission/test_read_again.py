"""Commands that are read again from the beginning of the log change nothing, and say nothing new."""

from __future__ import annotations

from tests.component.submission.conftest import Submission
from tests.support.harness import World


async def _told(submission: Submission) -> set[str]:
    """The identities of what was said: a refusal is said again, under the same one."""
    snapshots = {f"{m['run_id']}/{m['seq']}" for m in await submission.kafka.all("requests.status.v1")}
    return snapshots | {m["activity_id"] for m in await submission.kafka.all("activities.v1")}


async def test_commands_read_again_from_the_beginning_change_nothing_and_say_nothing_new(world: World) -> None:
    first = Submission(await world.start("submission"))
    cancelled, ended = await first.submit(), await first.submit()
    await first.submit("the same", instance="one")
    await first.submit("the same", instance="another")
    await first.decide(ended, "skipped", message="ready already")
    await first.until(ended, "skipped")
    for run_id in (cancelled, ended):
        await first.cancel(run_id)
    await first.settled()
    before, told = await first.harness.rows("select * from requests"), await _told(first)
    assert len(told) == 9
    await first.harness.stop()
    await world.rows("submission", "update consumer_offsets set next_offset = 0")
    again = Submission(await world.start("submission", migrated=True))
    await again.settled()
    assert await again.harness.rows("select * from requests") == before
    assert await _told(again) == told
    await again.harness.stop()
