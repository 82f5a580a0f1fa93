"""Subscribe, then take the snapshot when nothing was recovered, and no row stays wrong: through kills and cuts.

The proof run: 200 entities, 5,400 changes, the server killed -9 twice, the connection cut twice, slow snapshots.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

from tests.integration.realtime.conftest import StartNode
from tests.integration.realtime.follower import FEED, Announcer, Follower, Truth, status_channel
from tests.integration.realtime.node import DEPLOYED_CONFIG, Api, eventually
from tests.support.wire import Wire

pytestmark = pytest.mark.own_realtime

ENTITIES = [f"i{number}" for number in range(200)]
WATCHED = ENTITIES[:10]
MISSED = "i7"  # its last change is published while nobody listens, and forgotten by the server


@dataclass
class Outcome:
    truth: Truth
    lists: Follower  # the feed of all entities
    watcher: Follower  # the own channels of some
    careless: Follower  # the feed, ignoring `recovered == false`
    changes: int
    recovered: dict[str, list[set[bool]]]  # event → per follower, what its channels were told on their return


@pytest.fixture(scope="module")
async def outcome(start_node: StartNode) -> Outcome:
    """One run; each test looks at one side of it."""
    node = await start_node(config=DEPLOYED_CONFIG)
    truth, api = Truth(dict.fromkeys(ENTITIES, (0, "new"))), Api(node.server)
    announcer = Announcer(truth, api, list(ENTITIES))
    wire = await Wire(node.server.ws_url).open()
    await wire.mend()
    lists = Follower("lists", wire.url, [FEED], truth)
    watcher = Follower("watcher", wire.url, [status_channel(entity) for entity in WATCHED], truth)
    careless = Follower("careless", wire.url, [FEED], truth, heeds_recovered=False)
    followers = (lists, watcher, careless)

    async def all_are(state: str) -> None:
        await eventually(lambda: all(getattr(follower, state)() for follower in followers))

    async def told_since(before: list[int]) -> list[set[bool]]:
        """What each follower's channels were told, once all of them are subscribed again."""
        spans = [(f, at, at + len(f.subscriptions)) for f, at in zip(followers, before, strict=True)]
        await eventually(lambda: all(len(f.subscribed) >= end for f, _, end in spans))
        return [set(f.subscribed[start:end]) for f, start, end in spans]

    def so_far() -> list[int]:
        return [len(follower.subscribed) for follower in followers]

    recovered: dict[str, list[set[bool]]] = {}
    await asyncio.gather(*(follower.start() for follower in followers))
    await announcer.announce(1800)

    before = so_far()
    await asyncio.gather(announcer.announce(50), node.restart())  # killed with a batch on its way
    await announcer.announce(1200)
    recovered["kill"] = await told_since(before)

    before = so_far()
    await wire.cut()
    await all_are("is_lost")
    await announcer.announce(100)  # fewer than the feed's history of 300
    await wire.mend()
    recovered["cut"] = await told_since(before)
    await announcer.announce(1000)

    before = so_far()
    await wire.cut()
    await all_are("is_lost")
    await announcer.announce(60, last=MISSED)
    await node.restart()
    await wire.mend()
    await announcer.announce(1190)  # while they reconnect and wait for their snapshots
    changes = truth.changes
    recovered["cut and kill"] = await told_since(before)
    truth.finished = True
    await all_are("is_settled")

    async def careless_has_the_newest() -> bool:
        await announcer.announce(1)
        return not careless.wrong(set(ENTITIES) - {MISSED})

    await eventually(careless_has_the_newest)
    await eventually(lambda: not lists.wrong(announcer.entities) and not watcher.wrong(set(WATCHED) - {MISSED}))
    await asyncio.gather(*(follower.stop() for follower in followers))
    await wire.close()
    await api.close()
    await node.stop()
    return Outcome(truth, lists, watcher, careless, changes, recovered)


def test_a_client_that_takes_the_snapshot_when_nothing_was_recovered_ends_with_no_wrong_row(outcome: Outcome) -> None:
    assert outcome.changes == 5400
    assert outcome.lists.wrong(ENTITIES) == set()
    assert outcome.watcher.wrong(WATCHED) == set()


def test_a_client_that_ignores_a_lost_recovery_keeps_a_wrong_row(outcome: Outcome) -> None:
    assert outcome.careless.wrong(ENTITIES) == {MISSED}


def test_a_cut_connection_recovers_without_a_snapshot(outcome: Outcome) -> None:
    assert outcome.recovered["cut"] == [{True}, {True}, {True}]


@pytest.mark.parametrize("event", ["kill", "cut and kill"])
def test_a_server_that_was_killed_never_claims_to_have_recovered(outcome: Outcome, event: str) -> None:
    assert outcome.recovered[event] == [{False}, {False}, {False}]
