"""What waits is released portion after portion, and is the same as if it had been one."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from runtide_schemas.decisions import RequestAdmitted
from runtide_schemas.vocabulary import Gate

from services.lineage import conclusion, handlers
from services.lineage.conclusion import DECIDE, Change, conclude
from services.lineage.domain.gate import State
from services.lineage.domain.staleness import Root
from shared.messaging.due import Due
from tests.unit.lineage.memory import MemoryStore, MemoryWork, done
from tests.unit.lineage.worlds import NOW, TENANT, all_ready, key, put, request, run, world

WAITING = 25


def platform() -> MemoryStore:
    """Many flows that read one whose newest run failed, and a request that waits for each."""
    names = [f"r{place}" for place in range(10, 10 + WAITING)]
    made = put(all_ready(world(*(f"root -> {name}" for name in names))), "root", newest_end_failed=True)
    parked = [
        request(name, number, gate=Gate.WAIT, state=State.PARKED, shown=(("root", "error"),)).but(number=1)
        for number, name in enumerate(names, start=100)
    ]
    return MemoryStore(TENANT, dict(made.instances), {one.run_id: one for one in parked})


def released(store: MemoryStore) -> list[list[RequestAdmitted]]:
    """The root ends well; then transaction after transaction, as the due worker goes on."""
    change = Change.of(store.loaded())
    root = change.world.flow(key("root"))
    assert root is not None
    change.world = change.world.with_flows({key("root"): replace(root, newest_end_failed=False)})
    change.roots[key("root")] = Root("x", changed=False, run_id=run(1))
    work = MemoryWork(NOW, store)
    done(_released(change, work))
    said = [work.said]
    while (DECIDE, TENANT) in work.due:
        work = MemoryWork(NOW, store)
        done(handlers.on_portions([Due(DECIDE, TENANT, NOW)], work))  # type: ignore[arg-type]
        said.append(work.said)
    return [[one for one in portion if isinstance(one, RequestAdmitted)] for portion in said]


async def _released(change: Change, work: MemoryWork) -> None:
    await conclude([change], work)  # type: ignore[arg-type]


def test_a_portion_ends_when_its_time_is_over_and_the_rest_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    together = platform()
    [at_once] = released(together)
    monkeypatch.setattr(conclusion, "PORTION_AT_LEAST", 4)
    monkeypatch.setattr(conclusion, "PORTION_SECONDS", 0)
    apart = platform()
    portions = released(apart)
    assert [len(portion) for portion in portions] == [4, 4, 4, 4, 4, 4, 1]
    assert [one for portion in portions for one in portion] == at_once
    assert apart.decisions == together.decisions
    assert apart.all_requests == together.all_requests
    assert {one.state for one in apart.all_requests.values()} == {State.ADMITTED}


def test_a_portion_ends_when_there_is_much_to_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conclusion, "PORTION_AT_LEAST", 1)
    monkeypatch.setattr(conclusion, "PORTION_SECONDS", 3_600)
    released(store := platform())
    [kept] = {len(row.said) + len(row.seen) for row in store.decisions}
    monkeypatch.setattr(conclusion, "PORTION_BYTES", 10 * kept)
    assert [len(portion) for portion in released(platform())] == [10, 10, 5]


def test_time_alone_ends_no_portion_that_has_said_little(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conclusion, "PORTION_SECONDS", 0)
    assert [len(portion) for portion in released(platform())] == [WAITING]


def test_the_flow_that_all_wait_for_is_seen_as_it_is_when_each_is_decided() -> None:
    """What is looked at once for all of them does not hide a run that was admitted in between."""
    store = platform()
    asked = request("root", 99, gate=Gate.FORCE, asked_at=NOW + timedelta(seconds=12))
    others = {run_id: one.but(asked_at=NOW + timedelta(seconds=place)) for place, (run_id, one) in
              enumerate(store.all_requests.items())}  # fmt: skip
    store.all_requests = {**others, asked.run_id: asked}
    released(store)
    own = [row.run_id for row in store.decisions].index(asked.run_id)
    assert 10 < own < 15
    for place, row in enumerate(store.decisions):
        assert (f'"open_runs":["{asked.run_id}"]' in row.seen) is (place > own)
