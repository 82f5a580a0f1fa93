from __future__ import annotations

from dataclasses import replace
from datetime import date
from itertools import product
from uuid import UUID

import pytest
from runtide_schemas.vocabulary import FlowKind, Trigger

from services.lineage.domain import why
from services.lineage.domain.freshness import Evidence, freshness
from services.lineage.domain.graph import FlowKey
from services.lineage.domain.staleness import Root, restate
from services.lineage.domain.why import Event, Run
from services.lineage.domain.world import Flow
from services.lineage.history import events_of
from tests.unit.lineage.worlds import NOW, all_ready, at, complete, id_of, key, run, version, world

READY, STALE, ERROR, NEW = "ready", "stale", "error", "not_initialized"
MADE, MADE_NEXT = run(1001), run(1002)


def event(seq: int, old: str | None, now: str, **fields: object) -> Event:
    said: dict[str, object] = {
        "old_status": old, "status": now, "rule": 5, "reason": None, "old_version_id": MADE, "version_id": MADE,
        "open_run_id": None, "run_id": None, "above": None, "message_id": f"m{seq}", **fields,
    }  # fmt: skip
    freshness = str(said.pop("freshness", now))
    old_freshness = said.pop("old_freshness", old)
    return Event(flow=key("b"), at=at(seq), seq=seq, freshness=freshness, old_freshness=old_freshness, **said)  # type: ignore[arg-type]


def name_of(flow: FlowKey) -> str:
    return f"{next(name for name in 'abcd' if id_of(name) == flow.instance_id)}/{flow.kind}"


@pytest.mark.parametrize(
    ("completed", "failed", "dated", "data", "delayed", "by_version", "by_date"),
    list(product(*([True, False],) * 3, [None, date(2025, 1, 14)], *([None, "because"],) * 3)),
)
def test_the_rule_is_read_off_the_flow_as_freshness_gave_it(
    completed: bool, failed: bool, dated: bool, data: date | None, delayed: str | None, by_version: str | None,
    by_date: str | None,
) -> None:  # fmt: skip
    answer = freshness(Evidence(completed, failed, dated, data, by_version, delayed, by_date))
    flow = Flow(
        FlowKind.REFRESH, "a/b", version=version(1) if completed else None, newest_end_failed=failed,
        last_data_date=data, freshness=answer.status, reason=answer.reason, stale_by_version=by_version,
    )  # fmt: skip
    assert why.rule_of(flow) == answer.rule


@pytest.mark.parametrize(
    ("events", "begins", "since"),
    [
        ([event(1, None, NEW)], 1, 1),
        ([event(2, NEW, READY), event(1, None, NEW)], 2, 2),
        # it ran, in vain, while it was stale: still stale since then
        (
            [
                event(4, "running", STALE, old_freshness=STALE),
                event(3, STALE, "running", freshness=STALE, old_freshness=STALE),
                event(2, READY, STALE),
                event(1, None, READY),
            ],
            2,
            2,
        ),
        # stale since 2, for this reason since 3
        ([event(3, STALE, STALE, reason="its definition changed"), event(2, READY, STALE)], 3, 2),
        # ready since 2, with this version since 3
        ([event(3, READY, READY, version_id=MADE_NEXT), event(2, STALE, READY)], 3, 2),
        ([event(3, READY, "retired", freshness=READY, old_freshness=READY), event(2, STALE, READY)], 3, 2),
    ],
)
def test_the_event_that_began_what_is_shown_is_found(events: list[Event], begins: int, since: int) -> None:
    first = why.beginning(events)
    assert first is not None
    assert first.seq == begins
    assert why.since(events) == at(since)


def test_of_nothing_nothing_began() -> None:
    assert why.beginning([]) is None
    assert why.since([]) is None


