import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone

import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary_event
from hypothesis import given
from hypothesis import strategies as st
from runtide_schemas.commands import CancelRun
from runtide_schemas.envelope import Envelope, read_headers, to_headers
from runtide_schemas.topics import key_of
from runtide_schemas.vocabulary import run_id_of

NOON = datetime(2026, 11, 20, 12, 0, 0, 125000, tzinfo=UTC)
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)


def an_envelope(**fields: str) -> Envelope:
    return Envelope(id="e-1", type="run.cancel", source="/runtide/submission", time=NOON, **fields)


def test_the_cloudevents_sdk_reads_what_we_write() -> None:
    message = CancelRun(tenant="acme", run_id=run_id_of("acme", "1"), reason="wrong universe")
    envelope = an_envelope(subject="the run", correlation_id="c-1", causation_id="e-0", traceparent="00-a-b-01")
    event = from_binary_event(KafkaMessage(dict(to_headers(envelope)), key_of(message), message.to_json()))
    assert (event.get_id(), event.get_type(), event.get_source()) == ("e-1", "run.cancel", "/runtide/submission")
    assert event.get_time() == NOON
    assert event.get_subject() == "the run"
    assert event.get_extension("correlationid") == "c-1"
    assert event.get_extension("causationid") == "e-0"
    assert event.get_datacontenttype() == "application/json"
    assert event.get_data() == json.loads(message.to_json())


@given(id=TEXT, source=TEXT, subject=st.none() | TEXT, correlation_id=st.none() | TEXT, time=st.datetimes())
def test_headers_come_back_as_they_went(
    id: str, source: str, subject: str | None, correlation_id: str | None, time: datetime
) -> None:
    sent = Envelope(id, "run.submit", source, time.replace(tzinfo=UTC), subject, correlation_id)
    got = read_headers(to_headers(sent))
    assert (got.id, got.source, got.subject, got.correlation_id) == (id, source, subject, correlation_id)
    assert got.time == sent.time
    assert got.causation_id is got.traceparent is None


NAMES = st.sampled_from(["ce_id", "ce_time", "ce_type", "traceparent", "x"])


@given(st.lists(st.tuples(NAMES, st.none() | st.binary())))
def test_no_header_raises_anything_but_a_value_error(headers: list[tuple[str, bytes | None]]) -> None:
    with suppress(ValueError):
        read_headers(headers)


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ([("ce_id", b"\xff\xfe")], "'ce_id' is not UTF-8"),
        ([("x-anything", b"\xc3\x28")], "'x-anything' is not UTF-8"),
        ([("x-\udcff", b"1")], "the header name b'x-\\\\xff' is not UTF-8"),
        ([("x-\udcff", None)], "the header name b'x-\\\\xff' is not UTF-8"),
        ([("ce_id", None)], "'ce_id' is null"),
        ([("ce_id", b"a\x00b")], "'ce_id' contains a NUL"),
        ([("ce_time", b"yesterday")], "'ce_time' is 'yesterday'"),
        ([("ce_time", b"2026-11-20T12:00:00")], "ISO 8601 with a zone"),
        ([("ce_time", b"9999-12-31T23:59:59-05:00")], "'ce_time'"),
    ],
)
def test_a_header_that_cannot_be_read_is_named(headers: list[tuple[str, bytes | None]], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        read_headers(headers)


def test_a_bare_record_and_foreign_headers_are_fine() -> None:
    assert read_headers([]).id is None
    assert read_headers([("x-null", None), ("x", b"y"), ("ce_subject", b"")]).subject is None


def test_times_are_written_in_utc_with_z_and_a_naive_one_is_refused() -> None:
    new_york = NOON.astimezone(timezone(timedelta(hours=-5)))
    headers = dict(to_headers(Envelope("1", "t", "s", new_york)))
    assert headers["ce_time"] == b"2026-11-20T12:00:00.125000Z"
    with pytest.raises(ValueError, match="no zone"):
        to_headers(Envelope("1", "t", "s", NOON.replace(tzinfo=None)))
