"""What a service says again is taken by its readers and changes nothing else; also from tables of an hour ago."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.component.ops.restored import SERVICES, Restored
from tests.component.submission.conftest import Prefect
from tests.support.eventually import eventually
from tests.support.harness import World

TOPICS = {
    "submission": ("requests.status.v1", "run_id"),
    "run_tracker": ("runs.status.v1", "run_id"),
    "lineage": ("instances.status.v1", "instance_id"),
}
ROWS = {  # what a service shows of each entity
    "submission": "select run_id::text as id, status, seq from requests where seq > 0",
    "run_tracker": "select run_id::text as id, status, seq from runs where seq > 0",
    "lineage": "select instance_id::text as id, status, seq from standings where seq > 0",
}
READ = {  # what a reader of it remembers
    "submission": ("run_tracker", "select run_id::text as id, seq from seen_requests"),
    "run_tracker": ("lineage", "select run_id::text as id, seq from runs"),
    "lineage": ("run_tracker", "select instance_id::text as id, seq from known_flows"),
}
FACTS = {  # what must not move when all is said again
    "submission": ("select run_id, status, decision_number, orchestrator_run_id, changed_at from requests order by 1",),
    "run_tracker": ("select run_id, status, attempt, ended_at, occurred_at from runs order by 1",),
    "lineage": (
        "select instance_id, kind, last_run_id, completion_id, open_run_id from flows order by 1",
        "select version_id, withdrawn_at, confirms from versions order by 1",
        "select run_id, state, number from open_requests order by 1",
    ),
}


@pytest.fixture(scope="module")
async def prefect(world: World) -> AsyncIterator[Prefect]:
    opened = Prefect(world.env["RUNTIDE_PREFECT_API_URL"], f"restored-{world.id}")
    yield opened
    await opened.remove()


@dataclass
class Story:
    """`first` runs and `waiting` waits for it when the backup is made; what follows is the lost hour."""

    platform: Restored
    first: str
    waiting: str
    second: str = ""


@pytest.fixture(scope="module")
async def story(world: World, prefect: Prefect) -> AsyncIterator[Story]:
    platform = await Restored(world, prefect).open()
    first = await platform.submit("prices")
    await platform.until(first, "launched")
    await platform.move(first, "RUNNING")
    waiting = await platform.submit("momentum", gate="wait")
    await platform.until(waiting, "parked")
    await platform.settled()
    await platform.back_up()
    yield Story(platform, first, waiting)
    await platform.close()


async def facts(platform: Restored) -> dict[str, Any]:
    return {schema: [await platform.rows(schema, sql) for sql in queries] for schema, queries in FACTS.items()}


async def said_last(platform: Restored, service: str) -> bool:
    """The last word about each entity is what the service shows, and its reader has taken it."""
    topic, key = TOPICS[service]
    last = {one: (said["status"], said["seq"]) for one, said in (await platform.last_words(topic, key)).items()}
    shown = {row["id"]: (row["status"], row["seq"]) for row in await platform.rows(service, ROWS[service])}
    assert last == shown
    reader, sql = READ[service]
    assert {row["id"]: row["seq"] for row in await platform.rows(reader, sql)} == {
        one: seq for one, (_, seq) in shown.items()
    }
    return True


async def test_all_said_again_is_taken_by_the_readers_and_changes_nothing_else(story: Story) -> None:
    platform = story.platform
    before, activities = await facts(platform), len(await platform.kafka.all("activities.v1"))
    words = {topic: await platform.last_words(topic, key) for topic, key in TOPICS.values()}
    assert [await platform.announce(service) for service in SERVICES] == [2, 1, 4]  # lineage: two answers too
    await platform.settled()
    for topic, key in TOPICS.values():
        again = await platform.last_words(topic, key)
        assert again == {one: {**said, "seq": said["seq"] + 1} for one, said in words[topic].items()}
    assert await facts(platform) == before
    assert len(await platform.kafka.all("activities.v1")) == activities
    assert await platform.announce("submission", tenant="nobody") == 0


async def test_the_lost_hour_goes_by(story: Story) -> None:
    platform = story.platform
    await platform.move(story.first, "COMPLETED")
    await platform.until(story.waiting, "launched")
    await platform.move(story.waiting, "RUNNING", "COMPLETED")
    story.second = await platform.submit("prices")
    await platform.until(story.second, "launched")
    await platform.move(story.second, "RUNNING")
    await platform.settled()


@pytest.mark.parametrize("service", SERVICES)
async def test_a_service_restored_to_an_hour_ago_reads_again_and_its_readers_take_what_it_says(
    story: Story, service: str
) -> None:
    platform = story.platform
    before = await facts(platform)
    topic, key = TOPICS[service]
    reached = await platform.last_words(topic, key)
    await platform.restore(service)
    await platform.settled()
    shown = {row["id"]: row["seq"] for row in await platform.rows(service, ROWS[service])}
    assert shown.keys() == reached.keys()  # what was forgotten is known again, from Kafka
    assert any(seq <= reached[one]["seq"] for one, seq in shown.items())  # the control: such words would be dropped
    assert await platform.announce(service, after_restore=True) >= len(shown)
    await platform.settled()
    await eventually(lambda: said_last(platform, service), within_seconds=60, every_seconds=0.5)
    after = await facts(platform)
    assert _statuses(after) == _statuses(before)
    for run_id in (story.first, story.waiting, story.second):
        assert len(await platform.prefect.flow_runs(run_id)) == 1


def _statuses(found: dict[str, Any]) -> dict[str, Any]:
    return {
        **{f"request {row['run_id']}": row["status"] for row in found["submission"][0]},
        **{f"run {row['run_id']}": row["status"] for row in found["run_tracker"][0]},
        **{f"version {row['version_id']}": row["withdrawn_at"] for row in found["lineage"][1]},
        **{f"of lineage {row['run_id']}": row["state"] for row in found["lineage"][2]},
    }


async def test_and_after_all_restores_the_platform_goes_on(story: Story) -> None:
    platform = story.platform
    await platform.move(story.second, "COMPLETED")
    await platform.settled()
    for service in SERVICES:
        await eventually(lambda service=service: said_last(platform, service), within_seconds=60, every_seconds=0.5)
    checked = (await platform.services["lineage"].http.get("/v1/ops/lineage")).json()
    assert (checked["flows"], checked["deviations"]) == (2, [])
