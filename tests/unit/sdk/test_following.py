"""The one client rule: any order of arrival tells a story that only moves forward, and has the same end."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from runtide.board import Board
from runtide.following import Followed, Following, Update
from runtide_schemas.requests import RequestStatusChanged
from runtide_schemas.vocabulary import Code, RequestStatus, RunStatus, Trigger

from tests.unit.sdk.stories import RUN, blocker, progress, request, run

NEVER_RAN = ("refused", "skipped", "expired", "cancelled")


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Followed], str]:
    """A whole story as the services publish it, and the status that it ends with."""
    parked = draw(st.integers(0, 2))
    before = ["requested", *["parked"] * parked]
    end = draw(st.sampled_from([*NEVER_RAN, "launch_failed", "completed", "failed", "run_cancelled"]))
    if end in NEVER_RAN:
        return [request(status, seq) for seq, status in enumerate([*before, end], 1)], end
    if end == "launch_failed":
        asked: list[Followed] = [request(status, seq) for seq, status in enumerate([*before, "admitted", end], 1)]
        failed = [run("pending", 1, orchestrator_run_id=None), run("failed", 2, orchestrator_run_id=None)]
        return [*asked, *failed], end
    told: list[Followed] = [request(status, seq) for seq, status in enumerate([*before, "admitted", "launched"], 1)]
    if draw(st.booleans()):
        told.append(request("launched", len(told) + 1))
    told += [run("pending", 1, orchestrator_run_id=None), run("running", 2)]
    told += [progress(pct, seq) for seq, pct in enumerate(sorted(draw(st.lists(st.floats(0, 100), max_size=6))), 3)]
    last = "cancelled" if end == "run_cancelled" else end
    return [*told, run(last, len(told) + 1)], last


def told(messages: Sequence[Followed]) -> tuple[Following, list[Update]]:
    following = Following(RUN)
    return following, [update for message in messages for update in following.apply(message)]


@given(histories(), st.randoms(use_true_random=False), st.booleans())
@settings(max_examples=300)
def test_every_order_of_arrival_moves_only_forward_and_has_the_same_end(
    history: tuple[list[Followed], str], shuffled: random.Random, repeated: bool
) -> None:
    messages, end = history
    arriving = messages * 2 if repeated else list(messages)
    shuffled.shuffle(arriving)
    following, updates = told(arriving)
    assert following.end is not None
    assert following.end.status == end
    assert updates[-1] is following.end
    assert [update.is_end for update in updates].count(True) == 1
    of_the_request = [update for update in updates if isinstance(update.snapshot, RequestStatusChanged)]
    of_the_run = [update for update in updates if not isinstance(update.snapshot, RequestStatusChanged)]
    assert updates == of_the_request + of_the_run
    for part in (of_the_request, of_the_run):
        seqs = [update.seq for update in part]
        assert seqs == sorted(set(seqs))


@given(histories())
def test_in_order_nothing_is_left_out_but_what_says_nothing_new(history: tuple[list[Followed], str]) -> None:
    messages, _ = history
    _, updates = told(messages)
    shown = {(update.snapshot.type, update.seq) for update in updates}
    before_launch = {m.seq for m in messages if isinstance(m, RequestStatusChanged)}
    assert {seq for kind, seq in shown if kind == "request.status_changed"} == before_launch


def test_a_run_that_is_seen_running_needs_no_word_from_its_request() -> None:
    _, updates = told([run("running", 2), request("launched", 3), progress(50, 3)])
    assert [(update.status, update.progress_pct) for update in updates] == [("running", None), ("running", 50)]


def test_a_pending_run_waits_for_its_request_because_the_launch_may_still_fail() -> None:
    _, updates = told([run("pending", 1, orchestrator_run_id=None), request("launch_failed", 4)])
    assert [update.status for update in updates] == [RequestStatus.LAUNCH_FAILED]


def test_progress_older_than_the_status_at_hand_is_dropped() -> None:
    _, updates = told([request("launched", 3), run("running", 5), progress(90, 4)])
    assert [update.status for update in updates] == ["launched", "running"]


def test_a_run_that_nobody_requested_is_told_without_a_request() -> None:
    _, updates = told([run("completed", 3, trigger=Trigger.SCHEDULED), request("cancelled", 1)])
    assert [update.status for update in updates] == [RunStatus.COMPLETED]


def test_a_run_of_a_schedule_of_ours_is_told_with_its_request() -> None:
    scheduled = run("pending", 1, trigger=Trigger.SCHEDULED, actor="system:lineage", orchestrator_run_id=None)
    _, updates = told([scheduled, request("launch_failed", 4)])
    assert [update.status for update in updates] == [RequestStatus.LAUNCH_FAILED]


def test_a_parked_request_tells_who_is_in_the_way() -> None:
    _, [update] = told([request("parked", 2, blockers=[blocker("prices")], code=Code.UPSTREAM_NOT_READY)])
    assert [b.name for b in update.blockers] == ["prices"]
    assert not update.is_end


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled"])
def test_nothing_is_told_after_the_end(status: str) -> None:
    following, _ = told([run(status, 5)])
    assert following.apply(run("running", 6)) == []


def test_a_board_follows_a_run_that_was_reopened() -> None:
    board = Board()
    for message in (request("launched", 3), run("failed", 4), run("running", 5, supersedes=4), run("failed", 4)):
        board.apply(message)
    assert board.rows[RUN].update.status == "running"
    assert board.rows[RUN].name == "momentum"


def test_a_board_shows_what_changed_last_first() -> None:
    board = Board()
    board.apply(request("parked", 2))
    assert [row.run_id for row in board.newest(5)] == [RUN]
