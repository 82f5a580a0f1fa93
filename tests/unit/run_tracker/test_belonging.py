"""Whose a flow run is."""

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from runtide_schemas.prefect import STATE_TYPES as WIRE_STATE_TYPES

from services.run_tracker.cancel import proposal_of, verdict_of
from services.run_tracker.domain.belonging import KnownFlow, Waiting, claim_of, owner_of
from services.run_tracker.domain.lifecycle import STATE_TYPES
from services.run_tracker.sweep import Absences, is_mass_loss
from services.run_tracker.upkeep import Intent, Open
from shared.prefect import SetStateAnswer
from tests.unit.run_tracker.recordings import NOW, RUN_ID, a_run

FLOW_RUN = uuid4()


def waiting(**changes: Any) -> Waiting:
    return Waiting(FLOW_RUN, "name", "f/d", None, NOW)._replace(**changes)


def flow(**changes: Any) -> KnownFlow:
    return KnownFlow(
        uuid4(), "refresh", "acme", "prices", "DatasetInstance", "f/d", "expected", "{}", NOW, False, 1
    )._replace(**changes)


def test_a_tag_names_a_run_only_by_its_id() -> None:
    assert claim_of(["org:acme", f"run:{RUN_ID}"]) == RUN_ID
    assert claim_of(["run:abc", "runner"]) is None


def test_a_flow_run_tagged_with_an_unknown_run_waits_for_it() -> None:
    assert owner_of(waiting(claimed_run_id=RUN_ID), None, [flow()]) == "request_unknown"


def test_a_tag_counts_only_with_the_runs_deployment_else_the_flow_run_is_its_own() -> None:
    tagged = waiting(claimed_run_id=RUN_ID)
    run, other = a_run(), a_run(deployment="g/d")

    assert owner_of(tagged, run, []) is run
    assert owner_of(tagged, other, []) == "unregistered"
    assert isinstance(owner_of(tagged, other, [flow()]), KnownFlow)
    assert isinstance(owner_of(tagged, a_run(orchestrator_run_id=uuid4()), [flow()]), KnownFlow)


def test_planned_retired_shared_and_earlier_flow_runs_belong_to_nobody() -> None:
    assert owner_of(waiting(left_scheduled_at=None), None, [flow()]) == "planned"
    assert owner_of(waiting(), None, [flow(retired=True)]) == "unregistered"
    assert owner_of(waiting(), None, [flow(), flow()]) == "shared"
    assert owner_of(waiting(), None, [flow(registered_at=NOW + timedelta(hours=1))]) == "unregistered"


def test_a_refusal_with_cancelled_is_success_and_an_abort_is_too_late() -> None:
    assert verdict_of(SetStateAnswer("ACCEPT", "CANCELLING", None))[0] == "asked"
    assert verdict_of(SetStateAnswer("REJECT", "CANCELLED", "x"))[0] == "asked"
    assert verdict_of(SetStateAnswer("ABORT", None, "already terminal")) == ("too_late", "already terminal")
    assert verdict_of(SetStateAnswer("WAIT", None, None))[0] == "wanted"
    assert verdict_of(None)[0] == "wanted"


def test_asking_twice_for_one_wish_is_one_transition_and_another_wish_another() -> None:
    wish = Intent(RUN_ID, NOW, "ana", FLOW_RUN, silent=False, tries=1)
    another = wish._replace(requested_at=NOW + timedelta(seconds=1))

    assert proposal_of(wish) == proposal_of(wish._replace(tries=7))
    assert proposal_of(wish).transition_id != proposal_of(another).transition_id


def test_only_a_run_without_a_living_process_is_ended_over_its_head() -> None:
    wish = Intent(RUN_ID, NOW, "ana", FLOW_RUN, silent=False, tries=1)

    assert proposal_of(wish).state_type == "CANCELLING"
    ended = proposal_of(wish._replace(silent=True))
    assert ended.state_type == "CANCELLED"
    assert ended.transition_id != proposal_of(wish).transition_id


def test_gone_is_absent_twice_thirty_seconds_apart() -> None:
    absences, after = Absences(), timedelta(seconds=30)
    run = Open(RUN_ID, FLOW_RUN, None, ended=False, lost_at=None)

    assert absences.judge([run], set(), NOW, after) == []
    assert absences.judge([run], set(), NOW + timedelta(seconds=15), after) == []
    assert absences.judge([run], set(), NOW + timedelta(seconds=30), after) == [FLOW_RUN]


def test_whoever_is_back_begins_anew() -> None:
    absences, after = Absences(), timedelta(seconds=30)
    run = Open(RUN_ID, FLOW_RUN, None, ended=False, lost_at=None)
    absences.judge([run], set(), NOW, after)
    absences.judge([run], {FLOW_RUN}, NOW + timedelta(seconds=15), after)

    assert absences.judge([run], set(), NOW + timedelta(seconds=31), after) == []


def test_many_losses_at_once_are_a_wrong_server() -> None:
    assert not is_mass_loss(10, 10, 10)
    assert is_mass_loss(11, 50, 10)
    assert not is_mass_loss(11, 55, 10)


def test_the_domain_knows_the_nine_state_types_of_the_wire() -> None:
    assert set(WIRE_STATE_TYPES) == STATE_TYPES
    assert len(STATE_TYPES) == 9
    assert isinstance(RUN_ID, UUID)
