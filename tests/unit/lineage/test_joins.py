"""Thousands of random worlds through lineage's own handlers: graphs with optional and schema edges, durations, failures
and repairs, unchanged outputs, staggered roots, withdrawals, new definitions and edges, `max_wait` and `min_interval`,
and backfills that are open for ever.

Nothing is left stale nor waiting; no flow runs more often than changes above it account for; a join never runs on half
of what is new; and the stored state is what recomputing from scratch says (I7). The controls break the rule, and must
leave stale flows behind. A seed is one story for ever: `lived(seed)`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import pytest
from runtide_schemas.vocabulary import FlowStatus

from services.lineage import conclusion
from services.lineage.domain import gate, staleness
from services.lineage.domain.gate import Request, State
from services.lineage.domain.graph import FlowKey
from services.lineage.domain.staleness import Restated, Root
from services.lineage.domain.world import World
from tests.unit.lineage.stories import lived

WORLDS = 2_000
WORLDS_OF_CONTROLS = 100
WORLDS_WITH_RETRIES = 300
RETRY = json.dumps({"max": 2, "backoff": 30.0, "backoff_max": 45.0, "on": ["failed"]})

pytestmark = pytest.mark.timeout(900)


@dataclass(frozen=True)
class Verdict:
    """What is wrong with a world after its calm."""

    seed: int
    stale: tuple[str, ...]
    waiting: int
    too_often: tuple[str, ...]
    half_new: tuple[str, ...]
    deviating: tuple[str, ...]
    runs: int
    retries: int

    @classmethod
    def of(cls, seed: int, retry: str | None = None) -> Verdict:
        story = lived(seed, retry)
        return cls(
            seed=seed,
            stale=tuple(story.not_ready),
            waiting=len(story.live_requests),
            too_often=tuple(name for name in story.names if story.automatic[name] > story.allowed[name]),
            half_new=tuple(story.faults),
            deviating=tuple(story.deviating),
            runs=sum(story.automatic.values()),
            retries=sum(one["retries"] is not None for one in story.requests.values()),
        )


@pytest.fixture(scope="module")
def verdicts(show: Callable[[str], None]) -> list[Verdict]:
    found = [Verdict.of(seed) for seed in range(WORLDS)]
    show(f"joins: {len(found)} random worlds lived through, with {sum(one.runs for one in found)} automatic runs")
    return found


def test_nothing_is_left_stale_nor_waiting(verdicts: list[Verdict]) -> None:
    assert [one for one in verdicts if one.stale or one.waiting] == []


def test_no_flow_runs_more_often_than_changes_above_it_account_for(verdicts: list[Verdict]) -> None:
    assert [one for one in verdicts if one.too_often] == []


def test_a_join_never_runs_on_half_of_what_is_new(verdicts: list[Verdict]) -> None:
    assert [one for one in verdicts if one.half_new] == []


def test_the_state_is_what_recomputing_from_scratch_says(verdicts: list[Verdict]) -> None:
    assert [one for one in verdicts if one.deviating] == []


def test_nothing_is_left_stale_nor_waiting_where_what_fails_is_run_once_more(show: Callable[[str], None]) -> None:
    found = [Verdict.of(seed, RETRY) for seed in range(WORLDS_WITH_RETRIES)]
    retried = sum(one.retries for one in found)
    show(f"joins: {len(found)} random worlds with {retried} retries")
    assert retried > WORLDS_WITH_RETRIES / 10
    assert [one for one in found if one.stale or one.waiting or one.half_new or one.too_often or one.deviating] == []


def _only_newly_stale(world: World, roots: Mapping[FlowKey, Root], now: datetime) -> Restated:
    restated = staleness.restate(world, roots, now)

    def turned(key: FlowKey) -> bool:
        was, now = world.flow(key), restated.world.flow(key)
        return was is not None and now is not None and was.freshness is not now.freshness is FlowStatus.STALE

    return replace(restated, asks=tuple(ask for ask in restated.asks if turned(ask.flow)))


def _skipped_while_running(world: World, request: Request, **now: Any) -> gate.Decision:
    return _decide(world, request.but(trigger="not automatic"), **now)


_decide = gate.decide
CONTROLS: dict[str, tuple[object, str, object]] = {
    "counting a running request as waiting": (
        Request, "will_refresh",
        property(lambda request: request.state is not State.ENDED and not request.is_of_backfill),
    ),
    "asking only flows that turn stale now": (conclusion, "restate", _only_newly_stale),
    "never asking the flow itself": (staleness, "_lacks_a_run", lambda *_: False),
    "skipping what is ready while a run of it is on its way": (gate, "decide", _skipped_while_running),
    "waiting for backfills above": (
        World, "on_their_way", lambda world, key: world.open_runs.get(key, frozenset()),
    ),
}  # fmt: skip


@pytest.mark.parametrize("control", CONTROLS)
def test_control(control: str, monkeypatch: pytest.MonkeyPatch, show: Callable[[str], None]) -> None:
    """The rule broken in one way leaves stale flows, or others that wait for them, behind."""
    monkeypatch.setattr(*CONTROLS[control])
    failing = [one.seed for one in map(Verdict.of, range(WORLDS_OF_CONTROLS)) if one.stale]
    show(f"joins, control: {control}: {len(failing)} of {WORLDS_OF_CONTROLS} worlds are left with stale flows")
    assert failing
