"""What each command and each answer makes of a request: every pair of status and event has an outcome."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from runtide_schemas.vocabulary import Code, FlowKind, Gate, Mode, RequestStatus, RunType, instance_id_of, run_id_of

from services.submission.domain import request as requests
from services.submission.domain.request import Answer, Asked, Nothing, Refusal, Request

NOW = datetime(2025, 1, 15, 9, tzinfo=UTC)
RUN = UUID(str(run_id_of("acme", "c1")))
OPENED = Request("acme", RUN)
BLOCKER = {"instance_id": str(uuid4()), "name": "prices", "status": "stale"}
ENDS = [status for status in RequestStatus if status.is_end]


def asked(**changes: Any) -> Asked:
    return Asked(**{
        "command_id": "c1", "digest": "d1", "instance_id": UUID(str(instance_id_of("acme", "momentum"))),
        "instance_name": "momentum", "actor": "ana@acme", "mode": Mode.INCREMENTAL, "gate": Gate.STRICT,
        "parameters": {"start": "2015-01-02"}, **changes,
    })  # fmt: skip


def in_status(status: RequestStatus, **changes: Any) -> Request:
    """A submitted request that came to stand there."""
    request = requests.submit(OPENED, asked())
    assert isinstance(request, Request)
    return request if status is RequestStatus.REQUESTED else request.moved(status, **changes)


def answer(status: RequestStatus, number: int = 1, **changes: Any) -> Answer:
    return Answer(number, status, **changes)


def test_an_answer_ahead_of_its_request_is_kept_once_and_says_nothing() -> None:
    said = {"type": "request.parked", "number": 1}
    kept = requests.keep(OPENED, said)
    assert isinstance(kept, Request)
    assert (kept.seq, kept.ahead) == (0, (said,))
    assert isinstance(requests.keep(kept, dict(said)), Nothing)


# -- submit ----------------------------------------------------------------------------------------------------------


def test_the_first_submission_is_the_first_snapshot() -> None:
    request = requests.submit(OPENED, asked(flow_kind=FlowKind.REFRESH))
    assert isinstance(request, Request)
    assert (request.seq, request.status, request.previous_status) == (1, RequestStatus.REQUESTED, None)
    assert (request.digest, request.command_id, request.actor) == ("d1", "c1", "ana@acme")
    assert (request.instance_name, request.flow_kind) == ("momentum", FlowKind.REFRESH)
    assert request.parameters == {"start": "2015-01-02"}
    assert (request.run_type, request.deployment) == (None, None)  # what only lineage knows
    assert request.is_waiting


def test_an_invalid_submission_is_refused_and_says_to_ask_again_under_a_new_id() -> None:
    request = requests.submit(OPENED, asked(invalid="gate: input should be 'strict'"))
    assert isinstance(request, Request)
    assert (request.seq, request.status, request.code) == (1, RequestStatus.REFUSED, Code.INVALID_COMMAND)
    assert request.message is not None
    assert "gate: input should be 'strict'" in request.message
    assert "new command_id" in request.message
    assert not request.is_waiting


@pytest.mark.parametrize("status", list(RequestStatus))
def test_the_same_body_again_changes_nothing_whatever_became_of_it(status: RequestStatus) -> None:
    assert requests.submit(in_status(status), asked(actor="bob@acme")) == Nothing()


@pytest.mark.parametrize("status", list(RequestStatus))
def test_another_body_under_the_same_id_is_a_conflict_and_changes_nothing(status: RequestStatus) -> None:
    refusal = requests.submit(in_status(status), asked(digest="d2"))
    assert isinstance(refusal, Refusal)
    assert refusal.code is Code.COMMAND_CONFLICT
    assert "'c1'" in refusal.message


def test_a_refused_id_stays_refused() -> None:
    refused = requests.submit(OPENED, asked(digest="bad", invalid="no"))
    assert isinstance(refused, Request)
    repaired = requests.submit(refused, asked())
    assert isinstance(repaired, Refusal)
    assert repaired.code is Code.COMMAND_CONFLICT


def test_a_submission_behind_its_cancel_is_cancelled_and_keeps_what_was_asked() -> None:
    ahead = requests.cancel(OPENED, at=NOW, launching=False, reason="wrong universe")
    assert isinstance(ahead, Request)
    assert (ahead.seq, ahead.status, ahead.digest) == (1, RequestStatus.CANCELLED, None)
    assert ahead.cancel_requested_at == NOW
    request = requests.submit(ahead, asked())
    assert isinstance(request, Request)
    assert (request.seq, request.status) == (2, RequestStatus.CANCELLED)
    assert (request.instance_name, request.command_id) == ("momentum", "c1")
    assert requests.submit(request, asked()) == Nothing()
    assert requests.decide(request, answer(RequestStatus.ADMITTED)) == Nothing()


# -- cancel ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [RequestStatus.REQUESTED, RequestStatus.PARKED, RequestStatus.ADMITTED])
def test_what_is_not_launched_ends_cancelled(status: RequestStatus) -> None:
    before = in_status(status, blockers=(BLOCKER,), blockers_total=1)
    request = requests.cancel(before, at=NOW, launching=False, reason="wrong universe")
    assert isinstance(request, Request)
    assert (request.status, request.previous_status) == (RequestStatus.CANCELLED, status)
    assert (request.cancel_requested_at, request.message) == (NOW, "cancelled: wrong universe")
    assert (request.blockers, request.blockers_total) == ((), 0)
    assert request.seq == before.seq + 1


def test_a_launch_in_flight_is_finished_first_and_the_cancel_is_noted() -> None:
    admitted = in_status(RequestStatus.ADMITTED)
    noted = requests.cancel(admitted, at=NOW, launching=True, reason="late")
    assert isinstance(noted, Request)
    assert (noted.status, noted.cancel_requested_at) == (RequestStatus.ADMITTED, NOW)
    done = requests.launched(noted, uuid4())
    assert isinstance(done, Request)
    assert (done.status, done.cancel_requested_at, done.message) == (RequestStatus.LAUNCHED, NOW, "cancelled: late")


def test_a_launched_request_stays_launched_and_carries_the_cancel_once() -> None:
    launched = in_status(RequestStatus.LAUNCHED)
    noted = requests.cancel(launched, at=NOW, launching=False, reason=None)
    assert isinstance(noted, Request)
    assert (noted.status, noted.cancel_requested_at) == (RequestStatus.LAUNCHED, NOW)
    assert requests.cancel(noted, at=NOW, launching=False, reason=None) == Nothing()


@pytest.mark.parametrize("status", ENDS)
@pytest.mark.parametrize("launching", [False, True])
def test_an_end_is_too_late_to_cancel(status: RequestStatus, launching: bool) -> None:
    refusal = requests.cancel(in_status(status), at=NOW, launching=launching, reason=None)
    assert isinstance(refusal, Refusal)
    assert refusal.code is Code.TOO_LATE
    assert str(RUN) in refusal.message
    assert status in refusal.message


@pytest.mark.parametrize("status", list(RequestStatus))
def test_a_cancel_that_was_taken_before_is_not_refused_when_it_is_read_again(status: RequestStatus) -> None:
    taken = replace(in_status(status), cancel_requested_at=NOW)
    assert requests.cancel(taken, at=NOW, launching=False, reason=None) == Nothing()


# -- lineage's answers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("before", [RequestStatus.REQUESTED, RequestStatus.PARKED])
@pytest.mark.parametrize(
    "after",
    [RequestStatus.ADMITTED, RequestStatus.PARKED, RequestStatus.REFUSED, RequestStatus.SKIPPED, RequestStatus.EXPIRED],
)
def test_every_answer_moves_what_waits(before: RequestStatus, after: RequestStatus) -> None:
    request = requests.decide(in_status(before), answer(after))
    assert isinstance(request, Request)
    assert (request.status, request.previous_status, request.decision_number) == (after, before, 1)


@pytest.mark.parametrize("status", [s for s in RequestStatus if s not in ("requested", "parked")])
def test_an_answer_to_what_no_longer_waits_makes_nothing(status: RequestStatus) -> None:
    assert requests.decide(in_status(status), answer(RequestStatus.ADMITTED, 7)) == Nothing()


def test_an_answer_that_was_read_before_makes_nothing() -> None:
    parked = requests.decide(in_status(RequestStatus.REQUESTED), answer(RequestStatus.PARKED, 2))
    assert isinstance(parked, Request)
    assert requests.decide(parked, answer(RequestStatus.PARKED, 2)) == Nothing()
    assert requests.decide(parked, answer(RequestStatus.REFUSED, 1)) == Nothing()
    assert isinstance(requests.decide(parked, answer(RequestStatus.ADMITTED, 3)), Request)


def test_an_admission_carries_what_only_lineage_knows() -> None:
    versions = {"prices": {"version_id": str(uuid4())}}
    parked = requests.decide(
        in_status(RequestStatus.REQUESTED),
        answer(RequestStatus.PARKED, 1, blockers=(BLOCKER,), blockers_total=1, code=Code.UPSTREAM_NOT_READY),
    )
    assert isinstance(parked, Request)
    admitted = requests.decide(
        parked,
        answer(
            RequestStatus.ADMITTED, 2, deployment="refresh-momentum/prod", run_type=RunType.PIPELINE,
            flow_kind=FlowKind.REFRESH, input_versions=versions,
        ),
    )  # fmt: skip
    assert isinstance(admitted, Request)
    assert (admitted.deployment, admitted.run_type) == ("refresh-momentum/prod", RunType.PIPELINE)
    assert admitted.input_versions == versions
    assert admitted.parameters == {"start": "2015-01-02"}  # lineage said none: those that were asked for
    assert (admitted.blockers, admitted.blockers_total, admitted.code) == ((), 0, None)
    assert admitted.instance_name == "momentum"


def test_the_parameters_of_an_admission_win() -> None:
    admitted = requests.decide(in_status(RequestStatus.REQUESTED), answer(RequestStatus.ADMITTED, parameters={}))
    assert isinstance(admitted, Request)
    assert admitted.parameters == {}


# -- the launch ------------------------------------------------------------------------------------------------------


def test_a_launch_forgets_why_it_waited() -> None:
    waits = requests.launch_waits(in_status(RequestStatus.ADMITTED), "waits for Prefect")
    assert isinstance(waits, Request)
    assert (waits.status, waits.message) == (RequestStatus.ADMITTED, "waits for Prefect")
    assert requests.launch_waits(waits, "waits for Prefect") == Nothing()  # said once, not at every try
    flow_run = uuid4()
    launched = requests.launched(waits, flow_run)
    assert isinstance(launched, Request)
    assert (launched.status, launched.orchestrator_run_id, launched.message) == (RequestStatus.LAUNCHED, flow_run, None)


def test_a_launch_that_never_will_work_ends_the_request_with_its_reason() -> None:
    failed = requests.launch_failed(in_status(RequestStatus.ADMITTED), Code.DEPLOYMENT_NOT_FOUND, "no such deployment")
    assert isinstance(failed, Request)
    assert (failed.status, failed.code, failed.message) == (
        RequestStatus.LAUNCH_FAILED, Code.DEPLOYMENT_NOT_FOUND, "no such deployment",
    )  # fmt: skip


@pytest.mark.parametrize("status", [s for s in RequestStatus if s is not RequestStatus.ADMITTED])
def test_only_an_admitted_request_is_launched_or_fails_to_be(status: RequestStatus) -> None:
    request = in_status(status)
    assert requests.launched(request, uuid4()) == Nothing()
    assert requests.launch_failed(request, Code.DEPLOYMENT_NOT_FOUND, "gone") == Nothing()
    assert requests.launch_waits(request, "waits") == Nothing()


# -- whatever comes --------------------------------------------------------------------------------------------------

EVENTS = st.one_of(
    st.builds(lambda digest: ("submit", digest), st.sampled_from(["d1", "d2"])),
    st.builds(lambda launching: ("cancel", launching), st.booleans()),
    st.builds(
        lambda status, number: ("decide", status, number),
        st.sampled_from([s for s in RequestStatus if s not in ("requested", "launched", "cancelled", "launch_failed")]),
        st.integers(1, 5),
    ),
    st.sampled_from([("launched",), ("launch_failed",), ("launch_waits",)]),
)


def apply(request: Request, event: tuple[Any, ...]) -> Request | Refusal | Nothing:
    match event:
        case ("submit", digest):
            return requests.submit(request, asked(digest=digest))
        case ("cancel", launching):
            return requests.cancel(request, at=NOW, launching=launching, reason=None)
        case ("decide", status, number):
            return requests.decide(request, answer(status, number))
        case ("launched",):
            return requests.launched(request, uuid4())
        case ("launch_failed",):
            return requests.launch_failed(request, Code.DEPLOYMENT_NOT_FOUND, "gone")
        case _:
            return requests.launch_waits(request, "waits")


@given(st.lists(EVENTS, max_size=12))
def test_whatever_comes_seq_has_no_holes_and_an_end_stays_the_end(events: list[tuple[Any, ...]]) -> None:
    said = [OPENED]
    for event in events:
        after = apply(said[-1], event)
        if isinstance(after, Request):
            said.append(after)
    for before, after in pairwise(said):
        assert after.seq == before.seq + 1
        if before.seq and before.status.is_end:
            assert after.status is before.status
        if before.status is RequestStatus.LAUNCHED:
            assert after.status is RequestStatus.LAUNCHED
            assert after.orchestrator_run_id == before.orchestrator_run_id
    assert sum(r.status is RequestStatus.LAUNCHED and r.previous_status is RequestStatus.ADMITTED for r in said) <= 1
