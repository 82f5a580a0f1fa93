"""Random graphs, ends and targets through the real gate: every recursive request ends, runs once, and only on what is
ready; alone, it runs each flow above at most once. The control asks only when the request comes, and must leave one
waiting.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from uuid import UUID

import pytest
from runtide_schemas.commands import SubmitRun
from runtide_schemas.decisions import RequestAdmitted, RequestRefused
from runtide_schemas.vocabulary import FlowStatus, Gate, run_id_of

from services.lineage.conclusion import Change, conclude
from services.lineage.domain import gate, recursive
from services.lineage.domain.gate import Decision, Parked, Request, State
from services.lineage.domain.graph import FlowKey
from services.lineage.domain.staleness import Root
from services.lineage.domain.world import World
from services.lineage.store import Loaded
from tests.unit.lineage.memory import MemoryStore, MemoryWork
from tests.unit.lineage.worlds import TENANT, all_ready, at, current_reads, instance, key, put, request, run, version

WORLDS = 150


class Platform:
    """One world, and the recursive requests of some people, lived through at random."""

    def __init__(self, seed: int, *, failing: float) -> None:
        self.dice, self.failing = random.Random(seed), failing
        names = [f"n{place}" for place in range(self.dice.randint(2, 8))]
        parts = [
            instance(name, *(other for other in names[:place] if self.dice.random() < 0.45))
            for place, name in enumerate(names)
        ]
        self.world = all_ready(World(TENANT, {one.instance_id: one for one in parts}))
        self.names, self.time = names, 100
        self.requests: dict[UUID, Request] = {}
        self.running: dict[UUID, str] = {}
        self.admitted: Counter[UUID] = Counter()
        self.runs: Counter[str] = Counter()
        self.refused: list[RequestRefused] = []
        for name in names:
            match self.dice.randint(0, 3):
                case 0:
                    self.world = put(self.world, name, newest_end_failed=True)
                case 1:
                    self.world = put(self.world, name, version=None)
                case 2:
                    self.finish(name, None, "changed")
        self.targets = [
            request(self.dice.choice(names), 500 + number, gate=Gate.RECURSIVE)
            for number in range(self.dice.randint(1, 3))
        ]

    def live(self) -> None:
        """To its end: until nothing runs and everybody has asked."""
        waiting = list(self.targets)
        while waiting or self.running:
            if waiting and (not self.running or self.dice.random() < 0.5):
                self.tell(self.world, {}, put=[waiting.pop()])
            else:
                run_id = self.dice.choice(sorted(self.running))
                end = "failed" if self.dice.random() < self.failing else self.dice.choice(["changed", "unchanged"])
                self.finish(self.running.pop(run_id), run_id, end)

    def finish(self, name: str, run_id: UUID | None, end: str) -> None:
        flow = self.world.flow(key(name))
        assert flow is not None
        self.time += 1
        if end == "failed":
            after = replace(flow, newest_end_failed=True)
        else:
            made = version(self.time, current_reads(self.world, name))
            if end == "unchanged" and flow.version is not None:
                made = replace(made, version_id=flow.version.version_id)
            after = replace(flow, newest_end_failed=False, version=made)
        ended = []
        if run_id is not None:
            self.runs[name] += 1
            ended = [gate.ended(self.requests[run_id], "failed" if end == "failed" else "completed")]
        roots = {key(name): Root(f"{self.time}", changed=end == "changed", run_id=run(self.time))}
        self.tell(self.world.with_flows({key(name): after}), roots, put=ended)

    def tell(self, world: World, roots: dict[FlowKey, Root], *, put: list[Request]) -> None:
        """A batch; then submission echoes what lineage asked for, as a batch of its own."""
        self.time += 1
        change = Change.of(Loaded.of(self.world, self.requests.values()))
        change.world, change.roots = world, roots
        for each in put:
            change.put(each)
        work = MemoryWork(at(self.time), MemoryStore(TENANT))
        with suppress(StopIteration):
            conclude([change], work).send(None)  # type: ignore[arg-type]  # no part of it really waits
        self.world = change.world
        self.requests = {one.run_id: one for one in change.requests.values() if one.state is not State.ENDED}
        for message in work.said:
            if isinstance(message, RequestAdmitted):
                self.admit(message)
            elif isinstance(message, RequestRefused):
                self.refused.append(message)
        for message in work.said:
            if isinstance(message, SubmitRun):
                asked = self.requests[run_id_of(TENANT, str(message.command_id))]
                self.tell(self.world, {}, put=[asked.but(state=State.UNDECIDED)])

    def admit(self, message: RequestAdmitted) -> None:
        self.admitted[message.run_id] += 1
        name = next(name for name in self.names if key(name).instance_id == message.instance_id)
        for above in self.world.graph.above(key(name)):
            flow = self.world.flow(above)
            assert flow is not None
            assert flow.status is FlowStatus.READY
        self.running[message.run_id] = name


def waits(platform: Platform) -> list[Request]:
    return [one for one in platform.requests.values() if one.gate is Gate.RECURSIVE]


@pytest.mark.parametrize("failing", [0.0, 0.3])
def test_every_recursive_request_runs_once_or_is_refused_for_what_failed(failing: float) -> None:
    for seed in range(WORLDS):
        platform = Platform(seed, failing=failing)
        platform.live()
        assert waits(platform) == [], f"seed {seed}"
        refused = {message.run_id for message in platform.refused}
        for target in platform.targets:
            assert (platform.admitted[target.run_id] == 1) != (target.run_id in refused), f"seed {seed}"
        assert all(message.code == "UPSTREAM_FAILED" for message in platform.refused)
        if not failing:
            assert not refused, f"seed {seed}"


def test_one_request_runs_each_flow_above_at_most_once() -> None:
    for seed in range(WORLDS):
        platform = Platform(seed, failing=0.0)
        platform.targets = platform.targets[:1]
        platform.live()
        assert max(platform.runs.values(), default=0) <= 1, f"seed {seed}"


def test_control_asking_only_when_the_request_comes_leaves_one_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    real = recursive.decided

    def only_at_first(world: World, asking: Request, decision: Decision, others: Mapping[FlowKey, str]) -> Decision:
        said = real(world, asking, decision, others)
        return replace(said, asks=()) if isinstance(said, Parked) and asking.number else said

    monkeypatch.setattr(recursive, "decided", only_at_first)
    left = []
    for seed in range(WORLDS):
        platform = Platform(seed, failing=0.0)
        platform.live()
        left += waits(platform)
    assert left


def test_the_random_worlds_hold_what_they_are_for() -> None:
    """Some run something above, some fail."""
    ran = failed = 0
    for seed in range(WORLDS):
        platform = Platform(seed, failing=0.3)
        platform.live()
        ran += any(platform.runs.values())
        failed += bool(platform.refused)
    assert ran > WORLDS / 2
    assert failed > WORLDS / 10
