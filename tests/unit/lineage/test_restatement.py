from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from uuid import UUID

import pytest
from runtide_schemas.vocabulary import FlowStatus

from services.lineage.domain.restatement import Path, Restatement, spread, unsound
from services.lineage.domain.staleness import Root, restate
from tests.support.tainting import brute_force
from tests.unit.lineage.worlds import REFRESH, TENANT, all_ready, at, complete, id_of, key, put, run, statuses, world

HISTORIES = 300
DECLARED = Restatement(
    run(1), TENANT, id_of("a"), REFRESH, None, date(2026, 1, 5), date(2026, 1, 7), "the vendor corrected the splits",
    "ana@acme", "c-1", at(0),
)  # fmt: skip


@dataclass
class History:
    """Attempts that read older or newer versions of one another, in an order in which they could have happened."""

    reads: dict[UUID, list[tuple[str, UUID]]] = field(default_factory=dict)
    confirms: dict[UUID, UUID] = field(default_factory=dict)
    superseded: set[UUID] = field(default_factory=set)

    @classmethod
    def random(cls, seed: int) -> History:
        dice = random.Random(seed)
        history = cls()
        attempts = [run(seed * 1000 + number) for number in range(dice.randint(3, 14))]
        for place, attempt in enumerate(attempts):
            earlier = attempts[:place]
            read = dice.sample(earlier, min(len(earlier), dice.randint(0, 3)))
            history.reads[attempt] = [(f"role-{number}", version) for number, version in enumerate(read)]
            minted = [one for one in earlier if one not in history.confirms]
            if minted and dice.random() < 0.2:
                history.confirms[attempt] = dice.choice(minted)
        history.superseded = set(dice.sample(attempts, dice.randint(1, 2)))
        return history

    def resolved(
        self, reads: Mapping[UUID, Sequence[tuple[str, UUID]]] | None = None
    ) -> dict[UUID, list[tuple[str, UUID]]]:
        """What was read, a confirmed version under its own id: as the store gives it."""
        given = self.reads if reads is None else reads
        return {one: [(role, self.confirms.get(v, v)) for role, v in its] for one, its in given.items()}

    @property
    def superseded_versions(self) -> set[UUID]:
        return {self.confirms.get(one, one) for one in self.superseded}

    def expected(self) -> dict[UUID, Path]:
        return brute_force(self.reads, self.confirms, self.superseded)  # type: ignore[return-value]


@pytest.mark.parametrize("told", ["at once", "one by one, in any order"])
def test_the_tainted_and_their_shortest_paths_are_those_of_a_search_over_all_paths(told: str) -> None:
    for seed in range(HISTORIES):
        history = History.random(seed)
        if told == "at once":
            found = spread(history.resolved(), history.superseded_versions, {})
        else:
            found = _told_one_by_one(history, random.Random(seed))
        assert found == history.expected(), f"seed {seed}"


def _told_one_by_one(history: History, dice: random.Random, *, only_itself: bool = False) -> dict[UUID, Path]:
    """Each attempt is told some time; then only it and what has read it, through any number, is asked again."""
    known: dict[UUID, Path] = {}
    reads = history.resolved()
    told: dict[UUID, list[tuple[str, UUID]]] = {}
    for attempt in dice.sample(list(reads), len(reads)):
        told[attempt] = reads[attempt]
        below = {attempt}
        while not only_itself:
            more = {one for one, its in told.items() if any(version in below for _, version in its)} - below
            if not more:
                break
            below |= more
        found = spread({one: told[one] for one in below}, history.superseded_versions, known)
        known = {one: path for one, path in known.items() if one not in below} | found
    return known


def _differs(found: dict[UUID, dict[UUID, Path]]) -> bool:
    return any(found[seed] != History.random(seed).expected() for seed in found)


def test_control_following_direct_reads_alone_misses_some() -> None:
    def direct(history: History) -> dict[UUID, Path]:
        every = spread(history.resolved(), history.superseded_versions, {})
        return {one: path for one, path in every.items() if len(path) == 2}

    assert _differs({seed: direct(History.random(seed)) for seed in range(HISTORIES)})


def test_control_taking_a_confirming_completion_for_a_version_of_its_own_misses_some() -> None:
    def raw(history: History) -> dict[UUID, Path]:
        return spread(history.reads, history.superseded, {})

    assert _differs({seed: raw(History.random(seed)) for seed in range(HISTORIES)})


def test_control_asking_only_what_is_told_and_not_what_has_read_it_misses_some() -> None:
    late = {
        seed: _told_one_by_one(History.random(seed), random.Random(seed), only_itself=True) for seed in range(HISTORIES)
    }
    assert _differs(late)


def test_versions_that_claim_to_have_read_each_other_end_the_search() -> None:
    one, other, bad = run(1), run(2), run(3)
    found = spread({one: [("x", other), ("y", bad)], other: [("x", one)]}, {bad}, {})
    assert {attempt: len(path) for attempt, path in found.items()} == {one: 2, other: 3}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"first_data_date": date(2026, 1, 8)}, "first_data_date 2026-01-08 is after last_data_date 2026-01-07"),
        ({"last_data_date": date(2026, 2, 1)}, "lies in the future"),
        ({"reason": "  "}, "a reason is needed"),
        ({}, None),
    ],
)
def test_what_means_nothing_is_refused_by_name(changes: dict[str, object], says: str | None) -> None:
    declared = replace(DECLARED, declared_at=datetime.fromisoformat("2026-01-08T09:00:00+00:00"), **changes)  # type: ignore[arg-type]
    fault = unsound(declared)
    assert fault is None if says is None else says in str(fault)


def test_today_is_no_future_where_the_day_has_begun() -> None:
    evening = datetime.fromisoformat("2026-01-07T22:00:00+00:00")  # Thursday morning in Sydney
    declared = replace(DECLARED, declared_at=evening, last_data_date=date(2026, 1, 8))
    assert unsound(declared) is None
    assert unsound(replace(declared, last_data_date=date(2026, 1, 9))) is not None


def test_a_superseded_current_version_makes_the_flow_and_what_is_below_it_stale_until_it_has_another() -> None:
    ready = all_ready(world("a -> b -> c"))
    flow = ready.flow(key("a"))
    assert flow is not None
    assert flow.version is not None
    why = DECLARED.why(flow.version.version_id)
    superseded = ready.with_flows({key("a"): replace(flow, superseded=why)})
    of = restate(superseded, {key("a"): Root("x", changed=True)}, at(0)).world
    assert statuses(of) == dict.fromkeys("abc", FlowStatus.STALE)
    assert "was superseded for 2026-01-05 to 2026-01-07: the vendor corrected the splits" in str(
        of.instances[id_of("a")].flows[0].reason
    )
    assert of.instances[id_of("b")].flows[0].reason == "a/refresh is stale itself"
    of = complete(put(of, "a", superseded=None), "a", 50).world
    assert statuses(of) == {"a": "ready", "b": "stale", "c": "stale"}
