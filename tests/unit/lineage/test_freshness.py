from __future__ import annotations

from dataclasses import replace
from datetime import date
from itertools import product

import pytest
from runtide_schemas.vocabulary import FlowKind, InstanceStatus

from services.lineage.domain.freshness import Evidence, freshness
from services.lineage.domain.world import WORST_FIRST, Flow
from tests.unit.lineage.worlds import NOW, instance

READY = Evidence(
    has_completed=True, newest_end_failed=False, has_date_rule=False, last_data_date=None, stale_by_version=None
)


@pytest.mark.parametrize(
    ("evidence", "status", "rule"),
    [
        (READY, "ready", 7),
        (READY._replace(has_completed=False), "not_initialized", 1),
        (READY._replace(newest_end_failed=True), "error", 2),
        (READY._replace(has_date_rule=True), "not_initialized", 3),
        (READY._replace(has_date_rule=True, last_data_date=date(2025, 1, 14)), "ready", 7),
        (READY._replace(stale_by_version="prices is stale itself"), "stale", 5),
        (READY._replace(delayed="its source is delayed"), "stale_source_delayed", 4),
        (READY._replace(stale_by_date="its data goes to 2025-01-10"), "stale", 6),
        # the first rule that applies answers
        (READY._replace(has_completed=False, newest_end_failed=True, stale_by_version="x"), "not_initialized", 1),
        (READY._replace(newest_end_failed=True, has_date_rule=True, stale_by_version="x"), "error", 2),
        (READY._replace(has_date_rule=True, delayed="x"), "not_initialized", 3),
        (READY._replace(delayed="x", stale_by_version="x", stale_by_date="x"), "stale_source_delayed", 4),
        (READY._replace(stale_by_version="x", stale_by_date="x"), "stale", 5),
    ],
)
def test_the_first_rule_that_applies_answers(evidence: Evidence, status: str, rule: int) -> None:
    answer = freshness(evidence)
    assert (answer.status, answer.rule) == (status, rule)


def test_every_evidence_gets_an_answer_and_only_ready_has_no_reason() -> None:
    for completed, failed, rule, day, stale, delayed, late in product(
        (True, False), (True, False), (True, False), (None, date(2025, 1, 14)), *((None, "x"),) * 3
    ):
        answer = freshness(Evidence(completed, failed, rule, day, stale, delayed, late))
        assert (answer.reason is None) == (answer.status == "ready")


@pytest.mark.parametrize(
    ("shown", "worst"),
    [
        ("ready ready", "ready"),
        ("ready running", "running"),
        ("running stale_source_delayed", "stale_source_delayed"),
        ("stale_source_delayed stale", "stale"),
        ("stale not_initialized", "not_initialized"),
        ("not_initialized error", "error"),
    ],
)
def test_an_instance_shows_the_worst_of_its_flows(shown: str, worst: str) -> None:
    kinds = (FlowKind.TRAINING, FlowKind.INFERENCE)
    flows = tuple(
        replace(
            Flow(kind, "a/b"),
            freshness="ready" if status == "running" else status,
            open_run_id=instance("x").instance_id if status == "running" else None,
        )
        for kind, status in zip(kinds, shown.split(), strict=True)
    )
    for order in (flows, flows[::-1]):
        assert replace(instance("m", kinds=kinds), flows=order).status is InstanceStatus(worst)


def test_an_instance_may_have_an_order_of_its_own() -> None:
    kinds = (FlowKind.TRAINING, FlowKind.INFERENCE)
    flows = tuple(
        replace(Flow(kind, "a/b"), freshness=status) for kind, status in zip(kinds, ("stale", "ready"), strict=True)
    )
    model = replace(instance("m", kinds=kinds), flows=flows)
    assert model.status is InstanceStatus.STALE
    assert replace(model, status_order=WORST_FIRST[::-1]).status is InstanceStatus.READY
    assert replace(model, status_order=WORST_FIRST[::-1], retired_at=NOW).status is InstanceStatus.RETIRED


def test_the_date_rule_is_about_the_main_flow_not_about_what_monitors_it() -> None:
    dataset = replace(instance("prices", kinds=(FlowKind.REFRESH, FlowKind.MONITORING)), update_frequency="{}")
    assert dataset.has_date_rule(FlowKind.REFRESH)
    assert not dataset.has_date_rule(FlowKind.MONITORING)