R = run(7)


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        (
            event(1, None, NEW, reason="no run has completed yet"),
            f"b was registered and is {NEW}: no run has completed",
        ),
        (event(1, READY, STALE, reason="a is newer", above=key("a"), run_id=R), "b turned from ready to stale: a is"),
        (event(1, STALE, READY, above=key("a"), run_id=R), "b is ready again: what it read is what is current"),
        (event(1, NEW, READY, run_id=R, old_version_id=None), f"run {R} completed with version {MADE}: b turned from"),
        (event(1, READY, ERROR, run_id=R, reason="the newest run failed"), f"run {R} failed: b turned from ready to"),
        (
            event(1, READY, READY, run_id=R, version_id=MADE_NEXT),
            f"run {R} ended: b has version {MADE_NEXT} and is rea",
        ),
        (event(1, READY, READY, run_id=R, version_id=None), f"run {R} ended: b has no version any more"),
        (event(1, READY, "running", freshness=READY, old_freshness=READY, open_run_id=R), f"run {R} of b started"),
        (event(1, "running", STALE, old_freshness=STALE), "a run of b ended; it is stale, as before"),
        (event(1, STALE, STALE, reason="its definition changed"), "b is still stale: its definition changed"),
        (event(1, READY, "retired", freshness=READY, old_freshness=READY), "b was retired"),
        (event(1, "retired", READY, old_freshness=READY), "b was registered again and is ready"),
    ],
)
def test_an_event_is_a_sentence(said: Event, sentence: str) -> None:
    assert why.sentence(said, "b").startswith(sentence)


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"trigger": Trigger.MANUAL, "actor": "ana@acme", "asked_at": at(1)}, "ana@acme asked for run"),
        ({"trigger": Trigger.UPSTREAM, "asked_at": at(1)}, "was asked for because something above it changed"),
        (
            {"trigger": Trigger.UPSTREAM, "asked_at": at(1), "parent_run_id": run(3), "parent_actor": "ana@acme"},
            f"was asked for by gate recursive of run {run(3)}, which ana@acme wants",
        ),
        ({"trigger": Trigger.SCHEDULED}, "was not requested here: Prefect started it"),
        (
            {"trigger": Trigger.SCHEDULED, "asked_at": at(1), "planned_for": at(1)},
            "was asked for by its schedule, for 2026-01-05 12:00 UTC",
        ),
        (
            {"trigger": Trigger.UPSTREAM, "asked_at": at(1), "retries": run(3)},
            f"was asked for by the policy of its flow, because run {run(3)} failed",
        ),
    ],
)
def test_a_run_says_who_asked_for_it(asked: dict[str, object], sentence: str) -> None:
    link = why.request_link(Run(R, key("b"), started_at=at(2), **asked), name_of)  # type: ignore[arg-type]
    assert sentence in link.sentence
    assert f"run {R} of b/refresh" in link.sentence
    assert (link.run_id, link.rule) == (R, None)


def test_only_what_a_snapshot_says_anew_is_remembered_with_the_flow_by_which_it_came() -> None:
    before = all_ready(world("a -> b -> c"))
    after = complete(before, "a", 50)
    rows = {
        name: list(events_of(before.instances[id_of(name)], replace(after.world.instances[id_of(name)], seq=9),
                             after, message_id="m", at=at(50)))
        for name in "abc"
    }  # fmt: skip
    [a], [b], [c] = rows["a"], rows["b"], rows["c"]
    assert [row["above_instance_id"] for row in (a, b, c)] == [None, id_of("a"), id_of("b")]
    assert [(row["old_freshness"], row["freshness"], row["rule"]) for row in (a, b, c)] == [
        ("ready", "ready", 7), ("ready", "stale", 5), ("ready", "stale", 5),
    ]  # fmt: skip
    assert {(row["run_id"], row["message_id"], row["seq"]) for row in (a, b, c)} == {(run(50), "m", 9)}
    assert a["version_id"] != a["old_version_id"]


def test_what_says_nothing_anew_is_not_remembered() -> None:
    before = all_ready(world("a -> b"))
    after = restate(before, {key("a"): Root("x", changed=False)}, NOW)
    instance = before.instances[id_of("b")]
    assert list(events_of(instance, instance, after, message_id=None, at=at(1))) == []
    registered = list(events_of(None, instance, after, message_id=None, at=at(1)))
    assert [(row["old_status"], row["old_freshness"]) for row in registered] == [(None, None)]
    assert isinstance(registered[0]["version_id"], UUID)
