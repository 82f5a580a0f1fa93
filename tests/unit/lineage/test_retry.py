"""Which failure gets another run, when, and what the gate says to it."""

import json
from datetime import timedelta
from typing import Any

import pytest
from runtide_schemas.vocabulary import Code, Gate, InstanceStatus, Mode, Trigger

from services.lineage.domain import gate, recursive, retry
from services.lineage.domain.gate import Admitted, Parked, Refused, Request, Skipped, State
from services.lineage.domain.recursive import Asked
from services.lineage.domain.retry import Failure, Policy, Retries, policy_of
from services.lineage.domain.world import World
from tests.unit.lineage.worlds import NOW, all_ready, at, complete, instance, key, put, request, run, world, world_of

EVERY = frozenset(retry.REASONS)


def policy(**changes: Any) -> Policy:
    said = {"max": 3, "backoff": 60.0, "backoff_max": 3600.0, "on": ["failed", "timed_out", "infrastructure"]}
    return policy_of(json.dumps(said | changes))


def failure(**changes: Any) -> Failure:
    return Failure(run(1), NOW, **changes)


def first(**fields: Any) -> Request:
    return request("a", 1, state=State.ADMITTED, actor="ana@acme", **fields)


@pytest.mark.parametrize(
    ("how", "on", "reason"),
    [
        ({}, ["failed"], "failed"),
        ({"sub_state": "timed_out"}, ["timed_out"], "timed_out"),
        ({"sub_state": "timed_out"}, ["failed"], None),
        ({"sub_state": "infrastructure"}, ["failed", "infrastructure"], "infrastructure"),
        ({"sub_state": "lost"}, ["failed", "timed_out", "infrastructure"], None),
        ({"sub_state": "lost"}, ["lost"], "lost"),
        ({"error_type": "TimeoutError"}, ["error:TimeoutError"], "error:TimeoutError"),
        ({"error_type": "ValueError"}, ["error:TimeoutError"], None),
        ({"error_type": "ValueError"}, ["failed", "error:ValueError"], "failed"),
        ({"was_to_end": True}, ["failed"], None),
        ({"launched": False}, ["failed"], None),
    ],
)
def test_a_failure_is_retried_for_the_reasons_that_the_policy_names(
    how: dict[str, Any], on: list[str], reason: str | None
) -> None:
    found = retry.after(first(), policy(on=on), failure(**how))
    assert (found.reason if found else None) == reason


def test_a_preview_is_never_retried() -> None:
    assert retry.after(first(mode=Mode.PREVIEW), policy(), failure()) is None


def test_each_wait_is_twice_the_one_before_and_never_longer_than_the_longest() -> None:
    waits = [policy(backoff=60, backoff_max=300).wait(number).total_seconds() for number in range(1, 6)]
    assert waits == [60, 120, 240, 300, 300]
    assert policy(backoff=1, backoff_max=86400 * 366).wait(20).total_seconds() == 2**19
    assert policy(backoff_max=86400 * 366).wait(10_000) == timedelta(days=366)


def test_a_chain_is_numbered_names_its_first_run_and_ends() -> None:
    asked, numbers = first(), []
    for number in range(1, 5):
        found = retry.after(asked, policy(), Failure(run(number), NOW))
        if found is None:
            break
        numbers.append((found.number, found.run_id, found.first_run_id, found.on_behalf_of))
        asked = retry.again(asked, found, run(number + 1)).but(actor="system:lineage")
    assert numbers == [(n, run(n), run(1), "ana@acme") for n in (1, 2, 3)]


def test_a_retry_asks_for_the_same_waits_for_what_is_in_its_way_and_runs_no_plan() -> None:
    asked = first(gate=Gate.RECURSIVE, parameters={"x": 1}, plan_id=run(9), asked=(Asked(key("b"), run(8)),))
    found = retry.after(asked, policy(), failure())
    assert found is not None
    again = retry.again(asked, found, run(2))
    assert (again.run_id, again.parameters, again.gate, again.plan_id, again.asked) == (
        run(2), {"x": 1}, Gate.WAIT, None, ())  # fmt: skip
    assert again.wait_until == at(60) + retry.PATIENCE
    assert retry.again(first(gate=Gate.FORCE), found, run(2)).gate is Gate.FORCE
    assert retry.again(first(trigger=Trigger.UPSTREAM), found, run(2)).wait_until is None


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"on": ["timedout"]}, "names 'timedout'; allowed: failed, timed_out, infrastructure, lost, error:<type of"),
        ({"on": ["timedout"]}, "nearest: timed_out"),
        ({"on": ["error:"]}, "retry.on names 'error:'"),
        ({"backoff": 7200}, "backoff 2:00:00 is longer than backoff_max 1:00:00"),
    ],
)  # fmt: skip
def test_a_policy_that_makes_no_sense_is_refused_by_name(changes: dict[str, Any], sentence: str) -> None:
    assert sentence in (retry.wrong(policy(**changes)) or "")


