"""The headers of what is said are those of its envelope, to the byte."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from runtide_schemas.envelope import Envelope, to_texts
from runtide_schemas.runs import RunProgressed
from runtide_schemas.vocabulary import RunStatus

from shared.messaging.decode import Received, Record
from shared.messaging.work import Work

RUN_ID = UUID("5fb0ca2d-628b-53a4-bc76-7994c0ad0e64")
RECORD = Record("t", 0, 0, 0, None, b"", (), 0)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(
    source=TEXT, now=st.datetimes(timezones=st.timezones()), cause_id=st.none() | TEXT, correlation_id=st.none() | TEXT
)
def test_headers_are_the_texts_of_the_envelope(
    source: str, now: datetime, cause_id: str | None, correlation_id: str | None
) -> None:
    work: Work[Any] = Work(None, None, now=now, source=source)  # type: ignore[arg-type]
    message = RunProgressed(
        tenant="acme", run_id=RUN_ID, instance_id=RUN_ID, status=RunStatus.RUNNING, occurred_at=now, seq=1
    )
    cause = Received(message, cause_id, now, correlation_id, None, RECORD) if cause_id is not None else None
    work.publish(message, cause=cause)
    [row] = work._rows
    said = json.loads(row.headers)
    expected = Envelope(
        said["ce_id"], "run.progressed", source, now, str(RUN_ID), (correlation_id or cause_id) if cause else None,
        cause_id, said["traceparent"],
    )  # fmt: skip
    assert row.headers.encode() == msgspec.json.encode(to_texts(expected))
