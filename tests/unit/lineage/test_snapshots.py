"""A snapshot is put together of the model's JSON and of edges that were said before: the bytes are the model's."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from runtide_schemas.vocabulary import EdgeKind, FlowKind, FlowStatus

from services.lineage import snapshots, translation
from services.lineage.domain.world import Cause, Instance, World
from services.lineage.snapshots import snapshot_draft
from shared.messaging.drafts import draft_of
from tests.unit.lineage.worlds import NOW, id_of, instance, run, upstream, world_of

KINDS = (FlowKind.TRAINING, FlowKind.INFERENCE)
TEXTS = ["ready", '"upstreams":[]', 'says "x"', "\\", "ü\n", "\x00", "{}"]


def some_instance(dice: random.Random) -> tuple[Instance, World]:
    """With none to 120 edges, of which some name instances that are not registered; its texts are odd."""
    others = [
        instance(f"n{place}", kinds=KINDS if dice.random() < 0.3 else (FlowKind.REFRESH,)) for place in range(120)
    ]
    above = [
        upstream(
            other.name, role=dice.choice(TEXTS), kind=dice.choice(list(EdgeKind)), optional=dice.random() < 0.3,
            max_lag=dice.choice([None, 0, 3]), flow_kind=dice.choice([None, *KINDS]),
            flows=dice.choice([None, (), KINDS]),
        )
        for other in dice.sample(others, dice.choice([0, 1, 4, 101, 120]))
    ]  # fmt: skip
    one = instance("b", *above, kinds=dice.choice([KINDS, (FlowKind.REFRESH,)]))
    flows = tuple(replace(flow, reason=dice.choice(TEXTS), freshness=FlowStatus.STALE) for flow in one.flows)
    cause = Cause(run(1), None, id_of("n0"), tuple(dice.choices(TEXTS, k=3)))
    one = replace(one, flows=flows, cause=cause, owner=dice.choice(TEXTS), announced_at=NOW, seq=dice.randint(1, 9))
    return one, world_of(one, *dice.sample(others, 100))


def deviating() -> list[int]:
    found = []
    for seed in range(300):
        one, of = some_instance(random.Random(seed))
        if snapshot_draft(one, of) != draft_of(translation.snapshot_of(one, of)):
            found.append(seed)
    return found


def test_a_snapshot_is_said_in_the_models_bytes() -> None:
    assert deviating() == []


def test_control_an_edge_that_is_remembered_by_its_upstream_alone_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    remembered: dict[object, bytes] = {}
    json_of = snapshots._json_of
    monkeypatch.setattr(snapshots, "_json_of", lambda *one: remembered.setdefault(one[0], json_of(*one)))
    assert deviating()
