"""How good daily returns were. Returns and rates are fractions (0.1 is ten percent), drawdowns are negative."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from examples.quant.data import SESSIONS_PER_YEAR

if TYPE_CHECKING:
    import pandas as pd


def performance(daily: pd.Series, benchmark: pd.Series) -> dict[str, float]:
    """The headline metrics of a strategy, without a risk-free rate. `var_95`, `cvar_95` are daily losses (positive)."""
    import numpy as np

    year = SESSIONS_PER_YEAR
    curve = (1 + daily).cumprod()
    annualized = float(curve.iloc[-1] ** (year / len(daily)) - 1)
    volatility = float(daily.std() * math.sqrt(year))
    downside = float(np.sqrt((daily.clip(upper=0) ** 2).mean() * year))
    drawdown = float((curve / curve.cummax().clip(lower=1) - 1).min())
    gains, losses = float(daily.clip(lower=0).sum()), float(-daily.clip(upper=0).sum())
    worst = float(daily.quantile(0.05))
    mean = float(daily.mean() * year)
    beta = float(daily.cov(benchmark) / benchmark.var())
    active = daily - benchmark
    return {
        "total_return": float(curve.iloc[-1] - 1),
        "annualized_return": annualized,
        "volatility": volatility,
        "sharpe_ratio": _ratio(mean, volatility),
        "sortino_ratio": _ratio(mean, downside),
        "calmar_ratio": _ratio(annualized, -drawdown),
        "max_drawdown": drawdown,
        "win_rate": float((daily > 0).mean()),
        "profit_factor": _ratio(gains, losses),
        "var_95": -worst,
        "cvar_95": -float(daily[daily <= worst].mean()),
        "alpha": mean - beta * float(benchmark.mean() * year),
        "beta": beta,
        "tracking_error": float(active.std() * math.sqrt(year)),
        "information_ratio": _ratio(float(active.mean()), float(active.std())) * math.sqrt(year),
        "benchmark_annualized_return": float((1 + benchmark).prod() ** (year / len(benchmark)) - 1),
    }


def _ratio(above: float, below: float) -> float:
    return above / below if below > 0 else math.nan
