"""What is said of a decision without its model is what the model would have said."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from asyncpg.pgproto.pgproto import UUID as AsyncpgUUID
from hypothesis import given
from hypothesis import strategies as st
from runtide_schemas.vocabulary import Basis, Code, FlowKind, InstanceStatus, RunType

from services.lineage import telling
from services.lineage.domain.gate import Admitted, Blocked, Decision, Expired, Parked, Refused, Request, Skipped, Target
from services.lineage.domain.graph import FlowKey
from services.lineage.domain.world import Read
from shared.messaging.drafts import draft_of
from tests.unit.lineage.worlds import request

NOW = datetime(2026, 1, 5, 12, 0, 0, 123456, tzinfo=UTC)
TEXTS = st.text(max_size=20) | st.sampled_from(
    ["", "prices", 'a "b" \\ c', "tab\t, line\n, bell\x07, del\x7f", "NUL \0", "\\u0000", "é ☃ 😀", "x" * 10_001]
)
IDS = st.uuids() | st.uuids().map(lambda one: AsyncpgUUID(str(one)))
TIMES = st.datetimes(timezones=st.just(UTC))
KEYS = st.builds(FlowKey, IDS, st.none() | st.sampled_from(FlowKind))
TARGETS = st.builds(Target, KEYS, TEXTS, st.none() | st.sampled_from(RunType), TEXTS)
READS = st.builds(Read, TEXTS, KEYS, st.none() | IDS, st.none() | TEXTS, st.sampled_from(Basis))
BLOCKED = st.lists(st.builds(Blocked, KEYS, TEXTS, st.sampled_from(InstanceStatus), TEXTS), max_size=3).map(tuple)
STATUSES = st.dictionaries(TEXTS, st.sampled_from(InstanceStatus), max_size=3)
DECISIONS: dict[type, st.SearchStrategy[Decision]] = {
    Admitted: st.builds(Admitted, TARGETS, st.lists(READS, max_size=3).map(tuple), st.none() | TEXTS, BLOCKED),
    Parked: st.builds(Parked, TARGETS, BLOCKED, st.none() | TIMES),
    Refused: st.builds(Refused, st.sampled_from(Code), TEXTS, st.none() | TARGETS, BLOCKED, STATUSES),
    Skipped: st.builds(Skipped, TARGETS, TEXTS, st.none() | IDS),
    Expired: st.builds(Expired, TARGETS, TEXTS, BLOCKED),
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)
REQUESTS = st.builds(
    lambda run_id, name, kind, parameters: request("prices", kind=kind, parameters=parameters).but(
        run_id=run_id, instance_name=name
    ),
    IDS, st.none() | TEXTS, st.none() | st.sampled_from(FlowKind), st.dictionaries(TEXTS, JSON, max_size=3),
)  # fmt: skip


@pytest.mark.parametrize("kind", DECISIONS)
@given(data=st.data())
def test_every_decision_is_said_as_its_model_says_it(kind: type, data: st.DataObject) -> None:
    asked, decision = data.draw(REQUESTS), data.draw(DECISIONS[kind])
    number, now = data.draw(st.integers(1, 2**31 - 1)), data.draw(TIMES)
    assert telling.decision_draft(asked, decision, number, now) == by_the_model(asked, decision, number, now)


def by_the_model(asked: Request, decision: Decision, number: int = 2, now: datetime = NOW) -> Any:
    return draft_of(telling.decision_message(asked, decision, number, now))


def test_of_many_blockers_and_statuses_the_same_hundred_are_said() -> None:
    keys = [FlowKey(UUID(int=number), FlowKind.REFRESH) for number in range(150)]
    blocked = tuple(Blocked(key, f"n{place}", InstanceStatus.STALE, "late") for place, key in enumerate(keys))
    statuses = {f"n{place}/refresh": InstanceStatus.STALE for place in range(150)}
    target = Target(keys[0], "prices", RunType.PIPELINE, "prices/prod")
    asked = request("prices", parameters={"days": 1.5})
    for decision in (
        Parked(target, blocked, NOW + timedelta(days=1)),
        Refused(Code.UPSTREAM_NOT_READY, "late", target, blocked, statuses),
    ):
        draft = telling.decision_draft(asked, decision, 2, NOW)
        assert draft == by_the_model(asked, decision)
        assert draft.payload.count(b'"n99') == by_the_model(asked, decision).payload.count(b'"n99') > 0


def test_control_the_struct_alone_would_write_what_the_model_replaces() -> None:
    skipped = Skipped(Target(FlowKey(UUID(int=1), FlowKind.REFRESH), "prices", None, "d"), "NUL \0", None)
    alone = telling._encode(telling._said(request("prices"), skipped, 2, NOW, telling._BARE))
    assert b"\\u0000" in alone
    assert alone != by_the_model(request("prices"), skipped).payload
    assert telling.decision_draft(request("prices"), skipped, 2, NOW) == by_the_model(request("prices"), skipped)
