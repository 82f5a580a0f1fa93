from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any
from uuid import UUID

from runtide_schemas.vocabulary import FlowKind, Mode, RunStatus, version_id_of

from services.lineage.domain.graph import FlowKey
from services.lineage.domain.repair import Judged, Repair, Standing, Tainted, repair, still_resting
from services.lineage.domain.restatement import Restatement, spread
from services.lineage.domain.world import Version, World
from tests.unit.lineage.worlds import REFRESH, TENANT, at, id_of, instance, key, run, world

PLANS = 200
DIAMOND = ("a -> b -> d", "a -> c -> d")


@dataclass
class Life:
    """Runs of a world, each an attempt that read versions and minted or confirmed one; `a` was superseded."""

    of: World
    reads: dict[UUID, tuple[tuple[str, UUID], ...]] = field(default_factory=dict)
    confirms: dict[UUID, UUID] = field(default_factory=dict)
    flow_of: dict[UUID, FlowKey] = field(default_factory=dict)
    run_of: dict[UUID, UUID] = field(default_factory=dict)
    parameters: dict[UUID, Mapping[str, Any]] = field(default_factory=dict)
    nothing: set[UUID] = field(default_factory=set)
    superseded: set[UUID] = field(default_factory=set)

    def runs(self, name: str, reads: Mapping[str, UUID] | None = None, *, unchanged: bool = False, counts: bool = True,
             kind: FlowKind = REFRESH, **parameters: Any) -> UUID:  # fmt: skip
        """The flow completes once more, having read what is current, or these versions; answers the completion."""
        number = len(self.reads) + 1
        run_id, its = run(number), key(name, kind)
        completion, flow = version_id_of(run_id, 1), self.of.flow(its)
        assert flow is not None
        above = {edge.role: self.of.flow(edge.upstream) for edge in self.of.graph.into(its)}
        current = {role: one.version.version_id for role, one in above.items() if one and one.version}
        self.reads[completion] = tuple((current if reads is None else dict(reads)).items())
        self.flow_of[completion], self.run_of[completion] = its, run_id
        self.parameters[completion] = parameters
        if not counts:
            self.nothing.add(completion)
            return completion
        version_id = completion
        if unchanged and flow.version is not None:
            version_id = self.confirms[completion] = flow.version.version_id
        version = Version(version_id, run_id, completion, at(number), at(number))
        self.of = self.of.with_flows({its: replace(flow, version=version)})
        return completion

    @property
    def tainted(self) -> list[Tainted]:
        paths = spread(self.reads_resolved, self.superseded, {})
        return [
            Tainted(
                version_id=one, run_id=self.run_of[one], attempt=1, flow=self.flow_of[one], path=path,
                status=RunStatus.COMPLETED, mode=Mode.INCREMENTAL, ended_at=at(list(self.reads).index(one)),
                counts=one not in self.nothing, confirms=self.confirms.get(one), reads=self.reads_resolved[one],
                parameters=self.parameters[one],
            )
            for one, path in paths.items()
        ]  # fmt: skip

    @property
    def reads_resolved(self) -> dict[UUID, tuple[tuple[str, UUID], ...]]:
        return {one: tuple((role, self.confirms.get(v, v)) for role, v in its) for one, its in self.reads.items()}

    @property
    def confirmed(self) -> dict[UUID, list[frozenset[str]]]:
        tainted = {one.version_id for one in self.tainted}
        found: dict[UUID, list[frozenset[str]]] = {}
        for completion, version_id in self.confirms.items():
            if completion not in tainted and version_id in tainted:
                found.setdefault(version_id, []).append(frozenset(role for role, _ in self.reads[completion]))
        return found

    def plan(self, parameters: Mapping[str, Any] | None = None, *, history: bool = False) -> Repair:
        restatement = Restatement(run(0), TENANT, id_of("a"), REFRESH, None, date(2026, 1, 5), date(2026, 1, 7), "x",
                                  "ana", "c", at(0))  # fmt: skip
        return repair(
            self.of, restatement, self.tainted, self.superseded, self.confirmed, parameters=parameters or {},
            history=history,
        )  # fmt: skip

    def names(self, plan: Repair) -> list[list[str]]:
        return [[self.of.instances[one.flow.instance_id].name for one in batch] for batch in plan.batches]


def lived(*chains: str) -> Life:
    """Every flow has run once, upstreams first, and the version of `a` is superseded."""
    life = Life(world(*chains))
    for each in life.of.graph.sorted(life.of.flow_keys()):
        life.runs(life.of.instances[each.instance_id].name)
    version = life.of.flow(key("a")).version  # type: ignore[union-attr]
    assert version is not None
    life.superseded = {version.version_id}
    return life


def standings(judged: Iterable[Judged]) -> list[Standing]:
    return [one.standing for one in judged]


def test_a_diamond_runs_again_in_three_batches_the_superseded_flow_first() -> None:
    life = lived(*DIAMOND)
    assert life.names(life.plan()) == [["a"], ["b", "c"], ["d"]]


def test_what_is_not_tainted_takes_no_place_but_keeps_the_order() -> None:
    life = lived("a -> b -> c -> d", "a -> d")
    life.runs("a")
    life.superseded = {next(iter(life.reads))}
    life.runs("b")  # it has read the new version already
    life.runs("c")
    assert life.names(life.plan()) == [["d"]]
    assert "has another version since" in life.plan().source


def test_a_current_version_that_read_an_older_tainted_one_runs_again_and_what_it_replaced_is_history() -> None:
    life = lived("a -> b")
    old = dict(life.reads[list(life.reads)[-1]])
    life.runs("b", old)
    plan = life.plan()
    assert life.names(plan) == [["a"], ["b"]]
    assert sorted(standings(plan.judged)) == [Standing.AGAIN, Standing.HISTORY]
    assert any("history, superseded by run" in one.reason for one in plan.judged)


