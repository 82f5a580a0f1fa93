"""Which faults a chaos run has: the seed says so, and nothing else."""

from __future__ import annotations

import json
from collections import Counter

from tests.chaos import report
from tests.chaos.catalogue import catalogue
from tests.chaos.storm import LONG, SHORT, Plan, Result, chosen, moments

KINDS = {fault.kind for fault in catalogue()}


def names(seed: int, faults: int) -> list[str]:
    return [fault.name for fault in chosen(Plan(seed=seed, faults=faults, messages=0))]


def test_the_same_seed_gives_the_same_faults_in_the_same_order_and_another_gives_others() -> None:
    assert names(7, 60) == names(7, 60)
    assert names(7, 60) != names(8, 60)


def test_the_short_form_has_every_kind_and_at_least_twenty_faults_and_twenty_thousand_messages() -> None:
    plan = Plan(seed=1, **SHORT)
    assert {fault.kind for fault in chosen(plan)} == KINDS
    assert plan.faults >= 20
    assert plan.messages >= 20_000


def test_the_long_form_has_two_hundred_faults_and_a_million_messages() -> None:
    plan = Plan(seed=1, **LONG)
    assert len(chosen(plan)) == plan.faults == 200
    assert plan.messages == 10**6


def test_no_kind_comes_again_before_all_have_come() -> None:
    kinds = [fault.kind for fault in chosen(Plan(seed=3, faults=2 * len(KINDS), messages=0))]
    assert set(kinds[: len(KINDS)]) == set(kinds[len(KINDS) :]) == KINDS


def test_only_faults_that_touch_nothing_in_common_happen_at_once() -> None:
    found = moments(Plan(seed=5, **LONG))
    assert [fault.name for faults in found for fault in faults] == names(5, 200)
    assert any(len(faults) > 1 for faults in found)
    for faults in found:
        touched = Counter(one for fault in faults for one in fault.touches)
        assert max(touched.values()) == 1, [fault.name for fault in faults]
    assert all(len(faults) == 1 for faults in moments(Plan(seed=5, **SHORT)))


def test_what_is_kept_of_a_run_is_all_that_was_printed() -> None:
    result = Result(5, faults=Counter({"kill -9": 2}), behind={"1 kill -9: lineage": None})
    result.outcomes, result.found = {"submit": Counter(acknowledged=3)}, {"I1": ["a request is missing"]}
    kept = json.loads(report.kept(Plan(seed=5, **SHORT), result))
    assert kept["faults"] == {"kill -9": 2}
    assert kept["outcomes"] == {"submit": {"acknowledged": 3}}
    assert kept["behind"] == {"1 kill -9: lineage": None}
    assert kept["found"] == {"I1": ["a request is missing"]}
    assert kept["plan"]["faults"] == SHORT["faults"]
