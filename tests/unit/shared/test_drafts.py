"""What a writer says is what the model would have said; what the model refuses is never written."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from pydantic_core import PydanticSerializationError
from runtide_schemas.activities import ActivityRecorded
from runtide_schemas.message import Message
from runtide_schemas.requests import InputVersion
from runtide_schemas.runs import RunError, RunProgressed, RunStatusChanged
from runtide_schemas.topics import TOPICS
from runtide_schemas.vocabulary import (
    Basis,
    FlowKind,
    InstanceStatus,
    Mode,
    Outputs,
    RunStatus,
    RunType,
    SubState,
    Trigger,
)

from shared.messaging.drafts import Draft, _Values, draft_of, writer_of

AT = datetime(2026, 1, 5, 0, 2, 0, 123456, UTC)
RUN_ID, INSTANCE_ID = UUID("5fb0ca2d-628b-53a4-bc76-7994c0ad0e64"), UUID("0d6802ea-593c-5a99-8270-7b553a91ab85")
VERSION = InputVersion(instance_id=INSTANCE_ID, flow_kind=FlowKind.REFRESH, basis=Basis.ADMITTED)
PLAIN: dict[type[Message], dict[str, Any]] = {
    RunStatusChanged: {
        "tenant": "acme", "run_id": RUN_ID, "run_type": RunType.BACKTEST, "instance_id": INSTANCE_ID,
        "instance_name": "momentum", "flow_kind": FlowKind.BACKTEST, "trigger": Trigger.UPSTREAM,
        "mode": Mode.OVERWRITE, "parameters": {"start": "2020-01-01", "n": [1, 2.5, None, True], "deep": {"é": {}}},
        "actor": "ada", "orchestrator_run_id": RUN_ID, "status": RunStatus.COMPLETED,
        "previous_status": RunStatus.RUNNING, "sub_state": SubState.CACHED, "attempt": 2, "progress_pct": 100.0,
        "step": None, "started_at": AT, "ended_at": AT, "duration_seconds": 60.0, "metrics": {"sharpe": 1.25},
        "artifacts": {"equity": "s3://runs/1/equity.parquet"}, "outputs_ref": "s3://runs/1/",
        "outputs": Outputs.SEALED, "input_versions": {"prices": VERSION}, "output_digest": "abc",
        "last_data_date": date(2026, 1, 4), "rows_processed": 10, "error": RunError(message="no"),
        "cancel_requested_at": AT, "supersedes": 3, "occurred_at": AT, "seq": 5,
    },
    RunProgressed: {
        "tenant": "acme", "run_id": RUN_ID, "instance_id": INSTANCE_ID, "status": RunStatus.RUNNING, "attempt": 1,
        "progress_pct": 12.5, "step": "load", "detail": "3 of 24", "occurred_at": AT, "seq": 4,
    },
    ActivityRecorded: {
        "tenant": "acme", "activity_id": RUN_ID, "actor": None, "resource_type": "backtest_run", "resource_id": "1",
        "action": "backtest_run.started", "payload": {"attempt": 1}, "correlation_id": "c", "occurred_at": AT,
    },
}  # fmt: skip
WRITERS = {model: writer_of(model) for topic in TOPICS for model in topic.messages}


class Word(str):
    """A str, but not only that."""


ODD = st.sampled_from(
    [
        None, True, False, 0, 1, -1, 2**31, 2**63, 2**70, 1.0, 0.1, 1e-7, 1e15, 1e16, 1e22, -0.0, math.nan, math.inf,
        Decimal(1), 1 + 0j, "", "acme", "acme\n", "Acme", "a\0b", "\\u0000", "\\", "\x7f", "\x1f", "é", "😀", "\ud800",
        "running", "completed", Word("acme"), "x" * 10_001, b"acme", bytearray(b"a"), RunStatus.RUNNING,
        InstanceStatus.RUNNING, SubState.LOST, RUN_ID, str(RUN_ID), AT, AT.replace(microsecond=0), str(AT),
        AT.replace(tzinfo=None), AT.replace(tzinfo=timezone(timedelta(hours=2))), datetime.max.replace(tzinfo=UTC),
        datetime.min.replace(tzinfo=timezone(timedelta(hours=2))), AT.date(), "2026-01-05", AT.time(), timedelta(1),
        [], ["a"], (1, 2), {1}, frozenset(), {}, {"a": "b"}, {"a": 1}, {"a\0": 1}, {"\ud800": 1}, {1: "a"},
        {"a": {1: 2}}, {"a": math.nan}, {"a": math.inf}, {"a": 1e16}, {"a": b"b"}, {"a": Decimal(1)}, {"a": RUN_ID},
        {"a": AT}, {"a": AT.date()}, {"a": (1, 2)}, {"a": RunStatus.RUNNING}, {"a": Word("b")}, {"a": 2**70},
        {"a": [[[["deep"]]]]}, {"a": "b\0"}, {"a": "\ud800"}, {"a": object()}, {Word("a"): 1}, {"a": VERSION},
        VERSION, RunError(), {"instance_id": INSTANCE_ID}, object(),
    ]
)  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
)
VALUES = (
    ODD | JSON | st.dictionaries(st.text(max_size=3), JSON, max_size=3) | st.text(max_size=20) | st.floats()
    | st.integers() | st.uuids() | st.dates() | st.datetimes(timezones=st.none() | st.just(UTC) | st.timezones())
)  # fmt: skip


def said(say: Any, fields: dict[str, Any]) -> Draft | str:
    """The draft, or why there is none."""
    try:
        made = say(**fields)
        return made if isinstance(made, Draft) else draft_of(made)
    except (ValidationError, PydanticSerializationError, UnicodeEncodeError) as error:
        return type(error).__name__ + str(error)


@pytest.mark.parametrize("model", PLAIN)
@given(data=st.data())
def test_a_writer_says_what_the_model_says_and_refuses_what_it_refuses(
    model: type[Message], data: st.DataObject
) -> None:
    names = st.sampled_from(sorted(PLAIN[model]))
    fields = PLAIN[model] | data.draw(st.dictionaries(names, VALUES, max_size=2))
    for name in data.draw(st.sets(names, max_size=3)):
        del fields[name]
    assert said(WRITERS[model], fields) == said(model, fields)


@pytest.mark.parametrize("model", PLAIN)
def test_each_odd_value_in_each_field_is_answered_as_the_model_answers_it(model: type[Message]) -> None:
    for name in PLAIN[model]:
        for odd in ODD.elements:
            fields = PLAIN[model] | {name: odd}
            assert said(WRITERS[model], fields) == said(model, fields), (name, odd)


@given(st.sampled_from(sorted(WRITERS, key=lambda model: model.__name__)), st.data())
def test_every_message_of_ours_can_be_written_this_way(model: type[Message], data: st.DataObject) -> None:
    fields = data.draw(st.fixed_dictionaries({name: VALUES for name in model.model_fields if name != "type"}))
    assert said(WRITERS[model], fields) == said(model, fields)


@pytest.mark.parametrize("model", PLAIN)
def test_an_ordinary_message_is_written_without_its_model(model: type[Message]) -> None:
    assert _Values(model).value_of(PLAIN[model]) == model(**PLAIN[model]).to_json()


@pytest.mark.parametrize(
    "odd", [{"duration_seconds": math.nan}, {"status": "running"}, {"occurred_at": AT.replace(tzinfo=None)}]
)
def test_a_struct_alone_would_write_what_the_model_refuses(odd: dict[str, Any]) -> None:
    struct = _Values(RunStatusChanged)._struct
    fields = {name: value for name, value in PLAIN[RunStatusChanged].items() if name not in ("input_versions", "error")}
    fields |= {"parameters": msgspec.Raw(b"{}"), "metrics": msgspec.Raw(b"{}"), "artifacts": msgspec.Raw(b"{}")} | odd
    assert msgspec.json.encode(struct(**fields))
    with pytest.raises(ValidationError):
        WRITERS[RunStatusChanged](**(PLAIN[RunStatusChanged] | odd))