def test_what_rests_on_a_version_that_was_found_unchanged_by_clean_data_is_left_alone() -> None:
    life = lived("a -> b -> c")
    life.runs("a")
    assert life.names(life.plan()) == [["b"], ["c"]]
    life.runs("b", unchanged=True)
    plan = life.plan()
    assert plan.batches == ()
    assert sorted(standings(plan.judged)) == [Standing.HISTORY, Standing.VERIFIED]


def test_control_a_confirmation_from_superseded_data_verifies_nothing() -> None:
    life = lived("a -> b -> c")
    life.runs("b", unchanged=True)  # read the superseded version again
    assert life.names(life.plan()) == [["a"], ["b"], ["c"]]


def test_a_confirmation_that_did_not_read_the_doubtful_role_verifies_nothing() -> None:
    life = lived("a -> b -> c")
    life.runs("a")
    life.runs("b", {}, unchanged=True)
    assert life.names(life.plan()) == [["c"]]


def test_a_preview_is_listed_and_not_run_again() -> None:
    life = lived("a -> b")
    life.runs("b", counts=False)
    [preview] = [one for one in life.plan(history=True).judged if one.standing is Standing.NOTHING]
    assert "a preview" in preview.reason


def test_a_retired_instance_is_named_and_not_run_again() -> None:
    life = lived("a -> b")
    b = replace(life.of.instances[id_of("b")], retired_at=at(9))
    life.of = life.of.with_instance(b)
    plan = life.plan()
    assert life.names(plan) == [["a"]]
    assert [one.reason for one in plan.judged] == ["b is retired; registering it again revives it"]


def test_history_runs_again_once_per_parameters_before_what_is_current() -> None:
    life = lived("a -> b")
    read = dict(life.reads[list(life.reads)[-1]])
    for top in (10, 10, 20):
        life.runs("b", read, top=top)
    plan = life.plan(history=True)
    assert life.names(plan) == [["a"], ["b"], ["b"], ["b"]]
    assert [one.parameters for batch in plan.batches[1:] for one in batch] == [{}, {"top": 10}, {"top": 20}]
    assert [one for one in plan.judged if "asks for the same" in one.reason]
    assert life.names(life.plan()) == [["a"], ["b"]]


def test_a_refresh_takes_the_restated_range_where_it_names_one_and_goes_on_to_its_own_end() -> None:
    life = lived("a -> b")
    read = dict(life.reads[list(life.reads)[-1]])
    life.runs("b", read, start="2026-01-01", end="2026-01-09", window=20)
    [[source], [below]] = life.plan({"start_date": "2025-01-01", "end_date": "2026-01-09", "vendor": "x"}).batches
    assert source.parameters == {"start_date": "2026-01-05", "end_date": "2026-01-07", "vendor": "x"}
    assert below.parameters == {"start": "2026-01-05", "end": "2026-01-09", "window": 20}
    assert {source.mode, below.mode} == {Mode.OVERWRITE}


def test_a_backtest_runs_again_as_it_was_asked_for() -> None:
    book = instance("book", "a", kinds=(FlowKind.BACKTEST,))
    life = Life(World(TENANT, {one.instance_id: one for one in (instance("a"), book)}))
    life.superseded = {life.runs("a")}
    life.runs("book", kind=FlowKind.BACKTEST, start="2015-01-02", end="2026-01-09")
    [[rerun]] = life.plan().batches[1:]
    assert (rerun.mode, rerun.parameters) == (Mode.INCREMENTAL, {"start": "2015-01-02", "end": "2026-01-09"})


def test_after_the_plan_nothing_current_rests_on_superseded_data() -> None:
    """Whatever was read before, and whether the re-runs change their output or not."""
    planned = 0
    for seed in range(PLANS):
        life, dice = _random_life(seed), random.Random(seed)
        plan = life.plan()
        planned += len(plan.batches)
        for batch in plan.batches:
            for one in dice.sample(batch, len(batch)):
                name = life.of.instances[one.flow.instance_id].name
                life.runs(name, unchanged=one.tainted is not None and dice.random() < 0.5)
        assert life.plan().batches == (), f"seed {seed}"
    assert planned > PLANS


def test_control_leaving_out_the_last_batch_leaves_something() -> None:
    left = 0
    for seed in range(PLANS):
        life = _random_life(seed)
        for batch in life.plan().batches[:-1]:
            for one in batch:
                life.runs(life.of.instances[one.flow.instance_id].name)
        left += bool(life.plan().batches)
    assert left


def _random_life(seed: int) -> Life:
    dice = random.Random(seed)
    names = [f"n{place}" for place in range(dice.randint(2, 6))]
    parts = [instance("a"), *(instance(name, *dice.sample(["a", *names[:place]], dice.randint(1, min(2, place + 1))))
                              for place, name in enumerate(names))]  # fmt: skip
    life = Life(World(TENANT, {one.instance_id: one for one in parts}))
    made: dict[str, list[UUID]] = {}
    for each in [one.name for one in parts] + dice.choices([one.name for one in parts], k=8):
        above = [one.name for one in life.of.instances[id_of(each)].upstreams]
        reads = {one: dice.choice(made[one]) for one in above}
        made.setdefault(each, []).append(life.runs(each, reads, unchanged=dice.random() < 0.2))
    life.superseded = {life.confirms.get(one, one) for one in dice.sample(made["a"], 1)}
    return life


def test_nothing_rests_where_nothing_is_superseded() -> None:
    life = lived(*DIAMOND)
    assert still_resting(life.tainted, life.superseded, life.confirmed) == {one.version_id for one in life.tainted}
    life.superseded = set()
    assert life.plan().batches == ()
