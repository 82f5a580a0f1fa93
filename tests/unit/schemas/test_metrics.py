from datetime import date
from typing import Any

import pytest
from runtide_schemas.metrics import HEADLINE, headline, validate_metrics
from runtide_schemas.vocabulary import RunType


def test_every_run_type_has_typed_columns() -> None:
    assert set(HEADLINE) == set(RunType)
    for columns in HEADLINE.values():
        assert columns
        assert set(columns.values()) <= {int, float, str, date}
    assert HEADLINE[RunType.PIPELINE]["last_date"] is date
    assert HEADLINE[RunType.BACKTEST]["num_trades"] is int
    assert HEADLINE[RunType.MONITORING]["monitoring_type"] is str


def test_known_metrics_get_their_type_and_unknown_ones_are_kept() -> None:
    given = {"rows_added": 31.0, "last_date": "2026-11-20", "rows_processed": None, "my_own": [1, {"a": None}]}
    assert validate_metrics(RunType.PIPELINE, given) == given
    assert isinstance(validate_metrics(RunType.PIPELINE, given)["rows_added"], int)


def test_nothing_is_added_to_what_was_reported() -> None:
    assert validate_metrics(RunType.BACKTEST, {}) == {}


@pytest.mark.parametrize(
    ("run_type", "metrics", "reason"),
    [
        ("BacktestRun", {"sharpe_ratio": float("nan")}, "sharpe_ratio is nan, allowed are finite numbers"),
        ("BacktestRun", {"my_own": {"deep": [float("inf")]}}, r"my_own.deep\[0\] is inf"),
        ("BacktestRun", {"sharpe_ratio": "0.9"}, r"sharpe_ratio: allowed is a number \(got '0.9'\)"),
        ("BacktestRun", {"num_trades": 1.5}, "num_trades: Input should be a valid integer"),
        ("BacktestRun", {"num_trades": True}, "num_trades: allowed is a number"),
        ("PipelineRun", {"rows_added": -1}, "rows_added: Input should be greater than or equal to 0"),
        ("PipelineRun", {"last_date": "yesterday"}, "last_date"),
        ("ExperimentRun", {"nan_pct": 100.5}, "nan_pct: Input should be less than or equal to 100"),
        ("MonitoringRun", {"missing_pct": -0.1}, "missing_pct"),
        ("MonitoringRun", {"monitoring_type": "vibes"}, "'model_drift', 'data_quality' or 'performance'"),
        ("TrainingRun", {"feature_importance": {"a": "b"}}, "feature_importance.a"),
        ("InferenceRun", {"blob": "x" * 70_000}, "allowed are 65536"),
    ],
)
def test_a_wrong_metric_is_named_with_what_is_allowed(run_type: str, metrics: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        validate_metrics(RunType(run_type), metrics)


def test_columns_hold_what_was_reported_and_null_elsewhere() -> None:
    columns = headline(RunType.PIPELINE, {"rows_added": 31, "last_date": "2026-11-20", "my_own": 1})
    assert columns.keys() == HEADLINE[RunType.PIPELINE].keys()
    assert {name: value for name, value in columns.items() if value is not None} == {
        "rows_added": 31,
        "last_date": date(2026, 11, 20),
    }


def test_a_monitoring_type_is_plain_text_in_its_column() -> None:
    assert type(headline(RunType.MONITORING, {"monitoring_type": "performance"})["monitoring_type"]) is str