def test_every_word_of_a_policy_is_kept() -> None:
    assert retry.wrong(policy(on=[*retry.REASONS, "error:ConnectionError"])) is None


# -- at the gate ---------------------------------------------------------------------------------------------------

WAITING = Retries(run(1), run(1), 1, 3, at(60), "timed_out")


def failed() -> World:
    return put(all_ready(world("a -> b")), "b", newest_end_failed=True, last_run_id=run(1))


def again(**fields: Any) -> Request:
    return request("b", 2, gate=Gate.WAIT, retries=WAITING, **fields)


def test_before_its_time_it_is_parked_and_says_what_it_is_and_when() -> None:
    parked = gate.decide(failed(), again(), now=NOW)
    assert isinstance(parked, Parked)
    [blocked] = parked.blockers
    said = f"retry 1 of 3 of run {run(1)}, which ended as timed_out, is due at 2026-01-05 12:01:00 UTC"
    assert (blocked.name, blocked.status, blocked.reason) == ("b", InstanceStatus.ERROR, said)
    assert parked.due_at == at(60)


def test_at_its_time_it_is_admitted() -> None:
    assert isinstance(gate.decide(failed(), again(), now=at(60)), Admitted)


def test_also_a_forced_retry_waits_for_its_time() -> None:
    forced = again().but(gate=Gate.FORCE)
    assert isinstance(gate.decide(failed(), forced, now=NOW), Parked)
    assert isinstance(gate.decide(failed(), forced, now=at(60)), Admitted)


def test_the_gate_holds_for_it_too() -> None:
    parked = gate.decide(put(failed(), "a", newest_end_failed=True), again(), now=at(60))
    assert isinstance(parked, Parked)
    assert [one.name for one in parked.blockers] == ["a"]


def test_while_a_newer_run_is_open_it_waits_also_one_that_nobody_asked_for() -> None:
    parked = gate.decide(put(failed(), "b", open_run_id=run(7)), again(), now=at(60))
    assert isinstance(parked, Parked)
    assert str(run(7)) in parked.blockers[0].reason


def test_after_a_newer_run_has_ended_well_it_is_skipped() -> None:
    skipped = gate.decide(put(failed(), "b", newest_end_failed=False), again(), now=NOW)
    assert isinstance(skipped, Skipped)
    assert skipped.message == f"a run has ended well since run {run(1)} failed"


def test_an_automatic_refresh_stands_for_what_changed_while_it_waited() -> None:
    stale = put(complete(failed(), "a", 50).world, "b", newest_end_failed=False)
    assert isinstance(gate.decide(stale, again(trigger=Trigger.UPSTREAM, skip_if_ready=True), now=at(60)), Admitted)
    assert isinstance(gate.decide(stale, again(), now=at(60)), Skipped)  # the control


@pytest.mark.parametrize("fields", [{"trigger": Trigger.BACKFILL}, {}])
def test_what_is_about_something_else_makes_up_for_nothing(fields: dict[str, Any]) -> None:
    """A date of a backfill, and a flow of which many runs lie side by side, are done over for themselves."""
    known = all_ready(world_of(instance("b", max_open_runs=1 if fields else 10)))
    assert isinstance(gate.decide(known, again(**fields), now=at(60)), Admitted)


def test_whoever_asked_for_the_failed_run_waits_for_its_retry_and_is_refused_after_the_last() -> None:
    asking = request("c", 50, gate=Gate.RECURSIVE, asked=(Asked(key("b"), run(1)),))
    of = put(all_ready(world("b -> c")), "b", newest_end_failed=True)
    parked = gate.decide(of, asking, now=NOW)

    def answer(to: Request) -> gate.Decision:
        return recursive.decided(of, to, parked, {})

    end = gate.ended(request("b", 1), "failed")
    told = recursive.told(asking, end)
    refused = answer(told)
    assert isinstance(refused, Refused)  # the control: without the retry it is
    assert refused.code is Code.UPSTREAM_FAILED
    waits = recursive.told(retry.instead(asking, run(1), run(2)), end)
    assert isinstance(answer(waits), Parked)
    assert isinstance(answer(recursive.told(waits, gate.ended(request("b", 2), "failed"))), Refused)
