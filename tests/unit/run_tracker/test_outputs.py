"""What a flow reports of itself: folded by number, up to the seal, in any order."""

import random
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from runtide_schemas.vocabulary import RunType

from services.run_tracker.domain.outputs import (
    Report,
    alerts_of,
    fold,
    merged_inputs,
    own_reference,
    prefix_of,
    take_progress,
)
from services.run_tracker.reports import valid_metrics
from tests.unit.run_tracker.recordings import RUN_ID, a_run

AT = datetime(2026, 11, 23, tzinfo=UTC)
ADMITTED = {"prices": {"instance_id": "i", "flow_kind": "refresh", "version_id": "v1", "basis": "admitted"}}


def metrics(n: int, attempt: int = 1, **values: Any) -> Report:
    return Report(attempt, n, "metrics", AT, metrics=values)


def seal(n: int, attempt: int = 1) -> Report:
    return Report(attempt, n, "output", AT, metrics={"sealed": n}, digest=f"d{n}", schema_digest=f"s{n}")


@given(st.lists(st.tuples(st.integers(1, 2), st.integers(0, 9), st.sampled_from(["metrics", "output"])), max_size=12),
       st.randoms())  # fmt: skip
def test_the_order_in_which_reports_arrive_does_not_matter(
    said: list[tuple[int, int, str]], dice: random.Random
) -> None:
    by_key = {(attempt, n): seal(n, attempt) if kind == "output" else metrics(n, attempt, last=n, **{f"m{n}": n})
              for attempt, n, kind in said}  # fmt: skip
    reports = list(by_key.values())
    shuffled = reports * 2
    dice.shuffle(shuffled)

    for attempt in (1, 2):
        assert fold(attempt, reports) == fold(attempt, shuffled)


def test_what_comes_after_the_seal_or_of_another_attempt_is_not_applied() -> None:
    outputs = fold(1, [metrics(1, a=1), seal(2), metrics(3, a=9), seal(4), metrics(1, attempt=2, a=7)])

    assert outputs.metrics == {"a": 1, "sealed": 2}
    assert (outputs.digest, outputs.schema_digest, outputs.sealed_n) == ("d2", "s2", 2)


def test_only_the_newest_progress_counts() -> None:
    run = a_run()
    for n in (2, 5, 3):
        take_progress(run, Report(1, n, "progress", AT, percent=float(n)))

    assert (run.progress_n, run.progress_value) == (5, 5.0)


def test_a_reported_version_wins_and_one_without_version_is_the_admitted_one() -> None:
    assert merged_inputs(ADMITTED, {}, {})[0]["prices"]["basis"] == "admitted"
    same, _ = merged_inputs(ADMITTED, {}, {"prices": None})
    assert (same["prices"]["version_id"], same["prices"]["basis"]) == ("v1", "reported")
    other, _ = merged_inputs(ADMITTED, {}, {"prices": "v2"})
    assert (other["prices"]["version_id"], other["prices"]["basis"]) == ("v2", "reported")


def test_a_role_that_was_not_admitted_is_found_in_the_registration_or_named_as_unknown() -> None:
    roles = {"prices": {"instance_id": "i", "flow_kind": "refresh"}}

    found, unknown = merged_inputs({}, roles, {"prices": "v", "moon": "v"})

    assert found["prices"]["instance_id"] == "i"
    assert unknown == ["moon"]


@pytest.mark.parametrize(
    ("reference", "attempt", "own"),
    [
        (f"s3://runs/{RUN_ID}/a.parquet", 1, True),
        (f"s3://runs/{RUN_ID}/deep/a.parquet", 1, True),
        (f"s3://runs/{RUN_ID}/attempt-2/a.parquet", 2, True),
        (f"s3://runs/{RUN_ID}/a.parquet", 2, False),
        (f"s3://runs/{RUN_ID}/", 1, False),
        (f"s3://runs/{RUN_ID}", 1, False),
        (f"s3://runs/{RUN_ID}/../x", 1, False),
        (f"s3://runs/{RUN_ID}x/a", 1, False),
        (f"s3://other/{RUN_ID}/a", 1, False),
        (f"s3://runs/{UUID(int=1)}/a", 1, False),
        ("https://example.com/a", 1, False),
    ],
)
def test_a_run_may_only_point_into_its_own_prefix(reference: str, attempt: int, own: bool) -> None:
    assert own_reference(reference, "runs", RUN_ID, attempt) is own


def test_a_later_attempt_writes_beside_what_somebody_may_have_read() -> None:
    run_id = uuid4()
    assert prefix_of("runs", run_id, 1) == f"s3://runs/{run_id}/"
    assert prefix_of("runs", run_id, 3) == f"s3://runs/{run_id}/attempt-3/"


def test_thresholds_themselves_raise_no_alert() -> None:
    assert alerts_of({"psi": 0.2, "ks_statistic": 0.1, "missing_pct": 1, "outlier_pct": 5, "duplicate_pct": 0}) == {}
    assert alerts_of({"psi": 0.21, "duplicate_pct": 0.1}) == {"psi": 0.21, "duplicate_pct": 0.1}


def test_one_wrong_metric_loses_neither_the_run_nor_the_others() -> None:
    kept, warnings = valid_metrics(RunType.BACKTEST, {"sharpe_ratio": "high", "num_trades": 3, "mine": {"a": 1}})

    assert kept == {"num_trades": 3, "mine": {"a": 1}}
    assert len(warnings) == 1
    assert "sharpe_ratio" in warnings[0]
