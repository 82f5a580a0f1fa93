"""Which faults a chaos run has: the seed says so, and nothing else."""

from __future__ import annotations

from tests.chaos.catalogue import catalogue
from tests.chaos.storm import LONG, SHORT, Plan, chosen

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
