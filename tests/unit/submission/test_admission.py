"""Which parameters a flow is called with, and whose launch comes next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from uuid import UUID, uuid4

from hypothesis import given
from hypothesis import strategies as st

from services.submission.domain.admission import Candidate, Rejected, fair_share, parameters_for

RUN = uuid4()


def call(takes: set[str] | None, asked: Mapping[str, object]) -> object:
    return parameters_for(takes, asked, run_id=RUN, mode="incremental", deployment="refresh/prod")


def test_run_id_and_mode_are_added_only_where_the_flow_names_them() -> None:
    assert call({"start"}, {"start": 1}) == {"start": 1}
    assert call({"start", "run_id"}, {"start": 1}) == {"start": 1, "run_id": str(RUN)}
    assert call({"run_id", "mode"}, {}) == {"run_id": str(RUN), "mode": "incremental"}


def test_what_was_asked_wins_over_what_is_added() -> None:
    assert call({"mode"}, {"mode": "overwrite"}) == {"mode": "overwrite"}


def test_a_parameter_that_the_flow_does_not_take_is_refused_by_name() -> None:
    rejected = call({"start", "run_id"}, {"stat": 1, "end": 2, "start": 3})
    assert rejected == Rejected("refresh/prod does not take end, stat; it takes: start")
    assert call(set(), {"end": 2}) == Rejected("refresh/prod does not take end; it takes: none")


def test_the_runs_own_token_is_given_where_the_flow_takes_it_and_never_asked_for() -> None:
    def with_token(takes: set[str] | None, asked: Mapping[str, object]) -> object:
        return parameters_for(takes, asked, run_id=RUN, mode=None, deployment="refresh/prod", token="own")

    assert with_token({"start", "runtide_token"}, {"start": 1}) == {"start": 1, "runtide_token": "own"}
    assert with_token({"start"}, {"start": 1}) == with_token(None, {"start": 1}) == {"start": 1}
    for takes in ({"runtide_token"}, None):
        assert isinstance(with_token(takes, {"runtide_token": "somebody's"}), Rejected)


def test_a_deployment_without_a_schema_is_not_judged() -> None:
    assert call(None, {"anything": 1}) == {"anything": 1}


def candidates(*what: str) -> list[Candidate]:
    """`acme:slow` → tenant acme, deployment slow."""
    return [Candidate(w.split(":")[0], UUID(int=n), w.split(":")[1]) for n, w in enumerate(what)]


def test_tenants_take_turns() -> None:
    due = candidates("acme:a", "acme:a", "acme:a", "globex:b")
    chosen = fair_share(due, busy={}, per_deployment=9, at_most=3)
    assert [c.tenant for c in chosen] == ["acme", "globex", "acme"]


def test_a_deployment_has_no_more_than_its_share_with_what_is_under_way() -> None:
    due = candidates("acme:a", "acme:a", "acme:b")
    chosen = fair_share(due, busy={"a": 1}, per_deployment=2, at_most=9)
    assert [c.deployment for c in chosen] == ["a", "b"]


def test_a_full_deployment_does_not_hold_up_the_tenants_other_launches() -> None:
    due = candidates("acme:full", "acme:full", "acme:free")
    assert [c.deployment for c in fair_share(due, busy={"full": 5}, per_deployment=5, at_most=9)] == ["free"]


DUE = st.lists(st.builds(Candidate, st.sampled_from("xyz"), st.uuids(), st.sampled_from("ab")), max_size=30)


@given(DUE, st.integers(1, 4), st.integers(0, 12), st.dictionaries(st.sampled_from("ab"), st.integers(0, 5)))
def test_no_choice_breaks_a_limit_and_no_room_is_left_unused(
    due: list[Candidate], per_deployment: int, at_most: int, busy: dict[str, int]
) -> None:
    chosen = fair_share(due, busy=busy, per_deployment=per_deployment, at_most=at_most)
    assert len(chosen) <= at_most
    assert len(set(map(id, chosen))) == len(chosen)
    room = Counter({name: max(0, per_deployment - busy.get(name, 0)) for name in "ab"})
    taken = Counter(c.deployment for c in chosen)
    assert all(taken[name] <= room[name] for name in "ab")
    wanted = Counter(c.deployment for c in due)
    assert len(chosen) == min(at_most, sum(min(wanted[name], room[name]) for name in "ab"))
