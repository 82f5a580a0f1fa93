"""What people write as free text must reach the store: no NUL, no endless text, and never a refusal for it."""

from datetime import UTC, datetime
from uuid import UUID

from runtide_schemas.prefect import FlowRunStateObserved
from runtide_schemas.reports import ErrorReported, ProgressReported
from runtide_schemas.runs import RunError
from runtide_schemas.vocabulary import run_id_of

RUN_ID = run_id_of("acme", "1")
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def test_an_error_message_keeps_its_beginning_and_loses_its_nul() -> None:
    report = ErrorReported(tenant="acme", run_id=RUN_ID, error=RunError(type="ValueError", message="a\0b" * 100_000))
    assert report.error.message.startswith("a\ufffdb")
    assert len(report.error.message) == 10_000
    assert len(report.to_json()) < 64_000


def test_a_long_step_is_cut() -> None:
    report = ProgressReported(tenant="acme", run_id=RUN_ID, progress_pct=1, step="x" * 201, detail="y" * 2_000)
    assert report.step == "x" * 199 + "…"
    assert report.detail == "y" * 2_000


def test_a_nul_in_prefects_own_event_costs_no_observation() -> None:
    seen = FlowRunStateObserved(
        flow_run_id=UUID(int=1),
        state_id=UUID(int=2),
        state_type="FAILED",
        state_name="Failed",
        state_message="a\0b",
        state_timestamp=NOON,
        source="event",
        observed_at=NOON,
        tags=["a\0"],
        raw={"payload": [{"me\0ssage": "a\0b", "n": 1}]},
    )
    assert b"\\u0000" not in seen.to_json()
    assert seen.raw == {"payload": [{"me\ufffdssage": "a\ufffdb", "n": 1}]}
