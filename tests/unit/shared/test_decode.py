"""A record is a message or a reason; nothing that a record holds is an exception."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from runtide_schemas.commands import CancelRun, InvalidSubmission, SubmitRun
from runtide_schemas.topics import MAX_MESSAGE_BYTES, REQUESTS_STATUS, RUNS_COMMANDS, TOPICS, Topic

from shared.messaging.decode import LONGEST_ID, Bad, Received, Record, decode

LINE = b'{"type":"run.submit","tenant":"acme","instance":"momentum"}'
RUN = "0b9f3f52-7b1c-5d2a-9c4e-0a1b2c3d4e5f"


def record(value: bytes | None = LINE, *headers: tuple[str, bytes | None], timestamp_ms: int = 1000) -> Record:
    return Record(RUNS_COMMANDS.name, 3, 42, timestamp_ms, None, value, headers, 42)


def received(*headers: tuple[str, bytes | None], value: bytes = LINE) -> Received[Any]:
    [one] = decode(RUNS_COMMANDS, [record(value, *headers)])
    assert isinstance(one, Received), one
    return one


def reason(value: bytes | None, *headers: tuple[str, bytes | None], topic: Topic = RUNS_COMMANDS) -> str:
    [one] = decode(topic, [record(value, *headers)])
    assert isinstance(one, Bad), one
    assert one.record.value == value
    return one.reason


def test_a_bare_line_is_a_command_named_by_its_position() -> None:
    one = received()
    assert isinstance(one.message, SubmitRun)
    assert one.id == "runs.commands.v1:3:42"
    assert one.at == datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)
    assert (one.correlation_id, one.traceparent) == (None, None)


def test_headers_name_the_message_its_time_and_its_trace() -> None:
    one = received(
        ("ce_id", b"abc"), ("ce_time", b"2025-01-15T10:00:00+01:00"), ("ce_correlationid", b"story"),
        ("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"), ("x-foreign", b"1"),
    )  # fmt: skip
    assert (one.id, one.correlation_id) == ("abc", "story")
    assert one.at == datetime(2025, 1, 15, 9, tzinfo=UTC)
    assert one.traceparent is not None


def test_an_invalid_but_readable_submission_is_a_message() -> None:
    one = received(value=b'{"type":"run.submit","tenant":"acme","instance":"momentum","gate":"open"}')
    assert isinstance(one.message, InvalidSubmission)
    assert "gate" in one.message.reason


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (None, "tombstone"),
        (b"", "JSON"),
        (b"{", "JSON"),
        (b"\xff\xfe\x00", "JSON"),
        (b"[]", "object"),
        (b"12", "object"),
        (b"{}", "type"),
        (b'{"type":"run.celebrate","tenant":"acme"}', "run.celebrate"),
        (b'{"type":7,"tenant":"acme"}', "7"),
        (b'{"type":"run.submit","tenant":"ACME!","instance":"x"}', "tenant"),
        (b'{"type":"run.submit","instance":"x"}', "tenant"),
        (b'{"type":"run.cancel","tenant":"acme","run_id":"nope"}', "run_id"),
        (b"[" * 100_000, "JSON"),
        (b'{"a":' * 50_000, "JSON"),
    ],
)
def test_what_cannot_be_read_is_set_aside_with_a_reason(value: bytes | None, says: str) -> None:
    assert says.lower() in reason(value).lower()


def test_a_value_above_the_limit_is_set_aside_without_being_read() -> None:
    large = json.dumps({**json.loads(LINE), "parameters": {"x": "y" * 1_000_000}}).encode()
    assert str(len(large)) in reason(large)
    assert str(MAX_MESSAGE_BYTES) in reason(large)


@pytest.mark.parametrize(
    ("header", "says"),
    [
        (("ce_id", b"\xff\xfe"), "not UTF-8"),
        (("anything", b"\xff\xfe"), "not UTF-8"),
        (("ce_id", None), "null"),
        (("ce_id", b"a\x00b"), "NUL"),
        (("ce_time", b"yesterday"), "ISO 8601"),
        (("ce_time", b"2025-01-15T10:00:00"), "zone"),
        (("ce_id", b"x" * (LONGEST_ID + 1)), "characters"),
        (("ce_correlationid", b"x" * 900_000), "characters"),
    ],
)
def test_a_header_that_cannot_be_used_sets_the_record_aside_under_its_position(
    header: tuple[str, bytes | None], says: str
) -> None:
    [bad] = decode(RUNS_COMMANDS, [record(LINE, header)])
    assert isinstance(bad, Bad)
    assert says in bad.reason
    assert bad.id == "runs.commands.v1:3:42"


def test_a_foreign_null_header_is_ignored() -> None:
    assert received(("x-foreign", None)).id == "runs.commands.v1:3:42"


@pytest.mark.parametrize("timestamp_ms", [10**17, -(10**17), 2**62])
def test_an_absurd_timestamp_is_a_reason_unless_the_sender_gave_a_time(timestamp_ms: int) -> None:
    [bad] = decode(RUNS_COMMANDS, [record(timestamp_ms=timestamp_ms)])
    assert isinstance(bad, Bad)
    timed = record(LINE, ("ce_time", b"2025-01-15T10:00:00Z"), timestamp_ms=timestamp_ms)
    assert isinstance(decode(RUNS_COMMANDS, [timed])[0], Received)


def test_a_bad_record_does_not_touch_its_neighbours() -> None:
    cancel = f'{{"type":"run.cancel","tenant":"acme","run_id":"{RUN}"}}'.encode()
    found = decode(RUNS_COMMANDS, [record(), record(b"{"), record(cancel), record(None)])
    assert [type(one) for one in found] == [Received, Bad, Received, Bad]
    assert isinstance(found[2], Received)
    assert isinstance(found[2].message, CancelRun)


def test_a_message_of_another_topic_is_an_unknown_type() -> None:
    assert "run.submit" in reason(LINE, topic=REQUESTS_STATUS)


@given(
    st.sampled_from(TOPICS),
    st.one_of(
        st.none(),
        st.binary(max_size=60),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
        ).map(lambda value: json.dumps(value).encode()),
    ),
    st.lists(
        st.tuples(
            st.sampled_from(["ce_id", "ce_time", "ce_correlationid", "traceparent", "other"]),
            st.none() | st.binary(max_size=30),
        ),
        max_size=4,
    ),
    st.integers(-(2**63), 2**63 - 1),
)
def test_nothing_that_a_record_holds_is_an_exception(
    topic: Topic, value: bytes | None, headers: list[tuple[str, bytes | None]], timestamp_ms: int
) -> None:
    one = Record(topic.name, 0, 0, timestamp_ms, None, value, tuple(headers), 0)
    assert len(decode(topic, [one])) == 1


@pytest.mark.parametrize("depth", [50, 150, 190, 250, 400, 900, 1100, 5000])
def test_no_depth_of_nesting_is_an_exception(depth: int) -> None:
    nested = b'{"a":' * depth + b"1" + b"}" * depth
    value = LINE[:-1] + b',"parameters":' + nested + b',"gate":"none"}'
    assert len(decode(RUNS_COMMANDS, [record(value)])) == 1
