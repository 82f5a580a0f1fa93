"""What is read as a Struct is what the model would have read; everything else is the model's to decide."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from runtide_schemas.prefect import FlowRunStateObserved
from runtide_schemas.topics import PREFECT_FLOW_RUN_STATES, RUNS_REPORTS

from shared.messaging.structs import reader_of

read, validate = reader_of(PREFECT_FLOW_RUN_STATES), PREFECT_FLOW_RUN_STATES.adapter.validate_json
LINE: dict[str, Any] = {
    "type": "prefect.flow_run_state_observed", "flow_run_id": "5fb0ca2d-628b-53a4-bc76-7994c0ad0e64",
    "flow_run_name": "charcoal-guillemot", "state_id": "0d6802ea-593c-5a99-8270-7b553a91ab85", "state_type": "RUNNING",
    "state_name": "Running", "state_message": None, "state_timestamp": "2026-01-05T00:02:00.123456Z", "run_count": 1,
    "start_time": None, "end_time": None, "deployment_id": "5723ea5a-acc3-5ab1-b5ee-aaf1a9e9aed4", "flow_name": "f",
    "deployment_name": "d", "tags": ["org:acme"], "source": "event", "gone": False,
    "observed_at": "2026-01-05T00:02:00Z", "raw": {"id": "1", "n": [1.5, None]},
}  # fmt: skip
FIELDS = [name for name in FlowRunStateObserved.model_fields if name != "raw"]
ODD = st.sampled_from(
    [
        None, True, False, 0, 1, -1, 2**31, 2**64, 1.0, 1e3, "", "RUNNING", "RUNNING\n", "running", "a\0b", "\x7f", "é",
        "\ud800", "1", "sweep", "x" * 10_000, "x" * 10_001, [], ["a", "b\0"], [1], {}, {"a": 1},
        "2026-01-05T00:02:00+00:00", "2026-01-05T02:02:00+02:00", "2026-01-05T00:02:00", "2026-01-05 00:02:00Z",
        "2026-01-05", "0001-01-01T00:00:00+02:00", "9999-12-31T23:59:59Z",
        "2026-01-05T00:02:00-00:00", "2026-01-05t00:02:00z", "2026-06-30T23:59:60Z", 1767571320, "1767571320",
        "5FB0CA2D628B53A4BC767994C0AD0E64", "urn:uuid:5fb0ca2d-628b-53a4-bc76-7994c0ad0e64", "not a uuid",
    ]
)  # fmt: skip
VALUES = ODD | st.text(max_size=20) | st.datetimes(timezones=st.timezones()).map(lambda time: time.isoformat())


def said(message: Any) -> dict[str, Any]:
    return {name: getattr(message, name) for name in FIELDS}


def same(value: bytes) -> None:
    try:
        expected = validate(value)
    except ValidationError:
        with pytest.raises(ValidationError):
            read(value)
    else:
        assert said(read(value)) == said(expected)


@given(st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=3), st.booleans())
def test_it_accepts_what_the_model_accepts_and_nothing_more(changes: dict[str, Any], ascii_only: bool) -> None:
    line = json.dumps(LINE | changes, ensure_ascii=ascii_only)
    same(line.encode("utf-8", "surrogatepass"))


@given(st.sets(st.sampled_from(FIELDS)))
def test_what_is_absent_has_the_default_of_the_model(absent: set[str]) -> None:
    same(json.dumps({name: value for name, value in LINE.items() if name not in absent}).encode())


@pytest.mark.parametrize(
    "value", [b"", b"{", b"[]", b"null", b"\xff", json.dumps(LINE).encode().replace(b"f", b"\xff")]
)
def test_what_is_no_message_is_refused_as_the_model_refuses_it(value: bytes) -> None:
    same(value)


def test_digits_beyond_microseconds_are_rounded_where_the_model_cuts_them_off() -> None:
    value = json.dumps(LINE | {"state_timestamp": "2026-01-05T00:02:00.1234567Z"}).encode()
    assert [read(value).state_timestamp.microsecond, validate(value).state_timestamp.microsecond] == [123457, 123456]


def test_an_ordinary_message_is_read_without_its_model() -> None:
    assert isinstance(read(FlowRunStateObserved.model_validate_json(json.dumps(LINE)).to_json()), msgspec.Struct)


def test_of_more_digits_than_we_write_the_last_is_rounded_where_the_model_cuts() -> None:
    value = json.dumps(LINE | {"observed_at": "2026-01-05T00:02:00.1234567Z"}).encode()
    assert (read(value).observed_at - validate(value).observed_at).microseconds == 1


def test_a_topic_of_several_types_is_not_read_this_way() -> None:
    with pytest.raises(TypeError, match="6 types"):
        reader_of(RUNS_REPORTS)
