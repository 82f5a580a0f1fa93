"""Known metrics per run type: typed and validated. Unknown ones are kept as given, as long as they are JSON.

The fact not to break: a known metric keeps its name and type, for it is a column of run_tracker's extension table.
A known metric may be null (a Sharpe ratio without volatility). Percentages (`*_pct`) are 0-100.
"""

from datetime import date
from enum import StrEnum
from typing import Annotated, Any, get_args, get_type_hints

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import to_json

from runtide_schemas.message import MAX_JSON_BYTES, check_json
from runtide_schemas.vocabulary import MonitoringType, RunType


def _number(value: Any) -> Any:
    if isinstance(value, bool) or not (value is None or isinstance(value, int | float)):
        raise ValueError("allowed is a number")
    return value


Number = Annotated[float, BeforeValidator(_number)] | None
Count = Annotated[int, BeforeValidator(_number), Field(ge=0, le=2**63 - 1)] | None
Percent = Annotated[float, BeforeValidator(_number), Field(ge=0, le=100)] | None
NotNegative = Annotated[float, BeforeValidator(_number), Field(ge=0)] | None
Word = Annotated[str, Field(strict=True, max_length=200)] | None


class Metrics(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)


class PipelineMetrics(Metrics):
    rows_added: Count = None
    rows_fetched: Count = None
    rows_inserted: Count = None
    rows_updated: Count = None
    rows_deleted: Count = None
    rows_processed: Count = None
    last_date: date | None = None
    last_data_date: date | None = None
    duration_seconds: NotNegative = None
    bytes_processed: Count = None


class ExperimentMetrics(Metrics):
    rows_computed: Count = None
    nan_pct: Percent = None
    mean: Number = None
    std: NotNegative = None
    min: Number = None
    max: Number = None
    skewness: Number = None
    kurtosis: Number = None


class BacktestMetrics(Metrics):
    total_return: Number = None
    annualized_return: Number = None
    volatility: NotNegative = None
    sharpe_ratio: Number = None
    sortino_ratio: Number = None
    calmar_ratio: Number = None
    max_drawdown: Number = None
    win_rate: Number = None
    profit_factor: Number = None
    num_trades: Count = None
    turnover: Number = None
    var_95: Number = None
    cvar_95: Number = None
    alpha: Number = None
    beta: Number = None


class PortfolioOptimizationMetrics(Metrics):
    expected_return: Number = None
    expected_volatility: NotNegative = None
    expected_sharpe: Number = None
    diversification_ratio: Number = None
    effective_n: Number = None
    concentration: Number = None
    gross_exposure: Number = None
    net_exposure: Number = None
    solver_status: Word = None
    iterations: Count = None
    active_constraints: Count = None
    weights: dict[str, Number] | None = None


class TrainingMetrics(Metrics):
    train_rmse: Number = None
    train_mae: Number = None
    train_r2: Number = None
    train_ic: Number = None
    val_rmse: Number = None
    val_mae: Number = None
    val_r2: Number = None
    val_ic: Number = None
    accuracy: Number = None
    auc: Number = None
    precision: Number = None
    recall: Number = None
    f1: Number = None
    num_features: Count = None
    training_samples: Count = None
    artifact_version: Word = None
    feature_importance: dict[str, Number] | None = None


class InferenceMetrics(Metrics):
    num_predictions: Count = None
    mean_prediction: Number = None
    std_prediction: NotNegative = None
    confidence_mean: Number = None
    latency_ms: NotNegative = None


class MonitoringMetrics(Metrics):
    monitoring_type: MonitoringType | None = None
    psi: Number = None
    ks_statistic: Number = None
    drift_score: Number = None
    direction_accuracy: Number = None
    ic: Number = None
    ic_ir: Number = None
    hit_rate: Number = None
    missing_pct: Percent = None
    outlier_pct: Percent = None
    duplicate_pct: Percent = None
    staleness_hours: Number = None
    alerts: list[Any] | None = None


METRICS: dict[RunType, type[Metrics]] = {
    RunType.PIPELINE: PipelineMetrics,
    RunType.EXPERIMENT: ExperimentMetrics,
    RunType.BACKTEST: BacktestMetrics,
    RunType.PORTFOLIO_OPTIMIZATION: PortfolioOptimizationMetrics,
    RunType.TRAINING: TrainingMetrics,
    RunType.INFERENCE: InferenceMetrics,
    RunType.MONITORING: MonitoringMetrics,
}


def _column_type(annotation: Any) -> type | None:
    kind = next(part for part in get_args(annotation) if part is not type(None))
    if kind is MonitoringType:
        return str
    return kind if kind in (int, float, str, date) else None


HEADLINE: dict[RunType, dict[str, type]] = {
    run_type: {
        name: column
        for name, annotation in get_type_hints(model).items()
        if name != "model_config" and (column := _column_type(annotation)) is not None
    }
    for run_type, model in METRICS.items()
}
"""run type → metric → int, float, str or date: the typed columns of its extension table, in a stable order."""


def validate_metrics(run_type: RunType, metrics: dict[str, Any]) -> dict[str, Any]:
    """The same metrics, as JSON (dates as text), known ones with their type; nothing is added.

    Raises: ValueError naming each metric that is wrong, what was got and what is allowed.
    """
    return _read(run_type, metrics).model_dump(mode="json", include=set(metrics))


def headline(run_type: RunType, metrics: dict[str, Any]) -> dict[str, int | float | str | date | None]:
    """The values of the extension table's columns, null where not reported. Raises: ValueError as above."""
    read = _read(run_type, metrics)
    values = {name: getattr(read, name) for name in HEADLINE[run_type]}
    return {name: value.value if isinstance(value, StrEnum) else value for name, value in values.items()}


def _read(run_type: RunType, metrics: dict[str, Any]) -> Metrics:
    check_json(metrics)
    size_bytes = len(to_json(metrics))
    if size_bytes > MAX_JSON_BYTES:
        raise ValueError(f"metrics of {size_bytes} bytes, allowed are {MAX_JSON_BYTES}; make an artifact of them")
    try:
        return METRICS[run_type].model_validate(metrics)
    except ValidationError as error:
        wrong = [
            f"{'.'.join(str(step) for step in fault['loc'])}: "
            f"{fault['msg'].removeprefix('Value error, ')} (got {str(fault['input'])[:80]!r})"
            for fault in error.errors(include_url=False, include_context=False)
        ]
        raise ValueError(f"{run_type} metrics: {'; '.join(wrong[:5])}") from None
