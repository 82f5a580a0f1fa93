"""One `submit_*_run` per run type, with the parameters that such a run usually takes as keywords.

A keyword that is not given is not sent, so the flow's own default holds; what a flow takes beyond them goes into
`parameters`. Prefect refuses a parameter that the deployment does not take: the run then fails before it starts.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import date, datetime
from enum import Enum
from typing import Any, Literal, TypedDict, Unpack
from uuid import UUID

from runtide_schemas.vocabulary import FlowKind, Gate, Mode, MonitoringType

from runtide.errors import InvalidCommand
from runtide.runs import Run

Via = Literal["kafka", "http"]
Day = date | str
Parameters = Mapping[str, Any]


class Options(TypedDict, total=False):
    """What every submission may say besides its parameters; `Runtide.submit_run` says what each means."""

    mode: Mode | str
    gate: Gate | str
    skip_if_ready: bool
    wait_until: datetime | None
    plan_id: UUID | str | None
    command_id: str | None
    via: Via | None


class Submissions(ABC):
    @abstractmethod
    async def submit_run(
        self,
        instance: str,
        flow_kind: FlowKind | str | None = None,
        *,
        parameters: Parameters | None = None,
        **options: Unpack[Options],
    ) -> Run:
        """A run of whatever flow."""

    async def submit_pipeline_run(
        self,
        instance: str,
        *,
        start: Day | None = None,
        end: Day | None = None,
        parameters: Parameters | None = None,
        **options: Unpack[Options],
    ) -> Run:
        """Refresh a dataset or signal, of the days from `start` to `end`."""
        given = with_parameters(parameters, start=start, end=end)
        return await self.submit_run(instance, FlowKind.REFRESH, parameters=given, **options)

    async def submit_experiment_run(
        self,
        instance: str,
        *,
        start: Day | None = None,
        end: Day | None = None,
        lookback: int | None = None,
        parameters: Parameters | None = None,
        **options: Unpack[Options],
    ) -> Run:
        """Preview an experiment; `lookback` in sessions."""
        given = with_parameters(parameters, start=start, end=end, lookback=lookback)
        return await self.submit_run(instance, FlowKind.PREVIEW, parameters=given, **options)

    async def submit_backtest_run(
        self,
        instance: str,
        *,
        start: Day | None = None,
        end: Day | None = None,
        initial_capital: float | None = None,
        cost_bps: float | None = None,
        parameters: Parameters | None = None,
        **options: Unpack[Options],
    ) -> Run:
        """Backtest from `start` to `end`; costs in basis points of what is traded."""
        given = with_parameters(parameters, start=start, end=end, initial_capital=initial_capital, cost_bps=cost_bps)
        return await self.submit_run(instance, FlowKind.BACKTEST, parameters=given, **options)

    async def submit_portfolio_optimization_run(
        self,
        instance: str,
        *,
        as_of: Day | None = None,
        objective: str | None = None,
        lookback: int | None = None,
        max_weight: float | None = None,
        parameters: Parameters | None = None,
        **options: Unpack[Options],
    ) -> Run:
        """Optimise a portfolio as of a day, on the `lookback` sessions before it."""
        given = with_parameters(parameters, as_of=as_of, objective=objective, lookback=lookback, max_weight=max_weight)
        return await self.submit_run(instance, FlowKind.OPTIMIZE, parameters=given, **options)

    async def submit_training_run(
        self,
        instance: str,
        *,
        start: Day | None = None,
        end: Day | None = None,
        validation_years: int | None = None,
        alpha: float | None = None,
        seed: int | None = None,
        parameters: Parameters | None = None,
        **options: Unpack[Options],
    ) -> Run:
        """Train a model on the days from `start` to `end`; `alpha` is the strength of its regularisation."""
        given = with_parameters(
            parameters, start=start, end=end, validation_years=validation_years, alpha=alpha, seed=seed
        )
        return await self.submit_run(instance, FlowKind.TRAINING, parameters=given, **options)

    async def submit_inference_run(
        self,
        instance: str,
        *,
        as_of: Day | None = None,
        sessions: int | None = None,
        artifact_version: str | None = None,
        parameters: Parameters | None = None,
        **options: Unpack[Options],
    ) -> Run:
        """Predict with a model the last `sessions` as of a day; `artifact_version`: another than the current one."""
        given = with_parameters(parameters, as_of=as_of, sessions=sessions, artifact_version=artifact_version)
        return await self.submit_run(instance, FlowKind.INFERENCE, parameters=given, **options)

    async def submit_monitoring_run(
        self,
        instance: str,
        *,
        monitoring_type: MonitoringType | str | None = None,
        window_sessions: int | None = None,
        parameters: Parameters | None = None,
        **options: Unpack[Options],
    ) -> Run:
        """Watch a model or dataset: drift, data quality or performance over the last days."""
        given = with_parameters(parameters, monitoring_type=monitoring_type, window_sessions=window_sessions)
        return await self.submit_run(instance, FlowKind.MONITORING, parameters=given, **options)


def with_parameters(parameters: Parameters | None, **keywords: Any) -> dict[str, Any]:
    """Both as JSON. Raises: InvalidCommand where one is given twice."""
    given = {name: value for name, value in keywords.items() if value is not None}
    if twice := sorted(given.keys() & (parameters or {}).keys()):
        raise InvalidCommand(f"given twice, as keyword and in parameters: {', '.join(twice)}")
    return as_json({**(parameters or {}), **given})


def as_json(parameters: Parameters) -> dict[str, Any]:
    """Dates, times, ids and enums as their text; the rest is the message's to judge."""
    return {name: _plain(value) for name, value in parameters.items()}


def _plain(value: Any) -> Any:
    match value:
        case Enum():
            return value.value
        case date() | datetime():
            return value.isoformat()
        case UUID():
            return str(value)
        case Mapping():
            return as_json(value)
        case list() | tuple():
            return [_plain(item) for item in value]
        case _:
            return value
